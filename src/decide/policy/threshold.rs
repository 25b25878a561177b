//! The classic rule: more when usage passes `high`, less when it falls below `low`, in steps of one core or 512 MiB.
//!
//! In tiers: the further past the threshold, the more steps at a time. With a tolerance and stabilisation windows, as
//! Kubernetes calls them: of all sizes that were right in its window, a shrink goes to the largest, a growth to the
//! smallest. With its rates, too: within a period, no size goes further than a share of what it was at the start.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::Reason;
use crate::domain::{Moment, Percent, Resource};

use super::{Observation, Policy, Sample, Want, mean};

/// A step of memory; of CPU it is one core. The sizes are the predecessor's.
const MEMORY_STEP_MIB: f64 = 512.0;
/// Steps up, by how much of the way from the threshold to full usage is gone. At the end of the way nobody knows how
/// much is needed: four steps take a VM from 1 to 9 cores in two changes.
const TIERS_UP: [(f64, f64); 3] = [(0.9, 4.0), (0.5, 2.0), (0.0, 1.0)];
/// Steps down, by how much of the way from the threshold to no usage at all is gone.
const TIERS_DOWN: [(f64, f64); 2] = [(0.75, 2.0), (0.0, 1.0)];
/// The windows are kept in parts of this length or of a thirtieth of the longer one, so that what is stored stays small
/// and does not depend on how often it is fed.
const PART: Duration = Duration::from_secs(10);
/// Sizes that are kept of a period, so that what is stored stays small; older ones count as not known.
const HELD_MOST: usize = 32;

/// CPU is judged by its mean since the last look, and over this time at least: what is shorter is a burst, however often
/// the agent looks.
const LOOK: Duration = Duration::from_secs(3);

/// The sizes that were right lately.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The CPU that was used lately under the present allocation, and that allocation.
    #[serde(skip)]
    lately: (Vec<Sample>, f64),
    /// The parts of the window, oldest first.
    parts: VecDeque<Part>,
    /// What was held lately, oldest first: each size once, with the last time it was seen at.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    held: VecDeque<Held>,
}

/// A size that a VM had.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Held {
    until: Moment,
    size: f64,
}

/// The sizes that were right in a part of the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Part {
    start: Moment,
    least: f64,
    most: f64,
}

