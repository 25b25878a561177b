//! The ownership protocol, model-checked: every order of steps of the agents, the cluster and what befalls it, within the
//! bounds of a story, is walked through (stateright).
//!
//! The agents run the product's own code: `Member::round`, `clear`, `decide::plan`, `Memory`. Each operation on shared
//! files is a step of its own, between any two of which anything else can happen: migrations begin and end, nodes die,
//! are cut off and come back, HA moves the VM, agents are killed and start again, writes reach other nodes late, the
//! kernel shows an old state of quorum, writes hang and land later.
//!
//! What is taken for granted: a round, and a last look with the call of `qm` that follows on it, take less than 30 s
//! (each gives up after seconds); writes reach connected nodes within 30 s; `qm` refuses under a lock, on the wrong node
//! and without quorum, as recorded. That these hold is not the model's matter. A decision may be as old as it likes.
//!
//! Nothing is forgotten that an agent could read when it began to write. What the last owner writes down in the very
//! moment in which the next one takes over can get lost: the walk found it. Nothing rests on it, since cool-downs begin
//! anew and the VM's size is read from QEMU.

mod agent;
mod events;
mod shared;
mod state;

use stateright::{Checker, HasDiscoveries, Model};
use vm_autoscale::domain::Moment;

use events::Budget;
use state::Ownership;

/// The third has no agent and no VM: it is there for the quorum.
const NODES: usize = 3;
const AGENTS: usize = 2;
const VM: u32 = 101;
/// A step of time, in seconds.
const STEP_S: u64 = 30;
/// A cool-down, in steps of time.
const COOL: u8 = 1;

fn time(steps: u8) -> Moment {
    Moment::from_millis(1_800_000_000_000 + i64::from(steps) * STEP_S as i64 * 1000)
}

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Broken {
    TwoAgents,
    WithoutQuorum,
    UnderLock,
    WrongNode,
    Baseline,
    Forgotten,
}

impl Broken {
    /// The rule as a sentence.
    fn rule(self) -> &'static str {
        match self {
            Self::TwoAgents => "no two agents change a VM within its cool-down",
            Self::WithoutQuorum => "nothing is changed without quorum",
            Self::UnderLock => "nothing is changed under a lock",
            Self::WrongNode => "nothing is changed from another node",
            Self::Baseline => "what is to be put back is kept",
            Self::Forgotten => "no change that was written down is forgotten",
        }
    }
}

/// A fault of the protocol that the checker must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Mutation {
    None,
    /// Acts on a decision without looking again.
    SkipsLastLook,
    IgnoresLock,
    IgnoresQuorum,
    /// Does not begin cool-downs anew when it takes a VM over.
    ForgetsCoolDown,
    /// Believes of every VM that it was never changed before.
    IgnoresFacts,
    /// Changes a VM before its settings are kept.
    KeepsNoBaseline,
    /// Writes facts on the basis of what it read once, not of what is there.
    WritesFromMemory,
}

/// What may happen in a story, how often, and how far it is walked.
struct Story {
    budget: Budget,
    /// So many steps are tried at most, the shortest ways first; `None` walks to the end.
    at_most: Option<usize>,
}

const MIGRATION: Story = Story {
    budget: Budget {
        moves: 1,
        ..Budget::of(2)
    },
    at_most: None,
};
const PARTITION: Story = Story {
    budget: Budget {
        cuts: 1,
        crashes: 1,
        ..Budget::of(1)
    },
    at_most: None,
};
const FAILOVER: Story = Story {
    budget: Budget {
        deaths: 1,
        ..Budget::of(2)
    },
    at_most: None,
};
const CRASH: Story = Story {
    budget: Budget {
        moves: 1,
        crashes: 1,
        ..Budget::of(1)
    },
    at_most: Some(40_000),
};
const LATE_WRITE: Story = Story {
    budget: Budget {
        moves: 1,
        late: 1,
        ..Budget::of(1)
    },
    at_most: Some(40_000),
};

/// Walks through a story; no rule may be broken. Returns whether both agents have changed the VM anywhere in it.
fn walk(name: &str, story: &Story) -> bool {
    let began = std::time::Instant::now();
    // One thread: the checker's own sharing of work costs more than a second one gains.
    let checker = Ownership::new(story.budget, Mutation::None).checker();
    let checker = match story.at_most {
        Some(count) => checker.target_state_count(count).spawn_bfs().join(),
        None => checker.spawn_bfs().join(),
    };
    println!(
        "{name}: {} states, {} of them different, up to {} steps deep, {:.1} s",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64()
    );
    let found = checker.discoveries();
    let broken = found
        .iter()
        .find(|(_, path)| path.last_state().broken.is_some());
    if let Some((rule, path)) = broken {
        panic!(
            "{name}: {rule}: not after {:?}",
            path.clone().into_actions()
        );
    }
    found.contains_key(state::BOTH)
}

#[test]
fn a_migration_at_any_instant_breaks_no_rule() {
    assert!(
        walk("migration", &MIGRATION),
        "both agents act, or nothing was shown"
    );
}

#[test]
fn a_partition_and_a_crash_at_any_instant_break_no_rule() {
    walk("partition and crash", &PARTITION);
}

#[test]
fn a_failover_at_any_instant_breaks_no_rule() {
    assert!(
        walk("failover", &FAILOVER),
        "both agents act, or nothing was shown"
    );
}

#[test]
fn a_crash_during_a_migration_breaks_no_rule() {
    walk("migration and crash", &CRASH);
}

#[test]
fn a_write_that_hangs_and_lands_after_the_vm_has_moved_breaks_no_rule() {
    walk("migration and late write", &LATE_WRITE);
}

#[test]
fn every_fault_of_the_protocol_has_a_counter_example() {
    let short = Story {
        budget: Budget {
            moves: 1,
            ..Budget::of(1)
        },
        at_most: None,
    };
    let table = [
        (Mutation::SkipsLastLook, &PARTITION, Broken::WithoutQuorum),
        (Mutation::IgnoresLock, &short, Broken::UnderLock),
        (Mutation::IgnoresQuorum, &PARTITION, Broken::WithoutQuorum),
        (Mutation::ForgetsCoolDown, &short, Broken::TwoAgents),
        (Mutation::IgnoresFacts, &short, Broken::Baseline),
        (Mutation::KeepsNoBaseline, &short, Broken::Baseline),
        (Mutation::WritesFromMemory, &short, Broken::Forgotten),
    ];
    let mut wrong = Vec::new();
    for (mutation, story, expected) in table {
        let checker = Ownership::new(story.budget, mutation)
            .checker()
            .finish_when(HasDiscoveries::AnyOf([expected.rule()].into()))
            .spawn_bfs()
            .join();
        let steps = checker.discovery(expected.rule());
        let steps = steps.map(stateright::Path::into_actions);
        println!("{mutation:?} leads to {expected:?}: {steps:?}");
        if steps.is_none() {
            wrong.push(mutation);
        }
    }
    assert_eq!(wrong, []);
}
