//! Three agents as they are installed, a process each, on three simulated nodes over one cluster file system that is
//! mounted on each of them: do they keep out of each other's way, whatever happens to nodes, network and VMs?
//!
//! /etc/pve is a real FUSE mount with pmxcfs's own rules, of the model that `cluster_fs` is: attributes are a second old
//! on other nodes, changes come late, nothing is changed without a quorum, and any request can hang. `tests/cluster`
//! tries the same agents' rooms with many more schedules, in one process and in simulated time.
//!
//! Skipped, with a line that says so, where FUSE is missing or nothing may be mounted. Each story mounts in a namespace
//! of its own, so that nothing stays mounted however it ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here fails the test"
)]

#[path = "../pve_sim/cluster_fs/mod.rs"]
#[allow(dead_code, reason = "tests/cluster uses the rest of it")]
mod cluster_fs;
#[path = "../support/mod.rs"]
mod support;

mod anything;
mod failover;
mod hanging;
mod migration;
mod mount;
mod names;
mod partition;
mod pause;
mod pmxcfs;
mod reuse;
mod served;
mod stage;

/// The nodes.
const NODES: [&str; 3] = ["pve1", "pve2", "pve3"];
