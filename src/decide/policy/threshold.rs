//! The classic rule: more when usage passes `high`, less when it falls below `low`, in steps of one core or 512 MiB.
//!
//! In tiers: the further past the threshold, the more steps at a time. And with a stabilisation window, as
//! Kubernetes calls it: of all sizes that were right in the last minutes, a shrink goes to the largest.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::Reason;
use crate::domain::{Moment, Percent, Resource};

use super::{Observation, Policy, Want, mean};

/// A step of memory; of CPU it is one core. The sizes are the predecessor's.
const MEMORY_STEP_MIB: f64 = 512.0;
/// Steps up, by how much of the way from the threshold to full usage is gone. At the end of the way nobody knows how
/// much is needed: four steps take a VM from 1 to 9 cores in two changes.
const TIERS_UP: [(f64, f64); 3] = [(0.9, 4.0), (0.5, 2.0), (0.0, 1.0)];
/// Steps down, by how much of the way from the threshold to no usage at all is gone.
const TIERS_DOWN: [(f64, f64); 2] = [(0.75, 2.0), (0.0, 1.0)];
/// A shrink regards the sizes that were right in this time; it is HPA's default for scaling down.
const WINDOW: Duration = Duration::from_secs(300);
/// The window is kept in parts of this length, so that its size does not depend on how often it is fed.
const PART: Duration = Duration::from_secs(10);

/// The sizes that were right lately.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Begin and largest size of each part of the window, oldest first.
    parts: VecDeque<(Moment, f64)>,
}

impl Policy for Threshold {
    fn want(&mut self, seen: &Observation<'_>) -> Want {
        let usage = mean(seen.usage);
        let share = usage / seen.allocation.max(f64::EPSILON);
        let (high, low) = (seen.settings.high, seen.settings.low);
        let shown = Percent::from_fraction(share);
        let (right, reason) = if share > high.fraction() || seen.short {
            let reason = Reason::AboveThreshold { usage: shown, high };
            let gone = (share - high.fraction()) / (1.0 - high.fraction()).max(f64::EPSILON);
            (
                seen.allocation + step(seen.resource) * steps(&TIERS_UP, gone),
                reason,
            )
        } else if share < low.fraction() {
            let reason = Reason::BelowThreshold { usage: shown, low };
            let gone = 1.0 - share / low.fraction();
            (
                seen.allocation - step(seen.resource) * steps(&TIERS_DOWN, gone),
                reason,
            )
        } else {
            (seen.allocation, Reason::Fits)
        };
        let right = right.clamp(seen.min.min(seen.max), seen.max);
        let amount = self
            .largest(seen.now, right)
            .min(seen.allocation)
            .max(right);
        Want {
            amount,
            need: usage,
            reason: if amount == seen.allocation {
                Reason::Fits
            } else {
                reason
            },
            stands_until: seen.now,
        }
    }
}

impl Threshold {
    /// Takes in the size that is right now, and returns the largest one of the window.
    fn largest(&mut self, now: Moment, right: f64) -> f64 {
        // Parts from the future were written by a clock that has been set back.
        self.parts
            .retain(|(start, _)| *start <= now && now.since(*start) <= WINDOW);
        match self.parts.back_mut() {
            Some((start, largest)) if now.since(*start) < PART => *largest = largest.max(right),
            _ => self.parts.push_back((now, right)),
        }
        self.parts
            .iter()
            .map(|(_, largest)| *largest)
            .fold(right, f64::max)
    }
}

fn step(resource: Resource) -> f64 {
    match resource {
        Resource::Cpu => 1.0,
        Resource::Memory => MEMORY_STEP_MIB,
    }
}

/// How many steps the tiers give for so much of the way.
fn steps(tiers: &[(f64, f64)], gone: f64) -> f64 {
    tiers
        .iter()
        .find(|(from, _)| gone >= *from)
        .map_or(1.0, |(_, steps)| *steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ResourceSettings;
    use crate::decide::policy::Sample;

    const RULE: ResourceSettings = ResourceSettings {
        high: Percent::whole(80),
        low: Percent::whole(20),
    };

    fn ask(policy: &mut Threshold, second: i64, usage: f64, allocation: f64) -> f64 {
        let now = Moment::from_millis(second * 1000);
        let usage = [Sample {
            at: now,
            span: Duration::from_secs(5),
            value: usage,
        }];
        let seen = Observation {
            now,
            resource: Resource::Cpu,
            usage: &usage,
            allocation,
            short: false,
            min: 1.0,
            max: 16.0,
            grain: 1.0,
            settings: &RULE,
        };
        policy.want(&seen).amount
    }

    #[test]
    fn the_further_past_the_threshold_the_larger_the_step() {
        let mut policy = Threshold::default();
        assert_eq!(ask(&mut policy, 5, 2.0, 4.0), 4.0);
        assert_eq!(ask(&mut policy, 10, 3.3, 4.0), 5.0);
        assert_eq!(ask(&mut policy, 15, 3.7, 4.0), 6.0);
        assert_eq!(ask(&mut policy, 20, 4.0, 4.0), 8.0);
    }

    #[test]
    fn less_is_given_only_after_a_whole_window_in_which_less_was_right() {
        let mut policy = Threshold::default();
        assert_eq!(ask(&mut policy, 0, 2.0, 4.0), 4.0, "in the band");
        for second in (5..=300).step_by(5) {
            assert_eq!(ask(&mut policy, second, 0.5, 4.0), 4.0, "at {second} s");
        }
        assert_eq!(ask(&mut policy, 310, 0.5, 4.0), 3.0);
    }

    #[test]
    fn an_almost_idle_vm_comes_down_by_two() {
        let mut policy = Threshold::default();
        (0..=300).step_by(5).for_each(|second| {
            ask(&mut policy, second, 0.1, 8.0);
        });
        assert_eq!(ask(&mut policy, 305, 0.1, 8.0), 6.0);
    }

    #[test]
    fn nothing_is_wanted_beyond_the_limits() {
        let mut policy = Threshold::default();
        assert_eq!(ask(&mut policy, 5, 16.0, 16.0), 16.0);
        (10..=400).step_by(5).for_each(|second| {
            assert!(ask(&mut policy, second, 0.0, 1.0) >= 1.0);
        });
    }
}
