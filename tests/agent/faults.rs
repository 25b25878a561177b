//! Commands, files and monitors that hang, lie or fail.

use serde_json::Value;

use super::support::scenario::{Command, MonitorState};
use super::support::{Node, Vm, eventually};
use super::{QUICK, code, log_of, told};

#[test]
fn a_qm_that_hangs_delays_no_other_vm() {
    let node = Node::with([101, 102].map(|id| Vm::new(id).cores(4).vcpus(1).cpu(4.0)));
    node.write_config(QUICK);
    node.faults("- {command: qm, args: set 101, do: hang}\n");
    let daemon = node.daemon();
    eventually("VM 102 has 4 vCPUs", || node.vm(102).vcpus == 4);
    eventually("VM 101 is being changed", || {
        code(&daemon, 101, "cpu") == "in_progress"
    });
    assert_eq!(node.vm(101).vcpus, 1);
}

#[test]
fn a_qm_that_lies_is_found_out() {
    let node = Node::with([Vm::new(101).cores(4).vcpus(1).cpu(4.0)]);
    node.write_config(QUICK);
    node.faults("- {command: qm, args: set, do: nothing}\n");
    let daemon = node.daemon();
    eventually("the outcome is the truth", || {
        told(&daemon, 101, "cpu")["outcome"] == "refused"
    });
    let state = told(&daemon, 101, "cpu");
    assert_eq!(state["allocation"], 1.0, "{state}");
    assert!(log_of(&node, daemon).contains("qm reported success, but nothing moved"));
}

#[test]
fn a_warning_on_stderr_is_no_failure() {
    let node = Node::with([Vm::new(101).cores(4).vcpus(1).cpu(4.0)]);
    node.write_config(QUICK);
    node.faults(
        "- {command: qm, args: set, do: warn, text: 'perl: warning: Setting locale failed.'}\n",
    );
    let daemon = node.daemon();
    eventually("VM 101 has 4 vCPUs", || node.vm(101).vcpus == 4);
    eventually("and that is applied", || {
        told(&daemon, 101, "cpu")["outcome"] == "applied"
    });
}

#[test]
fn a_pending_value_that_we_caused_is_taken_back() {
    let node = Node::with([Vm::new(101).cores(4).vcpus(1).cpu(4.0)]);
    node.write_config(QUICK);
    node.faults("- {command: qm, args: set --vcpus, do: leave_pending}\n");
    let daemon = node.daemon();
    eventually("the outcome is pending", || {
        told(&daemon, 101, "cpu")["outcome"] == "pending"
    });
    daemon.stop();
    assert!(!node.conf(101).contains("[PENDING]"), "{}", node.conf(101));
}

#[test]
fn a_qm_killed_half_way_is_partial_and_the_daemon_goes_on() {
    let node = Node::with([Vm::new(101).cores(8).vcpus(2).cpu(8.0)]);
    node.write_config(QUICK);
    node.faults("- {command: qm, args: set --vcpus, at: half_plugged, do: kill, times: 1}\n");
    let daemon = node.daemon();
    eventually("VM 101 gets there all the same", || node.vm(101).vcpus == 8);
    let log = log_of(&node, daemon);
    assert!(log.contains("partial") || log.contains("unknown"), "{log}");
}

#[test]
fn without_quorum_nothing_is_changed_and_it_goes_on_by_itself() {
    let vm = Vm::new(101).cores(4).vcpus(1).cpu(4.0);
    let node = Node::shaped(|scenario| scenario.node.cluster = Some("test".into()), [vm]);
    node.write_config(QUICK);
    node.control(&Command::Quorum { quorate: false });
    let daemon = node.daemon();
    eventually("it says so", || daemon.log().contains("no quorum"));
    eventually("VM 101 waits", || code(&daemon, 101, "cpu") == "no_quorum");
    assert_eq!(node.vm(101).vcpus, 1);
    node.control(&Command::Quorum { quorate: true });
    eventually("VM 101 has 4 vCPUs", || node.vm(101).vcpus == 4);
    assert_eq!(log_of(&node, daemon).matches("no quorum").count(), 1);
}

#[test]
fn a_monitor_that_hangs_costs_the_memory_reading_and_nothing_else() {
    let node = Node::with([
        Vm::new(101)
            .cores(4)
            .vcpus(1)
            .cpu(4.0)
            .monitor(MonitorState::Hangs),
        Vm::new(102).cores(4).vcpus(1).cpu(4.0),
    ]);
    node.write_config(QUICK);
    let daemon = node.daemon();
    eventually("VM 102 has 4 vCPUs", || node.vm(102).vcpus == 4);
    eventually("VM 101's memory is left alone", || {
        code(&daemon, 101, "memory") == "unmeasured"
    });
    assert_eq!(
        told(&daemon, 101, "memory")["allocation"],
        Value::Null,
        "unknown is not zero"
    );
    assert_eq!(node.vm(101).vcpus, 1, "what qm could not do did not happen");
}

#[test]
fn a_cool_down_survives_a_crash() {
    let node = Node::with([Vm::new(101).cores(8).vcpus(1).cpu(8.0)]);
    node.write_config("check_interval: 1s\nprofiles:\n  default:\n    cooldown: {up: 1h}\n");
    let daemon = node.daemon();
    eventually("the first change", || {
        told(&daemon, 101, "cpu")["outcome"] == "applied"
    });
    let vcpus = told(&daemon, 101, "cpu")["allocation"].as_f64().unwrap() as u32;
    daemon.crash();
    let daemon = node.daemon();
    eventually("it cools down still", || {
        code(&daemon, 101, "cpu") == "cooling_down"
    });
    assert_eq!(node.vm(101).vcpus, vcpus, "and has not grown further");
}

#[test]
fn a_damaged_memory_is_set_aside_and_named() {
    let node = Node::with([Vm::new(101)]);
    node.write_config(QUICK);
    node.write(
        "var/lib/vm-autoscale/memory.json",
        "{\"version\":1,\"vms\":{\"10",
    );
    let daemon = node.daemon();
    eventually("it starts", || daemon.log().contains("started"));
    let log = log_of(&node, daemon);
    assert!(log.contains("memory.json.damaged"), "{log}");
    assert!(
        node.path("var/lib/vm-autoscale/memory.json.damaged")
            .exists()
    );
}
