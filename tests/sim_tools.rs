//! What the simulated `qm` and `pvesh` do beyond the recordings: PVE's rules as read from its source
//! (`qemu-server: QemuServer.pm, API2/Qemu.pm, CGroup.pm`), and faults on request.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here fails the test"
)]

mod support;

use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use support::scenario::Command;
use support::{Node, Run, Vm, eventually};

fn scope(node: &Node, file: &str) -> String {
    node.read(&format!("sys/fs/cgroup/qemu.slice/101.scope/{file}"))
}

/// The pending section of VM 101's config file, without its title.
fn pending(node: &Node) -> String {
    let text = node.conf(101);
    text.split_once("[PENDING]\n")
        .map_or(String::new(), |(_, pending)| pending.to_owned())
}

fn set(node: &Node, options: &str) -> Run {
    node.qm(["set", "101"].into_iter().chain(options.split(' ')))
}

#[test]
fn a_cpu_limit_is_cut_to_whole_percents_and_zero_lifts_it() {
    let node = Node::with([Vm::new(101)]);
    for (limit, file) in [
        ("0.5", "50000 100000\n"),
        ("2.3", "229000 100000\n"),
        ("0", "max 100000\n"),
    ] {
        set(&node, &format!("--cpulimit {limit}")).succeeded();
        assert_eq!(scope(&node, "cpu.max"), file, "{limit}");
        assert!(node.conf(101).contains(&format!("cpulimit: {limit}\n")));
    }
    set(&node, "--cpulimit 1").succeeded();
    set(&node, "--delete cpulimit").succeeded();
    assert_eq!(scope(&node, "cpu.max"), "max 100000\n");
    assert!(!node.conf(101).contains("cpulimit"));
}

#[test]
fn a_cpu_weight_beyond_the_kernels_is_clamped() {
    let node = Node::with([Vm::new(101)]);
    let run = set(&node, "--cpuunits 200000").succeeded();
    // The line is made before the value is clamped.
    assert_eq!(run.stdout, "update VM 101: -cpuunits 200000\n");
    assert_eq!(scope(&node, "cpu.weight"), "10000\n");
    assert!(node.conf(101).contains("cpuunits: 10000\n"));
}

#[test]
fn a_stopped_vm_takes_a_limit_into_its_config_only() {
    let node = Node::with([Vm::new(101).stopped()]);
    set(&node, "--cpulimit 2 --cores 8").succeeded();
    assert!(
        node.conf(101).contains("cores: 8\ncpulimit: 2\n"),
        "{}",
        node.conf(101)
    );
    assert_eq!(pending(&node), "");
}

#[test]
fn of_several_options_one_may_fail_while_the_others_apply() {
    let node = Node::with([Vm::new(101)]);
    let run = set(&node, "--vcpus 9 --cpulimit 2 --cores 8 --onboot yes");
    assert_eq!(run.code, Some(255));
    assert_eq!(
        run.stdout,
        "update VM 101: -cores 8 -cpulimit 2 -onboot 1 -vcpus 9\n"
    );
    assert!(
        run.stderr
            .starts_with("400 Parameter verification failed.\nvcpus: hotplug problem - "),
        "{run:?}"
    );
    assert!(node.conf(101).contains("cpulimit: 2\n") && node.conf(101).contains("onboot: 1\n"));
    assert_eq!(pending(&node), "cores: 8\nvcpus: 9\n");
}

#[test]
fn tags_apply_at_once_in_lower_case_sorted_and_each_once() {
    let node = Node::with([Vm::new(101)]);
    set(&node, "--tags Web;autoscale,web").succeeded();
    assert!(
        node.conf(101).contains("tags: autoscale;web\n"),
        "{}",
        node.conf(101)
    );
}

#[test]
fn deleting_what_is_not_set_is_a_warning_and_an_unknown_name_an_error() {
    let node = Node::with([Vm::new(101)]);
    let run = set(&node, "--delete affinity").succeeded();
    assert_eq!(
        run.stderr,
        "cannot delete 'affinity' - not set in current configuration!\n"
    );
    let run = set(&node, "--delete colour");
    assert!(
        run.stderr.contains("delete: unknown option 'colour'\n"),
        "{run:?}"
    );
    let run = set(&node, "--vcpus 2 --delete vcpus");
    assert!(
        run.stderr
            .contains("delete: you can't use '-vcpus' and -delete vcpus' at the same time\n"),
        "{run:?}"
    );
}

