//! What the agents need of a file system that they share: a few operations and the ways in which pmxcfs refuses them.
//!
//! Paths are relative to /etc/pve. Every call may block for as long as the cluster synchronises (pve-facts 7.7): the
//! caller runs them where that harms nobody. Knows nothing of what the files mean.

use crate::domain::{Moment, NodeName, VmId};

/// Why a shared file could not be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    /// The cluster has no quorum, or lost it in the middle (EACCES, EPERM; pve-facts 7.7).
    #[error("the cluster has no quorum")]
    NoQuorum,
    /// The cluster did not take the message (EBUSY after ten seconds).
    #[error("the cluster file system is busy")]
    Busy,
    /// It is not mounted.
    #[error("{0}")]
    NotMounted(String),
    /// Anything else, as a sentence.
    #[error("{0}")]
    Failed(String),
}

/// A file system that all nodes of a cluster see, with the manners of pmxcfs:
///
/// - Changes of all nodes have one order. A node sees its own changes at once, those of others a little later.
/// - `replace` and `make_dir` happen at once for every reader, or not at all.
/// - Nothing can be changed without quorum; everything can be read.
pub trait SharedFiles {
    /// The text of a file, or `None` if it is not there at this instant.
    ///
    /// # Errors
    /// It could not be read.
    fn read(&self, path: &str) -> Result<Option<String>, FilesError>;

    /// The same, but absence counts only if it lasts longer than the gap while a file is being replaced.
    ///
    /// # Errors
    /// It could not be read.
    fn read_settled(&self, path: &str) -> Result<Option<String>, FilesError>;

    /// The names in a directory, in order; none if it is not there.
    ///
    /// # Errors
    /// It could not be read.
    fn list(&self, directory: &str) -> Result<Vec<String>, FilesError>;

    /// Puts `text` in place of a file, with the directories on the way.
    ///
    /// # Errors
    /// Nothing was changed, as far as can be told.
    fn replace(&self, path: &str, text: &str) -> Result<(), FilesError>;

    /// Removes a file; whether there was one.
    ///
    /// # Errors
    /// It is still there, as far as can be told.
    fn remove(&self, path: &str) -> Result<bool, FilesError>;

    /// Makes a directory. Exactly one of several callers gets `true`; the others learn that it exists.
    ///
    /// # Errors
    /// It was not made.
    fn make_dir(&self, path: &str) -> Result<bool, FilesError>;

    /// Removes an empty directory; whether there was one.
    ///
    /// # Errors
    /// It is still there, as far as can be told.
    fn remove_dir(&self, path: &str) -> Result<bool, FilesError>;

    /// Sets the time of a lock directory to `at`: `true` if pmxcfs accepts this node as the one that holds it.
    ///
    /// # Errors
    /// It could not be asked.
    fn touch(&self, path: &str, at: Moment) -> Result<bool, FilesError>;

    /// Asks pmxcfs to remove a lock directory that nobody has refreshed for 120 s. What it answers says nothing.
    fn ask_to_expire(&self, path: &str);

    /// Whether changes are accepted now.
    ///
    /// # Errors
    /// It is not mounted, or does not say.
    fn quorate(&self) -> Result<bool, FilesError>;
}

/// The agents' own directory.
pub(super) const SHARED: &str = "vm-autoscale";
/// The facts of VMs.
pub(super) const VMS: &str = "vm-autoscale/vms";
/// The reports of nodes.
pub(super) const NODES: &str = "vm-autoscale/nodes";
/// The order to change nothing.
pub(super) const PAUSE: &str = "vm-autoscale/pause";
/// The cluster's settings.
pub const CONFIG: &str = "vm-autoscale/config.yaml";

/// Where the facts of `vm` are.
pub fn facts_path(vm: VmId) -> String {
    format!("{VMS}/{vm}.json")
}

/// Where the report of `node` is.
pub fn report_path(node: &NodeName) -> String {
    format!("{NODES}/{node}.json")
}

/// Where the configuration of `vm` is while `node` owns it.
pub fn config_path(node: &NodeName, vm: VmId) -> String {
    format!("nodes/{node}/qemu-server/{vm}.conf")
}
