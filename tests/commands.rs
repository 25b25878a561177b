//! Stories of the commands that an admin runs for one VM: doctor, prepare, release.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here fails the test"
)]

mod support;

use support::{Node, Vm, eventually};

const QUICK: &str = "check_interval: 1s\nprofiles:\n  default:\n    cooldown: {up: 1s, down: 2s}\n";

#[test]
fn doctor_finds_a_prepared_vm_well_and_says_what_each_lever_does() {
    let node = Node::with([Vm::new(101)
        .name("web")
        .cores(8)
        .memory(4096)
        .set("shares", 0)]);
    node.write_config("profiles:\n  default:\n    memory: {max: 8GiB}\n");
    let run = node.agent(["doctor"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    for told in [
        "ok",
        "Proxmox VE 9",
        "VM 101 (web)",
        "moves now, 1 core to 8 cores",
        "dimm",
    ] {
        assert!(run.stdout.contains(told), "{told}: {}", run.stdout);
    }
    let json = node
        .agent(["doctor", "101", "--output-format", "json"])
        .json();
    assert_eq!(json["vms"][0]["vcpus"]["can"], "now");
}

#[test]
fn doctor_names_the_exact_line_that_unlocks_more_and_exits_3() {
    let node = Node::with([Vm::new(101).without_hotplug().cores(2).memory(2100)]);
    node.write_config(QUICK);
    let run = node.agent(["doctor", "101"]);
    assert_eq!(run.code, Some(3), "{run:?}");
    let line = "qm set 101 --hotplug network,disk,cpu,memory,usb --cores 8 --vcpus 2 --numa 1 --memory 2560";
    assert!(run.stdout.contains(line), "{}", run.stdout);
}

#[test]
fn doctor_sees_a_file_that_anyone_may_read_and_a_lost_quorum() {
    let node = Node::with([Vm::new(101).tags("")]);
    node.write_config(QUICK);
    let file = node.path("etc/vm-autoscale/config.yaml");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let run = node.agent(["doctor"]);
    assert_eq!(run.code, Some(3));
    assert!(run.stdout.contains("chmod 0640"), "{}", run.stdout);
}

#[test]
fn prepare_shows_first_then_sets_and_a_power_cycle_does_the_rest() {
    let node = Node::with([Vm::new(101).without_hotplug().cores(2).memory(2048)]);
    node.write_config(QUICK);
    let shown = node.agent(["prepare", "101"]);
    assert_eq!(shown.code, Some(3), "{shown:?}");
    assert!(shown.stdout.contains("Nothing was changed"));
    assert!(!node.conf(101).contains("[PENDING]"));
    let done = node.agent(["prepare", "101", "--yes"]);
    assert_eq!(done.code, Some(3), "{done:?}");
    assert!(done.stdout.contains("power cycle"), "{}", done.stdout);
    assert_eq!(node.vm(101).vcpus, 2, "nothing changes while it runs");
    node.qm(["reboot", "101"]).succeeded();
    eventually("it runs again", || node.running_vm(101).is_some());
    let vm = node.vm(101);
    assert_eq!((vm.vcpus, vm.vcpus_max, vm.memory_mib), (2, 8, 2048));
    let again = node.agent(["prepare", "101"]).succeeded();
    assert!(again.stdout.contains("is ready"), "{}", again.stdout);
}

#[test]
fn release_puts_everything_back_and_the_vm_is_left_alone() {
    let node = Node::with([Vm::new(101)
        .cores(8)
        .vcpus(1)
        .cpu(3.5)
        .memory(8192)
        .balloon(1024)
        .uses_memory(3000.0)]);
    node.write_config(QUICK);
    let daemon = node.daemon();
    eventually("the agent scales it", || {
        node.vm(101).vcpus >= 4 && node.vm(101).balloon_mib > 3000
    });
    assert!(node.conf(101).contains("shares: 0"));
    let run = node.agent(["release", "101"]).succeeded();
    assert!(run.stdout.contains("no longer managed"), "{}", run.stdout);
    let conf = node.conf(101);
    assert!(
        conf.contains("vcpus: 1\n") && conf.contains("balloon: 1024"),
        "{conf}"
    );
    assert!(
        !conf.contains("shares") && !conf.contains("autoscale"),
        "{conf}"
    );
    assert!(!node.path("etc/pve/vm-autoscale/vms/101.json").exists());
    eventually("its vCPUs are back", || node.vm(101).vcpus == 1);
    daemon.eventually("it is not managed", |state| {
        state["vms"].as_array().is_some_and(Vec::is_empty)
    });
    eventually("its history ends with that", || {
        let told = node.agent(["history", "101"]).succeeded().stdout;
        told.contains("released: ") && told.contains("vcpus 1")
    });
    node.qm(["set", "101", "--tags", "autoscale"]).succeeded();
    eventually("a tag opts in anew", || node.vm(101).vcpus >= 4);
}

#[test]
fn release_of_a_vm_that_the_file_selects_says_what_to_do_and_changes_nothing() {
    let node = Node::with([Vm::new(101).tags("")]);
    node.write_config("select: {vms: [101]}\n");
    let run = node.agent(["release", "101"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("select.vms"), "{}", run.stderr);
}