#[test]
fn deleting_a_running_vms_topology_waits_and_revert_takes_it_back() {
    let node = Node::with([Vm::new(101)]);
    set(&node, "--delete cores").succeeded();
    assert_eq!(pending(&node), "delete: cores\n");
    let shown = node.qm(["pending", "101"]).succeeded().stdout;
    assert!(shown.contains("del cores: 4\n"), "{shown}");
    let config = node
        .pvesh([
            "get",
            "/nodes/pve1/qemu/101/pending",
            "--output-format",
            "json",
        ])
        .json();
    assert!(
        config
            .as_array()
            .unwrap()
            .contains(&json!({"key": "cores", "value": 4, "delete": 1})),
        "{config}"
    );
    set(&node, "--revert cores").succeeded();
    assert_eq!(pending(&node), "");
}

#[test]
fn asking_for_what_is_pending_tries_again() {
    let node = Node::with([Vm::new(101)
        .guest(|guest| guest.releases_vcpus = false)
        .vcpus(2)]);
    assert_eq!(set(&node, "--vcpus 1").code, Some(255));
    assert_eq!(pending(&node), "vcpus: 1\n");
    node.behave(101, |guest| guest.releases_vcpus = true);
    set(&node, "--vcpus 1").succeeded();
    assert_eq!(pending(&node), "");
    eventually("one vCPU is left", || node.vm(101).vcpus == 1);
}

#[test]
fn a_refused_memory_module_keeps_those_already_given_back() {
    let node = Node::with([Vm::new(101).memory(3072)]);
    node.speed(20.0);
    node.behave(101, |guest| guest.releases_memory = false);
    let run = set(&node, "--memory 2048");
    assert!(
        run.stderr.contains("dimm3: error unplug memory module\n"),
        "{run:?}"
    );
    assert!(node.conf(101).contains("memory: 3072\n"));
    assert_eq!(pending(&node), "memory: 2048\n");
    set(&node, "--revert memory").succeeded();
    assert_eq!(pending(&node), "");
}

#[test]
fn memory_ends_where_the_ladder_has_a_step() {
    let node = Node::with([Vm::new(101).memory(16_896)]);
    set(&node, "--memory 17500").succeeded();
    assert!(
        node.conf(101).contains("memory: 18432\n"),
        "{}",
        node.conf(101)
    );
    eventually("the last two modules are there", || {
        let modules = node.vm(101).modules;
        modules.get("dimm31") == Some(&512) && modules.get("dimm32") == Some(&1024)
    });
}

