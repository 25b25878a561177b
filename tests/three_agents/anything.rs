//! A short time in which everything happens to the cluster, in random order, and what must hold all the while.
//!
//! The seed is printed; `VM_AUTOSCALE_SEED` sets it. It gives the events, not the moments at which processes get to run.

use std::collections::BTreeMap;
use std::env;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::NODES;
use crate::served::{Era, Hang};
use crate::stage::{Set, Stage, busy};
use crate::support::{eventually, pause};

const VMS: [u32; 6] = [101, 102, 103, 104, 105, 106];
/// How long things happen.
const LASTS: Duration = Duration::from_secs(40);
/// The cool-down of this story.
const BETWEEN_CHANGES_MS: u64 = 2_000;
/// From the last look before a change to the start of `qm`, on a busy machine, and what the kernel may believe of the
/// quorum until then.
const ON_ITS_WAY_MS: u64 = 2_000;

/// What is wrong with one node for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// It does not reach the others.
    CutOff,
    /// The same, and the others never hear of its last changes.
    CutOffAbruptly,
    /// Its pmxcfs does not answer.
    Hangs,
    /// Its agent was killed.
    NoAgent,
}

/// What happens to a cluster.
#[derive(Debug)]
struct Fate<'a> {
    stage: &'a Stage,
    dice: Rng,
    began: Instant,
    /// At most one node is in trouble, so that the others can go on.
    trouble: Option<(Fault, usize, Instant)>,
    moves: usize,
    starts: usize,
    /// Cuts by which changes may have been lost.
    losses: usize,
}

impl Fate<'_> {
    fn tell(&self, what: std::fmt::Arguments<'_>) {
        eprintln!("{:6.2} s: {what}", self.began.elapsed().as_secs_f64());
    }

    fn step(&mut self) {
        if let Some((fault, node, until)) = self.trouble
            && Instant::now() >= until
        {
            self.mend(fault, node);
        }
        match self.dice.u8(0..10) {
            0..5 => self.change_load(),
            5..8 => self.migrate(),
            _ if self.trouble.is_none() => self.break_something(),
            _ => {}
        }
        pause(Duration::from_millis(self.dice.u64(200..900)));
    }

    fn change_load(&mut self) {
        let vm = self.any_vm();
        // Each is far from most others: it asks for a change.
        let cores = [0.25, 2.5, 7.0, 15.0][self.dice.usize(0..4)];
        let node = self.stage.served.owner(vm).unwrap();
        self.tell(format_args!("VM {vm} wants {cores} cores"));
        self.stage.set_load(node, vm, cores);
    }

    fn migrate(&mut self) {
        let (vm, to) = (self.any_vm(), self.any_node());
        let from = self.stage.served.owner(vm).unwrap();
        let able = |node| self.stage.served.is_able(node);
        if from != to && able(from) && able(to) {
            self.tell(format_args!(
                "VM {vm} moves from {} to {}",
                NODES[from], NODES[to]
            ));
            self.stage.migrate(vm, to);
            self.moves += 1;
        }
    }

    fn break_something(&mut self) {
        let node = self.any_node();
        let faults = [
            Fault::CutOff,
            Fault::CutOffAbruptly,
            Fault::Hangs,
            Fault::NoAgent,
        ];
        let fault = faults[self.dice.usize(0..faults.len())];
        let until = Instant::now() + Duration::from_millis(self.dice.u64(500..8_000));
        self.tell(format_args!("{}: {fault:?}", NODES[node]));
        let served = &self.stage.served;
        match fault {
            Fault::CutOff => served.rewire(|fs| fs.set_partition(node, 1)),
            Fault::CutOffAbruptly => {
                served.rewire(|fs| {
                    fs.cut_off_abruptly(node, 1);
                });
                self.losses += 1;
            }
            Fault::Hangs => served.hang(node, Hang::All),
            Fault::NoAgent => self.stage.kill_agent(node),
        }
        self.trouble = Some((fault, node, until));
    }

    fn mend(&mut self, fault: Fault, node: usize) {
        self.tell(format_args!("{}: no longer {fault:?}", NODES[node]));
        let served = &self.stage.served;
        match fault {
            Fault::CutOff | Fault::CutOffAbruptly => served.rewire(|fs| fs.set_partition(node, 0)),
            Fault::Hangs => served.hang(node, Hang::None),
            Fault::NoAgent => {
                self.stage.start(node);
                self.starts += 1;
            }
        }
        self.trouble = None;
    }

    fn any_vm(&mut self) -> u32 {
        VMS[self.dice.usize(0..VMS.len())]
    }

    fn any_node(&mut self) -> usize {
        self.dice.usize(0..NODES.len())
    }
}

