//! The classic rule: a step up when usage passes `high`, a step down when it falls below `low`.

use serde::{Deserialize, Serialize};

use crate::decide::Reason;
use crate::domain::{Percent, Resource};

use super::{Observation, Policy, Want, mean};

/// A step of memory; of CPU it is one core. The sizes are the predecessor's.
const MEMORY_STEP_MIB: f64 = 512.0;

/// The rule has nothing to remember.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Threshold;

impl Policy for Threshold {
    fn want(&mut self, seen: &Observation<'_>) -> Want {
        let usage = mean(seen.usage);
        let step = match seen.resource {
            Resource::Cpu => 1.0,
            Resource::Memory => MEMORY_STEP_MIB,
        };
        let share = Percent::from_fraction(usage / seen.allocation.max(f64::EPSILON));
        let (high, low) = (seen.settings.high, seen.settings.low);
        let (amount, reason) = if share > high || seen.short {
            (
                seen.allocation + step,
                Reason::AboveThreshold { usage: share, high },
            )
        } else if share < low {
            (
                seen.allocation - step,
                Reason::BelowThreshold { usage: share, low },
            )
        } else {
            (seen.allocation, Reason::Fits)
        };
        Want {
            amount,
            need: usage,
            reason,
        }
    }
}
