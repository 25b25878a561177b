//! A rule of three lines, as the floor: what is worth more words must be better than this.
//!
//! Grow at once to the need and 10 %, to twice of what is used up; come down to the same once the waste since the last
//! change has cost as much as five changes.

use crate::decide::policy::{Observation, Policy, Prices, Want};
use crate::domain::{Moment, Resource};

use super::{last, mean, want};

const HEADROOM: f64 = 1.1;
const SATURATED: f64 = 0.99;
const CHANGES: f64 = 5.0;

/// The rule of three lines.
#[derive(Debug, Clone, Default)]
pub struct Simple {
    looked: Option<Moment>,
    held: f64,
    waste: f64,
}

impl Policy for Simple {
    fn want(&mut self, seen: &Observation<'_>) -> Want {
        let used = match seen.resource {
            Resource::Cpu => mean(seen),
            Resource::Memory => last(seen),
        };
        let looked = self.looked.replace(seen.now).unwrap_or(seen.now);
        let seconds = seen.now.since(looked).as_secs_f64();
        if seen.allocation != self.held {
            (self.held, self.waste) = (seen.allocation, 0.0);
        }
        let amount = self.decide(seen, used, seconds);
        want(amount, used, seen.now)
    }
}

impl Simple {
    fn decide(&mut self, seen: &Observation<'_>, used: f64, seconds: f64) -> f64 {
        if used >= SATURATED * seen.allocation {
            return seen.allocation * 2.0;
        }
        let steps = ((used * HEADROOM - seen.min) / seen.grain).ceil().max(0.0);
        let enough = seen.min + steps * seen.grain;
        if enough > seen.allocation {
            return enough;
        }
        let prices = Prices::of(seen.resource);
        self.waste += (seen.allocation - enough) / prices.unit * seconds / 3600.0;
        if self.waste >= CHANGES * prices.change {
            enough
        } else {
            seen.allocation
        }
    }
}
