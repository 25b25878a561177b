//! vm-autoscale: gives each Proxmox VE guest that opted in the CPU and memory it needs now, live, within its
//! admin's limits and without overloading the node.
//!
//! Data walks one way, once per tick:
//!
//! ```text
//!  node ──► observe ──Snapshot──► decide ──Plan──► act ──Outcome──► record ──► journal, state file, notifiers
//! (pve,host)                      (pure)           │
//!                                                  ▼
//!                                         pve: qm set …, read back
//! ```
//!
//! Each module below is a room: its first lines say what it is for and what it must not know.

pub mod act;
pub mod backtest;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod daemon;
pub mod decide;
pub mod domain;
pub mod host;
pub mod notify;
pub mod observe;
pub mod pve;
pub mod record;
