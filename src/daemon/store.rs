//! What outlives the process: the memory of decisions, under var/lib/vm-autoscale.

use std::path::PathBuf;
use std::time::Duration;

use crate::decide::Memory;
use crate::domain::Moment;
use crate::pve::Layout;
use crate::record::{self, Loaded};

/// What is learned is written so often; what was done, at once.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// The file with the memory of decisions.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    saved: Moment,
    /// Whether the last write failed, so that it is said once.
    failing: bool,
}

impl Store {
    /// Reads what was stored. What cannot be used is set aside, named in the log, and learned anew.
    pub(super) fn open(layout: &Layout) -> (Self, Memory) {
        let path = layout.data_dir().join("memory.json");
        let memory = match record::load(&path, Memory::is_current) {
            Ok(Loaded::Value(memory)) => memory,
            Ok(Loaded::Missing) => Memory::default(),
            Ok(Loaded::SetAside(aside, why)) => {
                tracing::warn!(
                    "{} cannot be used ({why}): it was renamed to {}, what was learned is learned anew",
                    path.display(),
                    aside.display()
                );
                Memory::default()
            }
            Err(e) => {
                tracing::warn!(
                    "{} cannot be read ({e}): what was learned is learned anew",
                    path.display()
                );
                Memory::default()
            }
        };
        (
            Self {
                path,
                saved: Moment::default(),
                failing: false,
            },
            memory,
        )
    }

    /// Writes if it is time to.
    pub(super) fn save_now_and_then(&mut self, memory: &Memory, now: Moment) {
        if now.since(self.saved) >= SAVE_EVERY {
            self.save(memory, now);
        }
    }

    /// Writes. A disk that is full costs what was learned since, nothing else.
    pub(super) fn save(&mut self, memory: &Memory, now: Moment) {
        self.saved = now;
        match record::save(&self.path, memory) {
            Ok(()) => self.failing = false,
            Err(e) if !self.failing => {
                self.failing = true;
                tracing::warn!(
                    "cannot write {}: {e}; cool-downs would not survive a restart",
                    self.path.display()
                );
            }
            Err(_) => {}
        }
    }
}
