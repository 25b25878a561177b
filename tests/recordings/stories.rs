//! Recordings that make sense only as steps of a story, or that need a QEMU that behaves in its own way.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use serde_json::{Value, json};

use crate::compare::{differ, output_differences};
use crate::recording::{Recording, directory};
use crate::stage::{Circumstances, Stage, node, qemu_state};
use crate::support::{Node, eventually};

/// Whether a story holds itself against this recording.
pub(crate) fn covers(name: &str) -> bool {
    [
        "08-qemu-dies",
        "19-config-after",
        "21-",
        "26-config-after",
        "43-",
    ]
    .iter()
    .any(|start| name.starts_with(start))
}

fn recording(name: &str) -> Recording {
    Recording::read(&directory().join(format!("{name}.txt"))).unwrap()
}

/// Runs the recorded command on a node that earlier steps have brought to its state.
#[track_caller]
fn step(node: &Node, name: &str) {
    let recording = recording(name);
    let vmid = recording.vmid().unwrap();
    assert_eq!(
        node.conf(vmid),
        recording.config_before.clone().unwrap(),
        "before {name}"
    );
    let run = node.qm(&recording.command[1..]);
    assert_eq!(
        output_differences(&recording, &run),
        Vec::<String>::new(),
        "{name}"
    );
    assert_eq!(
        node.conf(vmid),
        recording.config_after.unwrap(),
        "after {name}"
    );
}

fn text_of(file: &str) -> String {
    fs::read_to_string(directory().join(file)).unwrap()
}

#[test]
fn a_guest_that_acts_late_leaves_config_and_qemu_apart() {
    let stage = Stage::set(&recording("17-memory-unplug-paused-guest"));
    let node = &stage.node;
    for name in [
        "17-memory-unplug-paused-guest",
        "18-vcpus-up-paused-guest",
        "19-vcpus-down-paused-guest",
        "20-balloon-paused-guest",
    ] {
        step(node, name);
    }
    assert_eq!(node.conf(101), text_of("19-config-after.conf"));
    node.qm(["resume", "101"]).succeeded();
    let before = recording("22-vcpus-1-after-divergence")
        .qemu_before
        .unwrap();
    for part in [
        "query-cpus-fast",
        "query-memory-devices",
        "query-memory-size-summary",
    ] {
        eventually(part, || qemu_state(node, 101)[part] == before[part]);
    }
    // Recording 21 holds the config and then the status that were seen at this point.
    let seen = text_of("21-divergence-after-resume.txt");
    assert!(seen.contains(&node.conf(101)));
    let status = node.qm(["status", "101", "--verbose"]).succeeded().stdout;
    for line in [
        "cpus: 2",
        "maxmem: 2684354560",
        "balloon_min: 1610612736",
        "qmpstatus: running",
    ] {
        assert!(
            seen.lines().any(|seen| seen == line) && status.lines().any(|shown| shown == line),
            "{line}: {status}"
        );
    }
    // Repeating what failed now takes away too much: the config says one module more than there is.
    step(node, "22-vcpus-1-after-divergence");
    step(node, "23-memory-2048-after-divergence");
    let after = recording("23-memory-2048-after-divergence")
        .qemu_after
        .unwrap();
    assert_eq!(
        qemu_state(node, 101)["query-memory-devices"],
        after["query-memory-devices"]
    );
}

#[test]
fn without_hotplug_every_change_waits_in_the_pending_section() {
    let stage = Stage::set(&recording("26-hotplug-off-vcpus"));
    for name in [
        "26-hotplug-off-vcpus",
        "26b-hotplug-off-cores",
        "26c-hotplug-off-memory",
        "26d-hotplug-off-balloon",
    ] {
        step(&stage.node, name);
    }
    assert_eq!(stage.node.conf(102), text_of("26-config-after.conf"));
}

