//! Peaks that come at a time of the day: more is given shortly before them, if that has paid.
//!
//! A rise of the need that comes again at about the same time, on working days or at weekends or on one day of the week,
//! is a peak that can be told ahead. What is kept of it is when it comes, how much it takes and on which days, see
//! [`peak`]; what the rest of the policy wants is never lowered.
//!
//! Following a peak must be earned. Each time that it is due, what it costs to hold more from shortly before is booked
//! against what would have been missed without, in the same prices as all the rest; whether it is followed or not. Only
//! one that pays is followed, and one that stays away or comes at another time is not any more, until it has paid again.

mod peak;
mod ready;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::decide::KnownPeak;
use crate::decide::policy::{Observation, Prices};
use crate::domain::{Moment, Resource};

use peak::Peak;

use super::lasting::LASTING;
use super::{LONGEST_LOOK, later, with_reserve, within};

/// The version of the stored form. Another one is learned anew.
const VERSION: u64 = 1;
/// So many peaks are kept: what is stored stays about a kibibyte.
const MOST_PEAKS: usize = 20;
/// Nobody looked for longer than this: what came meanwhile is not known.
const UNWATCHED: Duration = Duration::from_secs(600);
/// While more is given to what rises, its use says little of its need.
const GROWS: Duration = Duration::from_secs(30);
/// How large a rise is shows in so much time; what rises again within it is the same rise.
const SETTLES: Duration = Duration::from_secs(300);
/// What rises by less than this factor above what is held is no peak: it is answered soon enough when it is there.
const RISE: f64 = 1.1;

/// What one look has shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    now: Moment,
    /// Of the week, by the node's clock.
    second: u32,
    resource: Resource,
    /// The mean use since the last look.
    used: f64,
    /// What is needed for it, with a reserve.
    booked: f64,
    /// What the policy wants without peaks.
    wish: f64,
    min: f64,
    max: f64,
    grain: f64,
}

impl Look {
    /// What was seen, with the mean of it and what the policy wants of it without peaks.
    pub(super) fn new(seen: &Observation<'_>, used: f64, wish: f64) -> Self {
        let max = seen.max.max(0.0);
        let used = within(used, max);
        Self {
            now: seen.now,
            second: seen.second_of_week,
            resource: seen.resource,
            used,
            booked: within(with_reserve(seen.resource, used), max),
            wish,
            min: within(seen.min, max),
            max,
            grain: seen.grain,
        }
    }

    fn prices(&self) -> Prices {
        Prices::of(self.resource)
    }

    /// The size that is enough for `need` with a reserve.
    fn fit(&self, need: f64) -> f64 {
        let amount = with_reserve(self.resource, need);
        let steps = ((amount - self.min) / self.grain - 1e-9).ceil();
        let fit = self.min + steps * self.grain;
        (if fit.is_finite() { fit } else { amount }).clamp(self.min, self.max)
    }
}

/// A peak that is due, for which more is given now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ahead {
    /// What is enough for it.
    pub(super) amount: f64,
    /// What it usually needs.
    pub(super) expected: f64,
    /// The second of the day from which on it does.
    pub(super) at: u32,
}

/// The need has outgrown what the policy wanted so far.
#[derive(Debug, Clone, PartialEq)]
struct Rise {
    since: Moment,
    second: u32,
    /// From what.
    from: f64,
    /// For how many seconds it was watched, and what was used in the mean, until it is known that it is no burst.
    watched: f64,
    used: f64,
    lasts: bool,
    /// What was used since, and the same with the weight of itself: so a peak counts, and the calm after it hardly does.
    sum: f64,
    weighted: f64,
    most: f64,
}

impl Rise {
    fn new(look: &Look, from: f64) -> Self {
        Self {
            since: look.now,
            second: look.second,
            from,
            watched: 0.0,
            used: 0.0,
            lasts: false,
            sum: 0.0,
            weighted: 0.0,
            most: 0.0,
        }
    }

    /// How large it is. Less than the largest need is enough CPU; of memory it is missed.
    fn level(&self, resource: Resource) -> f64 {
        match resource {
            Resource::Memory => self.most,
            Resource::Cpu if self.sum > 0.0 => self.weighted / self.sum,
            Resource::Cpu => 0.0,
        }
    }
}

/// The peaks that are known of one resource of a VM.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Value", into = "Value")]
pub(super) struct Profile {
    peaks: Vec<Peak>,
    rise: Option<Rise>,
    looked: Option<Moment>,
    /// What the policy wanted at the last look.
    wish: f64,
    /// What a guest had that was given more memory for a peak, until it comes.
    before: Option<f64>,
}

impl Profile {
    /// Whether there is nothing to store.
    pub(super) fn is_empty(&self) -> bool {
        self.peaks.is_empty()
    }

    /// What an admin is told: the peaks of the day, in their order.
    pub(super) fn told(&self, resource: Resource) -> Vec<KnownPeak> {
        let mut told: Vec<KnownPeak> = self.peaks.iter().filter_map(|p| p.told(resource)).collect();
        told.sort_by(|one, other| one.at.cmp(&other.at));
        told
    }