#[test]
fn two_changes_of_one_vm_follow_each_other() {
    let node = Node::with([Vm::new(101)]);
    node.faults("- {command: qm, args: --cpulimit, at: locked, do: delay, seconds: 1}");
    let mut first = Process::new(node.path("usr/sbin/qm"))
        .args(["set", "101", "--cpulimit", "2"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = node.path("var/lib/pve-sim/faults.log");
    eventually("the first one holds the lock", || begun.exists());
    let second = set(&node, "--vcpus 2").succeeded();
    assert_eq!(second.stderr, "trying to acquire lock...\n OK\n");
    assert!(first.wait().unwrap().success());
    assert!(node.conf(101).contains("cpulimit: 2\n") && node.conf(101).contains("vcpus: 2\n"));
}

#[test]
fn a_reboot_by_pve_makes_pending_values_active() {
    let node = Node::with([Vm::new(101)]);
    set(&node, "--cores 8").succeeded();
    node.qm(["reboot", "101"]).succeeded();
    assert_eq!(pending(&node), "");
    eventually("it has 8 cores", || {
        node.running_vm(101).is_some_and(|vm| vm.vcpus_max == 8)
    });
}

#[test]
fn a_vm_that_cannot_start_says_why() {
    let node = Node::with([
        Vm::new(101).set("numa", 0).stopped(),
        Vm::new(102).cores(99).stopped(),
        Vm::new(103).set("numa0", "cpus=0-3,memory=4096").stopped(),
        Vm::new(104).template(),
        Vm::new(105),
        Vm::new(106).set("lock", "backup").stopped(),
    ]);
    for (vm, why) in [
        ("101", "NUMA needs to be enabled for memory hotplug\n"),
        ("102", "MAX 16 vcpus allowed per VM on this node\n"),
        (
            "103",
            "cannot enable memory hotplugging with custom NUMA topology\n",
        ),
        ("104", "you can't start a vm if it's a template\n"),
        ("105", "VM 105 already running\n"),
        ("106", "VM is locked (backup)\n"),
    ] {
        let run = node.qm(["start", vm]);
        assert_eq!((run.code, run.stderr.as_str()), (Some(255), why));
    }
}

#[test]
fn a_task_over_the_api_succeeds_even_when_it_fails() {
    let node = Node::with([Vm::new(101).template()]);
    let run = node.pvesh([
        "create",
        "/nodes/pve1/qemu/101/status/start",
        "--output-format",
        "json",
    ]);
    assert_eq!(run.stderr, "you can't start a vm if it's a template\n");
    assert!(
        run.code == Some(0) && run.stdout.contains(":qmstart:101:root@pam:"),
        "{run:?}"
    );
}

#[test]
fn without_a_proxy_another_nodes_method_is_refused() {
    let node = Node::with([Vm::new(101)]);
    let run = node.pvesh(["--noproxy", "get", "/nodes/pve2/qemu"]);
    assert_eq!(
        (run.code, run.stderr.as_str()),
        (Some(255), "proxy loop detected - aborting\n")
    );
}

#[test]
fn a_fault_can_fail_lie_or_only_warn() {
    let node = Node::with([Vm::new(101)]);
    node.faults(
        "- {command: qm, args: set 101 --vcpus, times: 1, do: fail, text: ipcc_send_rec failed, code: 111}\n\
         - {command: qm, args: set 101 --vcpus, times: 2, do: nothing}\n\
         - {command: qm, args: set 101 --vcpus, times: 3, do: warn, text: 'perl: warning: Setting locale failed.'}\n",
    );
    let failed = set(&node, "--vcpus 2");
    assert_eq!(
        (failed.code, failed.stderr.as_str()),
        (Some(111), "ipcc_send_rec failed\n")
    );
    for _ in 0..2 {
        let lied = set(&node, "--vcpus 2").succeeded();
        assert_eq!(lied.stdout, "");
    }
    assert_eq!(node.vm(101).vcpus, 1);
    let warned = set(&node, "--vcpus 2").succeeded();
    assert_eq!(warned.stderr, "perl: warning: Setting locale failed.\n");
    assert!(node.conf(101).contains("vcpus: 2\n"));
}

#[test]
fn a_command_killed_half_way_leaves_what_it_had_done() {
    let node = Node::with([Vm::new(101)]);
    node.faults("- {command: qm, args: set 101 --vcpus, times: 1, at: half_plugged, do: kill}");
    assert_eq!(set(&node, "--vcpus 4").code, None);
    assert!(
        node.conf(101).contains("vcpus: 3\n") && pending(&node) == "vcpus: 4\n",
        "{}",
        node.conf(101)
    );
    // The flock went with the process, and the next one carries on.
    set(&node, "--vcpus 4").succeeded();
    assert_eq!(pending(&node), "");
}

#[test]
fn a_command_killed_after_writing_has_changed_nothing_in_qemu() {
    let node = Node::with([Vm::new(101)]);
    node.faults("- {command: qm, args: set, at: pending_written, do: kill}");
    assert_eq!(set(&node, "--shares 0 --balloon 2048").code, None);
    assert_eq!(pending(&node), "balloon: 2048\nshares: 0\n");
}

#[test]
fn a_change_can_be_left_pending_without_a_word() {
    let node = Node::with([Vm::new(101)]);
    node.faults("- {command: qm, args: --vcpus, times: 1, do: leave_pending}");
    let run = set(&node, "--vcpus 2").succeeded();
    assert_eq!(
        (run.stderr.as_str(), pending(&node).as_str()),
        ("", "vcpus: 2\n")
    );
}

#[test]
fn a_mistake_in_the_faults_ends_every_command() {
    let node = Node::with([Vm::new(101)]);
    node.faults("- {command: qm, args: set, do: explode}");
    let run = node.qm(["list"]);
    assert!(
        run.code == Some(70) && run.stderr.contains("no such fault"),
        "{run:?}"
    );
}

#[test]
fn start_up_takes_perls_time_at_the_simulations_speed() {
    let node = Node::with([Vm::new(101)]);
    node.write("var/lib/pve-sim/delays.yaml", "{speed: 2, startup_s: 2}");
    let before = Instant::now();
    node.qm(["config", "101"]).succeeded();
    assert!(before.elapsed() >= Duration::from_secs(1));
}

#[test]
fn without_quorum_nothing_is_written_and_reading_works() {
    let node = Node::with([Vm::new(101)]);
    node.control(&Command::Quorum { quorate: false });
    let run = set(&node, "--shares 0");
    assert!(run.stderr.ends_with(" - Permission denied\n"), "{run:?}");
    assert!(!node.conf(101).contains("shares"));
    let run = node.qm(["start", "101"]);
    assert_eq!(run.stderr, "cluster not ready - no quorum?\n");
    node.qm(["config", "101"]).succeeded();
}
