//! The default: where a clairvoyant would be by now.
//!
//! For each size, a ledger keeps the least that the past could have cost and end in that size: holding costs, missing
//! costs more, changing costs once. The policy stays while its own size is as good as any, and moves once another one
//! would have been cheaper by a whole change. So a core is added when missing it has cost as much as a change, and
//! given back when holding it has, and neither needs a threshold or a window. How much a change is worth depends on
//! the load: who follows bursts that end before the answer is there pays twice. Several ledgers with rising prices of a
//! change are therefore kept, each with the course that it would have taken, a tick late as in truth; the one whose
//! course was cheapest lately is followed.
//!
//! Usage at the allocation says that the need is larger, not how large: twice is booked, and twice that again while an
//! answer is awaited. Memory has one ledger and is
//! given back with more care, see [`Rest`].

mod ledger;
mod rest;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::Reason;
use crate::decide::gates::memory_margin;
use crate::domain::{Mib, Moment, Resource};

use super::{Observation, Policy, Want, mean};
use ledger::{Ledger, Prices, Sizes};
use rest::Rest;

/// Usage of this share of the allocation is usage at the allocation. With the head-room, less of one core asks for
/// no second one; more of it is given back to no single one.
const SATURATED: f64 = 0.992;
/// Head-room over CPU usage: a core that is used up to here waits for the next one.
const HEADROOM: f64 = 1.06;
/// What is booked where all of a tick was used up: with each further tick at the same allocation, once more.
const UNKNOWN_NEED: f64 = 2.0;
/// So often at most.
const MOST_DOUBLINGS: i32 = 3;
/// What is booked where only part of a tick was used up.
const BURST: f64 = 1.3;
/// Memory is taken by touching it, which no guest does by such factors within a tick.
const MEMORY_BEYOND: f64 = 1.5;
/// The prices of a change, as multiples of the true one, between which the load decides.
const CPU_PATIENCE: &[f64] = &[1.0, 3.0, 10.0];
/// Memory moves slowly, and what was taken is missed dearly.
const MEMORY_PATIENCE: &[f64] = &[5.0];
/// Bills fade with this time constant.
const LATELY: Duration = Duration::from_secs(2 * 3600);
/// Another course is followed when it was cheaper by so many changes.
const CLEARLY: f64 = 5.0;
/// No look counts for more than this: what happened while nobody looked is not known.
const LONGEST_LOOK: Duration = Duration::from_secs(60);

/// What was learned of one resource of one VM.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Adaptive {
    looked: Option<Moment>,
    sizes: Sizes,
    courses: Vec<Course>,
    /// Which of the courses is followed.
    follows: usize,
    /// The allocation that was used up at the last look, and for how many looks in a row.
    used_up: Option<(f64, i32)>,
    /// Of memory: how long it is left alone.
    rest: Rest,
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

impl Course {
    /// Books usage and says where to go next.
    ///
    /// The first look decides at once: nobody knows for how long it has been so already.
    fn go(&mut self, sizes: &Sizes, booked: &Booked, prices: Prices, patience: f64) {
        if self.asked != self.held {
            self.held = self.asked;
            self.bill += prices.change;
        }
        let own = Prices {
            change: prices.change * patience,
            ..prices
        };
        for (need, with_headroom, seconds) in &booked.needs {
            self.bill += prices.hold(self.held, *need, *seconds);
            self.ledger.book(sizes, *with_headroom, *seconds, own);
        }
        let gain = if booked.first { 0.0 } else { own.change };
        let next = self.ledger.next(sizes, self.held, gain);
        let floor = sizes.fit(booked.floor).min(self.held);
        self.asked = next.max(floor).max(sizes.fit(booked.least));
    }
}

/// Usage of a tick, as it is booked.
struct Booked {
    /// Nothing was booked before.
    first: bool,
    /// Need, need with head-room, seconds.
    needs: Vec<(f64, f64, f64)>,
    /// Below this a course does not go down.
    floor: f64,
    /// Below this it is never.
    least: f64,
}

impl Adaptive {
    /// Begins anew if there is nothing yet or the limits have moved; says whether it does.
    fn prepare(&mut self, seen: &Observation<'_>) -> bool {
        let sizes = Sizes::new(seen.min, seen.max, seen.grain);
        let patience = patience(seen.resource);
        if self.sizes == sizes && self.courses.len() == patience.len() {
            return false;
        }
        let held = sizes.fit(seen.allocation);
        let course = |_: &f64| Course {
            ledger: Ledger::new(&sizes),
            held,
            asked: held,
            bill: 0.0,
        };
        self.courses = patience.iter().map(course).collect();
        self.follows = 0;
        self.sizes = sizes;
        true
    }

