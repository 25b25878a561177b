//! How much memory: always what is needed and a margin, and given back seldom, as what was taken is missed dearly.
//!
//! Shortage of memory cannot be foreseen, but how much a need swings shows how far it may swing again. So a guest keeps
//! the peak of its [`Rest`], and above it half of what the need has moved within that time. It is shrunk only when
//! what it holds beyond has cost as much as some changes, and given back all of it at once if it wants some of it soon.
//!
//! While a need rises, each growth costs as much as it does to hold a reserve for a time; how much to give ahead is
//! the economic order quantity (Harris, 1913) for the rise of the last ten minutes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::gates::memory_margin;
use crate::decide::policy::{Observation, Prices};
use crate::domain::{Mib, Moment};

use super::rest::Rest;
use super::{LONGEST_LOOK, SATURATED, Verdict, later, within};

/// Usage at the allocation says that the need is larger. Memory is taken by touching it, which no guest does by larger
/// factors within a tick.
const UNKNOWN_NEED: f64 = 1.5;
/// A guest in distress that does not use all it has gets this much at a time.
const DISTRESS: f64 = 1.5;
/// So long a guest is watched before anything is taken from it for the first time, or again after nobody looked.
const WATCHED: Duration = Duration::from_secs(180);
/// What holding more than enough must have cost, in changes, before it is given back.
const PATIENCE: f64 = 5.0;
/// Less than this is not worth a shrink: the smallest module.
const LEAST_MIB: f64 = 512.0;
/// Where so small a share of what was enough for the whole rest is enough for a short one, the short one counts: a lone
/// peak of twice what else is needed, as when a program starts beside the one that it replaces, is not worth it.
const FAR_LESS: f64 = 0.45;
/// What was enough for so many seconds does for now.
const FOR_NOW: f64 = 600.0;
/// A rise is measured over this time.
const RISE_SECONDS: f64 = 600.0;

/// What was learned of a VM's memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    looked: Option<Moment>,
    /// Since when it is watched without a break.
    watched: Option<Moment>,
    rest: Rest,
    /// What holding more than enough has cost since the last change, in MiB-seconds; nothing at first, where nobody
    /// knows for how long it has been so already.
    waste: Option<f64>,
    /// What was held at the last look.
    held: f64,
    /// When it was short the last time: what it would have needed then is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    was_short: Option<Moment>,
    /// A shrink has begun: a lever may need several steps for it.
    shrinks: bool,
}

impl Memory {
    /// Takes in what is needed and says how much is wanted.
    pub(super) fn want(&mut self, seen: &Observation<'_>) -> Verdict {
        let now = seen.now;
        let most = seen.max.max(0.0);
        let value = within(seen.usage.last().map_or(0.0, |sample| sample.value), most);
        let since = self.since_last_look(now);
        let margin = memory_margin(Mib::from_f64(value)).as_f64();
        self.rest.sized(most);
        if seen.short || value >= SATURATED * seen.allocation {
            self.was_short = Some(now);
        }
        let back = self
            .rest
            .take_in(now, since, value, value + margin, seen.allocation);
        if seen.short {
            // Its need is not known, and all that it held was not enough.
            self.rest.needs_at_least(now, seen.allocation);
        }
        if seen.allocation != self.held {
            self.held = seen.allocation;
            if !self.shrinks {
                self.waste = self.waste.map(|_| 0.0);
            }
        }
        let needed = needed(seen, value, margin);
        let (amount, stands) = if needed > seen.allocation {
            self.waste = Some(0.0);
            self.shrinks = false;
            let ahead = needed + self.ahead(seen, value);
            (back.map_or(ahead, |back| back.max(ahead)), 0.0)
        } else {
            self.give_back(seen, since)
        };
        let amount = within(amount, most).max(seen.min.min(most));
        Verdict {
            amount,
            enough: self.for_now(seen).min(amount),
            need: value,
            stands_until: later(now, stands),
        }
    }

