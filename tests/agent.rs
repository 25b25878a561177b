//! Stories of the whole agent: the real program on a simulated node, with real child processes.

mod support;

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use support::scenario::{Command, Curve, MonitorState, Ramp};
use support::{Daemon, Node, Vm, eventually, eventually_within};

const QUICK: &str = "check_interval: 1s\nprofiles:\n  default:\n    cooldown: {up: 1s, down: 2s}\n";

/// Stops the daemon and returns what it wrote.
fn log_of(node: &Node, daemon: Daemon) -> String {
    assert!(daemon.stop().success());
    node.read("var/lib/pve-sim/agent.log")
}

/// The state of one VM's resource, as the daemon tells it.
fn told(daemon: &Daemon, vm: u32, resource: &str) -> Value {
    let state = daemon.state().unwrap_or_default();
    let vms = state["vms"].as_array().cloned().unwrap_or_default();
    vms.into_iter()
        .find(|v| v["vmid"] == vm)
        .map(|v| v[resource].clone())
        .unwrap_or(Value::Null)
}

fn code(daemon: &Daemon, vm: u32, resource: &str) -> String {
    told(daemon, vm, resource)["reason"]["code"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

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
fn a_dry_run_shows_the_change_and_makes_none() {
    let node = Node::with([Vm::new(101).cores(8).vcpus(1).cpu(8.0)]);
    node.write_config(QUICK);
    let run = node.agent(["run", "--once", "--dry-run"]).succeeded();
    assert!(run.stderr.contains("1 → "), "{}", run.stderr);
    assert_eq!(node.vm(101).vcpus, 1);
    assert!(!node.path("etc/pve/vm-autoscale").exists());
    assert!(!node.path("run/vm-autoscale/state.json").exists());
    assert!(!node.path("var/lib/vm-autoscale/history.jsonl").exists());
    assert!(!node.path("var/lib/vm-autoscale/memory.json").exists());
}

#[test]
fn run_once_makes_the_change_and_waits_for_its_end() {
    let node = Node::with([Vm::new(101).cores(8).vcpus(1).cpu(8.0)]);
    node.write_config(QUICK);
    let run = node.agent(["run", "--once"]).succeeded();
    assert!(node.vm(101).vcpus > 1, "{}", run.stderr);
}

#[test]
fn status_and_explain_tell_what_the_daemon_knows() {
    let node = Node::with([Vm::new(101).name("web").cores(4).vcpus(4).cpu(3.6)]);
    node.write_config(QUICK);
    let missing = node.agent(["status"]);
    assert_eq!(missing.code, Some(1));
    assert!(
        missing.stderr.contains("the daemon has not run"),
        "{}",
        missing.stderr
    );
    let daemon = node.daemon();
    eventually("the agent watches", || {
        !code(&daemon, 101, "cpu").is_empty()
    });
    let screen = node.agent(["status"]).succeeded().stdout;
    assert!(screen.contains("101") && screen.contains("web"), "{screen}");
    let json = node
        .agent(["status", "--output-format", "json"])
        .succeeded()
        .json();
    assert_eq!(json["vms"][0]["vmid"], 101);
    let story = node.agent(["explain", "101"]).succeeded().stdout;
    assert!(story.contains("decision"), "{story}");
    let top = node.agent(["top"]).succeeded().stdout;
    assert!(top.contains("1 VMs managed"), "without a terminal: {top}");
    assert_eq!(node.agent(["explain", "999"]).code, Some(1));
    let history = node
        .agent(["history", "--output-format", "json"])
        .succeeded()
        .json();
    assert_eq!(history[0]["event"], "started");
}

#[test]
fn a_broken_file_on_reload_keeps_the_old_settings_and_at_start_is_exit_78() {
    let node = Node::with([Vm::new(101).cores(4).vcpus(1).cpu(4.0)]);
    node.write_config(QUICK);
    let daemon = node.daemon();
    eventually("the agent watches", || {
        !code(&daemon, 101, "cpu").is_empty()
    });
    node.write_config("check_intervall: 1s\n");
    daemon.signal(Signal::SIGHUP);
    eventually("it is told", || daemon.log().contains("rejected"));
    eventually("the agent goes on", || node.vm(101).vcpus == 4);
    assert!(
        daemon.state().unwrap()["agent"]["config_rejected"]
            .as_str()
            .unwrap()
            .contains("check_interval")
    );
    daemon.stop();
    let run = node.agent(["run", "--once"]);
    assert_eq!(run.code, Some(78), "{run:?}");
}

#[test]
fn two_agents_never_run_on_one_node() {
    let node = Node::with([Vm::new(101)]);
    node.write_config(QUICK);
    let daemon = node.daemon();
    eventually("the first one runs", || daemon.log().contains("started"));
    let second = node.agent(["run"]);
    assert_eq!(second.code, Some(1));
    assert!(
        second
            .stderr
            .contains("another vm-autoscale runs on this node"),
        "{}",
        second.stderr
    );
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
fn a_stop_waits_for_the_change_in_hand() {
    let node = Node::with([Vm::new(101).cores(4).vcpus(1).cpu(4.0)]);
    node.write_config(QUICK);
    node.faults("- {command: qm, args: set --vcpus, do: delay, seconds: 3}\n");
    let daemon = node.daemon();
    eventually("the change has begun", || {
        code(&daemon, 101, "cpu") == "in_progress"
    });
    let log = log_of(&node, daemon);
    eventually("the truth says so", || node.vm(101).vcpus > 1);
    let (applied, stopped) = (log.find("applied in"), log.find("stopped: SIGTERM"));
    assert!(applied.is_some() && applied < stopped, "{log}");
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
fn a_steady_agent_starts_no_process_and_writes_nothing_to_etc_pve() {
    let node = Node::with([Vm::new(101)
        .cores(4)
        .vcpus(2)
        .cpu(1.5)
        .set("balloon", 4096)
        .set("shares", 0)]);
    node.write_config("check_interval: 1s\nprofiles:\n  default:\n    memory: {method: off}\n");
    let daemon = node.daemon();
    let at = || {
        daemon
            .state()
            .map(|state| state["at"].as_str().unwrap().to_owned())
    };
    let six_ticks = || {
        for _ in 0..6 {
            let before = at();
            eventually("a tick", || at() != before);
        }
    };
    six_ticks();
    assert_eq!(code(&daemon, 101, "cpu"), "fits");
    let shared = || {
        let report = node.path("etc/pve/vm-autoscale/nodes/pve1.json");
        let written = |path: &std::path::Path| std::fs::metadata(path).unwrap().modified().unwrap();
        (written(&report), written(report.parent().unwrap()))
    };
    let before = shared();
    six_ticks();
    assert_eq!(shared(), before, "written when it started, and not since");
    assert!(!node.path("etc/pve/vm-autoscale/vms").exists());
    assert!(
        node.commands().is_empty(),
        "no qm, no pvesh: {:?}",
        node.commands()
    );
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

#[test]
fn in_recommend_mode_a_change_waits_for_the_admin_who_applies_it() {
    let node = Node::with([Vm::new(101).cores(8).vcpus(1).cpu(8.0)]);
    node.write_config("check_interval: 1s\nprofiles:\n  default:\n    mode: recommend\n");
    let daemon = node.daemon();
    eventually("it recommends", || {
        told(&daemon, 101, "cpu")["recommended"].is_number()
    });
    assert_eq!(node.vm(101).vcpus, 1);
    let screen = node.agent(["status"]).succeeded().stdout;
    assert!(screen.contains("would change to"), "{screen}");
    let applied = node
        .agent(["apply", "101", "--only", "cpu"])
        .succeeded()
        .stdout;
    assert!(applied.contains("applied in"), "{applied}");
    eventually("the VM has it", || node.vm(101).vcpus > 1);
}
