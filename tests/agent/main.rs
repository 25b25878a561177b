//! Stories of the whole agent: the real program on a simulated node, with real child processes.

mod faults;
mod program;
mod room;
mod sizes;
#[path = "../support/mod.rs"]
mod support;

use serde_json::Value;
use support::{Daemon, Node};

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
