//! The story of the settings that all nodes share, with a real agent on a simulated node.

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
