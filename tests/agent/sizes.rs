//! What VMs are given and what they give back, and which are left alone.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::support::scenario::{Curve, Ramp};
use super::support::{Node, Vm, eventually, eventually_within};
use super::{QUICK, code, log_of, told};

#[test]
fn a_saturated_vm_gets_eight_cores_in_two_changes() {
    let node = Node::with([Vm::new(101).cores(8).vcpus(1).cpu(8.0)]);
    node.write_config(QUICK);
    let daemon = node.daemon();
    eventually("VM 101 has 8 vCPUs", || node.vm(101).vcpus == 8);
    eventually("the state says so", || {
        told(&daemon, 101, "cpu")["allocation"] == 8.0
    });
    let log = log_of(&node, daemon);
    let grows: Vec<&str> = log
        .lines()
        .filter(|l| l.contains("vCPUs") && l.contains("applied"))
        .collect();
    assert!((1..=2).contains(&grows.len()), "{log}");
    assert!(node.conf(101).contains("vcpus: 8"));
}

#[test]
fn a_window_of_the_schedule_holds_while_it_is_open() {
    let node = Node::with([Vm::new(101).cores(8).vcpus(1).cpu(0.3)]);
    let always = "    schedule:\n      always: {from: '00:00', to: '24:00', cpu: {min: 4}}\n";
    node.write_config(&format!("{QUICK}{always}"));
    let dry = node.agent(["run", "--once", "--dry-run"]);
    assert!(dry.stderr.contains("of the window always"), "{dry:?}");
    assert_eq!(node.vm(101).vcpus, 1);
    let daemon = node.daemon();
    eventually("the minimum of the window", || node.vm(101).vcpus == 4);
    eventually("the state says so", || {
        told(&daemon, 101, "cpu")["min"] == 4.0 && code(&daemon, 101, "cpu") == "at_min"
    });
    let window = daemon.state().unwrap()["vms"][0]["windows"][0].clone();
    assert_eq!(window["name"], "always");
    let story = node.agent(["explain", "101"]);
    assert!(
        story
            .stdout
            .contains("The window always is open for another"),
        "{story:?}"
    );
    let checked = node.agent(["check-config", "--vm", "101"]);
    assert!(
        checked.stdout.contains("cpu.min 4; open until 00:00"),
        "{checked:?}"
    );
    node.write_config(QUICK);
    daemon.signal(Signal::SIGHUP);
    eventually("without it, VM 101 comes down", || node.vm(101).vcpus == 1);
}

#[test]
fn a_calm_vm_comes_down_and_keeps_what_it_uses() {
    let node = Node::with([Vm::new(101).cores(8).vcpus(8).cpu(1.5)]);
    node.write_config(QUICK);
    let _daemon = node.daemon();
    eventually("VM 101 comes down", || node.vm(101).vcpus == 2);
    assert!(node.conf(101).contains("vcpus: 2"));
}

#[test]
fn memory_follows_need_and_the_takeover_is_told_once() {
    let vm = Vm::new(101).memory(16384).balloon(2048).uses_memory(1200.0);
    let node = Node::with([vm]);
    node.write_config(QUICK);
    let daemon = node.daemon();
    eventually("the agent watches", || {
        code(&daemon, 101, "memory") == "fits"
    });
    let ramp = Ramp {
        from: 1200.0,
        to: 4200.0,
        over_s: 30.0,
        after_s: 0.0,
    };
    node.set_load(101, |load| load.memory_mib = Curve::Ramp(ramp));
    eventually("the balloon lets the guest have it", || {
        node.vm(101).balloon_mib > 4700
    });
    eventually("the guest has room", || node.vm(101).available_mib > 100.0);
    assert_eq!(node.vm(101).oom_kills, 0);
    let log = log_of(&node, daemon);
    assert_eq!(log.matches("taken over").count(), 1, "{log}");
    assert!(node.conf(101).contains("shares: 0"));
    let facts = node.read("etc/pve/vm-autoscale/vms/101.json");
    let facts: Value = serde_json::from_str(&facts).unwrap();
    assert_eq!(facts["baseline"]["balloon"], 2048);
    assert_eq!(facts["baseline"]["shares"], Value::Null);
}

#[test]
fn memory_that_nobody_needs_goes_back_in_steps() {
    let node = Node::with([Vm::new(101)
        .memory(16384)
        .balloon(7168)
        .set("shares", 0)
        .uses_memory(1200.0)]);
    // The policy adaptive watches memory for minutes first.
    node.write_config(&format!(
        "{QUICK}    policy: threshold\n    threshold: {{stabilization: {{down: 0s}}}}\n    memory: {{min: 1GiB, low: 60%}}\n"
    ));
    let daemon = node.daemon();
    // Each step takes two readings, of one in five seconds.
    let three_minutes = Duration::from_secs(180);
    eventually_within(three_minutes, "what is free goes back", || {
        node.vm(101).balloon_mib < 3000
    });
    let log = log_of(&node, daemon);
    assert!(
        log.matches("balloon").count() > 3,
        "in bounded steps: {log}"
    );
    assert_eq!(node.vm(101).oom_kills, 0);
    assert!(node.vm(101).available_mib > 256.0, "{:?}", node.vm(101));
}

#[test]
fn vms_that_are_not_ours_are_left_alone_with_their_reason() {
    let busy = |id| Vm::new(id).cores(8).vcpus(1).cpu(8.0);
    let node = Node::with([
        busy(101).set("lock", "backup"),
        busy(102).template(),
        busy(103).stopped(),
        busy(104).set("vcpus", "many"),
        busy(105).tags("web"),
        busy(106).paused(),
    ]);
    node.write_config(QUICK);
    let daemon = node.daemon();
    let expected = [
        (101, "locked"),
        (102, "template"),
        (103, "not_running"),
        (104, "unreadable"),
        (106, "not_executing"),
    ];
    for (vm, reason) in expected {
        eventually(&format!("VM {vm} is {reason}"), || {
            code(&daemon, vm, "cpu") == reason
        });
    }
    assert_eq!(told(&daemon, 105, "cpu"), Value::Null, "it did not opt in");
    daemon.stop();
    for (vm, as_started) in [(101, 1), (104, 8), (105, 1), (106, 1)] {
        assert_eq!(node.vm(vm).vcpus, as_started, "VM {vm}");
    }
}

#[test]
fn a_full_node_grants_nothing_but_still_shrinks() {
    let node = Node::shaped(
        |scenario| {
            scenario.node.cpus = 8;
            scenario.node.base_cpu = 6.2;
        },
        [
            Vm::new(101).cores(8).vcpus(1).cpu(8.0),
            Vm::new(102).cores(8).vcpus(6).cpu(0.2),
        ],
    );
    node.write_config(QUICK);
    let daemon = node.daemon();
    eventually("VM 102 gives back", || node.vm(102).vcpus < 6);
    eventually("VM 101 waits for room", || {
        code(&daemon, 101, "cpu") == "host_full"
    });
    assert_eq!(node.vm(101).vcpus, 1);
}
