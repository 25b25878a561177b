//! The default: straight to what is needed plus head-room, back when holding more has cost as much as a few changes.
//!
//! Usage at the allocation says that the need is larger, not how large: the answer is a factor, so that eight
//! cores are reached from one in two changes. What is held above the need is paid for in core-seconds or
//! GiB-seconds; a change has a price in the same unit. Once the waste since the last change has cost as much as a few
//! changes, the policy comes down to the largest need of that time: to hold on for longer would have been dearer than
//! coming back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::Reason;
use crate::domain::{Moment, Resource};

use super::{Observation, Policy, Want, mean};

/// Head-room over the need: bursts shorter than a tick fit into it.
const HEADROOM: f64 = 1.1;
/// Usage of this share of the allocation is usage at the allocation.
const SATURATED: f64 = 0.95;
/// From 1 core, two such steps reach 8.
const GROWTH: f64 = 3.0;
/// Memory is taken by touching it, which no guest does by such factors within a tick.
const MEMORY_GROWTH: f64 = 1.5;
/// What a change costs, in core-seconds (0.02 core-hours) and mebibyte-seconds (0.05 GiB-hours).
const CHANGE: [f64; 2] = [72.0, 184_320.0];
/// So many changes must be saved by a shrink.
const PATIENCE: f64 = 4.0;
/// No single look counts as more than this: what happened while nobody looked is not known.
const LONGEST_LOOK: Duration = Duration::from_secs(60);

/// A waste that pays for any number of changes.
const LONG: f64 = 1e15;

/// What was seen since the last change or the last time that all was needed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Adaptive {
    /// The last look.
    looked: Option<Moment>,
    /// The allocation that was seen then.
    held: f64,
    /// The largest need since.
    peak: f64,
    /// What was held above the need since, times its duration in seconds.
    waste: f64,
}

impl Adaptive {
    /// Takes in a need; returns the size to come down to once the waste has paid for it.
    fn take_in(&mut self, seen: &Observation<'_>, need: f64) -> Option<f64> {
        let since = self
            .looked
            .map_or(Duration::ZERO, |looked| seen.now.since(looked))
            .min(LONGEST_LOOK);
        if self.held != seen.allocation {
            // Nobody knows for how long a VM that is new here has held what it holds: long enough.
            let waste = if self.looked.is_none() { LONG } else { 0.0 };
            (self.held, self.peak, self.waste) = (seen.allocation, need, waste);
        }
        self.looked = Some(seen.now);
        self.peak = self.peak.max(need);
        self.waste += (seen.allocation - need).max(0.0) * since.as_secs_f64();
        let price = match seen.resource {
            Resource::Cpu => CHANGE[0],
            Resource::Memory => CHANGE[1],
        };
        if self.waste < PATIENCE * price {
            return None;
        }
        let steps = (self.peak * HEADROOM / seen.grain - 1e-9).ceil();
        if steps * seen.grain < seen.allocation {
            return Some(self.peak);
        }
        (self.peak, self.waste) = (need, 0.0);
        None
    }
}

impl Policy for Adaptive {
    fn want(&mut self, seen: &Observation<'_>) -> Want {
        let need = mean(seen.usage).clamp(0.0, seen.max.max(0.0));
        let peak = self.take_in(seen, need);
        let usage = seen.resource.amount(need);
        let (amount, reason) = if seen.short || need >= SATURATED * seen.allocation {
            let factor = if seen.resource == Resource::Cpu {
                GROWTH
            } else {
                MEMORY_GROWTH
            };
            (seen.allocation * factor, Reason::Saturated { usage })
        } else if need * HEADROOM > seen.allocation {
            (need * HEADROOM, Reason::NeedsMore { need: usage })
        } else if let Some(peak) = peak {
            (
                (peak * HEADROOM).min(seen.allocation),
                Reason::CalmedDown {
                    peak: seen.resource.amount(peak),
                },
            )
        } else {
            (seen.allocation, Reason::Fits)
        };
        Want {
            amount: amount.clamp(seen.min.min(seen.max), seen.max),
            need,
            reason,
            stands_until: seen.now,
        }
    }
}
