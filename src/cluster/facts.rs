//! What must be known of a VM wherever it goes: `/etc/pve/vm-autoscale/vms/<vmid>.json`.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::domain::{Cores, Lever, Mib, Moment, NodeName, VmId};
use crate::pve::{Layout, PmxcfsError, VmConfig, pmxcfs};

/// The version of the file's form.
const FACTS_VERSION: u32 = 1;

/// The facts could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// /etc/pve refused.
    #[error(transparent)]
    Pmxcfs(#[from] PmxcfsError),
    /// The file is there but makes no sense. It is left as it is: it may hold the only copy of a baseline.
    #[error("{} cannot be understood: {why}; move it away if the VM's own settings are in order", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The settings of a VM as they were before the agent first changed one; `None` is "not set".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// When they were taken down.
    pub taken: Moment,
    /// `vcpus`.
    pub vcpus: Option<u32>,
    /// `cpulimit`.
    pub cpulimit: Option<Cores>,
    /// `memory`.
    pub memory: Mib,
    /// `balloon`.
    pub balloon: Option<Mib>,
    /// `shares`.
    pub shares: Option<u32>,
}

/// What the agents know of one VM together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmFacts {
    version: u32,
    /// The node whose agent wrote this.
    pub owner: NodeName,
    /// What to put back on release.
    pub baseline: Baseline,
    /// Set while an admin releases the VM: nothing that was decided before is begun any more.
    #[serde(default)]
    pub releasing: bool,
}

impl Baseline {
    /// The settings of `config`.
    pub fn of(config: &VmConfig, taken: Moment) -> Self {
        Self {
            taken,
            vcpus: config.vcpus,
            cpulimit: config.cpulimit,
            memory: config.memory,
            balloon: config.balloon,
            shares: config.shares,
        }
    }

    /// Takes over what `config` says of one lever: somebody else set it after the agent had.
    pub fn adopt(&mut self, lever: Lever, config: &VmConfig) {
        match lever {
            Lever::Vcpus => self.vcpus = config.vcpus,
            Lever::Cpulimit => self.cpulimit = config.cpulimit,
            // `shares` stays what it was before the agent took the balloon over.
            Lever::Balloon => self.balloon = config.balloon,
            Lever::Dimm => self.memory = config.memory,
        }
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn or_unset<T: fmt::Display>(value: &Option<T>) -> String {
            value.as_ref().map_or("unset".to_owned(), T::to_string)
        }
        write!(
            f,
            "vcpus {}, cpulimit {}, balloon {}, shares {}",
            or_unset(&self.vcpus),
            or_unset(&self.cpulimit),
            or_unset(&self.balloon),
            or_unset(&self.shares)
        )
    }
}

impl VmFacts {
    /// The facts of a VM that is taken over now.
    pub fn new(owner: NodeName, baseline: Baseline) -> Self {
        Self {
            version: FACTS_VERSION,
            owner,
            baseline,
            releasing: false,
        }
    }

    /// Where the facts of `vm` are kept.
    pub fn path(layout: &Layout, vm: VmId) -> PathBuf {
        layout.shared_dir().join("vms").join(format!("{vm}.json"))
    }

    /// The facts of `vm`, if there are any. Blocks: not for an async worker.
    ///
    /// # Errors
    /// The file is there but cannot be read or understood.
    pub fn read(layout: &Layout, vm: VmId) -> Result<Option<Self>, FactsError> {
        let path = Self::path(layout, vm);
        let Some(text) = pmxcfs::read(&path)? else {
            return Ok(None);
        };
        match serde_json::from_str::<Self>(&text) {
            Ok(facts) if facts.version == FACTS_VERSION => Ok(Some(facts)),
            Ok(facts) => Err(FactsError::Damaged {
                path,
                why: format!("version {} is not known", facts.version),
            }),
            Err(e) => Err(FactsError::Damaged {
                path,
                why: e.to_string(),
            }),
        }
    }

    /// Removes the facts of `vm`, whose settings are its own again. Blocks: not for an async worker.
    ///
    /// # Errors
    /// /etc/pve is not mounted or refuses.
    pub fn remove(layout: &Layout, vm: VmId) -> Result<(), FactsError> {
        Ok(pmxcfs::remove(layout, &Self::path(layout, vm))?)
    }

    /// Writes the facts of `vm`. Blocks: not for an async worker.
    ///
    /// # Errors
    /// /etc/pve is not mounted or refuses.
    pub fn write(&self, layout: &Layout, vm: VmId) -> Result<(), FactsError> {
        let text = serde_json::to_string(self).unwrap_or_default();
        Ok(pmxcfs::replace(
            layout,
            &Self::path(layout, vm),
            text.as_bytes(),
        )?)
    }
}