#[test]
fn whatever_happens_no_two_agents_get_in_each_others_way_and_all_is_well_again_after() {
    let seed = env::var("VM_AUTOSCALE_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("seed {seed}");
    let two = |first| vec![busy(first, 3.0), busy(first + 1, 3.0)];
    let Some(stage) = Stage::with([two(101), two(103), two(105)]) else {
        return;
    };
    // Many changes, each of a few vCPUs.
    stage.change_settings(|text| {
        let text = text.replace("{cpu:", "{policy: threshold, cpu:");
        text.replace("5s", "2s")
    });
    stage.start_all();
    for vm in VMS {
        eventually("every VM is known to all", || stage.facts(vm).is_some());
    }
    let mut fate = Fate {
        stage: &stage,
        dice: Rng::with_seed(seed),
        began: Instant::now(),
        trouble: None,
        moves: 0,
        starts: NODES.len(),
        losses: 0,
    };
    while fate.began.elapsed() < LASTS {
        fate.step();
    }
    if let Some((fault, node, _)) = fate.trouble {
        fate.mend(fault, node);
    }
    all_is_well_again(&stage);
    let sets: BTreeMap<u32, Vec<Set>> = VMS.map(|vm| (vm, stage.sets(vm))).into();
    for of_vm in sets.values() {
        no_two_within_a_cool_down(of_vm);
    }
    let all: Vec<Set> = sets.into_values().flatten().collect();
    none_without_a_quorum(&all, &stage.served.eras());
    few_writes(&fate, all.len());
}

/// Each VM has what it needs on its node, and its facts say that it is that node's.
fn all_is_well_again(stage: &Stage) {
    for vm in VMS {
        let node = stage.served.owner(vm).unwrap();
        stage.set_load(node, vm, 2.5);
        eventually("its node's agent has it", || {
            stage.facts(vm).unwrap()["owner"] == NODES[node]
        });
        eventually("it has what it needs", || stage.vcpus(node, vm) >= 3);
        let facts = stage.facts(vm).unwrap();
        assert_eq!(
            facts["baseline"]["vcpus"], 1,
            "what it had at first: {facts:#}"
        );
        let runs = (0..NODES.len()).filter(|node| stage.vcpus(*node, vm) > 0);
        assert_eq!(runs.collect::<Vec<_>>(), [node]);
    }
    eventually("all see the same", || stage.is_in_order());
}

fn no_two_within_a_cool_down(of_vm: &[Set]) {
    for pair in of_vm.windows(2) {
        let apart = pair[1].at_ms - pair[0].at_ms;
        assert!(
            pair[0].node == pair[1].node || apart >= BETWEEN_CHANGES_MS,
            "{pair:?} are {apart} ms apart"
        );
    }
}

fn none_without_a_quorum(sets: &[Set], eras: &[Era]) {
    for set in sets {
        // The last moment at which the node could change something: it is so until the next era begins.
        let until = eras
            .windows(2)
            .filter(|pair| pair[0].able[set.node])
            .map(|pair| pair[1].from_ms);
        let is_able = |era: &&Era| era.from_ms <= set.at_ms;
        let now = eras.iter().rfind(is_able).unwrap();
        let last = until.filter(|until| *until <= set.at_ms).max().unwrap_or(0);
        let since = set.at_ms - last;
        assert!(
            now.able[set.node] || since < ON_ITS_WAY_MS,
            "{set:?}, {since} ms after: {eras:?}"
        );
    }
}

/// Writes come of events: a change, a move, a start, or the loss of an earlier write.
fn few_writes(fate: &Fate<'_>, sets: usize) {
    let Fate {
        moves,
        starts,
        losses,
        ..
    } = fate;
    let accepted = fate.stage.served.accepted();
    let replaced = |directory: &str| {
        let paths = accepted.iter().map(|one| one.path.as_str());
        let files = paths.filter(|path| path.starts_with(directory) && path.ends_with(".json"));
        files.count()
    };
    let facts = replaced("vm-autoscale/vms/");
    let reports = replaced("vm-autoscale/nodes/");
    eprintln!(
        "{sets} changes, {moves} moves, {starts} starts, {losses} losses: {facts} facts and {reports} reports written"
    );
    assert!(sets > VMS.len() && *moves > 0, "nothing happened");
    assert!(facts <= VMS.len() * (1 + losses) + sets + moves);
    assert!(reports <= starts + losses);
}
