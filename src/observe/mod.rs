//! Turns what `pve` and `host` read into one [`Snapshot`]: the whole input of a decision.
//!
//! Knows how to combine readings and which one to believe. Never decides and never writes.

mod files;
#[cfg(test)]
pub(crate) mod fixture;
mod guest;
mod inspect;
mod lately;
mod meter;
mod node;
mod observer;
mod others;
mod patient;
mod snapshot;
mod vm;

pub use inspect::{Inspection, inspect};
pub use observer::Observer;
pub(crate) use patient::Patient;
pub use snapshot::{
    Balloon, ClusterView, CpuSample, CpuUsage, CpuView, Hold, HostView, InHand, MemoryNeed,
    MemoryView, OtherNode, Pause, Power, Snapshot, Unselected, VmView,
};