/// Recording 43: the same command has no effect on the balloon, or moves it at once, depending on `shares`.
#[test]
fn the_balloon_obeys_only_while_shares_is_explicitly_zero() {
    let node = node(&Circumstances::default(), |vms| {
        let config = vms.get_mut(&101).unwrap().config.as_mut().unwrap();
        *config = config
            .replace("balloon: 1024", "balloon: 1800")
            .replace("serial0", "shares: 1000\nserial0");
    });
    let actual_mib = || {
        qemu_state(&node, 101)["query-balloon"]["actual"]
            .as_u64()
            .unwrap()
            / 1024
            / 1024
    };
    assert_eq!(actual_mib(), 1800);
    node.qm(["set", "101", "--delete", "shares"]).succeeded();
    node.qm(["set", "101", "--balloon", "1200"]).succeeded();
    assert!(node.conf(101).contains("balloon: 1200\n") && !node.conf(101).contains("shares"));
    assert_eq!(actual_mib(), 1800);
    let taken = node
        .qm(["set", "101", "--shares", "0", "--balloon", "1100"])
        .succeeded();
    assert_eq!(taken.stdout, "update VM 101: -balloon 1100 -shares 0\n");
    eventually("the balloon is at 1100 MiB", || actual_mib() == 1100);
    node.qm(["set", "101", "--balloon", "1800"]).succeeded();
    eventually("the balloon is at 1800 MiB", || actual_mib() == 1800);
}

#[test]
fn qemu_may_die_in_the_middle_of_plugging_vcpus() {
    let recording = recording("08-qemu-dies-during-vcpu-hotplug");
    let node = node(&Circumstances::default(), |vms| {
        vms.get_mut(&101).unwrap().running = false
    });
    node.write(
        "etc/pve/nodes/vm/qemu-server/101.conf",
        recording.config_before.as_ref().unwrap(),
    );
    let socket = node.path("run/qemu-server/101.qmp");
    let listener = UnixListener::bind(&socket).unwrap();
    let qemu = std::thread::spawn(move || die_at_the_second_vcpu(&listener));
    pretend_process(&node, 4242);
    let run = node.qm(&recording.command[1..]);
    let mut found = output_differences(&recording, &run);
    differ(
        &mut found,
        "config after",
        &recording.config_after,
        &Some(node.conf(101)),
    );
    assert_eq!(found, Vec::<String>::new());
    qemu.join().unwrap();
}

/// The files by which PVE knows that the VM runs.
fn pretend_process(node: &Node, pid: u32) {
    let pid_file = "/var/run/qemu-server/101.pid";
    node.write(
        &format!("proc/{pid}/cmdline"),
        &format!("/usr/bin/kvm\0-id\0101\0-pidfile\0{pid_file}\0"),
    );
    node.write(
        &format!("proc/{pid}/stat"),
        &format!("{pid} (kvm) S 1 {pid} {pid} 0 -1 0\n"),
    );
    node.write("run/qemu-server/101.pid", &format!("{pid}\n"));
}

/// A QEMU that has one vCPU, takes the second one, and ends when asked for the third.
fn die_at_the_second_vcpu(listener: &UnixListener) {
    let mut vcpus = 1;
    loop {
        let (stream, _) = listener.accept().unwrap();
        if !serve(stream, &mut vcpus) {
            return;
        }
    }
}

/// Serves one client; false if QEMU died of what it asked.
fn serve(mut stream: UnixStream, vcpus: &mut usize) -> bool {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut send = |message: Value| writeln!(stream, "{message}").unwrap();
    send(json!({ "QMP": { "version": {}, "capabilities": [] } }));
    for line in lines.map_while(Result::ok) {
        let request: Value = serde_json::from_str(&line).unwrap();
        let answer = match request["execute"].as_str().unwrap() {
            "query-cpus-fast" => json!(vec![json!({}); *vcpus]),
            "query-machines" => json!([{ "name": "pc-i440fx-10.2", "is-current": true }]),
            "human-monitor-command" if *vcpus == 2 => return false,
            "human-monitor-command" => {
                *vcpus += 1;
                json!("")
            }
            _ => json!({}),
        };
        send(json!({ "return": answer, "id": request["id"] }));
    }
    true
}
