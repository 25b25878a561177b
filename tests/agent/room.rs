//! A node that has not enough for all.

use std::time::Duration;

use super::support::scenario::{Command, Scenario};
use super::support::{Node, Vm, eventually, pause};
use super::{QUICK, code, log_of, told};

/// 16 GiB, of which the node itself uses 2.
fn small(scenario: &mut Scenario) {
    scenario.node.memory_mib = 16 * 1024;
    scenario.node.base_memory_mib = 2 * 1024;
}

/// A VM that may have 12 GiB and has 2, of which it uses little.
fn modest(id: u32) -> Vm {
    Vm::new(id)
        .memory(12 * 1024)
        .balloon(2048)
        .set("shares", 0)
        .cpu(0.3)
        .uses_memory(900.0)
}

#[test]
fn memory_is_not_promised_again_while_a_change_is_in_hand() {
    let node = Node::shaped(small, [modest(101), modest(102).tags("")]);
    node.write_config(&format!("{QUICK}    memory: {{min: 8GiB}}\n"));
    // `qm` takes so long that the other VM opts in meanwhile.
    node.faults("- {command: qm, args: set 101 --balloon, do: delay, seconds: 4}\n");
    let daemon = node.daemon();
    eventually("VM 101 is being given more", || {
        code(&daemon, 101, "memory") == "in_progress"
    });
    node.set_conf(102, "tags", Some("autoscale"));
    eventually("VM 101 has it", || node.vm(101).balloon_mib >= 8 * 1024);
    eventually("there is no room for all of VM 102's", || {
        code(&daemon, 102, "memory") == "host_full"
    });
    let held = node.vm(101).balloon_mib + node.vm(102).balloon_mib;
    let log = log_of(&node, daemon);
    // What the node uses itself and what is kept of the rest; a little of the former is page cache, which is available.
    assert!(held <= (16 - 2 - 2) * 1024 + 308, "{held} MiB\n{log}");
}

#[test]
fn what_a_vm_that_did_not_opt_in_was_given_stays_its_own() {
    let other = Vm::new(300).memory(10 * 1024).without("balloon").tags("");
    let node = Node::shaped(small, [modest(101), other.uses_memory(800.0)]);
    node.write_config(&format!("{QUICK}    memory: {{min: 8GiB}}\n"));
    let daemon = node.daemon();
    eventually("VM 101 finds no room", || {
        code(&daemon, 101, "memory") == "host_full"
    });
    pause(Duration::from_secs(3));
    let held = node.vm(101).balloon_mib;
    assert!(held <= 4 * 1024, "{held} MiB beside 10 GiB of VM 300");
    node.control(&Command::Stop { vm: 300 });
    eventually("VM 300 is off, and VM 101 gets its minimum", || {
        node.vm(101).balloon_mib >= 8 * 1024
    });
    assert_eq!(told(&daemon, 101, "memory")["min"], 8192.0);
}
