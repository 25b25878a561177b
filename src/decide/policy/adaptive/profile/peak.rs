//! One peak: when it comes, how much it takes, on which days, and whether it has paid to be ready for it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::config::Days;
use crate::decide::KnownPeak;
use crate::decide::policy::adaptive::{about, usual};
use crate::domain::{Moment, Resource};

use super::ready::{MOST_WORTH, Ready};
use super::{Ahead, Look};

const DAY: i64 = 86_400;
/// Monday to Friday, as bits; the others are the weekend.
const WORKING_DAYS: u8 = 0b001_1111;
/// What comes so near to the time, in seconds, is the same peak.
const NEAR: i64 = 600;
/// A peak comes once a day: within this time it is not waited for again, also where a clock is put back.
const ONCE: Duration = Duration::from_secs(6 * 3600);
/// So many days it must have been seen before it is followed.
const SEEN: u8 = 3;
/// It is not followed any more once it was missed so many times in a row.
const MISSED: u8 = 2;
/// What following it must have been worth lately, in changes.
const WORTH: f64 = 1.0;
/// The last time counts so much in what it was worth lately.
const LATELY: f64 = 0.4;
/// Time and spread follow what is seen by this much.
const FOLLOWS: f64 = 0.3;
/// The level follows a larger one faster than a smaller one.
const FOLLOWS_UP: f64 = 0.5;
const FOLLOWS_DOWN: f64 = 0.25;
/// A peak that has not come so many seconds after the latest usual time does not.
const LATE: i64 = 30;
/// What was given stays so long once the peak is there, until the policy has seen enough of it.
const TAKES_OVER: Duration = Duration::from_secs(60);

/// How many seconds before its earliest usual time a peak is made ready for: what it takes to give more. Memory takes
/// longer, and is cheaper to hold, against its price when missed.
fn lead(resource: Resource) -> i64 {
    match resource {
        Resource::Cpu => 30,
        Resource::Memory => 90,
    }
}

/// A peak.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Peak {
    /// The second of the day at which it comes, and by how many seconds it usually differs.
    at: i64,
    spread: i64,
    /// What it needs.
    level: f64,
    /// What it is worth to follow it, lately, in changes.
    gain: f64,
    /// On how many days it was seen, and how often in a row it was missed since.
    seen: u8,
    missed: u8,
    /// The days of the week on which it came the last time, and those on which it did not. Monday is the first bit.
    came: u8,
    away: u8,
    /// When it came, or was missed, the last time.
    last: Moment,
    today: Option<Today>,
}

/// A peak that may come at any moment.
#[derive(Debug, Clone, PartialEq)]
struct Today {
    /// As a bit.
    day: u8,
    expected: bool,
    follows: bool,
    /// When the need began to rise.
    comes: Option<Moment>,
    /// It was there already: whether it would have come cannot be told.
    is_there: bool,
    ready: Option<Ready>,
}

impl Peak {
    /// A peak that came for the first time at this second of the week.
    pub(super) fn new(second: u32, level: f64, now: Moment) -> Self {
        let second = i64::from(second);
        Self {
            at: second % DAY,
            spread: 0,
            level: rounded(level),
            gain: 0.0,
            seen: 1,
            missed: 0,
            came: bit(second),
            away: 0,
            last: now,
            today: None,
        }
    }

    /// How many seconds after its time this second of the week is; negative before it.
    pub(super) fn offset(&self, second: u32) -> i64 {
        (i64::from(second) - self.at + DAY / 2).rem_euclid(DAY) - DAY / 2
    }

    fn early(&self, resource: Resource) -> i64 {
        lead(resource) + 2 * self.spread
    }

    fn late(&self) -> i64 {
        LATE + 2 * self.spread
    }

    /// Whether it comes on any day at all.
    pub(super) fn comes(&self) -> bool {
        self.came != 0
    }

    /// Whether it may come at any moment, and has not.
    pub(super) fn waits(&self) -> bool {
        self.today.as_ref().is_some_and(|t| t.comes.is_none())
    }

    /// What an admin is told of it; nothing yet of what was not seen often enough.
    pub(super) fn told(&self, resource: Resource) -> Option<KnownPeak> {
        (self.seen >= SEEN).then(|| KnownPeak {
            at: about(u32::try_from(self.at).unwrap_or(0)),
            days: Days::from_bits(self.came).to_string(),
            needs: usual(resource, self.level),
            followed: self.pays(),
        })
    }

    /// Whether today's is not over yet.
    pub(super) fn is_open(&self) -> bool {
        self.today.is_some()
    }

    /// Whether what rose at `since` was this.
    pub(super) fn came_at(&self, since: Moment) -> bool {
        let today = self.today.as_ref();
        today.is_some_and(|t| t.comes == Some(since))
    }

    /// For its place among others: what it has been worth, and how large it is.
    pub(super) fn worth(&self) -> f64 {
        // A gain is a hundredth of a change at least; a level alone is less.
        self.gain + 0.01 * (self.level / (1.0 + self.level))
    }

    /// Nobody looked: whether it came is not known.
    pub(super) fn forget_today(&mut self) {
        self.today = None;
    }

    /// The need has risen since then, at its time.
    pub(super) fn came_since(&mut self, since: Moment) {
        if let Some(today) = &mut self.today {
            today.comes = Some(since);
        }
    }

    /// What seemed to be it was not.
    pub(super) fn false_alarm(&mut self) {
        if let Some(today) = &mut self.today {
            today.comes = None;
        }
    }

