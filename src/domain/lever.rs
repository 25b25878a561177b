//! The four ways in which a running VM's size can be moved.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Resource;

/// A way to move one resource of a running VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lever {
    /// Plug and unplug virtual CPUs, one by one.
    Vcpus,
    /// The CPU quota of the VM's control group, in tenths of a core.
    Cpulimit,
    /// The size of the memory balloon's complement: what the guest may use under its ceiling.
    Balloon,
    /// Plug memory modules, along the ladder of sizes that PVE uses.
    Dimm,
}

impl Lever {
    /// The resource that this lever moves.
    pub fn resource(self) -> Resource {
        match self {
            Self::Vcpus | Self::Cpulimit => Resource::Cpu,
            Self::Balloon | Self::Dimm => Resource::Memory,
        }
    }
}

impl fmt::Display for Lever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Vcpus => "vcpus",
            Self::Cpulimit => "cpulimit",
            Self::Balloon => "balloon",
            Self::Dimm => "dimm",
        })
    }
}
