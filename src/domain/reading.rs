//! A measured value that may be missing: unknown is a state of its own, never zero.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Moment;

/// Where a reading came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The VM's control group under /sys/fs/cgroup.
    Cgroup,
    /// /proc of the node.
    Proc,
    /// The guest's own statistics through the balloon device.
    Guest,
    /// QEMU, asked over QMP.
    Qemu,
    /// The VM's configuration file.
    ConfigFile,
    /// What `pvesh get /cluster/resources` reports, up to ten seconds old.
    Pvesh,
    /// What pvestatd of each node last broadcast, in /etc/pve/.rrd.
    Pvestatd,
    /// A recorded history, in backtest.
    Trace,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cgroup => "cgroup",
            Self::Proc => "/proc",
            Self::Guest => "guest statistics",
            Self::Qemu => "QEMU",
            Self::ConfigFile => "configuration",
            Self::Pvesh => "pvesh",
            Self::Pvestatd => "pvestatd",
            Self::Trace => "trace",
        })
    }
}

/// A value that was read, or the reason why it could not be.
///
/// `Unknown` can block a change; it never causes one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reading<T> {
    /// Read.
    Known {
        /// What was read.
        value: T,
        /// When it was true, by the node's clock.
        at: Moment,
        /// Who said so.
        source: Source,
    },
    /// Not read, and why, as the end of a sentence: "the balloon driver does not answer".
    Unknown(String),
}

impl<T> Reading<T> {
    /// A value read at `at` from `source`.
    pub fn known(value: T, at: Moment, source: Source) -> Self {
        Self::Known { value, at, source }
    }

    /// No value, because of `why`.
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown(why.into())
    }

    /// The value, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Known { value, .. } => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// The value, copied, if there is one.
    pub fn get(&self) -> Option<T>
    where
        T: Copy,
    {
        self.value().copied()
    }

    /// How old the value is at `now`, if there is one.
    pub fn age(&self, now: Moment) -> Option<Duration> {
        match self {
            Self::Known { at, .. } => Some(now.since(*at)),
            Self::Unknown(_) => None,
        }
    }

    /// The same reading of something computed from the value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Self::Known { value, at, source } => Reading::Known {
                value: f(value),
                at,
                source,
            },
            Self::Unknown(why) => Reading::Unknown(why),
        }
    }

    /// The same reading, by reference.
    pub fn as_ref(&self) -> Reading<&T> {
        match self {
            Self::Known { value, at, source } => Reading::Known {
                value,
                at: *at,
                source: *source,
            },
            Self::Unknown(why) => Reading::Unknown(why.clone()),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Reading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known { value, .. } => value.fmt(f),
            Self::Unknown(_) => f.pad("unknown"),
        }
    }
}