    /// The time since the last look; nothing where nobody has looked for so long that the guest is watched anew.
    fn since_last_look(&mut self, now: Moment) -> Duration {
        let since = self.looked.map(|looked| now.since(looked));
        self.looked = Some(now);
        match since.filter(|since| *since <= LONGEST_LOOK) {
            Some(since) if self.watched.is_some() => since,
            _ => {
                self.watched = Some(now);
                Duration::ZERO
            }
        }
    }

    /// What to give beyond the need while it rises.
    fn ahead(&self, seen: &Observation<'_>, value: f64) -> f64 {
        let rate = self.rest.rise(seen.now, value, RISE_SECONDS) / RISE_SECONDS;
        (2.0 * Prices::of(seen.resource).change_seconds() * rate).sqrt()
    }

    /// What to hold where more than needed is there, and for how many seconds of the same need that is the answer.
    fn give_back(&mut self, seen: &Observation<'_>, since: Duration) -> (f64, f64) {
        let now = seen.now;
        let enough = self.enough(seen);
        let excess = seen.allocation - enough;
        if excess < LEAST_MIB {
            self.waste = Some(0.0);
            self.shrinks = false;
            return (seen.allocation, self.rest.stays(now));
        }
        let limit = PATIENCE * Prices::of(seen.resource).change_seconds();
        let waste = self.waste.map_or(limit, |waste| {
            (waste + excess * since.as_secs_f64()).min(limit)
        });
        self.waste = self.waste.map(|_| waste);
        let watched = self.watched.map_or(Duration::ZERO, |from| now.since(from));
        if watched < WATCHED {
            let left = (WATCHED - watched).as_secs_f64();
            return (seen.allocation, left.min(self.rest.stays(now)));
        }
        // Rounding.
        if self.shrinks || waste >= limit * 0.9999 {
            self.shrinks = true;
            return (enough, 0.0);
        }
        let left = (limit - waste) / excess;
        (seen.allocation, left.min(self.rest.stays(now)))
    }

    /// What is enough for all that is to be expected, in whole steps of the lever.
    fn enough(&self, seen: &Observation<'_>) -> f64 {
        let soon = self.enough_within(seen, self.rest.short());
        let whole = self.enough_within(seen, self.rest.whole());
        if soon <= FAR_LESS * whole {
            soon
        } else {
            whole
        }
    }

    /// What does for now; all that is held where nobody has watched for long enough, or where that was not enough.
    fn for_now(&self, seen: &Observation<'_>) -> f64 {
        let watched = self
            .watched
            .map_or(Duration::ZERO, |from| seen.now.since(from));
        let short = self.was_short.map(|at| seen.now.since(at).as_secs_f64());
        if watched < WATCHED || short.is_some_and(|ago| ago < FOR_NOW) {
            return seen.allocation;
        }
        self.enough_within(seen, FOR_NOW)
    }

    /// What was enough within so many seconds, and for what is to be expected of that.
    fn enough_within(&self, seen: &Observation<'_>, seconds: f64) -> f64 {
        let peak = self.rest.peak(seen.now, seconds);
        let margin = memory_margin(Mib::from_f64(peak)).as_f64();
        let enough = self.rest.expected(seen.now, seconds) + margin;
        let grain = if seen.grain.is_finite() {
            seen.grain.max(1.0)
        } else {
            1.0
        };
        let most = seen.max.max(0.0);
        (((enough - seen.min) / grain).ceil() * grain + seen.min).clamp(seen.min.min(most), most)
    }
}

/// What a guest must have now.
fn needed(seen: &Observation<'_>, value: f64, margin: f64) -> f64 {
    let known = value + margin;
    if value >= SATURATED * seen.allocation {
        known.max(value.max(seen.allocation) * UNKNOWN_NEED)
    } else if seen.short {
        known.max(seen.allocation * DISTRESS)
    } else {
        known
    }
}
