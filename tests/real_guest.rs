//! Stories with a real QEMU and a real Linux, in software emulation: what the agent does shows in the guest's own /proc.
//!
//! Skipped, with a line that says so, where QEMU, busybox, cpio or a kernel is missing: unpack Debian's
//! linux-image-cloud-amd64 into `target/guest`. Wants a machine of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here fails the test"
)]

mod support;

use serde_json::{Value, json};
use support::guest::{Serial, turn};
use support::{Daemon, Node, Vm, eventually_within, pause};

/// Software emulation is slow, and the machine may be busy.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(240);

/// A guest that is asked all the time is never idle: each question starts programs there.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    eventually_within(PATIENCE, what, || {
        pause(ASK_AGAIN);
        is_so()
    });
}

/// The most vCPUs of a VM whose vCPUs are plugged. Far more than are used: with software emulation, QEMU 7.2 crashes when
/// more vCPU threads have been started in its life than it may have at a time.
const CORES: u32 = 16;

/// For stories of CPU. The policy that gives back at once, where the other one would first watch for minutes. Low
/// thresholds: on a busy machine an emulated guest gets few of the cycles that it wants.
const CPU: &str = "check_interval: 1s
profiles:
  default:
    cooldown: {up: 1s, down: 3s}
    policy: threshold
    threshold: {stabilization: {down: 5s}}
    cpu: {max: 4, high: 30%, low: 20%}
    memory: {method: off}
";

/// For stories of memory, by the same policy.
const MEMORY: &str = "check_interval: 1s
profiles:
  default:
    cooldown: {up: 1s, down: 3s}
    policy: threshold
    threshold: {stabilization: {down: 5s}}
    cpu: {method: off}
    memory: {min: 512MiB, high: 90%, low: 70%}
";

/// A running node with one real VM that has booted, and its serial line.
fn booted(vm: Vm) -> (Node, Serial) {
    let node = Node::with([vm]);
    // The commands wait as long as PVE's do: so does the guest.
    node.speed(1.0);
    let serial = Serial::of(&node.path("run/qemu-server/101.serial0"));
    (node, serial)
}

fn told(daemon: &Daemon, resource: &str) -> Value {
    let state = daemon.state().unwrap_or_default();
    state["vms"][0][resource].clone()
}

/// What the guest needs, as the agent knows it, in MiB.
fn need(daemon: &Daemon) -> Option<f64> {
    told(daemon, "memory")["need"].as_f64()
}

/// What QEMU leaves the guest, in MiB.
fn actual(node: &Node) -> u64 {
    let balloon = node.monitor(101).get("query-balloon", json!({}));
    balloon["actual"]
        .as_u64()
        .expect("QEMU tells the balloon's size")
        >> 20
}

#[test]
fn vcpus_come_and_go_in_the_guests_own_proc() {
    let Some(turn) = turn("vcpus_come_and_go_in_the_guests_own_proc") else {
        return;
    };
    let (node, mut guest) = booted(
        Vm::new(101)
            .cores(CORES)
            .vcpus(1)
            .memory(1024)
            .balloon(1024)
            .real(&turn),
    );
    node.write_config(CPU);
    let daemon = node.daemon();
    assert_eq!(guest.cpus(), 1);
    guest.run("for i in 1 2 3 4; do burn & done");
    eventually("the guest runs on more CPUs", || guest.cpus() >= 3);
    guest.run("killall -9 burn");
    // One is enough: QEMU 7.2 in software emulation tends to crash some time after a vCPU has left.
    let most = guest.cpus();
    eventually("one is given back", || guest.cpus() < most);
    daemon.stop();
}

#[test]
fn vcpus_that_a_real_guest_ignores_are_found_out() {
    let Some(turn) = turn("vcpus_that_a_real_guest_ignores_are_found_out") else {
        return;
    };
    let (node, mut guest) = booted(
        Vm::new(101)
            .cores(CORES)
            .vcpus(1)
            .memory(1024)
            .balloon(1024)
            .real(&turn),
    );
    guest.run("touch /tmp/ignore-vcpus");
    node.write_config(CPU);
    let daemon = node.daemon();
    guest.run("burn &");
    eventually("the change is partial", || {
        told(&daemon, "cpu")["last"]["outcome"]["partial"].is_string()
    });
    eventually("no more are given", || {
        told(&daemon, "cpu")["reason"]["code"] == "guest_ignores"
    });
    assert_eq!(guest.cpus(), 1);
    daemon.stop();
}

