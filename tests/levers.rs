//! Stories of levers: each kind of guest on a simulated node, moved by the lever that fits it. The table of guest kinds in
//! docs/guests.md names these tests.

mod support;

use serde_json::Value;
use support::scenario::{Curve, Ramp, Statistics};
use support::{Daemon, Node, Vm, eventually};

const QUICK: &str = "check_interval: 1s\nprofiles:\n  default:\n    cooldown: {up: 1s, down: 2s}\n";

fn told(daemon: &Daemon, vm: u32, resource: &str) -> Value {
    let state = daemon.state().unwrap_or_default();
    let vms = state["vms"].as_array().cloned().unwrap_or_default();
    vms.into_iter()
        .find(|v| v["vmid"] == vm)
        .map_or(Value::Null, |v| v[resource].clone())
}

fn code(daemon: &Daemon, vm: u32, resource: &str) -> String {
    let told = told(daemon, vm, resource);
    told["reason"]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn why(daemon: &Daemon, vm: u32, resource: &str) -> String {
    told(daemon, vm, resource)["why"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Memory use that rises from `from` to `to` MiB.
fn rise(from: f64, to: f64, over_s: f64) -> Curve {
    Curve::Ramp(Ramp {
        from,
        to,
        over_s,
        after_s: 0.0,
    })
}

#[test]
fn memory_beyond_the_balloon_comes_in_modules() {
    let node = Node::with([Vm::new(101).memory(2048).balloon(2048).uses_memory(900.0)]);
    node.write_config(QUICK);
    let daemon = node.daemon();
    eventually("the agent watches", || {
        !code(&daemon, 101, "memory").is_empty()
    });
    node.set_load(101, |load| load.memory_mib = rise(900.0, 3500.0, 20.0));
    eventually("modules were plugged", || node.vm(101).memory_mib >= 4096);
    eventually("the guest has room", || node.vm(101).available_mib > 300.0);
    let vm = node.vm(101);
    assert_eq!(vm.oom_kills, 0);
    assert_eq!(vm.memory_mib % 512, 0, "a size of the ladder");
    eventually("the configuration says what QEMU has", || {
        node.conf(101)
            .contains(&format!("memory: {}", node.vm(101).memory_mib))
    });
    daemon.stop();
}

/// PVE 8 brings QEMU 9 and before, PVE 9 brings QEMU 10; the guest's kernel decides what it tells of shortage.
#[test]
fn guests_of_pve_8_and_pve_9_grow_alike() {
    for statistics in [
        Statistics::OldQemu,
        Statistics::NewQemu,
        Statistics::NewQemuNewKernel,
    ] {
        let vm = Vm::new(101)
            .cores(4)
            .vcpus(1)
            .cpu(3.5)
            .memory(2048)
            .balloon(2048)
            .uses_memory(1700.0)
            .guest(|guest| guest.statistics = statistics);
        let node = Node::with([vm]);
        node.write_config(QUICK);
        let daemon = node.daemon();
        eventually("it has CPUs and memory", || {
            let vm = node.vm(101);
            vm.vcpus == 4 && vm.memory_mib > 2048
        });
        assert_eq!(node.vm(101).oom_kills, 0, "{statistics:?}");
        daemon.stop();
    }
}

#[test]
fn a_guest_that_does_not_online_modules_is_found_out() {
    let vm = Vm::new(101)
        .memory(2048)
        .balloon(2048)
        .uses_memory(1700.0)
        .guest(|guest| guest.onlines_memory = false);
    let node = Node::with([vm]);
    node.write_config(QUICK);
    let daemon = node.daemon();
    eventually("the change is partial", || {
        let last = told(&daemon, 101, "memory")["last"]["outcome"]["partial"].clone();
        last.as_str().is_some_and(|why| why.contains("brought"))
    });
}

#[test]
fn a_guest_that_does_not_online_vcpus_is_said_so_and_given_no_more() {
    let vm = Vm::new(101)
        .cores(8)
        .vcpus(1)
        .cpu(8.0)
        .guest(|guest| guest.onlines_vcpus = false);
    let node = Node::with([vm]);
    node.write_config(QUICK);
    let daemon = node.daemon();
    eventually("the change is partial", || {
        let last = told(&daemon, 101, "cpu")["last"]["outcome"]["partial"].clone();
        last.as_str()
            .is_some_and(|why| why.contains("the guest runs on 1"))
    });
    let plugged = node.vm(101).vcpus;
    eventually("it is given no more", || {
        code(&daemon, 101, "cpu") == "guest_ignores"
    });
    assert!(why(&daemon, 101, "cpu").contains("does not bring plugged ones online"));
    daemon.stop();
    assert_eq!(node.vm(101).vcpus, plugged);
    assert_eq!(node.vm(101).vcpus_online, 1);
}

#[test]
fn one_saturated_thread_gets_no_more_than_two_vcpus_and_the_reason_says_why() {
    let vm = Vm::new(101)
        .cores(8)
        .vcpus(2)
        .cpu(1.0)
        .load(|load| load.threads = Some(1));
    let node = Node::with([vm]);
    node.write_config(QUICK);
    let daemon = node.daemon();
    eventually("the reason says so", || {
        code(&daemon, 101, "cpu") == "one_thread"
    });
    assert_eq!(node.vm(101).vcpus, 2);
}

#[test]
fn linux_without_hotplug_is_moved_by_quota_and_balloon() {
    let vm = Vm::new(101)
        .without_hotplug()
        .cores(4)
        .memory(8192)
        .balloon(1024)
        .set("cpulimit", 1)
        .cpu(3.0)
        .uses_memory(3000.0);
    let node = Node::with([vm]);
    node.write_config(QUICK);
    let daemon = node.daemon();
    eventually("the quota follows", || {
        node.vm(101).cpu_limit.is_none_or(|limit| limit >= 3.0)
    });
    eventually("the balloon follows", || node.vm(101).balloon_mib > 3500);
    eventually("it runs with what it needs", || node.vm(101).cpu_used > 2.8);
    daemon.stop();
    assert_eq!(node.vm(101).vcpus, 4);
}

#[test]
fn a_guest_without_balloon_driver_keeps_its_memory_and_the_reason_says_why() {
    let vm = Vm::new(101)
        .memory(4096)
        .without("hotplug")
        .without("numa")
        .guest(|guest| guest.balloon_driver = false);
    let node = Node::with([vm]);
    node.write_config(QUICK);
    let daemon = node.daemon();
    eventually("the reason names the driver", || {
        why(&daemon, 101, "memory").contains("balloon driver does not answer")
    });
    assert_eq!(node.vm(101).balloon_mib, 4096);
}

#[test]
fn a_windows_guest_is_moved_by_quota_and_balloon() {
    let vm = Vm::new(101)
        .set("ostype", "win11")
        .vcpus(4)
        .set("cpulimit", 1)
        .cpu(3.0)
        .uses_memory(3000.0);
    let node = Node::with([vm]);
    node.write_config(QUICK);
    let daemon = node.daemon();
    eventually("the quota follows", || {
        node.vm(101).cpu_limit.is_none_or(|limit| limit >= 3.0)
    });
    eventually("the balloon follows", || node.vm(101).balloon_mib > 3500);
    daemon.stop();
    assert_eq!(node.vm(101).vcpus, 4);
}

#[test]
fn huge_pages_leave_the_balloon_alone_and_grow_by_modules() {
    let vm = Vm::new(101)
        .memory(2048)
        .balloon(2048)
        .set("hugepages", 2)
        .uses_memory(1700.0);
    let node = Node::with([vm]);
    node.write_config(QUICK);
    let daemon = node.daemon();
    eventually("modules were plugged", || node.vm(101).memory_mib > 2048);
    daemon.stop();
    assert!(!node.conf(101).contains("shares"), "{}", node.conf(101));
}

#[test]
fn virtiofs_and_custom_numa_leave_the_balloon() {
    let plain = |id| {
        Vm::new(id)
            .without("hotplug")
            .memory(8192)
            .balloon(1024)
            .uses_memory(3000.0)
    };
    let node = Node::with([
        plain(101).set("virtiofs0", "share"),
        plain(102).set("numa0", "cpus=0-3,memory=8192"),
    ]);
    node.write_config(QUICK);
    let _daemon = node.daemon();
    for id in [101, 102] {
        eventually("the balloon follows", || node.vm(id).balloon_mib > 3500);
        assert_eq!(node.vm(id).memory_mib, 8192);
    }
}

#[test]
fn what_an_admin_sets_by_hand_is_respected_and_is_what_release_puts_back() {
    let node = Node::with([Vm::new(101).cores(8).vcpus(1).cpu(3.5)]);
    node.write_config(
        "check_interval: 1s\nprofiles:\n  default:\n    cooldown: {up: 1s, down: 1h}\n",
    );
    let daemon = node.daemon();
    eventually("the agent settles", || node.vm(101).vcpus >= 4);
    eventually("and knows it", || {
        code(&daemon, 101, "cpu") != "in_progress"
    });
    eventually("with its outcome", || {
        told(&daemon, 101, "cpu")["last"]["outcome"] == "applied"
    });
    node.qm(["set", "101", "--vcpus", "7"]).succeeded();
    eventually("it is told", || {
        daemon.log().contains("was changed by hand")
    });
    eventually("it is the baseline", || {
        let facts = node.read("etc/pve/vm-autoscale/vms/101.json");
        serde_json::from_str::<Value>(&facts).unwrap()["baseline"]["vcpus"] == 7
    });
    assert_eq!(node.vm(101).vcpus, 7);
}

#[test]
fn a_configuration_that_disagrees_with_qemu_is_told_and_not_acted_on() {
    let vm = Vm::new(101).memory(2048).balloon(2048).uses_memory(1700.0);
    let node = Node::with([vm]);
    node.write_config(QUICK);
    // As after a guest that gave a module back too late (recorded in 21-divergence-after-resume.txt).
    node.set_conf(101, "memory", Some("3072"));
    let daemon = node.daemon();
    eventually("the reason says so", || {
        let state = daemon.state().unwrap_or_default();
        state["vms"][0]["can"]["disagreements"][0]
            .as_str()
            .is_some_and(|told| told.contains("QEMU has 2 GiB"))
    });
    daemon.stop();
    assert_eq!(node.vm(101).memory_mib, 2048);
    assert!(node.conf(101).contains("memory: 3072"));
}

#[test]
fn a_vcpu_given_back_late_is_put_right_before_the_next_change() {
    let node = Node::with([Vm::new(101).cores(8).vcpus(2).cpu(8.0)]);
    node.write_config(QUICK);
    node.set_conf(101, "vcpus", Some("3"));
    let _daemon = node.daemon();
    eventually("VM 101 gets there", || node.vm(101).vcpus == 8);
}

/// With the policy that takes memory at once, where the other one watches for minutes first.
const UNPLUGS: &str = "check_interval: 1s
profiles:
  default:
    cooldown: {up: 1s, down: 1s}
    policy: threshold
    threshold: {stabilization: {down: 0s}}
    memory: {method: dimm, unplug: true}
";

#[test]
fn modules_are_unplugged_when_switched_on() {
    let vm = Vm::new(101).memory(4096).balloon(4096).uses_memory(300.0);
    let node = Node::with([vm]);
    node.write_config(UNPLUGS);
    let _daemon = node.daemon();
    eventually("a module is gone", || node.vm(101).memory_mib < 4096);
    eventually("the configuration follows", || {
        node.conf(101)
            .contains(&format!("memory: {}", node.vm(101).memory_mib))
    });
}

#[test]
fn a_refused_unplug_leaves_no_pending_value() {
    let vm = Vm::new(101)
        .memory(4096)
        .balloon(4096)
        .uses_memory(300.0)
        .guest(|guest| guest.releases_memory = false);
    let node = Node::with([vm]);
    node.speed(50.0);
    node.write_config(UNPLUGS);
    let daemon = node.daemon();
    eventually("it was refused", || {
        let outcome = told(&daemon, 101, "memory")["last"]["outcome"].clone();
        outcome["pending"].is_string() || outcome["refused"].is_string()
    });
    daemon.stop();
    assert_eq!(node.vm(101).memory_mib, 4096);
    assert!(!node.conf(101).contains("[PENDING]"), "{}", node.conf(101));
}
