//! What must be known of a VM wherever it goes: `/etc/pve/vm-autoscale/vms/<vmid>.json`.
//!
//! One writer at a time: the agent of the node that the file names as owner. Whoever takes the VM over writes its own
//! name first and changes the VM only after that.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::act::Done;
use crate::decide::VmMemory;
use crate::domain::{Amount, Cores, Lever, Mib, Moment, NodeName, Resource, VmId, sanitize};
use crate::pve::VmConfig;

use super::files::{FilesError, SharedFiles, facts_path};

/// The version of the file's form.
const FACTS_VERSION: u32 = 1;

/// The facts could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// The shared files refused.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The file is there but makes no sense. It is left as it is: it may hold the only copy of a baseline.
    #[error(
        "/etc/pve/{path} cannot be understood ({why}); the VM is left alone until the file is repaired, or moved away \
         if the VM's own settings are in order"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A later version of this program wrote it.
    #[error(
        "/etc/pve/{path} was written by a later version; the VM is left alone until this node is upgraded"
    )]
    Later {
        /// The file.
        path: String,
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

/// The last change of a resource that was seen to take effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastChange {
    /// When, by the clock of the node that made it.
    pub at: Moment,
    /// Which node.
    pub node: NodeName,
    /// By which lever.
    pub lever: Lever,
    /// From what.
    pub from: Amount,
    /// To what, as read back.
    pub to: Amount,
}

/// What the agents know of one VM together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VmFacts {
    version: u32,
    /// The node whose agent may change the VM, and this file.
    pub owner: NodeName,
    /// Rises by one whenever the owner changes: who remembers an older one has lost the VM in between.
    pub term: u64,
    /// When this was written, by the owner's clock.
    pub written: Moment,
    /// The VM's `uuid`, which tells it from a later one with its number. Not known where the VM has none, or an earlier
    /// version wrote this.
    #[serde(default)]
    uuid: Option<String>,
    /// What to put back on release.
    pub baseline: Baseline,
    /// Set while an admin releases the VM: nothing that was decided before is begun any more.
    #[serde(default)]
    pub releasing: bool,
    /// The last change of each resource that was seen to take effect.
    #[serde(default)]
    pub changes: BTreeMap<Resource, LastChange>,
    /// What decisions remember of the VM. Kept as it was written: a later version may not understand it, and that must
    /// not cost the baseline.
    #[serde(default)]
    learned: Option<serde_json::Value>,
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
    /// The facts of a VM that no agent has changed before, and whose configuration is `config` at `now`.
    pub fn new(owner: NodeName, config: &VmConfig, now: Moment) -> Self {
        Self {
            version: FACTS_VERSION,
            owner,
            term: 1,
            written: now,
            uuid: config.uuid.clone(),
            baseline: Baseline::of(config, now),
            releasing: false,
            changes: BTreeMap::new(),
            learned: None,
        }
    }

    /// The facts of `vm`, if there are any.
    ///
    /// # Errors
    /// The file is there but cannot be read or understood.
    pub fn read(files: &impl SharedFiles, vm: VmId) -> Result<Option<Self>, FactsError> {
        /// What every version of the file has.
        #[derive(Deserialize)]
        struct Any {
            version: u32,
        }
        let path = facts_path(vm);
        let Some(text) = files.read_settled(&path)? else {
            return Ok(None);
        };
        let damaged = |e: &serde_json::Error| FactsError::Damaged {
            path: path.clone(),
            why: sanitize(&e.to_string(), 120),
        };
        let any: Any = serde_json::from_str(&text).map_err(|e| damaged(&e))?;
        if any.version > FACTS_VERSION {
            return Err(FactsError::Later { path });
        }
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| damaged(&e))
    }

    /// Whether they tell the VM from a later one with its number.
    pub(super) fn has_uuid(&self) -> bool {
        self.uuid.is_some()
    }

    /// Whether they can be those of the VM whose configuration is `config`, and not of an earlier one with its number.
    pub fn can_be_of(&self, config: &VmConfig) -> bool {
        match (&self.uuid, &config.uuid) {
            (Some(known), Some(now)) => known == now,
            _ => true,
        }
    }

    /// Writes the facts of `vm`. Only for the owner that they name.
    ///
    /// # Errors
    /// The shared files refused.
    pub fn write(&self, files: &impl SharedFiles, vm: VmId) -> Result<(), FilesError> {
        let text = serde_json::to_string(self).map_err(|e| FilesError::Failed(e.to_string()))?;
        files.replace(&facts_path(vm), &text)
    }

    /// The same facts after `node` took the VM over at `now`.
    pub fn taken_over(self, node: NodeName, now: Moment) -> Self {
        Self {
            owner: node,
            term: self.term.saturating_add(1),
            written: now,
            ..self
        }
    }

    /// Removes the facts of `vm`, whose settings are its own again.
    ///
    /// # Errors
    /// The shared files refused.
    pub fn remove(files: &impl SharedFiles, vm: VmId) -> Result<(), FilesError> {
        files.remove(&facts_path(vm)).map(|_| ())
    }

    /// Puts back the owner's own changes that `known` has and these facts have not; whether there were any.
    ///
    /// A write of an earlier owner that hung while the VM moved can land late and undo what was written since.
    pub fn regain(&mut self, known: &Self) -> bool {
        let own = |change: &LastChange| change.node == known.owner;
        let mut regained = false;
        for (resource, change) in known.changes.iter().filter(|(_, change)| own(change)) {
            if self.term <= known.term && self.changes.get(resource) != Some(change) {
                self.changes.insert(*resource, change.clone());
                self.learned.clone_from(&known.learned);
                regained = true;
            }
        }
        self.term = self.term.max(known.term);
        regained
    }

    /// Takes in a change that was seen to take effect, and what is remembered since.
    pub fn record(&mut self, done: &Done, learned: Option<&VmMemory>) {
        let change = &done.change;
        let to = done.now.get().unwrap_or(change.to);
        let last = LastChange {
            at: done.at,
            node: self.owner.clone(),
            lever: change.lever,
            from: change.from,
            to,
        };
        self.changes.insert(change.lever.resource(), last);
        self.written = done.at;
        self.learned = learned.and_then(VmMemory::packed);
    }

    /// What the last owner's decisions remembered; `None` where that is nothing, or in a form that is not understood.
    pub fn learned(&self) -> Option<VmMemory> {
        VmMemory::unpacked(self.learned.clone()?)
    }
}
