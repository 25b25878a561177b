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
    /// What the last day was like for the whole cluster.
    Daily,
    /// The agent started.
    Started,
    /// The agent stopped.
    Stopped,
}

impl Topic {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 18] = [
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
        Self::Daily,
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
            EventKind::Daily(_) => Self::Daily,
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
            Self::Daily => "daily",
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
            // Each day is another one, even if it looks the same.
            EventKind::Daily(_) => event.at.as_millis().to_string(),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::act::Outcome;
    use crate::notify::testing::{degraded, refused, vcpus, wants_more};
    use crate::record::Severity;

    fn meaning(why: &str) -> Meaning {
        Meaning::of(&refused(101, why))
    }

    #[test]
    fn a_channel_chooses_by_severity_topic_vm_and_tag() {
        let event = refused(101, "no");
        assert!(Route::default().takes(&event));
        assert!(!Route::default().takes(&vcpus(4, Some(4), Outcome::Applied)));
        let errors = BTreeSet::from([Severity::Error]);
        let routes = [
            (
                Route {
                    severities: errors,
                    ..Route::default()
                },
                false,
            ),
            (
                Route {
                    events: [Topic::Refused].into(),
                    ..Route::default()
                },
                true,
            ),
            (
                Route {
                    events: [Topic::Degraded].into(),
                    ..Route::default()
                },
                false,
            ),
            (
                Route {
                    vms: [102.try_into().unwrap()].into(),
                    ..Route::default()
                },
                false,
            ),
            (
                Route {
                    tags: ["prod".to_owned()].into(),
                    ..Route::default()
                },
                true,
            ),
            (
                Route {
                    tags: ["test".to_owned()].into(),
                    ..Route::default()
                },
                false,
            ),
        ];
        for (route, takes) in routes {
            assert_eq!(route.takes(&event), takes, "{route:?}");
        }
        let only_one_vm = Route {
            vms: [102.try_into().unwrap()].into(),
            ..Route::default()
        };
        assert!(
            only_one_vm.takes(&degraded("quorum", "no quorum")),
            "events of no VM pass"
        );
    }

    #[test]
    fn two_texts_with_other_numbers_mean_the_same_and_two_sizes_do_not() {
        assert_eq!(meaning("3.1 cores in use"), meaning("2.7 cores in use"));
        let size = |to| Meaning::of(&vcpus(to, Some(to), Outcome::Applied));
        assert_ne!(size(2), size(4));
        let other_vm = Meaning::of(&refused(102, "3.1 cores in use"));
        assert_ne!(meaning("3.1 cores in use"), other_vm);
    }

    #[test]
    fn a_problem_has_the_word_by_which_its_end_is_told() {
        assert_eq!(
            problems(&wants_more(Resource::Cpu)),
            ["vm-101-cpu-max", "vm-101-cpu-ceiling"]
        );
        assert_eq!(problems(&degraded("quorum", "no quorum")), ["quorum"]);
        assert!(problems(&refused(101, "no")).is_empty());
    }

    #[test]
    fn every_topic_has_the_word_of_its_json_form() {
        for topic in Topic::ALL {
            assert_eq!(serde_json::to_value(topic).unwrap(), topic.word());
        }
    }
}
