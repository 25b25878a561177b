//! Turns what `pve` and `host` read into one [`Snapshot`]: the whole input of a decision.
//!
//! Knows how to combine readings and which one to believe. Never decides and never writes.

#[cfg(test)]
pub(crate) mod fixture;
mod snapshot;

pub use snapshot::{
    Balloon, ClusterView, CpuUsage, CpuView, HostView, MemoryNeed, MemoryView, Pause, Power,
    Snapshot, VmView,
};
