//! What became of a change, as read back from QEMU and the kernel.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::Change;
use crate::domain::{Amount, Moment, Reading};

/// What became of a change. Exit 0 of `qm set` is none of these: only a value that was read back counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The value was read back and is what was asked for.
    Applied,
    /// The value moved, but not all the way.
    Partial(String),
    /// PVE keeps the value for the next power cycle.
    Pending(String),
    /// The guest or PVE said no, and why.
    Refused(String),
    /// Nothing was tried, or PVE declined at once: what the decision rested on holds no more (moved, locked, paused, no
    /// quorum). That is how it should be, and no failure of the lever.
    Withheld(String),
    /// The value could not be read back, or the command did not come to an end, and why.
    Unknown(String),
}

impl Outcome {
    /// One word for tables and structured fields.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Partial(_) => "partial",
            Self::Pending(_) => "pending",
            Self::Refused(_) => "refused",
            Self::Withheld(_) => "withheld",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Whether the real value moved at all.
    pub fn moved(&self) -> bool {
        matches!(self, Self::Applied | Self::Partial(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied => f.write_str("applied"),
            Self::Partial(why)
            | Self::Pending(why)
            | Self::Refused(why)
            | Self::Withheld(why)
            | Self::Unknown(why) => {
                write!(f, "{}: {why}", self.word())
            }
        }
    }
}

/// A change that was tried, and what was seen of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// What was asked for.
    pub change: Change,
    /// What became of it.
    pub outcome: Outcome,
    /// The allocation as read back afterwards.
    pub now: Reading<Amount>,
    /// When it was read back. An event's JSON form has this beside the event's own `at`.
    #[serde(rename = "read_back_at")]
    pub at: Moment,
    /// From the start of the command to the read-back.
    pub took: Duration,
}
