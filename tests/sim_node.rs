//! The simulated node behaves like a real one: its QEMU answers in the recorded shapes, its guests obey their limits,
//! its files are in the kernel's formats.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::{Value, json};
use support::scenario::{Command, MonitorState};
use support::{Monitor, Node, Vm, eventually};

/// Long enough to see that no greeting comes.
const A_WHILE: Duration = Duration::from_millis(500);

/// A VM such as the one that was recorded.
fn recorded_vm() -> Vm {
    Vm::new(101).name("web").set("kvm", 0).memory(2048)
}

/// Replaces every leaf by its type, and every list by its distinct elements.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("boolean"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("string"),
        Value::Array(list) => {
            let mut shapes: Vec<Value> = list.iter().map(shape).collect();
            shapes.sort_by_key(Value::to_string);
            shapes.dedup();
            Value::Array(shapes)
        }
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), shape(value)))
            .collect(),
    }
}

fn recording(text: &str) -> Vec<Value> {
    let recording: Value = serde_json::from_str(text).unwrap();
    let replies = recording.as_object().unwrap().values().next().unwrap();
    replies.as_array().unwrap().clone()
}

fn guest_stats() -> Value {
    json!({"path": "/machine/peripheral/balloon0", "property": "guest-stats"})
}

#[test]
fn qmp_answers_have_the_recorded_shapes() {
    let node = Node::with([recorded_vm()]);
    eventually("the guest has reported", || {
        let reply = node.monitor(101).get("query-balloon", json!({}));
        reply.get("last_update").is_some()
    });
    let mut monitor = node.monitor(101);
    let asked = [
        ("query-status", json!({})),
        ("query-balloon", json!({})),
        ("qom-get", guest_stats()),
        ("query-cpus-fast", json!({})),
        ("query-hotpluggable-cpus", json!({})),
        ("query-memory-devices", json!({})),
        ("query-memory-size-summary", json!({})),
        ("query-version", json!({})),
    ];
    let recorded = recording(include_str!(
        "data/recordings/qmp-balloon-and-guest-stats.json"
    ));
    assert_eq!(recorded.len(), asked.len());
    for ((command, arguments), expected) in asked.into_iter().zip(recorded) {
        let reply = monitor.ask(command, arguments).unwrap();
        assert_eq!(shape(&reply), shape(&expected), "{command}: {reply}");
    }
}

