//! What each lever of a running VM can do now, and what it would take to make it do more.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Amount, Cores, Lever, Mib};

/// What one lever of one VM can do, judged from what really runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "can", rename_all = "snake_case")]
pub enum Capability {
    /// It moves while the VM runs.
    Now {
        /// The least that it reaches.
        least: Amount,
        /// The most that it reaches.
        most: Amount,
        /// Whether it moves down, too: some guests give nothing back.
        shrinks: bool,
    },
    /// It moves once these options are set and the VM was powered off and on.
    AfterPowerCycle {
        /// Why it does not move now.
        why: String,
        /// What to set.
        set: Vec<Setting>,
    },
    /// It does not move, and no power cycle would change that by itself.
    No {
        /// Why.
        why: String,
    },
}

impl Capability {
    /// A lever that does not move, because of `why`.
    pub fn no(why: impl Into<String>) -> Self {
        Self::No { why: why.into() }
    }

    /// Why the lever does not move now, if it does not.
    pub fn obstacle(&self) -> Option<&str> {
        match self {
            Self::Now { .. } => None,
            Self::AfterPowerCycle { why, .. } | Self::No { why } => Some(why),
        }
    }

    /// Whether it moves down now.
    pub fn shrinks(&self) -> bool {
        matches!(self, Self::Now { shrinks: true, .. })
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now {
                least,
                most,
                shrinks,
            } => {
                write!(f, "moves now, {least} to {most}")?;
                if *shrinks {
                    Ok(())
                } else {
                    f.write_str(", upwards only")
                }
            }
            Self::AfterPowerCycle { why, .. } => write!(f, "after a power cycle: {why}"),
            Self::No { why } => write!(f, "no: {why}"),
        }
    }
}

/// An option of a VM and the value that it should have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// The option.
    pub option: String,
    /// Its value.
    pub value: String,
}

impl Setting {
    /// `option` with `value`.
    pub fn new(option: &str, value: impl fmt::Display) -> Self {
        Self {
            option: option.to_owned(),
            value: value.to_string(),
        }
    }
}

/// What all levers of one VM can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Plugging vCPUs.
    pub vcpus: Capability,
    /// The CPU quota.
    pub cpulimit: Capability,
    /// The balloon.
    pub balloon: Capability,
    /// Memory modules.
    pub dimm: Capability,
    /// Sizes to which modules can bring the VM's memory, rising; empty where there can be none.
    pub sizes: Vec<Mib>,
    /// Where the configuration and what really runs disagree, a sentence each. What runs is right.
    pub disagreements: Vec<String>,
}

impl Capabilities {
    /// Of one lever.
    pub fn of(&self, lever: Lever) -> &Capability {
        match lever {
            Lever::Vcpus => &self.vcpus,
            Lever::Cpulimit => &self.cpulimit,
            Lever::Balloon => &self.balloon,
            Lever::Dimm => &self.dimm,
        }
    }

    /// Of a VM of which nothing can be told, because of `why`.
    pub fn none(why: &str) -> Self {
        let no = || Capability::no(why);
        Self {
            vcpus: no(),
            cpulimit: no(),
            balloon: no(),
            dimm: no(),
            sizes: Vec::new(),
            disagreements: Vec::new(),
        }
    }
}

impl Amount {
    /// Whole vCPUs.
    pub fn vcpus(count: u32) -> Self {
        Self::Cpu(Cores::whole(count))
    }
}
