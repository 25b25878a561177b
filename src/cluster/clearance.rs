//! The last look before a change: everything that must hold is read again, as close to `qm set` as can be.
//!
//! Between this look and the change there is a gap of milliseconds that nothing can close; `qm` itself closes it by
//! refusing on the wrong node and under a lock.

use crate::domain::{Moment, NodeName, VmId};
use crate::pve::VmConfig;

use super::facts::{Baseline, FactsError, VmFacts};
use super::files::{FilesError, SharedFiles, config_path};
use super::ha::HaStatus;
use super::pause;

/// Leave for one change.
#[derive(Debug, Clone, PartialEq)]
pub struct Clearance {
    /// The VM's configuration as it is now.
    pub config: VmConfig,
    /// The VM's settings as they were, if this is the first change of it ever. They are kept for `release` already.
    pub taken_over: Option<Baseline>,
}

/// Why the change is not made. None of this is a failure: something happened since it was decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// /etc/pve cannot be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Its facts cannot be used.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// An admin gave the order to change nothing.
    #[error("{0} paused the cluster")]
    Paused(String),
    /// High availability is doing something with it.
    #[error("its HA state is {0}")]
    Ha(String),
    /// The VM is here no longer.
    #[error("its configuration is no longer under node {0}")]
    Moved(NodeName),
    /// Something else works on it.
    #[error("its configuration is locked ({0})")]
    Locked(String),
    /// Its configuration cannot be relied on.
    #[error("its configuration cannot be understood: {0}")]
    Unreadable(String),
    /// An admin is taking it out of the agent's hands.
    #[error("it is being released; `vm-autoscale release` ends that")]
    Releasing,
    /// What the agents share is of an earlier VM with its number; the next round clears that away.
    #[error("what is known of its number is of an earlier VM")]
    Earlier,
    /// Another node's agent took it over, and this one not yet again.
    #[error("node {0} has taken it over")]
    NotOwner(NodeName),
}

/// Looks whether `node` may change `vm` at `now`. Takes its settings down first if no agent ever changed it.
///
/// # Errors
/// [`Withheld`]: nothing may be changed.
pub fn clear(
    files: &impl SharedFiles,
    node: &NodeName,
    vm: VmId,
    now: Moment,
) -> Result<Clearance, Withheld> {
    if !files.quorate()? {
        return Err(FilesError::NoQuorum.into());
    }
    if let Some(pause) = pause::for_cluster(files)? {
        return Err(Withheld::Paused(pause.by));
    }
    if let Some(state) = HaStatus::read(files)?.hands_off(vm) {
        return Err(Withheld::Ha(state));
    }
    let facts = VmFacts::read(files, vm)?;
    let config = free_config(files, node, vm)?;
    let taken_over = match facts {
        Some(facts) if !facts.can_be_of(&config) => return Err(Withheld::Earlier),
        Some(facts) if facts.releasing => return Err(Withheld::Releasing),
        Some(facts) if facts.owner == *node => None,
        Some(facts) => return Err(Withheld::NotOwner(facts.owner)),
        None => {
            // Nothing is changed that could not be put back.
            let facts = VmFacts::new(node.clone(), &config, now);
            facts.write(files, vm)?;
            Some(facts.baseline)
        }
    };
    Ok(Clearance { config, taken_over })
}

/// The VM's configuration, provided that it is under `node` and nothing else works on it.
pub(super) fn free_config(
    files: &impl SharedFiles,
    node: &NodeName,
    vm: VmId,
) -> Result<VmConfig, Withheld> {
    let text = files.read_settled(&config_path(node, vm))?;
    let config = VmConfig::parse(&text.ok_or_else(|| Withheld::Moved(node.clone()))?);
    if let Some(lock) = config.lock {
        return Err(Withheld::Locked(lock));
    }
    match config.problems.first() {
        Some(problem) => Err(Withheld::Unreadable(problem.clone())),
        None => Ok(config),
    }
}
