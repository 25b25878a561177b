//! The default: follows the need, and gives back what it costs more to hold than to change.
//!
//! Neither resource has a threshold or a fixed window; what a VM is like is learned from its usage. CPU that is missed
//! slows down, so it is weighed against its price, see [`cpu`]. Memory that is missed stalls or kills, so it is always
//! there and taken with care, see [`memory`]. Where the need rises at the same time day after day, and it pays, more is
//! given shortly before, see [`profile`].

mod cpu;
mod extremes;
mod lasting;
mod ledger;
mod memory;
mod pace;
mod profile;
mod rest;
mod sizes_seen;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::gates::memory_margin;
use crate::decide::{KnownPeak, Reason};
use crate::domain::{Amount, Mib, Moment, Resource};

use super::{Observation, Policy, Want, mean};
use profile::{Look, Profile};

/// Usage of this share of the allocation is usage at the allocation. With the head-room, less of one core asks for
/// no second one; more of it is given back to no single one.
const SATURATED: f64 = 0.992;
/// No look counts for more than this: what happened while nobody looked is not known.
const LONGEST_LOOK: Duration = Duration::from_secs(300);

/// What was learned of one resource of one VM.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Adaptive {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpu: Option<cpu::Cpu>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<memory::Memory>,
    #[serde(default, skip_serializing_if = "Profile::is_empty")]
    profile: Profile,
}

/// What one of the two says.
struct Verdict {
    amount: f64,
    /// What would do for now.
    enough: f64,
    need: f64,
    stands_until: Moment,
}

impl Adaptive {
    /// The peaks that it knows of `resource`, in the order of the day.
    pub(super) fn peaks(&self, resource: Resource) -> Vec<KnownPeak> {
        self.profile.told(resource)
    }

    /// What is wanted for what is there, whatever comes.
    fn without_peaks(&mut self, seen: &Observation<'_>) -> Verdict {
        match seen.resource {
            Resource::Cpu => self.cpu.get_or_insert_default().want(seen),
            Resource::Memory => {
                let need = seen.usage.last().map_or(0.0, |sample| sample.value);
                let allocation = self.profile.memory_without(seen, need);
                let seen = Observation {
                    allocation,
                    ..seen.clone()
                };
                self.memory.get_or_insert_default().want(&seen)
            }
        }
    }
}

impl Policy for Adaptive {
    fn want(&mut self, seen: &Observation<'_>) -> Want {
        let Verdict {
            amount: wish,
            enough,
            need,
            stands_until,
        } = self.without_peaks(seen);
        let look = Look::new(seen, mean(seen.usage), wish);
        let ahead = self.profile.look(&look);
        // It goes on learning where it is switched off, so that it can be switched on at any time.
        let ahead = ahead.filter(|ahead| seen.settings.predict && ahead.amount > wish);
        let amount = ahead.map_or(wish, |ahead| ahead.amount);
        let usage = seen.resource.amount(need);
        let reason = if let Some(ahead) = ahead {
            Reason::PeakAhead {
                expected: usual(seen.resource, ahead.expected),
                at: about(ahead.at),
            }
        } else if amount > seen.allocation {
            if need >= SATURATED * seen.allocation || seen.short {
                Reason::Saturated { usage }
            } else {
                Reason::NeedsMore { need: usage }
            }
        } else if amount < seen.allocation {
            let enough = seen.resource.amount(amount);
            Reason::CalmedDown { enough }
        } else {
            Reason::Fits
        };
        Want {
            amount,
            enough: ahead.map_or(enough.min(amount), |ahead| ahead.amount),
            need,
            reason,
            stands_until: stands_until.min(self.profile.stands_until(&look)),
        }
    }
}

/// What a peak usually needs, as people say it: to a tenth of a core.
fn usual(resource: Resource, need: f64) -> Amount {
    resource.amount(match resource {
        Resource::Cpu => (need * 10.0).round() / 10.0,
        Resource::Memory => need,
    })
}

/// A second of the day as people say it: to five minutes.
fn about(second: u32) -> String {
    let fives = (second + 150) / 300 % (24 * 12);
    format!("{:02}:{:02}", fives / 12, fives % 12 * 5)
}

/// What is to be there for `need`, so that it does not wait for more.
fn with_reserve(resource: Resource, need: f64) -> f64 {
    match resource {
        Resource::Cpu => need * cpu::HEADROOM,
        Resource::Memory => need + memory_margin(Mib::from_f64(need)).as_f64(),
    }
}

/// So many seconds after `now`, at most the longest look.
fn later(now: Moment, seconds: f64) -> Moment {
    let most = LONGEST_LOOK.as_secs_f64();
    now + Duration::from_secs_f64(within(seconds, most))
}

/// `value` between nothing and `most`; what is no number is nothing.
fn within(value: f64, most: f64) -> f64 {
    if value.is_nan() {
        0.0
    } else {
        value.clamp(0.0, most)
    }
}
