//! How often a VM has changed lately, and how much dearer that makes its next change.
//!
//! Each change is a command on the node and a hotplug in the guest, whose price in core-seconds is only part of what an
//! admin minds. Up to 40 a day cost what they cost. A VM that changes twice as often must gain twice as much from each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::Moment;

/// So many changes of one VM in a day bother nobody.
const UNNOTICED: f64 = 40.0;
/// Changes fade with this time constant, so that what is counted is changes per day.
const DAY: Duration = Duration::from_secs(86_400);

/// The changes of the last day, the older the less they count.
///
/// They are counted anew at each change: in between the price stays what it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Pace {
    changes: f64,
    /// The last one, and what was held since.
    last: Option<(Moment, f64)>,
}

impl Pace {
    /// Takes in what is held at `now`.
    pub(super) fn take_in(&mut self, now: Moment, held: f64) {
        match self.last {
            None => self.last = Some((now, held)),
            Some((at, before)) if before != held => {
                let faded = (-now.since(at).as_secs_f64() / DAY.as_secs_f64()).exp();
                self.changes = self.changes * faded + 1.0;
                self.last = Some((now, held));
            }
            Some(_) => {}
        }
    }

    /// What was held at the last look; nothing before the first one.
    pub(super) fn held(&self) -> f64 {
        self.last.map_or(f64::INFINITY, |(_, held)| held)
    }

    /// By how much the next change is dearer than its price; 1 where few were made.
    pub(super) fn dearer(&self) -> f64 {
        (self.changes / UNNOTICED).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change every so many minutes for two days.
    fn changing_every(minutes: i64) -> Pace {
        let mut pace = Pace::default();
        for change in 0..2 * 24 * 60 / minutes {
            let now = Moment::from_millis(change * minutes * 60_000);
            pace.take_in(now, if change % 2 == 0 { 2.0 } else { 4.0 });
        }
        pace
    }

    #[test]
    fn up_to_forty_changes_a_day_cost_what_they_cost() {
        assert_eq!(Pace::default().dearer(), 1.0);
        assert_eq!(changing_every(36).dearer(), 1.0);
    }

    #[test]
    fn more_changes_make_each_dearer() {
        let (often, very_often) = (changing_every(18).dearer(), changing_every(6).dearer());
        // 80 and 240 a day, of which two days have seen 1 - e^-2.
        assert!((1.6..2.0).contains(&often), "{often}");
        assert!((4.9..6.0).contains(&very_often), "{very_often}");
    }

    #[test]
    fn after_a_calm_day_the_first_change_is_counted_almost_anew() {
        let mut pace = changing_every(6);
        pace.take_in(Moment::from_millis(5 * 86_400_000), 9.0);
        let dearer = pace.dearer();
        assert!(dearer < 1.1, "{dearer}");
    }

    #[test]
    fn what_stays_is_no_change() {
        let mut pace = Pace::default();
        for second in 0..10_000 {
            pace.take_in(Moment::from_millis(second * 1000), 4.0);
        }
        assert_eq!(
            pace,
            Pace {
                changes: 0.0,
                last: Some((Moment::from_millis(0), 4.0))
            }
        );
    }

    #[test]
    fn a_clock_that_was_set_back_loses_nothing() {
        let mut pace = changing_every(6);
        let before = pace.dearer();
        pace.take_in(Moment::from_millis(0), 8.0);
        assert!(pace.dearer() > before && pace.dearer() < before + 0.1);
    }
}
