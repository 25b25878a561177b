//! How many cores: where a clairvoyant would be by now.
//!
//! For each size, a ledger keeps the least that the past could have cost and end in that size: holding costs, missing
//! costs more, changing costs once. More is given at once where more is used than is held; a core is given back once
//! holding it has cost as much as a change, and neither needs a threshold or a window.
//!
//! How much a change is worth depends on the load: who gives back at once what is wanted again in a minute pays twice.
//! Several ledgers with rising prices of a change are therefore kept, each with the course that it would have taken, a
//! tick late as in truth; the one whose course was cheapest lately is followed.
//!
//! Usage at the allocation says that the need is larger, not how large. What was typical lately above that size is booked;
//! where nothing was seen yet, twice as much, and twice that again where that was used up as well.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::policy::{Observation, Prices, mean};

use super::ledger::{Ledger, Sizes};
use super::sizes_seen::SizesSeen;
use super::{LONGEST_LOOK, SATURATED, Verdict, later, within};

/// Head-room over usage: a core that is used up to here waits for the next one.
pub(super) const HEADROOM: f64 = 1.06;
/// What is booked where all of a tick was used up and nothing larger was seen yet: with each growth that was used up as
/// well, once more.
const UNKNOWN_NEED: f64 = 2.0;
/// So often at most.
const MOST_TIMES: i32 = 3;
/// What is booked where only part of a tick was used up.
const BURST: f64 = 1.3;
/// The prices of a change, as multiples of the true one, between which the load decides.
const PATIENCE: [f64; 4] = [0.5, 1.0, 3.0, 10.0];
/// The one that is followed at first.
const FIRST: usize = 1;
/// Bills fade with this time constant.
const LATELY: Duration = Duration::from_secs(2 * 3600);
/// Another course is followed when it was cheaper by so many changes.
const CLEARLY: f64 = 5.0;

/// What was learned of a VM's CPU.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Cpu {
    sizes: Sizes,
    courses: Vec<Course>,
    /// Which of the courses is followed.
    follows: usize,
    /// The allocation that was used up at the last look, and how many in a row were, each larger than the one before.
    used_up: Option<(f64, i32)>,
    /// It has grown since, and was not yet seen whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    grown: bool,
    seen: SizesSeen,
}

/// A ledger, and what came of going by it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Course {
    ledger: Ledger,
    /// What it holds, and what it has asked for.
    held: f64,
    asked: f64,
    /// What it has cost lately.
    bill: f64,
}

/// Usage over a span, as need.
struct Need {
    /// As much as is known.
    plain: f64,
    /// With head-room.
    booked: f64,
    seconds: f64,
}

/// All that was used since the last look, as need.
struct Needs {
    spans: Vec<Need>,
    mean: f64,
}

impl Needs {
    fn new(spans: Vec<Need>) -> Self {
        let seconds: f64 = spans.iter().map(|need| need.seconds).sum();
        let sum: f64 = spans.iter().map(|need| need.plain * need.seconds).sum();
        let mean = if seconds > 0.0 { sum / seconds } else { 0.0 };
        Self { spans, mean }
    }
}

impl Course {
    fn new(sizes: &Sizes, held: f64) -> Self {
        Self {
            ledger: Ledger::new(sizes),
            held,
            asked: held,
            bill: 0.0,
        }
    }

    /// Books usage and says where to go next.
    ///
    /// The first look decides at once: nobody knows for how long it has been so already.
    fn go(&mut self, sizes: &Sizes, needs: &Needs, prices: Prices, patience: f64, first: bool) {
        let change = prices.change_seconds();
        if self.asked != self.held {
            self.held = self.asked;
            self.bill += change;
        }
        let lately = LATELY.as_secs_f64();
        for need in &needs.spans {
            let kept = (-need.seconds / lately).exp();
            self.bill =
                self.bill * kept + prices.rate(self.held, need.plain) * lately * (1.0 - kept);
            let change = change * patience;
            self.ledger
                .book(sizes, need.booked, need.seconds, prices, change);
        }
        let gain = if first { 0.0 } else { change * patience };
        self.asked = self.ledger.next(sizes, self.held, gain);
        if self.asked <= self.held {
            let enough = sizes.fit(needs.mean);
            if enough > self.held {
                self.asked = enough;
            }
        }
    }

    /// For how many seconds of the same need it stays where it is.
    fn stays(&self, sizes: &Sizes, need: &Need, prices: Prices, patience: f64) -> f64 {
        if self.asked != self.held {
            return 0.0;
        }
        let gain = prices.change_seconds() * patience;
        self.ledger
            .stays(sizes, self.held, need.booked, prices, gain)
    }
}

impl Cpu {
    /// Takes in what was used and says how much is wanted.
    pub(super) fn want(&mut self, seen: &Observation<'_>) -> Verdict {
        let prices = Prices::of(seen.resource);
        let first = self.prepare(seen);
        let settled = self.count_looks(seen);
        let needs = self.needs(seen);
        for (course, patience) in self.courses.iter_mut().zip(PATIENCE) {
            course.go(&self.sizes, &needs, prices, patience, first);
        }
        self.choose(prices);
        let course = self.courses.get(self.follows);
        let mut amount = course.map_or(seen.allocation, |course| course.asked);
        // What would have been better until now, or another course had already, is not given to who does not use it.
        let wanted = needs.spans.iter().any(|need| need.booked > seen.allocation);
        if amount > seen.allocation && !wanted {
            amount = seen.allocation.max(seen.min.min(seen.max));
        }
        let stands = if settled && !first {
            self.stands(&needs, prices)
        } else {
            0.0
        };
        Verdict {
            amount,
            need: within(mean(seen.usage), seen.max.max(0.0)),
            stands_until: later(seen.now, stands),
        }
    }

