//! The two resources, and an amount of either.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Cores, Mib};

/// What is scaled. CPU and memory are separate loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// Computing time, in cores.
    Cpu,
    /// Memory, in mebibytes.
    Memory,
}

impl Resource {
    /// Both, in the order in which people read them.
    pub const ALL: [Self; 2] = [Self::Cpu, Self::Memory];

    /// An amount of this resource from its bare number: cores or mebibytes.
    pub fn amount(self, value: f64) -> Amount {
        match self {
            Self::Cpu => Amount::Cpu(Cores::from_f64(value)),
            Self::Memory => Amount::Memory(Mib::from_f64(value)),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cpu => "CPU",
            Self::Memory => "memory",
        })
    }
}

/// So much of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Amount {
    /// Cores.
    Cpu(Cores),
    /// Mebibytes.
    Memory(Mib),
}

impl Amount {
    /// Which resource this is an amount of.
    pub fn resource(self) -> Resource {
        match self {
            Self::Cpu(_) => Resource::Cpu,
            Self::Memory(_) => Resource::Memory,
        }
    }

    /// The bare number: cores or mebibytes.
    pub fn value(self) -> f64 {
        match self {
            Self::Cpu(cores) => cores.as_f64(),
            Self::Memory(mib) => mib.as_f64(),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(cores) if *cores == Cores::whole(1) => f.pad("1 core"),
            Self::Cpu(cores) => f.pad(&format!("{cores} cores")),
            Self::Memory(mib) => mib.fmt(f),
        }
    }
}