impl Policy for Threshold {
    fn want(&mut self, seen: &Observation<'_>) -> Want {
        let usage = self.usage(seen);
        let share = usage / seen.allocation.max(f64::EPSILON);
        let (high, low) = (seen.settings.high, seen.settings.low);
        let shown = Percent::from_fraction(share);
        let tolerance = seen.settings.steady.tolerance.fraction();
        let (right, reason) = if share > high.fraction() * (1.0 + tolerance) || seen.short {
            let reason = Reason::AboveThreshold { usage: shown, high };
            let gone = (share - high.fraction()) / (1.0 - high.fraction()).max(f64::EPSILON);
            (
                seen.allocation + step(seen.resource) * steps(&TIERS_UP, gone),
                reason,
            )
        } else if share < low.fraction() * (1.0 - tolerance) {
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
        let (least, most) = self.take_in(seen, right);
        let before = self.at_start_of_period(seen);
        let amount = match right > seen.allocation {
            // Who is short waits for no window, and for memory not at all.
            true if seen.short && seen.resource == Resource::Memory => right,
            true if seen.short => at_most_up(seen, before, right),
            true => at_most_up(seen, before, least).max(seen.allocation),
            false => at_most_down(seen, before, most).min(seen.allocation),
        };
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
    /// What is used: memory now, CPU in the mean.
    fn usage(&mut self, seen: &Observation<'_>) -> f64 {
        if seen.resource == Resource::Memory {
            return mean(seen.usage);
        }
        let (samples, allocation) = &mut self.lately;
        if *allocation != seen.allocation {
            samples.clear();
        }
        *allocation = seen.allocation;
        samples.retain(|sample| sample.at <= seen.now && seen.now.since(sample.at) < LOOK);
        samples.extend_from_slice(seen.usage);
        mean(samples)
    }

    /// Takes in the size that is right now. Returns the least one of the window for growing, and the largest one of the
    /// window for shrinking.
    fn take_in(&mut self, seen: &Observation<'_>, right: f64) -> (f64, f64) {
        let (now, steady) = (seen.now, &seen.settings.steady);
        let longest = steady.up.max(steady.down);
        // Parts from the future were written by a clock that has been set back.
        self.parts
            .retain(|part| part.start <= now && now.since(part.start) <= longest);
        match self.parts.back_mut() {
            Some(part) if now.since(part.start) < PART.max(longest / 30) => {
                part.least = part.least.min(right);
                part.most = part.most.max(right);
            }
            _ => self.parts.push_back(Part {
                start: now,
                least: right,
                most: right,
            }),
        }
        let within = |span: Duration| {
            let parts = self.parts.iter();
            parts.filter(move |part| now.since(part.start) <= span)
        };
        // A window without length regards this moment alone.
        let least = match steady.up {
            Duration::ZERO => right,
            up => within(up).fold(right, |least, part| least.min(part.least)),
        };
        let most = match steady.down {
            Duration::ZERO => right,
            down => within(down).fold(right, |most, part| most.max(part.most)),
        };
        (least, most)
    }

    /// What the VM had when the period of the rates began, or as far back as is known.
    fn at_start_of_period(&mut self, seen: &Observation<'_>) -> f64 {
        let rate = seen.settings.steady.rate;
        let (now, size) = (seen.now, seen.allocation);
        if rate.up.is_none() && rate.down.is_none() {
            self.held.clear();
            return size;
        }
        self.held
            .retain(|held| held.until <= now && now.since(held.until) <= rate.period);
        match self.held.back_mut() {
            Some(last) if last.size == size => last.until = now,
            _ => self.held.push_back(Held { until: now, size }),
        }
        if self.held.len() > HELD_MOST {
            self.held.pop_front();
        }
        self.held.front().map_or(size, |first| first.size)
    }
}

/// `right`, or as far as the rate lets a VM grow that had `before` at the start of the period: a step at least.
fn at_most_up(seen: &Observation<'_>, before: f64, right: f64) -> f64 {
    let Some(share) = seen.settings.steady.rate.up else {
        return right;
    };
    let way = way(seen.resource, before, share);
    right.min((before + way).max(seen.allocation))
}

/// `right`, or as far as the rate lets a VM shrink that had `before` at the start of the period: a step at least.
fn at_most_down(seen: &Observation<'_>, before: f64, right: f64) -> f64 {
    let Some(share) = seen.settings.steady.rate.down else {
        return right;
    };
    let way = way(seen.resource, before, share);
    right.max((before - way).min(seen.allocation))
}

/// How far a rate of this share lets a size go from `before`, in whole steps.
fn way(resource: Resource, before: f64, share: Percent) -> f64 {
    let step = step(resource);
    (before * share.fraction() / step).ceil().max(1.0) * step
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
    use crate::config::{Rate, ResourceSettings, Steady};

    const RULE: ResourceSettings = ResourceSettings::new(Percent::whole(80), Percent::whole(20));

    fn ask(policy: &mut Threshold, second: i64, usage: f64, allocation: f64) -> f64 {
        ask_with(policy, &RULE, second, usage, allocation)
    }

    fn ask_with(
        policy: &mut Threshold,
        settings: &ResourceSettings,
        second: i64,
        usage: f64,
        allocation: f64,
    ) -> f64 {
        look(policy, settings, second, 5, usage, allocation)
    }

    /// A look at so many seconds of usage.
    fn look(
        policy: &mut Threshold,
        settings: &ResourceSettings,
        second: i64,
        seconds: u64,
        usage: f64,
        allocation: f64,
    ) -> f64 {
        let now = Moment::from_millis(second * 1000);
        let usage = [Sample {
            at: now,
            span: Duration::from_secs(seconds),
            value: usage,
        }];
        seen_by(policy, settings, now, &usage, allocation)
    }

    fn seen_by(
        policy: &mut Threshold,
        settings: &ResourceSettings,
        now: Moment,
        usage: &[Sample],
        allocation: f64,
    ) -> f64 {
        let seen = Observation {
            now,
            second_of_week: 0,
            resource: Resource::Cpu,
            usage,
            allocation,
            short: false,
            min: 1.0,
            max: 16.0,
            grain: 1.0,
            settings,
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
    fn a_burst_of_a_second_is_no_reason_to_grow() {
        let mut policy = Threshold::default();
        let mut rule = RULE;
        rule.steady.down = Duration::ZERO;
        for (second, usage, wanted) in [(1, 2.0, 4.0), (2, 2.0, 4.0), (3, 4.0, 4.0), (4, 2.0, 4.0)]
        {
            assert_eq!(look(&mut policy, &rule, second, 1, usage, 4.0), wanted);
        }
        // Two seconds of the last three are no burst.
        assert_eq!(look(&mut policy, &rule, 5, 1, 4.0, 4.0), 5.0);
    }

    #[test]
    fn who_looks_seldom_judges_by_all_that_was_used_since() {
        let mut policy = Threshold::default();
        let now = Moment::from_millis(60_000);
        let usage: Vec<Sample> = (0..60)
            .map(|before| Sample {
                at: now - Duration::from_secs(before),
                span: Duration::from_secs(1),
                value: if before < 3 { 4.0 } else { 2.0 },
            })
            .rev()
            .collect();
        assert_eq!(seen_by(&mut policy, &RULE, now, &usage, 4.0), 4.0);
    }

    #[test]
    fn what_was_used_under_another_size_says_nothing_of_this_one() {
        let mut policy = Threshold::default();
        assert_eq!(look(&mut policy, &RULE, 1, 1, 1.0, 1.0), 5.0);
        assert_eq!(look(&mut policy, &RULE, 2, 1, 5.0, 5.0), 9.0);
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

    fn steady(tolerance: u32, up: u64, down: u64) -> ResourceSettings {
        ResourceSettings {
            steady: Steady {
                tolerance: Percent::whole(tolerance),
                up: Duration::from_secs(up),
                down: Duration::from_secs(down),
                ..RULE.steady
            },
            ..RULE
        }
    }

    /// Without windows, at most `up` and `down` percent a minute.
    fn paced(up: Option<u32>, down: Option<u32>) -> ResourceSettings {
        let mut settings = steady(0, 0, 0);
        settings.steady.rate = Rate {
            up: up.map(Percent::whole),
            down: down.map(Percent::whole),
            period: Duration::from_secs(60),
        };
        settings
    }

    #[test]
    fn a_size_goes_no_further_in_a_minute_than_its_rate_allows() {
        // Seconds, usage, what the VM has, what is wanted.
        let table = [
            (0, 4.0, 4.0, 6.0),
            (5, 6.0, 6.0, 6.0),
            (55, 6.0, 6.0, 6.0),
            (66, 6.0, 6.0, 9.0),
            (200, 0.1, 8.0, 6.0),
            (205, 0.1, 6.0, 6.0),
            (262, 0.1, 6.0, 4.0),
        ];
        let (settings, mut policy) = (paced(Some(50), Some(25)), Threshold::default());
        for (second, usage, has, expected) in table {
            let wants = ask_with(&mut policy, &settings, second, usage, has);
            assert_eq!(wants, expected, "at {second} s");
        }
    }

    #[test]
    fn the_smallest_rate_is_a_step_a_period() {
        let (settings, mut policy) = (paced(Some(1), Some(1)), Threshold::default());
        assert_eq!(ask_with(&mut policy, &settings, 0, 2.0, 2.0), 3.0);
        assert_eq!(ask_with(&mut policy, &settings, 5, 3.0, 3.0), 3.0);
        assert_eq!(ask_with(&mut policy, &settings, 70, 0.1, 3.0), 2.0);
    }

    #[test]
    fn what_was_held_within_a_period_does_not_grow_with_the_changes() {
        let (mut settings, mut policy) = (paced(Some(100), None), Threshold::default());
        settings.steady.rate.period = Duration::from_secs(1800);
        for second in 0..1800 {
            let has = (1 + second % 16) as f64;
            ask_with(&mut policy, &settings, second, 0.5 * has, has);
        }
        assert!(policy.held.len() <= HELD_MOST);
    }

    #[test]
    fn usage_within_the_tolerance_of_a_threshold_moves_nothing() {
        // Of 10 cores: 80 % and 20 % are the thresholds, 88 % and 18 % the ends of what is tolerated.
        for (usage, expected) in [
            (8.1, 10.0),
            (8.7, 10.0),
            (8.9, 11.0),
            (1.9, 10.0),
            (1.7, 9.0),
        ] {
            let mut policy = Threshold::default();
            let wants = ask_with(&mut policy, &steady(10, 0, 0), 5, usage, 10.0);
            assert_eq!(wants, expected, "{usage} of 10 cores");
        }
    }

    #[test]
    fn a_growth_waits_until_more_was_right_for_its_whole_window() {
        // Seconds, usage of 4 cores, what is wanted.
        let table = [
            (0, 2.0, 4.0),
            (30, 3.3, 4.0),
            (60, 3.3, 4.0),
            (70, 3.3, 5.0),
            (80, 2.0, 4.0),
            (90, 3.3, 4.0),
        ];
        let (settings, mut policy) = (steady(0, 60, 300), Threshold::default());
        for (second, usage, expected) in table {
            let wants = ask_with(&mut policy, &settings, second, usage, 4.0);
            assert_eq!(wants, expected, "at {second} s");
        }
    }

    #[test]
    fn without_windows_both_ways_are_taken_at_once() {
        let (settings, mut policy) = (steady(0, 0, 0), Threshold::default());
        for (second, usage, expected) in [(0, 3.3, 5.0), (5, 0.7, 3.0), (10, 3.3, 5.0)] {
            let wants = ask_with(&mut policy, &settings, second, usage, 4.0);
            assert_eq!(wants, expected, "at {second} s");
        }
    }
}
