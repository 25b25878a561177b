//! How many cores: where a clairvoyant would be by now.
//!
//! For each size, a ledger keeps the least that the past could have cost and end in that size: holding costs, missing
//! costs more, changing costs once. A size is left once staying in it has cost as much as a change, up and down alike,
//! and that needs neither a threshold nor a window.
//!
//! How much a change is worth depends on the load: who gives back at once what is wanted again in a minute pays twice,
//! and who runs after bursts of a second always comes too late. Several ledgers with rising prices of a change are
//! therefore kept, and by each of them go two courses: one that waits for the ledger, and one that grows at the first
//! look that more is wanted. Each is led as it would have been in truth, a tick late; the one that was cheapest lately is
//! followed. Who has changed often lately finds every change dearer, see [`super::pace`].
//!
//! Usage at the allocation says that the need is larger, not how large. What was typical lately above that size is booked;
//! where nothing was seen yet, twice as much, and twice that again where that was used up as well.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::policy::{Observation, Prices, mean};

use super::lasting::{LASTING, Lasting};
use super::ledger::{Ledger, Sizes};
use super::pace::Pace;
use super::sizes_seen::SizesSeen;
use super::{LONGEST_LOOK, SATURATED, Verdict, later, within};

/// Head-room over usage: a core that is used up to here waits for the next one.
pub(super) const HEADROOM: f64 = 1.06;
/// What is booked where all of a tick was used up and nothing larger was seen yet: with each growth that was used up as
/// well, once more.
const UNKNOWN_NEED: f64 = 2.0;
/// So often at most.
const MOST_TIMES: i32 = 3;
/// What is booked for a burst.
const BURST: f64 = 1.3;
/// The prices of a change, as multiples of the true one, between which the load decides.
const PATIENCE: [f64; 4] = [0.5, 1.0, 3.0, 10.0];
/// The course that is followed at first: with the true price of a change, and bursts are waited out.
const FIRST: usize = 2;
/// Bills fade with this time constant.
const LATELY: Duration = Duration::from_secs(2 * 3600);
/// Another course is followed when it was cheaper by so many changes.
const CLEARLY: f64 = 5.0;

/// What was learned of a VM's CPU.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Cpu {
    sizes: Sizes,
    #[serde(default)]
    books: Vec<Book>,
    /// Which of the courses is followed, in the order of the books.
    follows: usize,
    /// The allocation that was used up at the last look, and how many in a row were, each larger than the one before.
    used_up: Option<(f64, i32)>,
    /// It has grown since, and was not yet seen whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    grown: bool,
    #[serde(default)]
    lasting: Lasting,
    seen: SizesSeen,
    #[serde(default)]
    pace: Pace,
}

/// A ledger, and the two courses that go by it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Book {
    ledger: Ledger,
    /// Grows when the ledger says so, and not for a burst.
    waits: Course,
    /// Grows at the first look.
    at_once: Course,
}

/// What came of going by a ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Course {
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

impl Book {
    fn new(sizes: &Sizes, held: f64) -> Self {
        let course = Course {
            held,
            asked: held,
            bill: 0.0,
        };
        Self {
            ledger: Ledger::new(sizes),
            waits: course.clone(),
            at_once: course,
        }
    }

    /// Books usage, where a change costs `change`, and says where both go next.
    ///
    /// The first look decides at once: nobody knows for how long it has been so already.
    fn go(&mut self, sizes: &Sizes, needs: &Needs, prices: Prices, change: f64, first: bool) {
        self.waits.pay(needs, prices);
        self.at_once.pay(needs, prices);
        for need in &needs.spans {
            self.ledger
                .book(sizes, need.booked, need.seconds, prices, change);
        }
        let gain = if first { 0.0 } else { change };
        self.waits.asked = self.ledger.next(sizes, self.waits.held, gain);
        self.at_once.asked = self.ledger.next(sizes, self.at_once.held, gain);
        if self.at_once.asked <= self.at_once.held {
            let enough = sizes.fit(needs.mean);
            if enough > self.at_once.held {
                self.at_once.asked = enough;
            }
        }
    }

    /// For how many seconds of the same need `course` stays where it is.
    fn stays(
        &self,
        course: &Course,
        sizes: &Sizes,
        need: &Need,
        prices: Prices,
        change: f64,
    ) -> f64 {
        if course.asked != course.held {
            return 0.0;
        }
        self.ledger
            .stays(sizes, course.held, need.booked, prices, change)
    }
}

impl Course {
    /// Adds to its bill what usage has cost it.
    fn pay(&mut self, needs: &Needs, prices: Prices) {
        if self.asked != self.held {
            self.held = self.asked;
            self.bill += prices.change_seconds();
        }
        let lately = LATELY.as_secs_f64();
        for need in &needs.spans {
            let kept = (-need.seconds / lately).exp();
            self.bill =
                self.bill * kept + prices.rate(self.held, need.plain) * lately * (1.0 - kept);
        }
    }
}

