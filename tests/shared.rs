//! Stories of what all nodes share, with a real agent on a simulated node.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here fails the test"
)]

mod support;

use support::{Node, Vm, eventually};

const FILE: &str = "etc/pve/vm-autoscale/config.yaml";

#[test]
fn the_clusters_settings_are_followed_by_themselves_and_a_faulty_file_changes_nothing() {
    let node = Node::with([Vm::new(101)]);
    node.write_config("check_interval: 1s\n");
    std::fs::create_dir_all(node.path("etc/pve/vm-autoscale")).unwrap();
    node.write(FILE, "host: {max_cpu: 70%}\n");
    let daemon = node.daemon();
    let good = node.path("var/lib/vm-autoscale/cluster-config.json");
    eventually("a copy is kept", || good.exists());
    let kept = std::fs::read_to_string(&good).unwrap();
    node.write(FILE, "host: {max_cpu: 700%}\n");
    eventually("the fault is told", || daemon.log().contains("rejected"));
    let rejected = || {
        let state = daemon.state().unwrap_or_default();
        let why = state["agent"]["config_rejected"].as_str();
        why.unwrap_or_default().to_owned()
    };
    eventually("status tells it", || rejected().contains("max_cpu"));
    assert_eq!(
        std::fs::read_to_string(&good).unwrap(),
        kept,
        "the last good one stays"
    );
    let check = node.agent(["check-config"]);
    assert_eq!(check.code, Some(1), "{check:?}");
    assert!(
        check.stdout.contains("vm-autoscale/config.yaml:1:"),
        "{check:?}"
    );
    node.write(FILE, "host: {max_cpu: 60%}\n");
    eventually("it is put right without a reload", || rejected().is_empty());
    eventually("and kept", || {
        std::fs::read_to_string(&good).is_ok_and(|now| now != kept)
    });
    assert!(daemon.stop().success());
}

#[test]
fn what_the_day_was_like_is_told_once_by_the_agent_whose_turn_it_is() {
    let node = Node::with([Vm::new(101)]);
    node.write_config("check_interval: 1s\n");
    let mark = node.path("etc/pve/vm-autoscale/sweep.json");
    std::fs::create_dir_all(mark.parent().unwrap()).unwrap();
    // Long ago, by a node that is no more.
    std::fs::write(&mark, r#"{"at": "2026-01-01T00:00:00Z", "by": "pve9"}"#).unwrap();
    let daemon = node.daemon();
    let line = "the last day: agents on 1 of 1 nodes, ";
    eventually("the day is told", || daemon.log().contains(line));
    assert!(std::fs::read_to_string(&mark).unwrap().contains("pve1"));
    assert!(daemon.stop().success());
    let again = node.daemon();
    eventually("it is up again", || {
        again.log().matches(" started, ").count() == 2
    });
    assert!(again.stop().success());
    let history = node.agent(["history", "--output-format", "json"]);
    let days = history.stdout.matches(r#""event":"daily""#).count();
    assert_eq!(days, 1, "{}", history.stdout);
}
