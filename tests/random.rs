//! Five hundred random changes against guests that refuse, follow in part, act late or fall silent, while commands are
//! killed, lie or leave values pending: not one that is reported as applied may be contradicted by QEMU or the guest.
//!
//! The seed is printed; `VM_AUTOSCALE_SEED` sets it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here fails the test"
)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use support::scenario::{Command, MonitorState, STATE_DIR};
use support::truth::{Truth, VmTruth};
use support::{Node, Vm, eventually_within, pause};
use vm_autoscale::act::{Done, Executor, Outcome, Report};
use vm_autoscale::decide::{Change, Reason};
use vm_autoscale::domain::{Amount, Cores, Lever, Mib, VmName};
use vm_autoscale::pve::{Layout, Limits, Qm};

const CHANGES: usize = 500;
const VMS: u32 = 12;
/// What is true up to this long before or after an outcome can be what it tells of.
const NEAR_MS: u64 = 250;

/// The node looks at its files every 20 ms, and tells what it saw a step later.
const TOLD_LATE_MS: u64 = 45;

/// Numbers that look random and are the same for the same seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll() % (high - low + 1)
    }
}

/// What a guest has wrong with it, by its place; the first ones are well, so that most changes succeed.
fn guest(place: u32) -> Vm {
    let vm = Vm::new(101 + place)
        .cores(8)
        .vcpus(2)
        .memory(4096)
        .balloon(4096)
        .set("shares", 0)
        .cpu(8.0)
        .uses_memory(400.0);
    vm.guest(|guest| match place {
        6 => guest.onlines_vcpus = false,
        7 => guest.releases_vcpus = false,
        8 => guest.onlines_memory = false,
        9 => guest.balloon_driver = false,
        // Statistics stop, and what is asked for comes late.
        10 => guest.fresh_statistics = false,
        11 => (guest.vcpu_delay_s, guest.memory_delay_s) = (1.5, 3.0),
        _ => {}
    })
}

fn faults(dice: &mut Dice) -> String {
    let mut rules = String::new();
    for (args, at, action) in [
        ("set --vcpus", "half_plugged", "kill"),
        ("set --memory", "half_plugged", "kill"),
        ("set --balloon", "pending_written", "kill"),
        ("set", "start", "nothing"),
        ("set --vcpus", "start", "leave_pending"),
        ("set --memory", "start", "leave_pending"),
        ("set", "locked", "kill"),
    ] {
        let (vm, times) = (101 + dice.between(0, 5), dice.between(1, 4));
        let args = args.replacen("set", &format!("set {vm}"), 1);
        rules +=
            &format!("- {{command: qm, args: {args}, at: {at}, do: {action}, times: {times}}}\n");
    }
    rules
}

