//! Stories of VMs that another node could have to take.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here fails the test"
)]

mod support;

use nix::sys::signal::Signal;
use support::scenario::{Command, Curve, OtherSpec, Ramp, Scenario};
use support::{Node, Vm, eventually};

const RESOURCES: &str = "etc/pve/ha/resources.cfg";

/// A node of 32 CPUs in a cluster of two, whose other node has 4 CPUs and so much memory free of 16 GiB.
fn beside_a_smaller_one(free_mib: u64) -> impl FnOnce(&mut Scenario) {
    move |scenario| {
        scenario.node.cluster = Some("lab".to_owned());
        scenario.node.cpus = 32;
        scenario
            .others
            .insert("pve2".to_owned(), smaller(true, free_mib));
    }
}

fn smaller(online: bool, memory_free_mib: u64) -> OtherSpec {
    OtherSpec {
        online,
        cpus: 4,
        memory_mib: 16 * 1024,
        memory_free_mib,
    }
}

/// Two busy VMs of 8 cores, of which high availability looks after 101.
fn busy_pair(node: &Node) {
    std::fs::create_dir_all(node.path("etc/pve/ha")).unwrap();
    node.write(RESOURCES, "vm: 101\n\tstate started\n");
}

#[test]
fn a_vm_of_high_availability_grows_only_as_far_as_another_node_could_take_it() {
    let busy = |id| Vm::new(id).cores(8).vcpus(1).cpu(8.0);
    let node = Node::shaped(beside_a_smaller_one(8 * 1024), [busy(101), busy(102)]);
    busy_pair(&node);
    node.write_config("check_interval: 1s\n");
    let daemon = node.daemon();
    eventually("the other VM has all it needs", || {
        node.vm(102).vcpus_online == 8
    });
    eventually("101 has what the other node has", || {
        node.vm(101).vcpus_online == 4
    });
    let why = "no other node could take it with more: pve2 could give it 4 cores";
    let explained = || node.agent(["explain", "101"]).stdout;
    eventually("it is told why", || explained().contains(why));
    // While that node is off, holding the VM back makes room nowhere.
    let off = Command::Other {
        node: "pve2".to_owned(),
        is: smaller(false, 8 * 1024),
    };
    node.control(&off);
    eventually("it is given all", || node.vm(101).vcpus_online == 8);
    assert!(daemon.stop().success());
}

#[test]
fn memory_grows_only_as_far_as_another_node_has_room_and_shrinks_for_nothing() {
    let vm = || {
        let needy = Vm::new(101)
            .cores(2)
            .vcpus(2)
            .memory(16 * 1024)
            .set("shares", 0);
        needy.balloon(4096).cpu(0.1).uses_memory(2500.0)
    };
    let node = Node::shaped(beside_a_smaller_one(9 * 1024), [vm()]);
    node.write_config("check_interval: 1s\nhost: {fit_elsewhere: all}\n");
    let daemon = node.daemon();
    eventually("the agent is up", || daemon.log().contains(" started, "));
    let rise = Ramp {
        from: 2500.0,
        to: 6500.0,
        after_s: 0.0,
        over_s: 30.0,
    };
    node.set_load(101, |load| load.memory_mib = Curve::Ramp(rise));
    // 16 GiB of which 7 are used: to 90 % there are 7.4 GiB, and 7 above the reserve.
    eventually("it has what would fit there", || {
        node.vm(101).balloon_mib == 7 * 1024
    });
    let why = "pve2 could give it 7 GiB";
    let explained = || node.agent(["explain", "101"]).stdout;
    eventually("it is told why", || explained().contains(why));
    // The other node fills up: what the VM has stays its own.
    let full = Command::Other {
        node: "pve2".to_owned(),
        is: smaller(true, 1024),
    };
    node.control(&full);
    eventually("the new number is known", || {
        explained().contains("pve2 could give it 0")
    });
    assert_eq!(node.vm(101).balloon_mib, 7 * 1024);
    assert!(daemon.stop().success());
}

#[test]
fn an_online_node_that_tells_nothing_is_no_room() {
    let busy = Vm::new(101).cores(8).vcpus(1).cpu(8.0);
    let with_a_silent_one = |scenario: &mut Scenario| {
        scenario.node.cluster = Some("lab".to_owned());
        scenario
            .elsewhere
            .insert("pve2".to_owned(), Default::default());
    };
    let node = Node::shaped(with_a_silent_one, [busy]);
    node.write_config("check_interval: 1s\nhost: {fit_elsewhere: all}\n");
    let daemon = node.daemon();
    let why = "what other nodes could take: node pve2 is online but told nothing of itself";
    let explained = || node.agent(["explain", "101"]).stdout;
    eventually("it is told why", || explained().contains(why));
    assert_eq!(node.vm(101).vcpus, 1);
    node.write_config("check_interval: 1s\nhost: {fit_elsewhere: off}\n");
    daemon.signal(Signal::SIGHUP);
    eventually("it is given all", || node.vm(101).vcpus_online == 8);
    assert!(daemon.stop().success());
}
