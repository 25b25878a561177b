//! One agent of the model: where it is in its tick, and one step of it. All that it decides, the product's code decides.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use vm_autoscale::act::{Done, Outcome};
use vm_autoscale::cluster::{AgentReport, Member, Note, Round, Seen, clear};
use vm_autoscale::config::Settings;
use vm_autoscale::decide::{self, Change, Memory};
use vm_autoscale::domain::{Amount, Reading, Source};
use vm_autoscale::observe::Snapshot;
use vm_autoscale::pve::VmConfig;

use super::shared::{Answer, Hand, Shared, Stepped, Tree, name, vm};
use super::{Broken, Mutation, STEP_S, time};
use crate::agent::{Running, snapshot, view};

/// What an agent holds between its steps. Two are the same if they print the same.
#[derive(Debug, Clone)]
pub(crate) struct Mind {
    member: Member,
    pub(crate) memory: Memory,
    notes: Vec<Note>,
    digest: u64,
}

impl PartialEq for Mind {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Hash for Mind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

/// FNV-1a over what is printed.
struct Digest(u64);

impl Write for Digest {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

impl Mind {
    fn new(member: Member, memory: Memory, notes: Vec<Note>) -> Arc<Self> {
        let mut digest = Digest(0xcbf2_9ce4_8422_2325);
        write!(digest, "{member:?}{memory:?}{notes:?}").unwrap();
        Arc::new(Self {
            member,
            memory,
            notes,
            digest: digest.0,
        })
    }

    /// An agent that starts, with what is on its node's disk.
    pub(crate) fn start(node: usize, memory: Memory) -> Arc<Self> {
        Self::new(Member::new(name(node)), memory, Vec::new())
    }
}

/// What an agent saw when its tick began.
#[derive(Debug, Clone, PartialEq, Hash)]
pub(crate) struct Sight {
    tree: Tree,
    /// The vCPUs of the VM's QEMU, if it runs here.
    running: Option<u32>,
    writable: bool,
    at: u8,
}

/// Where an agent is.
#[derive(Debug, Clone, PartialEq, Hash)]
pub(crate) enum Phase {
    Off,
    /// Between two ticks; the last one was at the time given.
    Idle {
        mind: Arc<Mind>,
        ticked: Option<u8>,
    },
    /// In its round with the cluster.
    Round {
        mind: Arc<Mind>,
        sight: Sight,
        answers: Vec<Answer>,
    },
    /// It has decided to give the VM so many vCPUs, and has not begun to.
    Decided {
        mind: Arc<Mind>,
        from: u32,
        to: u32,
        at: u8,
    },
    /// Taking the last look. What a rule can hold against it is what was to be seen when the look began.
    Looking {
        mind: Arc<Mind>,
        from: u32,
        to: u32,
        blame: Option<Broken>,
        answers: Vec<Answer>,
    },
    /// `qm` was started.
    Calling {
        mind: Arc<Mind>,
        from: u32,
        to: u32,
    },
    /// `qm` has ended, which the agent is still to learn.
    Called {
        mind: Arc<Mind>,
        from: u32,
        to: u32,
        moved: bool,
        at: u8,
    },
}

/// What an agent is surrounded by in a step.
pub(crate) struct Around<'s> {
    pub(crate) node: usize,
    pub(crate) now: u8,
    pub(crate) settings: &'s Settings,
    pub(crate) mutation: Mutation,
    pub(crate) shared: &'s mut Shared,
    /// The vCPUs of the VM's QEMU, if it runs on this node.
    pub(crate) running: Option<u32>,
}

impl Sight {
    fn of(around: &Around<'_>) -> Self {
        let mut tree = around.shared.view(around.node).clone();
        tree.locked &= around.mutation != Mutation::IgnoresLock;
        // The text of the facts is read later, in the round.
        tree.facts = None;
        Self {
            tree,
            running: around.running,
            writable: around.shared.shown[around.node]
                || around.mutation == Mutation::IgnoresQuorum,
            at: around.now,
        }
    }

    fn snapshot(&self, node: usize) -> Snapshot {
        let now = time(self.at);
        // Always a little above the threshold: the VM wants one vCPU more.
        let guest = self.running.map(|vcpus| Running {
            vcpus,
            uses: f64::from(vcpus) * 0.85,
        });
        let config = VmConfig::parse(&self.tree.config());
        let seen = view(guest, vm(), &name(self.tree.home), &config, now);
        snapshot(
            &name(node),
            self.writable,
            BTreeMap::from([(vm(), seen)]),
            now,
        )
    }
}

impl Phase {
    /// Whether there is a step that it can take now.
    pub(crate) fn has_step(&self, now: u8) -> bool {
        match self {
            Self::Off => false,
            Self::Idle { ticked, .. } => *ticked != Some(now),
            _ => true,
        }
    }

    /// Whether it is in the middle of something that takes less than a step of time: a round or a last look, each of
    /// which gives up after seconds, or a call of `qm` that follows on a look.
    pub(crate) fn is_quick(&self) -> bool {
        matches!(
            self,
            Self::Round { .. } | Self::Looking { .. } | Self::Calling { .. }
        )
    }

