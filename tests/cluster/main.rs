//! Three agents in one cluster, under every fault that a cluster knows: do two of them ever act on the same VM, is
//! anything forgotten, does all of it converge?
//!
//! The agents are real: the cluster room, and `decide::plan`. pmxcfs is the model of `cluster_fs`; QEMU, `qm` and time
//! are models too, so that a run is a function of its schedule and seed. A run that fails prints both, made as short
//! as possible.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here fails the test"
)]

#[path = "../pve_sim/cluster_fs/mod.rs"]
mod cluster_fs;

mod agent;
mod checks;
mod daily;
mod faults;
mod handle;
mod model;
mod overtaken;
mod simulation;
mod world;
