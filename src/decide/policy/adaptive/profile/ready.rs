//! The books of one coming of a peak: what it costs to be ready for it, against what is missed otherwise.

use crate::decide::policy::adaptive::SATURATED;
use crate::domain::Resource;

use super::Look;

/// No coming counts for more than so many changes.
pub(super) const MOST_WORTH: f64 = 100.0;

/// By how much the policy grows what is used up, see `cpu` and `memory`.
fn growth(resource: Resource) -> f64 {
    match resource {
        Resource::Cpu => 2.0,
        Resource::Memory => 1.5,
    }
}

/// What it would cost, or does, to be ready, against what is missed otherwise. In seconds of a unit of the resource.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ready {
    amount: f64,
    /// What would be there otherwise, growing as the policy grows what is used up: every second look.
    without: f64,
    growths: u32,
    was_short: bool,
    held: f64,
    /// Seconds in which `without` was used up, and the same times `without`.
    short: f64,
    short_of: f64,
}

impl Ready {
    /// From now on, with `amount` where `without` is there otherwise.
    pub(super) fn new(amount: f64, without: f64) -> Self {
        Self {
            amount,
            without,
            growths: 0,
            was_short: false,
            held: 0.0,
            short: 0.0,
            short_of: 0.0,
        }
    }

    /// Takes in a look that covers so many seconds.
    pub(super) fn look(&mut self, look: &Look, seconds: f64) {
        self.held += (self.amount - self.without).max(0.0) * seconds;
        let is_short = look.used >= SATURATED * self.without && self.without < self.amount;
        if is_short {
            self.short += seconds;
            self.short_of += self.without * seconds;
        }
        let grows = is_short && self.was_short;
        self.was_short = is_short && !grows;
        if grows {
            self.without = (self.without * growth(look.resource)).min(self.amount);
            self.growths += 1;
        }
    }

    /// What it was worth, in changes, where what came needed `level`; nothing of that where it did not come.
    pub(super) fn worth(&self, level: Option<f64>, look: &Look) -> f64 {
        let prices = look.prices();
        let change = prices.change_seconds();
        let worth = match level {
            Some(level) => {
                let missed = level.min(self.amount) * self.short - self.short_of;
                let growths = f64::from(self.growths.max(1)) - 1.0;
                prices.unmet * missed.max(0.0) + growths * change - self.held
            }
            None => -2.0 * change - self.held,
        };
        (worth / change).clamp(-MOST_WORTH, MOST_WORTH)
    }
}
