//! The default: follows the need, and gives back what it costs more to hold than to change.
//!
//! Neither resource has a threshold or a fixed window; what a VM is like is learned from its usage. CPU that is missed
//! slows down, so it is weighed against its price, see [`cpu`]. Memory that is missed stalls or kills, so it is always
//! there and taken with care, see [`memory`].

mod cpu;
mod ledger;
mod memory;
mod rest;
mod sizes_seen;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::Reason;
use crate::domain::{Moment, Resource};

use super::{Observation, Policy, Want};

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
}

/// What one of the two says.
struct Verdict {
    amount: f64,
    need: f64,
    stands_until: Moment,
}

impl Policy for Adaptive {
    fn want(&mut self, seen: &Observation<'_>) -> Want {
        let Verdict {
            amount,
            need,
            stands_until,
        } = match seen.resource {
            Resource::Cpu => self.cpu.get_or_insert_default().want(seen),
            Resource::Memory => self.memory.get_or_insert_default().want(seen),
        };
        let usage = seen.resource.amount(need);
        let reason = if amount > seen.allocation {
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
            need,
            reason,
            stands_until,
        }
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