    /// Takes in a look that covers so many seconds.
    pub(super) fn look(&mut self, look: &Look, seconds: f64) {
        let offset = self.offset(look.second);
        if self.waits() && offset.abs() > NEAR {
            self.stayed_away(look);
        }
        // What is noted of the future was written by a clock that was wrong.
        let is_over = look.now.since(self.last) > ONCE || self.last > look.now;
        if self.today.is_none() && offset.abs() <= NEAR && is_over {
            let day = bit(i64::from(look.second) - offset);
            let expected = self.is_expected(day);
            self.today = Some(Today {
                day,
                expected,
                follows: expected && self.pays(),
                comes: None,
                is_there: false,
                ready: None,
            });
        }
        let amount = look.fit(self.level);
        let is_time = self.is_time(look);
        let Some(today) = &mut self.today else {
            return;
        };
        today.is_there |= today.comes.is_none() && look.wish >= amount;
        match &mut today.ready {
            Some(ready) if is_time => ready.look(look, seconds),
            None if is_time && today.comes.is_none() && look.wish < amount => {
                today.ready = Some(Ready::new(amount, look.wish));
            }
            _ => {}
        }
    }

    /// Whether it is time to be ready for it.
    fn is_time(&self, look: &Look) -> bool {
        let offset = self.offset(look.second);
        match &self.today {
            Some(today) if today.expected => match today.comes {
                Some(since) => look.now.since(since) <= TAKES_OVER,
                None => offset >= -self.early(look.resource) && offset <= self.late(),
            },
            _ => false,
        }
    }

    /// What is to be given for it now.
    pub(super) fn due(&self, look: &Look) -> Option<Ahead> {
        let today = self.today.as_ref().filter(|today| today.follows)?;
        today.ready.as_ref().filter(|_| self.is_time(look))?;
        Some(Ahead {
            amount: look.fit(self.level),
            expected: self.level,
            at: u32::try_from(self.at).unwrap_or(0),
        })
    }

    /// In how many seconds it matters the next time.
    pub(super) fn next(&self, look: &Look) -> f64 {
        if self.is_time(look) {
            return 0.0;
        }
        let before = -self.early(look.resource) - self.offset(look.second);
        before.rem_euclid(DAY) as f64
    }

    /// Whether following it has paid.
    fn pays(&self) -> bool {
        self.seen >= SEEN && self.missed < MISSED && self.gain >= WORTH
    }

    /// Whether it comes on this day of the week. A day of which nothing is known is like the others of its kind.
    fn is_expected(&self, day: u8) -> bool {
        let kind = if day & WORKING_DAYS != 0 {
            WORKING_DAYS
        } else {
            !WORKING_DAYS
        };
        self.came & day != 0 || (self.away & day == 0 && self.came & kind != 0)
    }

    /// It came: at this second of the week, and needs `level`.
    pub(super) fn came(&mut self, second: u32, level: f64, look: &Look) {
        let Some(today) = self.today.take() else {
            return;
        };
        if let Some(ready) = &today.ready {
            self.learn_worth(ready.worth(Some(level), look));
        }
        let follows = FOLLOWS.max(1.0 / (f64::from(self.seen) + 1.0));
        let offset = self.offset(second) as f64;
        let spread = self.spread as f64;
        self.spread = (spread + follows * (offset.abs() - spread)).round() as i64;
        // With the longest lead, still near.
        self.spread = self.spread.min((NEAR - lead(Resource::Memory)) / 2);
        self.at = (self.at + (offset * follows).round() as i64).rem_euclid(DAY);
        let follows = if level > self.level {
            FOLLOWS_UP
        } else {
            FOLLOWS_DOWN
        };
        self.level = rounded(self.level + (level - self.level) * follows);
        self.seen = self.seen.saturating_add(1);
        self.missed = 0;
        self.came |= today.day;
        self.away &= !today.day;
        self.last = look.now;
    }

    fn stayed_away(&mut self, look: &Look) {
        let Some(today) = self.today.take() else {
            return;
        };
        self.last = look.now;
        if today.is_there {
            return;
        }
        self.came &= !today.day;
        self.away |= today.day;
        if today.expected {
            self.missed = self.missed.saturating_add(1);
        }
        if let Some(ready) = &today.ready {
            self.learn_worth(ready.worth(None, look));
        }
    }

    fn learn_worth(&mut self, worth: f64) {
        self.gain += (worth - self.gain) * LATELY;
        self.gain = (self.gain * 100.0).round() / 100.0;
    }

    /// As it is stored: numbers in the order of the fields, the last one in minutes since 1970.
    pub(super) fn stored(&self) -> Value {
        let last = self.last.as_millis() / 60_000;
        json!([
            self.at,
            self.spread,
            self.level,
            self.gain,
            self.seen,
            self.missed,
            self.came,
            self.away,
            last
        ])
    }

    /// What [`Self::stored`] has written; `None` if that makes no sense.
    pub(super) fn restored(stored: &Value) -> Option<Self> {
        type Fields = (i64, i64, f64, f64, u8, u8, u8, u8, i64);
        let (at, spread, level, gain, seen, missed, came, away, last): Fields =
            serde_json::from_value(stored.clone()).ok()?;
        let makes_sense = (0..DAY).contains(&at)
            && (0..=NEAR / 2).contains(&spread)
            && (0.0..1e12).contains(&level)
            && gain.abs() <= MOST_WORTH;
        makes_sense.then(|| Self {
            at,
            spread,
            level,
            gain,
            seen,
            missed,
            came,
            away,
            last: Moment::from_millis(last.saturating_mul(60_000)),
            today: None,
        })
    }
}

/// The day of the week of a second of the week, as a bit.
fn bit(second: i64) -> u8 {
    1 << second.div_euclid(DAY).rem_euclid(7)
}

/// To so many digits that what is stored stays short: hundredths of a core, mebibytes.
fn rounded(level: f64) -> f64 {
    if level < 100.0 {
        (level * 100.0).round() / 100.0
    } else {
        level.round()
    }
}
