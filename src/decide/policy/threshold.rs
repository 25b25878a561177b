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
/// What was enough for so long does for now.
const FOR_NOW: Duration = Duration::from_secs(600);
/// What was used in that time is kept in parts of this length.
const USED_PART: Duration = Duration::from_secs(30);
/// Sizes that are kept of a period, so that what is stored stays small; older ones count as not known.
const HELD_MOST: usize = 32;

/// CPU is judged by its mean since the last look, and over this time at least: what is shorter is a burst, however often
/// the agent looks.
const LOOK: Duration = Duration::from_secs(3);
/// Of the first look after a change, so much may have been measured before it: a change begins at the look before, and
/// `qm` takes 1 to 1.5 s for it.
const MIXED: Duration = Duration::from_secs(2);

/// The sizes that were right lately.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The CPU that was used lately under the present allocation, and that allocation.
    #[serde(default)]
    lately: (Vec<Sample>, f64),
    /// The parts of the window, oldest first.
    parts: VecDeque<Part>,
    /// What was held lately, oldest first: each size once, with the last time it was seen at.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    held: VecDeque<Held>,
    /// What was used in the last minutes, oldest first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    used: VecDeque<Used>,
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

/// The most that was used in a part of the last minutes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Used {
    start: Moment,
    most: f64,
}

impl Policy for Threshold {
    fn want(&mut self, seen: &Observation<'_>) -> Want {
        let Some(usage) = self.usage(seen) else {
            return Want {
                amount: seen.allocation,
                enough: seen.allocation,
                need: mean(seen.usage),
                reason: Reason::Fits,
                stands_until: seen.now,
            };
        };
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
            enough: self.for_now(seen, usage).min(amount),
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
    /// What is used: memory now, CPU in the mean. Nothing as long as too little was seen of it under what is held now;
    /// who is short is not asked to wait for that.
    fn usage(&mut self, seen: &Observation<'_>) -> Option<f64> {
        if seen.resource == Resource::Memory {
            return Some(mean(seen.usage));
        }
        let (samples, allocation) = &mut self.lately;
        samples.retain(|sample| sample.at <= seen.now && seen.now.since(sample.at) < LOOK);
        samples.extend_from_slice(seen.usage);
        if *allocation != seen.allocation {
            *allocation = seen.allocation;
            *samples = without_first(seen.usage, MIXED);
        }
        let seconds: f64 = samples.iter().map(|sample| sample.span.as_secs_f64()).sum();
        // Seconds are never quite seconds.
        let used = if seconds >= 0.9 * LOOK.as_secs_f64() {
            Some(mean(samples))
        } else {
            seen.short.then(|| mean(seen.usage))
        };
        samples.retain(|sample| seen.now.since(sample.at) < LOOK);
        used
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

    /// The size under which usage would not have been above the upper threshold in the last ten minutes; all that is held
    /// where it was not seen for so long, or is short now.
    fn for_now(&mut self, seen: &Observation<'_>, usage: f64) -> f64 {
        let now = seen.now;
        self.used
            .retain(|used| used.start <= now && now.since(used.start) < FOR_NOW + USED_PART);
        match self.used.back_mut() {
            Some(last) if now.since(last.start) < USED_PART => last.most = last.most.max(usage),
            _ => self.used.push_back(Used {
                start: now,
                most: usage,
            }),
        }
        let first = self.used.front().map(|used| now.since(used.start));
        if seen.short || first.is_none_or(|watched| watched < FOR_NOW) {
            return seen.allocation;
        }
        let most = self.used.iter().map(|used| used.most).fold(0.0, f64::max);
        (most / seen.settings.high.fraction()).max(seen.min.min(seen.max))
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

/// What is left of `samples` without so much time at their beginning.
fn without_first(samples: &[Sample], mut time: Duration) -> Vec<Sample> {
    let left = samples.iter().map(|sample| {
        let cut = time.min(sample.span);
        time -= cut;
        Sample {
            span: sample.span - cut,
            ..*sample
        }
    });
    left.filter(|sample| !sample.span.is_zero()).collect()
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
mod tests;
