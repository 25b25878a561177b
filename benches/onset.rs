//! From load onset to capacity live in a real guest, split into sensing, deciding, `qm` and the guest.
//!
//! `cargo bench --bench onset`. A real QEMU with a real Linux in software emulation, under the real daemon; `qm` is
//! pve-sim's, which waits as PVE's does but lacks the second that Perl takes to start. Needs what `tests/real_guest.rs`
//! needs, and says so otherwise. Emulation makes the guest's part longer than on a node. The load begins right after a
//! look, so that sensing takes as long as it can: a `check_interval`, or for memory until the next second.
//!
//! - sensing: from the load's first instruction to the look that saw it
//! - deciding: from that look to the start of `qm`, with the checks directly before it
//! - qm: from its start to the read-back of what it did
//! - guest: from there to the guest's own /proc having more; zero if it had before

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a figure that cannot be taken ends the benchmark"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::guest::{Serial, Turn, turn};
use support::{Daemon, Node, Vm, pause};
use vm_autoscale::domain::{Moment, Resource};
use vm_autoscale::pve::Layout;
use vm_autoscale::record::{EventKind, ResourceState, State, history};

/// Each onset is measured so often, each time in a guest of its own.
const ROUNDS: usize = 3;
/// Between two looks at the node and the guest.
const EVERY: Duration = Duration::from_millis(10);
/// A growth that takes longer than this has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// A load, and the capacity that answers it.
struct Onset {
    name: &'static str,
    resource: Resource,
    config: &'static str,
    vm: fn() -> Vm,
    load: &'static str,
    /// What the guest has by its own /proc, in CPUs or MiB.
    has: fn(&mut Serial) -> u64,
}

const ONSETS: [Onset; 2] = [
    Onset {
        name: "1 vCPU, four busy programs",
        resource: Resource::Cpu,
        // On a busy machine an emulated guest gets few of the cycles that it wants.
        config: "    policy: threshold\n    cpu: {max: 4, high: 50%, low: 20%}\n",
        vm: || Vm::new(101).cores(16).vcpus(1).memory(1024).balloon(1024),
        load: "for i in 1 2 3 4; do burn & done",
        has: Serial::cpus,
    },
    Onset {
        name: "a program takes 100 MB/s",
        resource: Resource::Memory,
        // It begins small: the policy adaptive would watch it for minutes before it takes anything.
        config: "    memory: {min: 512MiB, low: 70%, high: 90%}\n    cooldown: {down: 2s}\n    policy: threshold\n    threshold: {stabilization: {down: 0s}}\n",
        vm: || {
            Vm::new(101)
                .without("hotplug")
                .without("numa")
                .vcpus(2)
                .cores(2)
                .memory(3072)
                .without("balloon")
        },
        load: "hog 2200 100 > /tmp/hog &",
        has: |guest| guest.meminfo("MemTotal"),
    },
];

fn main() {
    println!(
        "{:<28} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "seconds", "sensing", "deciding", "qm", "guest", "total"
    );
    for onset in &ONSETS {
        for _ in 0..ROUNDS {
            let Some(turn) = turn(onset.name) else { return };
            let parts = measure(onset, &turn).map(|part| format!("{part:.2}"));
            let [sensing, deciding, qm, guest, total] = parts;
            println!(
                "{:<28} {sensing:>9} {deciding:>9} {qm:>9} {guest:>9} {total:>9}",
                onset.name
            );
        }
    }
}

/// Seconds of sensing, deciding, `qm`, the guest, and all together.
fn measure(onset: &Onset, turn: &Turn) -> [f64; 5] {
    let node = Node::with([(onset.vm)().real(turn)]);
    // The commands wait as long as PVE's do: so does the guest.
    node.speed(1.0);
    let mut guest = Serial::of(&node.path("run/qemu-server/101.serial0"));
    node.write_config(&format!("profiles:\n  default:\n{}", onset.config));
    let daemon = node.daemon();
    rest(&daemon);
    let has = (onset.has)(&mut guest);

    let began = Moment::now();
    // It looks from before the load on: the guest's line may be slow to answer under it.
    let (saw, live) = std::thread::scope(|scope| {
        let saw = scope.spawn(|| until(|| grows(onset, &daemon, began)));
        guest.run(onset.load);
        let live = until(|| ((onset.has)(&mut guest) > has).then(Moment::now));
        (saw.join().unwrap(), live)
    });
    let (started, ended) = until(|| life_of_the_change(onset, &node, began));
    daemon.stop();

    let between = |from: Moment, to: Moment| (to.as_millis() - from.as_millis()) as f64 / 1000.0;
    [
        between(began, saw),
        between(saw, started),
        between(started, ended),
        between(ended, live).max(0.0),
        between(began, live),
    ]
}

/// Waits until the agent has nothing to change.
fn rest(daemon: &Daemon) {
    let mut quiet = Instant::now();
    until(|| {
        let state = told(daemon);
        let calm = state.is_some_and(|all| {
            let mut all = all.1.iter();
            all.all(|r| r.need.value().is_some() && r.target.is_none())
        });
        if !calm {
            quiet = Instant::now();
        }
        (quiet.elapsed() > Duration::from_secs(15)).then_some(())
    });
}

/// When the agent took the look after which it wanted more, once it did.
fn grows(onset: &Onset, daemon: &Daemon, since: Moment) -> Option<Moment> {
    let (at, all) = told(daemon)?;
    let state = all.into_iter().find(|r| r.resource == onset.resource)?;
    let (target, allocation) = (state.target?, state.allocation.get()?);
    (at > since && target.value() > allocation.value()).then_some(at)
}

/// When `qm` was started for the first growth since `since`, and when its result was read back.
fn life_of_the_change(onset: &Onset, node: &Node, since: Moment) -> Option<(Moment, Moment)> {
    let (events, _) = history::read(&Layout::new(node.root()).data_dir()).ok()?;
    events
        .into_iter()
        .map(|event| event.kind)
        .find_map(|kind| match kind {
            EventKind::Changed(done)
                if done.change.lever.resource() == onset.resource
                    && done.change.grows()
                    && done.at > since =>
            {
                let took = i64::try_from(done.took.as_millis()).unwrap();
                Some((Moment::from_millis(done.at.as_millis() - took), done.at))
            }
            _ => None,
        })
}

/// When the state was read, and what it says of CPU and memory.
fn told(daemon: &Daemon) -> Option<(Moment, [ResourceState; 2])> {
    let state: State = serde_json::from_value(daemon.state()?).unwrap();
    let vm = state.vms.into_iter().next()?;
    Some((state.at, [vm.cpu, vm.memory]))
}

/// What `found` finds, looked for again and again.
fn until<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "nothing was found in {LIMIT:?}");
        pause(EVERY);
    }
}
