//! The program as its admin meets it: how it starts, stops, reloads, and what it tells.

use nix::sys::signal::Signal;

use super::support::{Node, Vm, eventually};
use super::{QUICK, code, log_of, told};

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
