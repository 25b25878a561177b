//! A lock that one node of the cluster holds, by the protocol of PVE itself: a directory under `priv/lock`.
//!
//! `mkdir` takes it. Setting its time keeps it for another 120 s. Without that it can be made to expire by anyone who
//! asks (pve-facts 7.6). pmxcfs tells nodes apart, not processes: one agent per node must use a given name.

use std::time::Duration;

use crate::domain::Moment;

use super::files::{FilesError, SharedFiles};

/// A lock that was not refreshed for this long can be taken by others (pve-cluster: memdb.h: CFS_LOCK_TIMEOUT).
const LIFETIME: Duration = Duration::from_secs(120);
/// The holder stops believing in it this much earlier: the others' timers run by their own clocks.
const MARGIN: Duration = Duration::from_secs(30);

/// A lock directory.
#[derive(Debug, Clone)]
pub struct Lock {
    path: String,
    /// Until when it is certainly ours, by a clock that never goes back.
    until: Option<Duration>,
}

impl Lock {
    /// The lock `name`, not held yet.
    pub fn new(name: &str) -> Self {
        Self {
            path: format!("priv/lock/vm-autoscale-{name}"),
            until: None,
        }
    }

    /// Tries once to take it. `at` is the time now, since the process began.
    ///
    /// Where another node holds it, pmxcfs is asked to let it expire; a later try can then succeed.
    ///
    /// # Errors
    /// The shared files refused: it is not held.
    pub fn try_take(&mut self, files: &impl SharedFiles, at: Duration) -> Result<bool, FilesError> {
        self.until = None;
        if files.make_dir(&self.path)? {
            self.until = Some(at + LIFETIME - MARGIN);
            return Ok(true);
        }
        files.ask_to_expire(&self.path);
        Ok(false)
    }

    /// Keeps it for another while. `false`: it was lost.
    ///
    /// # Errors
    /// The shared files refused: it counts as held until its time is over.
    pub fn keep(
        &mut self,
        files: &impl SharedFiles,
        at: Duration,
        now: Moment,
    ) -> Result<bool, FilesError> {
        if !self.is_held(at) {
            return Ok(false);
        }
        // Its time counts from before the call, which may take long.
        let kept = files.touch(&self.path, now)?;
        self.until = kept.then_some(at + LIFETIME - MARGIN);
        Ok(kept)
    }

    /// Whether it is certainly held at `at`.
    pub fn is_held(&self, at: Duration) -> bool {
        self.until.is_some_and(|until| at < until)
    }

    /// Gives it back, if it is still held: one that was lost is another node's by now.
    pub fn give_back(&mut self, files: &impl SharedFiles, at: Duration) {
        if self.is_held(at) {
            // One that cannot be removed now expires by itself.
            let _ = files.remove_dir(&self.path);
        }
        self.until = None;
    }
}
