//! What an event is about: the words by which channels choose, when two events mean the same, and which event ends
//! which problem.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::settings::Route;
use crate::act::{Done, Outcome};
use crate::domain::Resource;
use crate::record::{Event, EventKind};

/// The words for `events:` in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// A VM has more than before, as read back.
    ScaledUp,
    /// A VM has less than before, as read back.
    ScaledDown,
    /// A change reached only a part of what was asked for.
    Partial,
    /// A change waits for a power cycle.
    Pending,
    /// The guest or Proxmox VE said no.
    Refused,
    /// What became of a change could not be seen.
    Unknown,
    /// A VM has wanted more than it may have for a while.
    WantsMore,
    /// The node has had no room for a while.
    HostLimit,
    /// A lever failed repeatedly and rests.
    BreakerOpened,
    /// Settings of a VM were taken over.
    TakenOver,
    /// They were given back.
    Released,
    /// A new configuration is in force.
    ConfigLoaded,
    /// A configuration was rejected.
    ConfigRejected,
    /// A problem began.
    Degraded,
    /// A problem ended.
    Recovered,
    /// The agent started.
    Started,
    /// The agent stopped.
    Stopped,
}

impl Topic {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 17] = [
        Self::ScaledUp,
        Self::ScaledDown,
        Self::Partial,
        Self::Pending,
        Self::Refused,
        Self::Unknown,
        Self::WantsMore,
        Self::HostLimit,
        Self::BreakerOpened,
        Self::TakenOver,
        Self::Released,
        Self::ConfigLoaded,
        Self::ConfigRejected,
        Self::Degraded,
        Self::Recovered,
        Self::Started,
        Self::Stopped,
    ];

    /// What `event` is about.
    pub fn of(event: &Event) -> Self {
        match &event.kind {
            EventKind::Changed(done) => match done.outcome {
                Outcome::Applied if done.change.grows() => Self::ScaledUp,
                Outcome::Applied => Self::ScaledDown,
                Outcome::Partial(_) => Self::Partial,
                Outcome::Pending(_) => Self::Pending,
                // What is withheld is never told as an event.
                Outcome::Refused(_) | Outcome::Withheld(_) => Self::Refused,
                Outcome::Unknown(_) => Self::Unknown,
            },
            EventKind::WantsMore { .. } => Self::WantsMore,
            EventKind::HostLimit { .. } => Self::HostLimit,
            EventKind::BreakerOpened { .. } => Self::BreakerOpened,
            EventKind::TakenOver { .. } => Self::TakenOver,
            EventKind::Released { .. } => Self::Released,
            EventKind::ConfigLoaded { .. } => Self::ConfigLoaded,
            EventKind::ConfigRejected { .. } => Self::ConfigRejected,
            EventKind::Degraded { .. } => Self::Degraded,
            EventKind::Recovered { .. } => Self::Recovered,
            EventKind::Started { .. } => Self::Started,
            EventKind::Stopped { .. } => Self::Stopped,
        }
    }

    /// The word in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ScaledUp => "scaled_up",
            Self::ScaledDown => "scaled_down",
            Self::Partial => "partial",
            Self::Pending => "pending",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::WantsMore => "wants_more",
            Self::HostLimit => "host_limit",
            Self::BreakerOpened => "breaker_opened",
            Self::TakenOver => "taken_over",
            Self::Released => "released",
            Self::ConfigLoaded => "config_loaded",
            Self::ConfigRejected => "config_rejected",
            Self::Degraded => "degraded",
            Self::Recovered => "recovered",
            Self::Started => "started",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl Route {
    /// Whether `event` is for this channel. The end of a problem is decided by who was told of its beginning, not here.
    pub(super) fn takes(&self, event: &Event) -> bool {
        let topic = self.events.is_empty() || self.events.contains(&Topic::of(event));
        let vm = match &event.vm {
            None => true,
            Some(_) if self.vms.is_empty() && self.tags.is_empty() => true,
            Some(vm) => {
                self.vms.contains(&vm.id) || vm.tags.iter().any(|tag| self.tags.contains(tag))
            }
        };
        topic && vm && self.severities.contains(&event.severity())
    }
}

/// Two events with the same meaning are told once. Numbers that only describe the moment are not part of the meaning;
/// the size that a VM now has is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Meaning(String);

impl Meaning {
    pub(super) fn of(event: &Event) -> Self {
        let vm = event.vm.as_ref().map_or(0, |vm| vm.id.get());
        let detail = match &event.kind {
            EventKind::Changed(done) => change(done),
            EventKind::WantsMore { resource, .. } | EventKind::HostLimit { resource, .. } => {
                resource.to_string()
            }
            EventKind::BreakerOpened { lever, .. } => lever.to_string(),
            EventKind::TakenOver { what }
            | EventKind::Released { what }
            | EventKind::ConfigLoaded { what }
            | EventKind::Degraded { what, .. }
            | EventKind::Recovered { what, .. } => what.clone(),
            EventKind::ConfigRejected { why } => why.clone(),
            EventKind::Started { .. } => String::new(),
            EventKind::Stopped { why } => why.clone(),
        };
        Self(format!("{}/{vm}/{detail}", Topic::of(event)))
    }
}

/// A size that was reached is told each time it is another one. A failure is the same failure whatever was asked for.
fn change(done: &Done) -> String {
    let change = &done.change;
    match done.outcome {
        Outcome::Applied => format!("{} {} {}", change.lever, change.from, change.to),
        _ => format!("{} {}", change.lever, change.grows()),
    }
}

/// The words for the problem that `event` begins. One of them is the `what` of the [`EventKind::Recovered`] that ends it
/// (`record::watch`).
pub(super) fn problems(event: &Event) -> Vec<String> {
    let vm = event.vm.as_ref().map_or(0, |vm| vm.id.get());
    match &event.kind {
        EventKind::Degraded { what, .. } => vec![what.clone()],
        EventKind::WantsMore { resource, .. } => ["max", "ceiling"]
            .map(|limit| format!("vm-{vm}-{}-{limit}", key(*resource)))
            .into(),
        EventKind::HostLimit { resource, .. } => vec![format!("host-{}", key(*resource))],
        _ => Vec::new(),
    }
}

/// A resource's section in the configuration.
fn key(resource: Resource) -> &'static str {
    match resource {
        Resource::Cpu => "cpu",
        Resource::Memory => "memory",
    }
}

/// The word for the problem that `event` ends.
pub(super) fn recovery(event: &Event) -> Option<&str> {
    match &event.kind {
        EventKind::Recovered { what, .. } => Some(what),
        _ => None,
    }
}