#[test]
fn memory_grows_by_modules_in_the_guests_own_proc() {
    let Some(turn) = turn("memory_grows_by_modules_in_the_guests_own_proc") else {
        return;
    };
    let (node, mut guest) = booted(
        Vm::new(101)
            .cores(2)
            .vcpus(2)
            .memory(1024)
            .balloon(1024)
            .real(&turn),
    );
    node.write_config(MEMORY);
    let before = guest.meminfo("MemTotal");
    let daemon = node.daemon();
    guest.run("hog 1200 40 > /tmp/hog &");
    eventually("the guest has it", || {
        guest.run("cat /tmp/hog") == "has 1200 MiB"
    });
    eventually("and room besides", || guest.meminfo("MemAvailable") > 200);
    assert!(guest.meminfo("MemTotal") >= before + 500);
    assert_eq!(guest.oom_kills(), 0);
    daemon.stop();
}

#[test]
fn the_balloon_shrinks_and_grows_and_a_hog_at_100_mb_a_second_is_never_killed() {
    let name = "the_balloon_shrinks_and_grows_and_a_hog_at_100_mb_a_second_is_never_killed";
    let Some(turn) = turn(name) else { return };
    let vm = Vm::new(101)
        .without("hotplug")
        .without("numa")
        .vcpus(2)
        .cores(2)
        .memory(3072)
        .without("balloon");
    let (node, mut guest) = booted(vm.real(&turn));
    node.write_config(MEMORY);
    let full = guest.meminfo("MemTotal");
    let daemon = node.daemon();
    eventually("the balloon takes what is idle", || actual(&node) < 1200);
    assert!(guest.meminfo("MemTotal") < full - 1000);
    guest.run("hog 1800 100 > /tmp/hog &");
    eventually("the hog has all it wants", || {
        assert_eq!(guest.oom_kills(), 0, "{}", daemon.log());
        guest.run("cat /tmp/hog") == "has 1800 MiB"
    });
    assert_eq!(guest.oom_kills(), 0);
    assert!(actual(&node) > 1800);
    daemon.stop();
}

#[test]
fn page_cache_is_no_need_but_a_full_tmpfs_is_and_is_never_squeezed() {
    let Some(turn) = turn("page_cache_is_no_need_but_a_full_tmpfs_is_and_is_never_squeezed") else {
        return;
    };
    let vm = Vm::new(101)
        .without("hotplug")
        .without("numa")
        .vcpus(2)
        .cores(2)
        .memory(2048)
        .without("balloon");
    let (node, mut guest) = booted(vm.real(&turn));
    node.write_config(MEMORY);
    let daemon = node.daemon();
    eventually("the balloon takes what is idle", || actual(&node) < 1100);
    let before = actual(&node);
    // Held open, since the cache of a device goes when it is closed for the last time.
    guest.run("sleep 100000 < /dev/vda & cat /dev/vda > /dev/null");
    assert!(
        guest.meminfo("Cached") + guest.meminfo("Buffers") > 200,
        "the cache is full"
    );
    // Statistics come every 2 s, and the agent looks every second: it has seen the full cache by then.
    let filled = guest.number("cut -d. -f1 /proc/uptime");
    eventually("the agent has seen it", || {
        guest.number("cut -d. -f1 /proc/uptime") > filled + 8 && need(&daemon).is_some()
    });
    assert!(
        actual(&node) <= before + 128,
        "page cache grew it from {before} to {}",
        actual(&node)
    );
    // At the pace for which the margin is made: what is faster may be killed before anyone could help.
    guest.run(
        "for i in 1 2 3 4 5 6 7 8 9; do dd if=/dev/zero of=/ram/$i bs=1M count=100; sleep 1; done",
    );
    eventually("a full tmpfs is need", || {
        need(&daemon).is_some_and(|mib| mib > 900.0)
    });
    eventually("it is given room", || actual(&node) > 1400);
    // Ticks go by; nothing of it is taken away.
    for _ in 0..20 {
        assert!(guest.meminfo("MemAvailable") > 100);
        assert!(actual(&node) > 1200);
    }
    assert_eq!(guest.oom_kills(), 0);
    daemon.stop();
}

#[test]
fn statistics_are_read_while_other_clients_use_the_monitor() {
    let Some(turn) = turn("statistics_are_read_while_other_clients_use_the_monitor") else {
        return;
    };
    let (node, _guest) = booted(Vm::new(101).memory(1024).balloon(1024).real(&turn));
    node.write_config(MEMORY);
    let daemon = node.daemon();
    eventually("the need is known", || need(&daemon).is_some());
    for round in 0..60 {
        let status = node.monitor(101).get("query-status", json!({}));
        assert_eq!(
            status["running"], true,
            "round {round}: PVE's clients get their turn"
        );
        assert!(
            need(&daemon).is_some(),
            "round {round}: {}",
            told(&daemon, "memory")
        );
    }
    daemon.stop();
}