#[test]
fn a_vm_without_a_balloon_answers_as_recorded() {
    let vm = Vm::new(102)
        .without_hotplug()
        .cores(2)
        .memory(1024)
        .balloon(0)
        .set("kvm", 0);
    let node = Node::with([vm]);
    let mut monitor = node.monitor(102);
    let recorded = recording(include_str!("data/recordings/qmp-no-balloon-device.json"));
    let replies = [
        monitor.ask("query-balloon", json!({})).unwrap(),
        monitor.ask("qom-get", guest_stats()).unwrap(),
    ];
    assert_eq!(
        replies[..],
        recorded[..2],
        "errors are the same to the letter"
    );
    let cpus = monitor.ask("query-cpus-fast", json!({})).unwrap();
    assert_eq!(shape(&cpus), shape(&recorded[2]));
    let paths = |reply: &Value| {
        let cpus = reply["return"].as_array().unwrap().clone();
        cpus.iter()
            .map(|cpu| cpu["qom-path"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(paths(&cpus), paths(&recorded[2]));
    assert_eq!(
        monitor.ask("query-memory-devices", json!({})).unwrap(),
        recorded[3]
    );
}

#[test]
fn the_monitor_serves_one_client_at_a_time() {
    let node = Node::with([Vm::new(101)]);
    let path = node.path("run/qemu-server/101.qmp");
    let first = node.monitor(101);
    let second = Monitor::connect_within(&path, A_WHILE);
    assert_eq!(
        second.unwrap_err().kind(),
        ErrorKind::WouldBlock,
        "the second client connects but is not greeted"
    );
    drop(first);
    assert!(Monitor::connect(&path).is_ok());
}

#[test]
fn a_monitor_hangs_refuses_and_recovers_as_told() {
    let node = Node::with([Vm::new(101)]);
    let path = node.path("run/qemu-server/101.qmp");
    let become_ = |state| node.control(&Command::Monitor { vm: 101, state });
    become_(MonitorState::Hangs);
    let hanging = Monitor::connect_within(&path, A_WHILE);
    assert_eq!(hanging.unwrap_err().kind(), ErrorKind::WouldBlock);
    become_(MonitorState::Refuses);
    eventually("the socket refuses", || {
        Monitor::connect(&path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    become_(MonitorState::Answers);
    eventually("the socket answers", || Monitor::connect(&path).is_ok());
}

#[test]
fn a_plugged_vcpu_is_there_at_once_and_runs_when_the_guest_takes_it() {
    let node = Node::with([Vm::new(101).cpu(4.0)]);
    let mut monitor = node.monitor(101);
    let add = "device_add kvm64-x86_64-cpu,id=cpu2,socket-id=0,core-id=1,thread-id=0";
    assert_eq!(monitor.human(add), "");
    let cpus = monitor.get("query-cpus-fast", json!({}));
    assert_eq!(cpus.as_array().unwrap().len(), 2);
    assert_eq!(cpus[1]["qom-path"], "/machine/peripheral/cpu2");
    eventually("both vCPUs are busy", || node.vm(101).cpu_used > 1.9);
    let thread = format!("proc/{}/task/{}/", node.vm(101).pid, cpus[1]["thread-id"]);
    assert_eq!(node.read(&(thread.clone() + "comm")), "CPU 1/KVM\n");
    assert_eq!(monitor.human(add), "Error: Duplicate device ID 'cpu2'\r\n");
    assert_eq!(monitor.human("device_del cpu2"), "");
    let event = monitor.next_event();
    assert_eq!(
        (&event["event"], &event["data"]["device"]),
        (&json!("DEVICE_DELETED"), &json!("cpu2"))
    );
    eventually("one is left, and its thread is gone", || {
        node.vm(101).vcpus == 1 && !node.path(&thread).exists()
    });
}

#[test]
fn a_guest_that_ignores_a_plugged_vcpu_never_runs_its_thread() {
    let vm = Vm::new(101)
        .cpu(4.0)
        .guest(|guest| guest.onlines_vcpus = false);
    let node = Node::with([vm]);
    let mut monitor = node.monitor(101);
    monitor.human("device_add kvm64-x86_64-cpu,id=cpu2,socket-id=0,core-id=1,thread-id=0");
    let usage = || cpu_stat(&node, 101, "usage_usec");
    let before = usage();
    eventually("a second of CPU was used", || usage() > before + 1_000_000);
    let vm = node.vm(101);
    assert_eq!((vm.vcpus, vm.vcpus_online), (2, 1));
    assert!(vm.cpu_used <= 1.0);
}

#[test]
fn a_paused_guest_lets_go_of_a_vcpu_only_after_it_goes_on() {
    let node = Node::with([Vm::new(101).vcpus(2)]);
    let mut monitor = node.monitor(101);
    monitor.get("stop", json!({}));
    monitor.human("device_del cpu2");
    // A paused guest does nothing, however long one waits: a command to the node takes at least one of its steps.
    node.behave(101, |guest| guest.vcpu_delay_s = 0.0);
    assert_eq!(node.vm(101).vcpus, 2);
    monitor.get("cont", json!({}));
    eventually("the request is answered late", || node.vm(101).vcpus == 1);
}

fn cpu_stat(node: &Node, vm: u32, key: &str) -> u64 {
    let text = node.read(&format!("sys/fs/cgroup/qemu.slice/{vm}.scope/cpu.stat"));
    let line = text.lines().find(|line| line.starts_with(key));
    line.unwrap().split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_cpulimit_is_obeyed_and_throttling_is_counted() {
    let node = Node::with([Vm::new(101).vcpus(4).cpu(3.0)]);
    eventually("it uses what it wants", || node.vm(101).cpu_used > 2.9);
    assert_eq!(cpu_stat(&node, 101, "throttled_usec"), 0);
    node.write(
        "sys/fs/cgroup/qemu.slice/101.scope/cpu.max",
        "150000 100000\n",
    );
    eventually("it is held at 1.5 cores", || {
        let vm = node.vm(101);
        vm.cpu_limit == Some(1.5) && vm.cpu_used < 1.5
    });
    eventually("1.5 core-seconds were missed", || {
        cpu_stat(&node, 101, "throttled_usec") > 1_500_000
    });
    let (periods, throttled) = (
        cpu_stat(&node, 101, "nr_periods"),
        cpu_stat(&node, 101, "nr_throttled"),
    );
    assert_eq!(periods, throttled, "it ran into its quota in each period");
    let pressure = node.read("sys/fs/cgroup/qemu.slice/101.scope/cpu.pressure");
    assert!(!pressure.starts_with("some avg10=0.00"), "{pressure}");
}

#[test]
fn a_load_of_one_thread_fills_one_vcpu_only() {
    let vm = Vm::new(101)
        .vcpus(4)
        .cpu(3.0)
        .load(|load| load.threads = Some(1));
    let node = Node::with([vm]);
    eventually("a second of CPU was used", || {
        cpu_stat(&node, 101, "usage_usec") > 1_000_000
    });
    let cpus = node.monitor(101).get("query-cpus-fast", json!({}));
    let ticks: Vec<u64> = cpus
        .as_array()
        .unwrap()
        .iter()
        .map(|cpu| {
            let task = format!("proc/{}/task/{}/stat", node.vm(101).pid, cpu["thread-id"]);
            let stat = node.read(&task);
            let fields = stat.rsplit(')').next().unwrap().to_owned();
            let field =
                |at: usize| -> u64 { fields.split_whitespace().nth(at).unwrap().parse().unwrap() };
            field(11) + field(12)
        })
        .collect();
    assert!(ticks[0] >= 90, "{ticks:?}");
    // A vCPU that the guest has brought online has run for an instant; it does nothing since.
    assert_eq!(ticks[1..], [5, 5, 5]);
}

#[test]
fn memory_grows_by_a_module_and_the_balloon_keeps_what_it_took() {
    let node = Node::with([recorded_vm().set("shares", 0).balloon(1024)]);
    assert_eq!(node.vm(101).balloon_mib, 1024);
    let mut monitor = node.monitor(101);
    let backend = json!({"qom-type": "memory-backend-ram", "id": "mem-dimm2", "size": 536_870_912});
    monitor.get("object-add", backend);
    let module = json!({"driver": "pc-dimm", "id": "dimm2", "memdev": "mem-dimm2", "node": 0});
    monitor.get("device_add", module);
    let devices = monitor.get("query-memory-devices", json!({}));
    assert_eq!(
        devices[2]["data"]["addr"],
        4_294_967_296_u64 + 2 * 536_870_912
    );
    assert_eq!(devices[2]["data"]["hotplugged"], true);
    eventually("the guest has more", || node.vm(101).total_mib > 1300.0);
    let vm = node.vm(101);
    assert_eq!(
        (vm.memory_mib, vm.balloon_mib),
        (2560, 1536),
        "actual rises by the module"
    );
    monitor.human("device_del dimm2");
    eventually("the module is gone", || node.vm(101).memory_mib == 2048);
    monitor.get("object-del", json!({"id": "mem-dimm2"}));
    assert_eq!(node.vm(101).oom_kills, 0);
}

#[test]
fn a_guest_squeezed_below_its_working_set_loses_a_process() {
    let vm = Vm::new(101)
        .set("shares", 0)
        .balloon(1024)
        .uses_memory(600.0);
    let node = Node::with([vm]);
    assert_eq!(node.vm(101).oom_kills, 0);
    node.set_load(101, |load| load.memory_mib = 1500.0.into());
    eventually("the OOM killer has struck", || node.vm(101).oom_kills == 1);
}

#[test]
fn a_guest_with_swap_swaps_instead() {
    let vm = Vm::new(101)
        .set("shares", 0)
        .balloon(1024)
        .uses_memory(600.0)
        .guest(|guest| guest.swap_mib = 4096);
    let node = Node::with([vm]);
    node.set_load(101, |load| load.memory_mib = 900.0.into());
    eventually("it swaps", || node.vm(101).swapped_mib > 0.0);
    eventually("its statistics tell", || {
        let stats = node.monitor(101).get("qom-get", guest_stats());
        stats["stats"]["stat-swap-in"].as_u64() > Some(0)
            && stats["stats"]["stat-major-faults"].as_u64() > Some(0)
    });
}

#[test]
fn the_balloon_is_pvestatds_unless_shares_is_zero() {
    let often = |scenario: &mut support::scenario::Scenario| scenario.ballooning.every_s = 0.2;
    let node = Node::shaped(often, [Vm::new(101), Vm::new(102).set("shares", 0)]);
    eventually("pvestatd has grown 101 to its memory", || {
        node.vm(101).balloon_mib == 4096
    });
    assert_eq!(node.vm(102).balloon_mib, 1024);
    node.monitor(101)
        .get("balloon", json!({"value": 2_147_483_648_u64}));
    eventually("what another asked for is undone", || {
        node.vm(101).balloon_mib == 4096
    });
}

#[test]
fn page_cache_is_available_and_shared_memory_is_not() {
    let vm = Vm::new(101)
        .set("shares", 0)
        .balloon(4096)
        .load(|load| (load.files_mib, load.shmem_mib) = (1000.0, 1000.0.into()));
    let node = Node::with([vm]);
    let stats = || node.monitor(101).get("qom-get", guest_stats())["stats"].clone();
    eventually("the cache is warm and told", || {
        stats()["stat-disk-caches"].as_u64() == Some(2000 << 20)
    });
    let stats = stats();
    let mib = |name: &str| stats[name].as_u64().unwrap() >> 20;
    let used = mib("stat-total-memory") - mib("stat-free-memory");
    let needed = mib("stat-total-memory") - mib("stat-available-memory");
    assert!((900..=1000).contains(&(used - needed)), "{used} {needed}");
}

#[test]
fn a_stopped_vm_leaves_nothing_behind() {
    let node = Node::with([Vm::new(101)]);
    let pid = node.vm(101).pid;
    let places = [
        "run/qemu-server/101.pid".to_owned(),
        "run/qemu-server/101.qmp".to_owned(),
        "sys/fs/cgroup/qemu.slice/101.scope".to_owned(),
        format!("proc/{pid}"),
    ];
    assert!(places.iter().all(|place| node.path(place).exists()));
    node.control(&Command::Stop { vm: 101 });
    assert!(places.iter().all(|place| !node.path(place).exists()));
    assert!(node.running_vm(101).is_none());
    node.control(&Command::Start { vm: 101 });
    assert_eq!(node.vm(101).vcpus, 1);
}

#[test]
fn the_vm_list_counts_each_change_of_a_configuration() {
    let node = Node::with([Vm::new(101), Vm::new(102)]);
    let list = || -> Value { serde_json::from_str(&node.read("etc/pve/.vmlist")).unwrap() };
    let before = list();
    assert_eq!(before["ids"]["101"]["node"], "pve1");
    node.set_conf(101, "lock", Some("backup"));
    eventually("101 has another version", || {
        list()["ids"]["101"]["version"] != before["ids"]["101"]["version"]
    });
    assert_eq!(list()["ids"]["102"], before["ids"]["102"]);
    assert!(node.conf(101).contains("\nlock: backup\n"));
}

#[test]
fn without_quorum_etc_pve_refuses_writes_and_says_so() {
    let in_cluster = |scenario: &mut support::scenario::Scenario| {
        scenario.node.cluster = Some("lab".to_owned());
    };
    let node = Node::shaped(in_cluster, [Vm::new(101)]);
    let members = || -> Value { serde_json::from_str(&node.read("etc/pve/.members")).unwrap() };
    assert_eq!(members()["cluster"]["quorate"], 1);
    node.control(&Command::Quorum { quorate: false });
    assert_eq!(members()["cluster"]["quorate"], 0);
    let mode = |path: &str| {
        use std::os::unix::fs::PermissionsExt;
        node.path(path).metadata().unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("etc/pve/local/"), 0o555);
    assert_eq!(mode("etc/pve/local/qemu-server/101.conf"), 0o440);
    node.control(&Command::Quorum { quorate: true });
    assert_eq!(mode("etc/pve/local/"), 0o755);
}

#[test]
fn a_node_its_commands_and_its_guests_act_together() {
    let node = Node::with([Vm::new(101).cpu(4.0)]);
    let run = node.qm(["set", "101", "--vcpus", "3"]).succeeded();
    assert_eq!(run.stdout, "update VM 101: -vcpus 3\n");
    eventually("three vCPUs are busy", || node.vm(101).cpu_used > 2.9);
    node.qm(["set", "101", "--cpulimit", "1.5"]).succeeded();
    eventually("the limit holds", || node.vm(101).cpu_used < 1.6);
    let balloon = ["set", "101", "--shares", "0", "--balloon", "2048"];
    node.qm(balloon).succeeded();
    eventually("the balloon has moved", || node.vm(101).balloon_mib == 2048);
    assert_eq!(node.commands().len(), 3);
    assert_eq!(node.commands()[2][1..], balloon);
}

#[test]
fn a_power_cycle_makes_pending_values_active() {
    let node = Node::with([Vm::new(101).cores(4).vcpus(4)]);
    node.qm(["set", "101", "--cores", "8"]).succeeded();
    assert_eq!(node.vm(101).vcpus_max, 4);
    node.qm(["stop", "101"]).succeeded();
    eventually("it is off", || node.running_vm(101).is_none());
    node.qm(["start", "101"]).succeeded();
    eventually("it has the new ceiling", || {
        node.running_vm(101).is_some_and(|vm| vm.vcpus_max == 8)
    });
}

#[test]
fn without_quorum_a_command_fails_before_it_touches_qemu() {
    let node = Node::with([Vm::new(101)]);
    node.control(&Command::Writable { writable: false });
    let run = node.qm(["set", "101", "--vcpus", "2"]);
    assert_ne!(run.code, Some(0));
    assert!(run.stderr.contains("Permission denied"), "{}", run.stderr);
    assert_eq!(node.vm(101).vcpus, 1);
}

#[test]
fn a_command_that_cannot_be_carried_out_is_set_aside_with_the_reason() {
    let node = Node::with([Vm::new(101)]);
    let control = "var/lib/pve-sim/control";
    node.write(
        &format!("{control}/a.json"),
        r#"{"do": "pause", "vm": 999}"#,
    );
    node.write(&format!("{control}/b.json"), r#"{"do": "dance"}"#);
    for (name, reason) in [
        ("a", "VM 999 not running"),
        ("b", "unknown variant `dance`"),
    ] {
        let rejected = format!("{control}/{name}.rejected");
        eventually("it is set aside", || node.path(&rejected).exists());
        assert!(node.read(&rejected).contains(reason), "{name}");
    }
    assert!(node.vm(101).executing);
}