impl Cpu {
    /// Takes in what was used and says how much is wanted.
    pub(super) fn want(&mut self, seen: &Observation<'_>) -> Verdict {
        let prices = Prices::of(seen.resource);
        let first = self.prepare(seen);
        let settled = self.count_looks(seen, first);
        let needs = self.needs(seen);
        self.pace.take_in(seen.now, seen.allocation, seen.changing);
        let change = prices.change_seconds() * self.pace.dearer(seen.now);
        for (book, patience) in self.books.iter_mut().zip(PATIENCE) {
            book.go(&self.sizes, &needs, prices, change * patience, first);
        }
        self.choose(prices);
        let mut amount = self
            .followed()
            .map_or(seen.allocation, |course| course.asked);
        // What would have been better until now, or another course had already, is not given to who does not use it.
        let wanted = needs.spans.iter().any(|need| need.booked > seen.allocation);
        if amount > seen.allocation && !wanted {
            amount = seen.allocation.max(seen.min.min(seen.max));
        }
        let stands = if settled && !first {
            self.stands(&needs, prices, change)
                .min(self.pace.stays(seen.now))
        } else {
            0.0
        };
        Verdict {
            amount,
            enough: self.for_now(&needs).min(amount),
            need: within(mean(seen.usage), seen.max.max(0.0)),
            stands_until: later(seen.now, stands),
        }
    }

    /// What the course holds that gives back soonest, and no less than is used now.
    fn for_now(&self, needs: &Needs) -> f64 {
        let used = needs.spans.iter().map(|need| need.booked);
        let used = self.sizes.fit(used.fold(0.0, f64::max));
        let soonest = self.books.first().map_or(0.0, |book| book.waits.asked);
        soonest.max(used)
    }

    /// Begins anew if there is nothing yet or the limits have moved; says whether it does.
    fn prepare(&mut self, seen: &Observation<'_>) -> bool {
        let sizes = Sizes::new(seen.min, seen.max, seen.grain);
        if self.sizes == sizes && self.books.len() == PATIENCE.len() {
            return false;
        }
        let held = sizes.fit(seen.allocation);
        *self = Self {
            sizes,
            books: PATIENCE.map(|_| Book::new(&sizes, held)).into(),
            follows: FIRST,
            used_up: None,
            grown: false,
            lasting: Lasting::default(),
            seen: SizesSeen::new(&sizes),
            pace: self.pace,
        };
        true
    }

    /// Counts the growing allocations that were used up one after the other; says whether the next look will find the
    /// same if nothing changes.
    fn count_looks(&mut self, seen: &Observation<'_>, first: bool) -> bool {
        let full = seen.usage.iter().all(|sample| used_up(seen, sample.value));
        let before = self.used_up;
        // Part of it was measured before the growth, and says nothing of what is held now.
        let mixed = !full && self.pace.held() < seen.allocation;
        let steady = !mixed && self.lasting.take_in(seen.now, shares(seen, first));
        let all = match self.waits() {
            true => !mixed && self.lasting.is_so(),
            false => full,
        };
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
        let answered = !full || (all && seen.allocation >= seen.max);
        steady && answered && self.used_up == before
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

    /// All courses, in the order of the books.
    fn courses(&self) -> impl Iterator<Item = &Course> {
        self.books
            .iter()
            .flat_map(|book| [&book.waits, &book.at_once])
    }

    fn followed(&self) -> Option<&Course> {
        self.courses().nth(self.follows)
    }

    /// Whether the course that is followed waits bursts out.
    fn waits(&self) -> bool {
        self.follows.is_multiple_of(2)
    }

    /// Follows the course that was cheapest lately, if it was so clearly.
    fn choose(&mut self, prices: Prices) {
        let followed = self.followed().map_or(f64::INFINITY, |course| course.bill);
        let mut best = (self.follows, followed);
        for (index, course) in self.courses().enumerate() {
            if course.bill < best.1 {
                best = (index, course.bill);
            }
        }
        if best.1 + CLEARLY * prices.change_seconds() < followed {
            self.follows = best.0;
        }
    }

    /// For how many seconds of the same usage the answer is the same, where a change costs `change`.
    fn stands(&self, needs: &Needs, prices: Prices, change: f64) -> f64 {
        let [need] = needs.spans.as_slice() else {
            return 0.0;
        };
        let Some(followed) = self.followed() else {
            return 0.0;
        };
        let mut stands = f64::INFINITY;
        for (book, patience) in self.books.iter().zip(PATIENCE) {
            for course in [&book.waits, &book.at_once] {
                let stays = book.stays(course, &self.sizes, need, prices, change * patience);
                stands = stands
                    .min(stays)
                    .min(overtaken(followed, course, need, prices));
            }
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

/// Which share of what is held was used, and for how many seconds.
fn shares(seen: &Observation<'_>, first: bool) -> impl Iterator<Item = (f64, f64)> {
    seen.usage.iter().map(move |sample| {
        // At first nobody knows for how long it has been so already.
        let span = if first { LASTING } else { sample.span };
        let share = sample.value / seen.allocation.max(f64::EPSILON);
        let share = if seen.short { share.max(1.0) } else { share };
        (share, span.as_secs_f64())
    })
}

fn used_up(seen: &Observation<'_>, value: f64) -> bool {
    seen.short || value >= SATURATED * seen.allocation
}