    /// The time since the last look.
    fn since_last_look(&mut self, now: Moment) -> Duration {
        let since = self
            .looked
            .map_or(Duration::ZERO, |looked| now.since(looked));
        self.looked = Some(now);
        since.min(LONGEST_LOOK)
    }

    /// Follows the course that was cheapest lately, if it was so clearly.
    fn choose(&mut self, since: Duration, prices: Prices) {
        let kept = (-since.as_secs_f64() / LATELY.as_secs_f64()).exp();
        self.courses
            .iter_mut()
            .for_each(|course| course.bill *= kept);
        let bill = |index: usize| self.courses.get(index).map_or(f64::INFINITY, |c| c.bill);
        let mut best = self.follows;
        for index in 0..self.courses.len() {
            if bill(index) < bill(best) {
                best = index;
            }
        }
        if bill(best) + CLEARLY * prices.change < bill(self.follows) {
            self.follows = best;
        }
    }

    /// The usage of a tick as need.
    fn book(&mut self, seen: &Observation<'_>, since: Duration, first: bool) -> Booked {
        let most = seen.max.max(0.0);
        let used_up = |value: f64| seen.short || value >= SATURATED * seen.allocation;
        let all = seen.usage.iter().all(|sample| used_up(sample.value));
        self.used_up = match self.used_up {
            _ if !all => None,
            Some((held, looks)) if held == seen.allocation => {
                Some((held, (looks + 1).min(MOST_DOUBLINGS)))
            }
            _ => Some((seen.allocation, 1)),
        };
        let beyond = match (seen.resource, self.used_up) {
            (Resource::Memory, _) => MEMORY_BEYOND,
            (Resource::Cpu, None) => BURST,
            (Resource::Cpu, Some((_, looks))) => UNKNOWN_NEED.powi(looks),
        };
        let mut needs = Vec::with_capacity(seen.usage.len());
        let mut least: f64 = 0.0;
        for sample in seen.usage {
            let value = within(sample.value, most);
            let (need, with_headroom) = match seen.resource {
                _ if used_up(sample.value) => {
                    let beyond = (value.max(seen.allocation) * beyond).min(most);
                    (beyond, beyond)
                }
                Resource::Cpu => (value, value * HEADROOM),
                Resource::Memory => {
                    let margin = memory_margin(Mib::from_f64(value)).as_f64();
                    (value, value + margin)
                }
            };
            let seconds = match seen.resource {
                Resource::Cpu => sample.span.min(LONGEST_LOOK),
                Resource::Memory => since,
            };
            if seen.resource == Resource::Memory {
                least = with_headroom;
            }
            needs.push((need, with_headroom, seconds.as_secs_f64()));
        }
        let floor = match seen.resource {
            Resource::Cpu => 0.0,
            Resource::Memory => {
                let need = self.sizes.fit(least);
                self.rest.take_in(seen.now, since, need, seen.allocation)
            }
        };
        Booked {
            first,
            needs,
            floor,
            least,
        }
    }
}

/// `value` between nothing and `most`; what is no number is nothing.
fn within(value: f64, most: f64) -> f64 {
    if value.is_nan() {
        0.0
    } else {
        value.clamp(0.0, most)
    }
}

fn patience(resource: Resource) -> &'static [f64] {
    match resource {
        Resource::Cpu => CPU_PATIENCE,
        Resource::Memory => MEMORY_PATIENCE,
    }
}

impl Policy for Adaptive {
    fn want(&mut self, seen: &Observation<'_>) -> Want {
        let prices = Prices::of(seen.resource);
        let first = self.prepare(seen);
        let since = self.since_last_look(seen.now);
        let booked = self.book(seen, since, first);
        for (course, patience) in self.courses.iter_mut().zip(patience(seen.resource)) {
            course.go(&self.sizes, &booked, prices, *patience);
        }
        self.choose(since, prices);
        let amount = self
            .courses
            .get(self.follows)
            .map_or(seen.allocation, |course| course.asked);
        let need = within(mean(seen.usage), seen.max.max(0.0));
        let usage = seen.resource.amount(need);
        let reason = if amount > seen.allocation {
            if need >= SATURATED * seen.allocation || seen.short {
                Reason::Saturated { usage }
            } else {
                Reason::NeedsMore { need: usage }
            }
        } else if amount < seen.allocation {
            let peak = seen.resource.amount(amount);
            Reason::CalmedDown { peak }
        } else {
            Reason::Fits
        };
        Want {
            amount,
            need,
            reason,
            stands_until: seen.now,
        }
    }
}
