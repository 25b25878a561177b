//! What happened, once: the only input of journal, history and notifications.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::act::{Done, Outcome};
use crate::domain::{Amount, Lever, Moment, NodeName, Resource, VmId, VmName};

/// How much it matters, in the words of PVE's notification system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Normal operation.
    Info,
    /// Worth knowing.
    Notice,
    /// Something does not work as wanted; the agent goes on.
    Warning,
    /// Someone should look.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// The VM that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmRef {
    /// Its number.
    pub id: VmId,
    /// Its name, cleaned.
    pub name: VmName,
    /// Its tags, in lower case.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Moment,
    /// On which node.
    pub node: NodeName,
    /// To which VM, if to one.
    pub vm: Option<VmRef>,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened. Each `Began` kind of problem has its end: [`EventKind::Recovered`] with the same `what`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A change was tried; its outcome says what was seen of it.
    Changed(Box<Done>),
    /// For a while now, a VM has wanted more than its maximum or its ceiling.
    WantsMore {
        /// Of what.
        resource: Resource,
        /// What it wants.
        wants: Amount,
        /// What it may have.
        limit: Amount,
        /// Why that is the limit, and what to do.
        why: String,
    },
    /// For a while now, the node has had no room for what its VMs want.
    HostLimit {
        /// Of what.
        resource: Resource,
        /// Why, with numbers.
        why: String,
    },
    /// A lever failed repeatedly and rests.
    BreakerOpened {
        /// The lever.
        lever: Lever,
        /// When it is tried again.
        until: Moment,
        /// The last failure.
        why: String,
    },
    /// The agent owns a setting of the VM from now on; what it was is kept, for `release`.
    TakenOver {
        /// Which settings, and what they were: `shares (unset), balloon 2 GiB`.
        what: String,
    },
    /// What was taken over was put back.
    Released {
        /// Which settings, and what they are now.
        what: String,
    },
    /// A new configuration is in force.
    ConfigLoaded {
        /// What changed, or where it was read from.
        what: String,
    },
    /// A configuration was rejected; the previous one stays in force.
    ConfigRejected {
        /// The first fault, free of any value that could be secret.
        why: String,
    },
    /// Something the agent needs does not work: a problem begins.
    Degraded {
        /// A stable word for it: `quorum`, `vm-101-qmp`.
        what: String,
        /// Why, and what the agent does about it.
        why: String,
    },
    /// A problem ended.
    Recovered {
        /// The same word as when it began.
        what: String,
        /// How long it lasted.
        after: Duration,
    },
    /// What the last day was like for the whole cluster, told by one agent for all.
    Daily(Day),
    /// The agent started.
    Started {
        /// Its version.
        version: String,
        /// How many VMs it manages.
        managed: usize,
    },
    /// The agent stopped.
    Stopped {
        /// Why.
        why: String,
    },
}

/// A day of the whole cluster, as its agents share it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// Nodes that the cluster has, or that have an agent's report.
    pub nodes: usize,
    /// Those whose agent runs.
    pub agents: usize,
    /// VMs that agents have changed, wherever they are.
    pub vms: usize,
    /// Changes of theirs that were seen to take effect.
    pub changes: usize,
    /// How many things are amiss.
    pub faults: usize,
    /// The first of them, each with the node or VM it is about.
    pub attention: Vec<String>,
}

impl Event {
    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match &self.kind {
            EventKind::Changed(done) => match done.outcome {
                Outcome::Applied | Outcome::Withheld(_) => Severity::Info,
                Outcome::Partial(_) | Outcome::Pending(_) | Outcome::Refused(_) => {
                    Severity::Warning
                }
                Outcome::Unknown(_) => Severity::Error,
            },
            EventKind::TakenOver { .. } | EventKind::Released { .. } => Severity::Notice,
            EventKind::Recovered { .. } => Severity::Notice,
            EventKind::Started { .. }
            | EventKind::Stopped { .. }
            | EventKind::ConfigLoaded { .. } => Severity::Info,
            EventKind::Daily(day) if day.faults == 0 => Severity::Info,
            EventKind::Daily(_)
            | EventKind::WantsMore { .. }
            | EventKind::HostLimit { .. }
            | EventKind::BreakerOpened { .. } => Severity::Warning,
            EventKind::Degraded { .. } => Severity::Warning,
            EventKind::ConfigRejected { .. } => Severity::Error,
        }
    }
}

impl EventKind {
    /// A stable word for the kind, as in the JSON form and in the journal's `ACTION`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Changed(_) => "changed",
            Self::WantsMore { .. } => "wants_more",
            Self::HostLimit { .. } => "host_limit",
            Self::BreakerOpened { .. } => "breaker_opened",
            Self::TakenOver { .. } => "taken_over",
            Self::Released { .. } => "released",
            Self::ConfigLoaded { .. } => "config_loaded",
            Self::ConfigRejected { .. } => "config_rejected",
            Self::Degraded { .. } => "degraded",
            Self::Recovered { .. } => "recovered",
            Self::Daily(_) => "daily",
            Self::Started { .. } => "started",
            Self::Stopped { .. } => "stopped",
        }
    }
}