    /// One step, unless it is `qm` that has to take it.
    pub(crate) fn step(self, around: &mut Around<'_>) -> (Self, Option<Broken>) {
        match self {
            Self::Idle { mind, .. } => {
                let sight = Sight::of(around);
                round(mind, sight, Vec::new(), around)
            }
            Self::Round {
                mind,
                sight,
                answers,
            } => round(mind, sight, answers, around),
            Self::Decided { mind, from, to, .. } if around.mutation == Mutation::SkipsLastLook => {
                let blame = blame(around);
                (Self::Calling { mind, from, to }, blame)
            }
            Self::Decided { mind, from, to, .. } => {
                let blame = blame(around);
                look(mind, (from, to), blame, Vec::new(), around)
            }
            Self::Looking {
                mind,
                from,
                to,
                blame,
                answers,
            } => look(mind, (from, to), blame, answers, around),
            Self::Called {
                mind,
                from,
                to,
                moved,
                at,
            } => (learn(&mind, (from, to), moved, at), None),
            Self::Off | Self::Calling { .. } => (self, None),
        }
    }
}

/// The rule that a call of `qm` would break which follows on a look that begins now.
fn blame(around: &Around<'_>) -> Option<Broken> {
    let tree = around.shared.view(around.node);
    match () {
        () if !around.shared.shown[around.node] => Some(Broken::WithoutQuorum),
        () if tree.locked && tree.home == around.node => Some(Broken::UnderLock),
        () if tree.home != around.node => Some(Broken::WrongNode),
        () => None,
    }
}

/// A step of the round; at its end the agent decides.
fn round(
    mind: Arc<Mind>,
    sight: Sight,
    answers: Vec<Answer>,
    around: &mut Around<'_>,
) -> (Phase, Option<Broken>) {
    let (node, mutation) = (around.node, around.mutation);
    let mut seen = sight.snapshot(node);
    let mut member = mind.member.clone();
    let round = Round {
        now: seen.at,
        at: Duration::from_secs(u64::from(sight.at) * STEP_S),
        quorate: sight.writable,
        vms: Seen::all(&seen),
        notes: mind.notes.clone(),
        report: AgentReport::new("model", time(0), "same".to_owned(), None),
    };
    let hand = Hand::new(around.shared, node, answers, mutation);
    let found = member.round(&hand, round);
    let Stepped {
        answers,
        waits,
        broken,
    } = hand.end();
    if waits {
        return (
            Phase::Round {
                mind,
                sight,
                answers,
            },
            broken,
        );
    }
    let mut memory = mind.memory.clone();
    let at = sight.at;
    let idle = |member, memory| Phase::Idle {
        mind: Mind::new(member, memory, Vec::new()),
        ticked: Some(at),
    };
    // What cannot be told allows nothing.
    let Ok(mut view) = found else {
        return (idle(member, memory), broken);
    };
    if mutation == Mutation::ForgetsCoolDown {
        view.arrivals.clear();
    }
    view.enter(&mut seen, &mut memory);
    let plan = decide::plan(&seen, &mut memory, around.settings, seen.at);
    let Some(change) = plan.changes.first() else {
        return (idle(member, memory), broken);
    };
    let (from, to) = (change.from.value() as u32, change.to.value() as u32);
    let mind = Mind::new(member, memory, Vec::new());
    (Phase::Decided { mind, from, to, at }, broken)
}

/// A step of the last look before a change.
fn look(
    mind: Arc<Mind>,
    (from, to): (u32, u32),
    blame: Option<Broken>,
    answers: Vec<Answer>,
    around: &mut Around<'_>,
) -> (Phase, Option<Broken>) {
    let (node, now) = (around.node, around.now);
    // What was so all the time is what it had to see.
    let blame = blame.filter(|then| self::blame(around) == Some(*then));
    let hand = Hand::new(around.shared, node, answers, around.mutation);
    let cleared = clear(&hand, &name(node), vm(), time(now));
    let Stepped {
        answers,
        waits,
        broken,
    } = hand.end();
    match cleared {
        _ if waits => (
            Phase::Looking {
                mind,
                from,
                to,
                blame,
                answers,
            },
            broken,
        ),
        Ok(_) => (Phase::Calling { mind, from, to }, broken.or(blame)),
        Err(_) => (
            Phase::Idle {
                mind,
                ticked: Some(now),
            },
            broken,
        ),
    }
}

/// The agent learns what became of its change.
fn learn(mind: &Mind, (from, to): (u32, u32), moved: bool, at: u8) -> Phase {
    let to = Amount::vcpus(to);
    let change = Change {
        vm: vm(),
        name: VmConfig::parse("name: model\n").name,
        lever: vm_autoscale::domain::Lever::Vcpus,
        from: Amount::vcpus(from),
        to,
        reason: decide::Reason::Fits,
    };
    let outcome = match moved {
        true => Outcome::Applied,
        false => Outcome::Withheld("refused".to_owned()),
    };
    let now = Reading::known(to, time(at), Source::Qemu);
    let done = Done {
        change,
        outcome,
        now,
        at: time(at),
        took: Duration::from_secs(1),
    };
    let (mut memory, mut notes) = (mind.memory.clone(), mind.notes.clone());
    memory.note(&done);
    if moved {
        let learned = memory.of_vm(vm()).cloned();
        notes.push(Note { done, learned });
    }
    Phase::Idle {
        mind: Mind::new(mind.member.clone(), memory, notes),
        ticked: Some(at),
    }
}