    /// Begins anew if there is nothing yet or the limits have moved; says whether it does.
    fn prepare(&mut self, seen: &Observation<'_>) -> bool {
        let sizes = Sizes::new(seen.min, seen.max, seen.grain);
        if self.sizes == sizes && self.courses.len() == PATIENCE.len() {
            return false;
        }
        let held = sizes.fit(seen.allocation);
        *self = Self {
            sizes,
            courses: PATIENCE.map(|_| Course::new(&sizes, held)).into(),
            follows: FIRST,
            used_up: None,
            grown: false,
            seen: SizesSeen::new(&sizes),
        };
        true
    }

    /// Counts the growing allocations that were used up one after the other; says whether the next look will find the
    /// same if nothing changes.
    fn count_looks(&mut self, seen: &Observation<'_>) -> bool {
        let all = seen.usage.iter().all(|sample| used_up(seen, sample.value));
        let before = self.used_up;
        let times = |times: i32| (times + 1).min(MOST_TIMES);
        (self.used_up, self.grown) = match before {
            // Part of it was measured before the last growth, and says nothing of what is held now.
            Some((held, looks)) if !all && held < seen.allocation => {
                (Some((seen.allocation, looks)), true)
            }
            _ if !all => (None, false),
            Some((held, looks))
                if held < seen.allocation || (held == seen.allocation && self.grown) =>
            {
                (Some((seen.allocation, times(looks))), false)
            }
            // While no more may be given, nothing is learned of how much more is wanted.
            Some((held, looks)) if held == seen.allocation => (Some((held, looks)), false),
            _ => (Some((seen.allocation, 1)), false),
        };
        // Below the maximum, what is typical above it may be forgotten while an answer is awaited.
        self.used_up == before && (!all || seen.allocation >= seen.max)
    }

    fn needs(&mut self, seen: &Observation<'_>) -> Needs {
        let most = seen.max.max(0.0);
        let mut known = Vec::new();
        let mut all_seconds = 0.0;
        for sample in seen.usage {
            let seconds = sample.span.min(LONGEST_LOOK).as_secs_f64();
            all_seconds += seconds;
            if !used_up(seen, sample.value) {
                known.push((within(sample.value, most) * HEADROOM, seconds));
            }
        }
        self.seen.take_in(&self.sizes, &known, all_seconds);
        let typical = self.seen.typical_above(&self.sizes, seen.allocation);
        let beyond = |value: f64| match (self.used_up, typical) {
            (None, _) => value * BURST,
            (Some(_), Some(typical)) => typical,
            (Some((_, looks)), None) => value * UNKNOWN_NEED.powi(looks),
        };
        let need = |sample: &crate::decide::policy::Sample| {
            let value = within(sample.value, most);
            let (plain, booked) = if used_up(seen, sample.value) {
                let need = within(beyond(value.max(seen.allocation)), most);
                (need, need)
            } else {
                (value, value * HEADROOM)
            };
            Need {
                plain,
                booked,
                seconds: sample.span.min(LONGEST_LOOK).as_secs_f64(),
            }
        };
        Needs::new(seen.usage.iter().map(need).collect())
    }

    /// Follows the course that was cheapest lately, if it was so clearly.
    fn choose(&mut self, prices: Prices) {
        let bill = |index: usize| self.courses.get(index).map_or(f64::INFINITY, |c| c.bill);
        let mut best = self.follows;
        for index in 0..self.courses.len() {
            if bill(index) < bill(best) {
                best = index;
            }
        }
        if bill(best) + CLEARLY * prices.change_seconds() < bill(self.follows) {
            self.follows = best;
        }
    }

    /// For how many seconds of the same usage the answer is the same.
    fn stands(&self, needs: &Needs, prices: Prices) -> f64 {
        let [need] = needs.spans.as_slice() else {
            return 0.0;
        };
        let Some(followed) = self.courses.get(self.follows) else {
            return 0.0;
        };
        let mut stands = f64::INFINITY;
        for (course, patience) in self.courses.iter().zip(PATIENCE) {
            let stays = course.stays(&self.sizes, need, prices, patience);
            stands = stands
                .min(stays)
                .min(overtaken(followed, course, need, prices));
        }
        stands
    }
}

/// After how many seconds of the same need `other` has been clearly cheaper than `followed`, if both stay as they are.
///
/// Bills approach what they would be if it had always been so.
fn overtaken(followed: &Course, other: &Course, need: &Need, prices: Prices) -> f64 {
    let lately = LATELY.as_secs_f64();
    let rate = |course: &Course| prices.rate(course.held, need.plain);
    let end = (rate(followed) - rate(other)) * lately;
    let now = followed.bill - other.bill;
    let clearly = CLEARLY * prices.change_seconds();
    if end <= clearly {
        return f64::INFINITY;
    }
    if now >= clearly {
        return 0.0;
    }
    lately * ((end - now) / (end - clearly)).ln()
}

fn used_up(seen: &Observation<'_>, value: f64) -> bool {
    seen.short || value >= SATURATED * seen.allocation
}