fn truth(root: &Path) -> Truth {
    let text = std::fs::read_to_string(root.join(STATE_DIR).join("truth.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A random change of a VM that is now so.
fn change(dice: &mut Dice, vm: u32, now: &VmTruth) -> Change {
    let cores = |n: u64| Amount::Cpu(Cores::whole(n as u32));
    let mib = |n: u64| Amount::Memory(Mib(n));
    let (lever, from, to) = match dice.between(0, 9) {
        0..=2 => (
            Lever::Vcpus,
            cores(now.vcpus.into()),
            cores(dice.between(1, 8)),
        ),
        3 => {
            let limit = now.cpu_limit.map_or(cores(now.vcpus.into()), |limit| {
                Amount::Cpu(Cores::from_f64(limit))
            });
            (
                Lever::Cpulimit,
                limit,
                Amount::Cpu(Cores::milli(dice.between(1, 80) as u32 * 100)),
            )
        }
        4..=7 => {
            let most = now.memory_mib;
            (
                Lever::Balloon,
                mib(now.balloon_mib),
                mib(dice.between(16, most / 64) * 64),
            )
        }
        _ => (
            Lever::Dimm,
            mib(now.memory_mib),
            mib(dice.between(4, 16) * 512),
        ),
    };
    Change {
        vm: vm.try_into().unwrap(),
        name: VmName::new("web"),
        lever,
        from,
        to,
        reason: Reason::Fits,
    }
}

/// Whether `now` is what an applied change says it is. `before` is what was so before it.
fn agrees(change: &Change, before: &VmTruth, now: &VmTruth) -> bool {
    let (to, grows) = (change.to.value(), change.grows());
    let beyond = |value: f64, slack: f64| {
        if grows {
            value >= to - slack
        } else {
            value <= to + slack
        }
    };
    match change.lever {
        Lever::Vcpus => {
            beyond(now.vcpus.into(), 0.0) && (!grows || f64::from(now.vcpus_online) >= to)
        }
        Lever::Cpulimit => now.cpu_limit.is_some_and(|limit| (limit - to).abs() < 0.02),
        Lever::Balloon => beyond(now.balloon_mib as f64, 2.0),
        Lever::Dimm => {
            let plugged = to - change.from.value();
            // What the balloon holds is online too, and it may have moved meanwhile.
            let online = |vm: &VmTruth| vm.total_mib + (vm.memory_mib - vm.balloon_mib) as f64;
            beyond(now.memory_mib as f64, 0.0)
                && (!grows || online(now) - online(before) >= plugged * 0.85)
        }
    }
}

/// What happened in the run.
#[derive(Default)]
struct Record {
    samples: Vec<Truth>,
    /// Each outcome, with what was so before the change and right after.
    done: Vec<(Done, VmTruth, VmTruth)>,
}

/// Changes one VM again and again until all changes are made.
fn worker(root: PathBuf, vm: u32, seed: u64, made: &AtomicUsize, record: &Mutex<Record>) {
    let mut dice = Dice(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let layout = Layout::new(&root);
    let limits = Limits {
        attempts: 1,
        ..Limits::default()
    };
    let executor = Executor::new(
        layout.clone(),
        "pve1".parse().unwrap(),
        Qm::new(&layout, limits),
    );
    while made.fetch_add(1, Ordering::SeqCst) < CHANGES {
        let before = truth(&root).vms.remove(&vm).unwrap();
        let change = change(&mut dice, vm, &before);
        let (sender, mut reports) = tokio::sync::mpsc::unbounded_channel();
        runtime.block_on(executor.carry_out(vec![change], sender));
        while let Ok(report) = reports.try_recv() {
            if let Report::Done(done) = report {
                let after = after(&root, vm, &done);
                record
                    .lock()
                    .unwrap()
                    .done
                    .push((*done, before.clone(), after));
            }
        }
    }
}

/// What is so as soon as the node has told anything since `done`.
fn after(root: &Path, vm: u32, done: &Done) -> VmTruth {
    loop {
        let mut now = truth(root);
        if now.at_ms > done.at.as_millis() as u64 + TOLD_LATE_MS {
            return now.vms.remove(&vm).unwrap();
        }
        pause(std::time::Duration::from_millis(5));
    }
}

#[test]
fn not_one_of_500_random_changes_is_called_applied_that_qemu_or_the_guest_contradicts() {
    let seed = std::env::var("VM_AUTOSCALE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) ^ 0x5eed_0000);
    eprintln!("seed {seed}");
    let mut dice = Dice(seed);
    let node = Node::shaped(
        |scenario| {
            scenario.node.update_ms = 20;
            scenario.node.memory_mib = 256 * 1024;
            scenario.node.cpus = 64;
        },
        (0..VMS).map(guest),
    );
    node.speed(25.0);
    node.faults(&faults(&mut dice));
    let (made, record) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(Mutex::new(Record::default())),
    );
    let workers: Vec<_> = (0..VMS)
        .map(|place| {
            let (made, record) = (Arc::clone(&made), Arc::clone(&record));
            let (root, seed) = (node.root().to_owned(), dice.roll());
            std::thread::spawn(move || worker(root, 101 + place, seed, &made, &record))
        })
        .collect();
    let mut hung: Option<u32> = None;
    eventually_within(
        std::time::Duration::from_secs(400),
        "all changes are made",
        || {
            let sample = node.truth();
            let mut record = record.lock().unwrap();
            if record
                .samples
                .last()
                .is_none_or(|last| last.at_ms < sample.at_ms)
            {
                record.samples.push(sample);
            }
            drop(record);
            // Now and then a monitor hangs for a while.
            if dice.between(0, 40) == 0 {
                let vm = hung.unwrap_or_else(|| 101 + dice.between(0, 5) as u32);
                let (state, next) = match hung {
                    None => (MonitorState::Hangs, Some(vm)),
                    Some(_) => (MonitorState::Answers, None),
                };
                node.control(&Command::Monitor { vm, state });
                hung = next;
            }
            workers.iter().all(std::thread::JoinHandle::is_finished)
        },
    );
    for worker in workers {
        worker.join().unwrap();
    }
    judge(&record.lock().unwrap(), seed);
}

/// A guest's total rises by what its balloon gives back, too: a module that it ignores must not be credited with that.
#[test]
fn a_module_is_not_taken_for_used_because_the_balloon_gave_memory_back() {
    let vm = Vm::new(101)
        .memory(4096)
        .balloon(4096)
        .set("shares", 0)
        .guest(|guest| guest.onlines_memory = false);
    let node = Node::with([vm]);
    let layout = Layout::new(node.root());
    let qm = Qm::new(&layout, Limits::default());
    let executor = Executor::new(layout, "pve1".parse().unwrap(), qm);
    let step = |lever, from, to| Change {
        vm: 101.try_into().unwrap(),
        name: VmName::new("web"),
        lever,
        from: Amount::Memory(Mib(from)),
        to: Amount::Memory(Mib(to)),
        reason: Reason::Fits,
    };
    let (sender, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(executor.carry_out(
        vec![
            step(Lever::Balloon, 4096, 2048),
            step(Lever::Balloon, 2048, 4096),
            step(Lever::Dimm, 4096, 5120),
        ],
        sender,
    ));
    let mut outcomes = Vec::new();
    while let Ok(report) = reports.try_recv() {
        if let Report::Done(done) = report {
            outcomes.push(done.outcome);
        }
    }
    let [down, up, module] = &outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert_eq!((down, up), (&Outcome::Applied, &Outcome::Applied));
    assert!(
        matches!(module, Outcome::Partial(why) if why.contains("brought 0 MiB")),
        "{module}"
    );
}

fn judge(record: &Record, seed: u64) {
    let mut words: BTreeMap<&str, usize> = BTreeMap::new();
    for (done, before, after) in &record.done {
        *words.entry(done.outcome.word()).or_default() += 1;
        if done.outcome != Outcome::Applied {
            continue;
        }
        let (vm, at) = (done.change.vm.get(), done.at.as_millis() as u64);
        let near = record
            .samples
            .iter()
            .filter(|sample| sample.at_ms.abs_diff(at) <= NEAR_MS);
        let near: Vec<&VmTruth> = near.filter_map(|sample| sample.vms.get(&vm)).collect();
        assert!(
            near.iter()
                .chain([&after])
                .any(|now| agrees(&done.change, before, now)),
            "seed {seed}: VM {vm}: {done}, but {after:?}"
        );
    }
    eprintln!("{} outcomes: {words:?}", record.done.len());
    assert!(record.done.len() >= CHANGES);
    for word in ["applied", "partial", "refused", "unknown"] {
        assert!(
            words.contains_key(word),
            "seed {seed}: no change was {word}: {words:?}"
        );
    }
}