    /// The memory that a guest would have without peaks: what was given for one that has not come is not the guest's.
    pub(super) fn memory_without(&mut self, seen: &Observation<'_>, need: f64) -> f64 {
        let needed = with_reserve(Resource::Memory, need);
        self.before = self
            .before
            .filter(|before| needed <= *before && *before < seen.allocation);
        self.before.unwrap_or(seen.allocation)
    }

    /// Takes in a look. The peak for which more is to be given now, if there is one.
    pub(super) fn look(&mut self, look: &Look) -> Option<Ahead> {
        let since = self.looked.map(|looked| look.now.since(looked));
        self.looked = Some(look.now);
        let wished = std::mem::replace(&mut self.wish, look.wish);
        let Some(since) = since.filter(|since| *since < UNWATCHED) else {
            self.rise = None;
            self.peaks.iter_mut().for_each(Peak::forget_today);
            return None;
        };
        self.measure(look, since);
        for peak in &mut self.peaks {
            peak.look(look, since.min(LONGEST_LOOK).as_secs_f64());
        }
        self.peaks.retain(Peak::comes);
        if self.rise.is_none() && look.booked > wished {
            self.rise = Some(Rise::new(look, wished));
        }
        self.watch(look, since.min(LONGEST_LOOK).as_secs_f64());
        let due = self.peaks.iter().filter_map(|peak| peak.due(look));
        let ahead = due.max_by(|one, other| one.amount.total_cmp(&other.amount))?;
        if look.resource == Resource::Memory && ahead.amount > look.wish {
            self.before.get_or_insert(look.wish);
        }
        Some(ahead)
    }

    /// Asked again before this time, with the same usage, nothing is due that is not now.
    pub(super) fn stands_until(&self, look: &Look) -> Moment {
        let next = self.peaks.iter().map(|peak| peak.next(look));
        later(look.now, next.fold(f64::INFINITY, f64::min))
    }

    /// Watches whether a rise that has just begun lasts. What does not is a burst, and would hide the peak after it.
    fn watch(&mut self, look: &Look, seconds: f64) {
        let Some(rise) = self.rise.as_mut().filter(|rise| !rise.lasts) else {
            return;
        };
        let watched = rise.watched + seconds;
        rise.used += (look.used - rise.used) * (seconds / watched.max(f64::EPSILON));
        rise.watched = watched;
        // Seconds are never quite seconds. Memory has no bursts.
        if look.resource == Resource::Cpu && watched < 0.9 * LASTING.as_secs_f64() {
            return;
        }
        if with_reserve(look.resource, rise.used) <= rise.from {
            self.rise = None;
            return;
        }
        rise.lasts = true;
        let waiting = self.peaks.iter_mut().filter(|peak| peak.waits());
        if let Some(peak) = waiting.min_by_key(|peak| peak.offset(rise.second).abs()) {
            peak.came_since(rise.since);
        }
    }

    /// Measures how large a rise is, and keeps it once that is known.
    fn measure(&mut self, look: &Look, since: Duration) {
        let Some(rise) = &mut self.rise else {
            return;
        };
        let from = (rise.since + GROWS).max(look.now - since);
        let to = (rise.since + SETTLES).min(look.now);
        let seconds = to.since(from).as_secs_f64();
        rise.sum += look.used * seconds;
        rise.weighted += look.used * look.used * seconds;
        if seconds > 0.0 {
            rise.most = rise.most.max(look.used);
        }
        if look.now.since(rise.since) < SETTLES {
            return;
        }
        if let Some(rise) = self.rise.take() {
            self.keep(&rise, rise.level(look.resource), look);
        }
    }

    /// A rise to `level` is over, or what seemed one.
    fn keep(&mut self, rise: &Rise, level: f64, look: &Look) {
        let rose = with_reserve(look.resource, level) >= rise.from * RISE;
        let expected = self.peaks.iter_mut().find(|p| p.came_at(rise.since));
        match (expected, rose) {
            (Some(peak), true) => peak.came(rise.second, level, look),
            (Some(peak), false) => peak.false_alarm(),
            (None, true) => self.add(Peak::new(rise.second, level, look.now)),
            (None, false) => {}
        }
    }

    /// Adds a peak; where there are many, for the one that is worth least, if that is worth less.
    fn add(&mut self, new: Peak) {
        if self.peaks.len() < MOST_PEAKS {
            self.peaks.push(new);
            return;
        }
        let idle = self.peaks.iter_mut().filter(|peak| !peak.is_open());
        if let Some(least) = idle.min_by(|one, other| one.worth().total_cmp(&other.worth()))
            && least.worth() < new.worth()
        {
            *least = new;
        }
    }
}

impl From<Profile> for Value {
    fn from(profile: Profile) -> Self {
        let peaks: Vec<Value> = profile.peaks.iter().map(Peak::stored).collect();
        json!({"version": VERSION, "peaks": peaks})
    }
}

impl From<Value> for Profile {
    /// What is not understood is learned anew: a peak more or less is no reason to lose all else.
    fn from(stored: Value) -> Self {
        let peaks = stored.get("peaks").and_then(Value::as_array);
        let peaks = peaks.filter(|_| stored.get("version") == Some(&VERSION.into()));
        let peaks = peaks.into_iter().flatten().filter_map(Peak::restored);
        Self {
            peaks: peaks.take(MOST_PEAKS).collect(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests;
