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

/// The price is looked at anew so often, so that an answer stands for a while.
const STEP: Duration = Duration::from_secs(3600);

/// The changes of the last day, the older the less they count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Pace {
    /// As many as they counted at the last one.
    changes: f64,
    /// When the last one was, and what has been held since.
    settled: Option<(Moment, f64)>,
    /// What was held at the last look.
    held: Option<f64>,
}

impl Pace {
    /// Takes in what is held at `now`. What is held while a change is being carried out is on its way: vCPUs are
    /// unplugged one by one, and that is one change.
    pub(super) fn take_in(&mut self, now: Moment, held: f64, changing: bool) {
        self.held = Some(held);
        match self.settled {
            None => self.settled = Some((now, held)),
            Some((at, before)) if before != held && !changing => {
                self.changes = self.changes * fading(now.since(at)) + 1.0;
                self.settled = Some((now, held));
            }
            Some(_) => {}
        }
    }

    /// What was held at the last look; nothing before the first one.
    pub(super) fn held(&self) -> f64 {
        self.held.unwrap_or(f64::INFINITY)
    }

    /// By how much the next change is dearer than its price; 1 where few were made.
    pub(super) fn dearer(&self, now: Moment) -> f64 {
        let calm = self.calm(now).as_secs();
        let steps = Duration::from_secs(calm - calm % STEP.as_secs());
        (self.changes * fading(steps) / UNNOTICED).max(1.0)
    }

    /// For how many seconds that stays the same.
    pub(super) fn stays(&self, now: Moment) -> f64 {
        if self.dearer(now) <= 1.0 {
            return f64::INFINITY;
        }
        let calm = self.calm(now).as_secs_f64();
        STEP.as_secs_f64() - calm % STEP.as_secs_f64()
    }

    /// The time since the last change.
    fn calm(&self, now: Moment) -> Duration {
        self.settled.map_or(Duration::ZERO, |(at, _)| now.since(at))
    }
}

/// How much a change still counts after so much time.
fn fading(time: Duration) -> f64 {
    (-time.as_secs_f64() / DAY.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change every so many minutes for two days.
    fn changing_every(minutes: i64) -> Pace {
        let mut pace = Pace::default();
        for change in 0..2 * 24 * 60 / minutes {
            let now = Moment::from_millis(change * minutes * 60_000);
            pace.take_in(now, if change % 2 == 0 { 2.0 } else { 4.0 }, false);
        }
        pace
    }

    /// The end of these two days, and so many hours later.
    fn after(hours: i64) -> Moment {
        Moment::from_millis((48 + hours) * 3_600_000)
    }

    #[test]
    fn up_to_forty_changes_a_day_cost_what_they_cost() {
        assert_eq!(Pace::default().dearer(after(0)), 1.0);
        assert_eq!(changing_every(36).dearer(after(0)), 1.0);
    }

    #[test]
    fn more_changes_make_each_dearer() {
        let dearer = |minutes| changing_every(minutes).dearer(after(0));
        let (often, very_often) = (dearer(18), dearer(6));
        // 80 and 240 a day, of which two days have seen 1 - e^-2.
        assert!((1.6..2.0).contains(&often), "{often}");
        assert!((4.9..6.0).contains(&very_often), "{very_often}");
    }

    #[test]
    fn who_calms_down_finds_changes_cheap_again() {
        let pace = changing_every(6);
        let dearer = [0, 12, 24, 72].map(|hours| pace.dearer(after(hours)));
        assert!(dearer.is_sorted_by(|one, next| one > next), "{dearer:?}");
        assert_eq!(dearer[3], 1.0);
    }

    #[test]
    fn the_price_stays_for_as_long_as_it_says() {
        let pace = changing_every(6);
        for now in [after(0), after(7)] {
            let stays = Duration::from_secs_f64(pace.stays(now));
            let before = stays - Duration::from_millis(1);
            assert_eq!(pace.dearer(now), pace.dearer(now + before));
            assert!(pace.dearer(now) > pace.dearer(now + stays));
        }
        assert_eq!(pace.stays(after(72)), f64::INFINITY);
    }

    #[test]
    fn vcpus_that_go_one_by_one_are_one_change() {
        let mut pace = Pace::default();
        for (second, held) in [8.0, 8.0, 7.0, 6.0, 5.0].into_iter().enumerate() {
            pace.take_in(Moment::from_millis(second as i64 * 1000), held, second > 0);
        }
        assert_eq!((pace.changes, pace.held()), (0.0, 5.0));
        pace.take_in(Moment::from_millis(5000), 4.0, false);
        assert_eq!((pace.changes, pace.held()), (1.0, 4.0));
    }

    #[test]
    fn what_stays_is_no_change() {
        let mut pace = Pace::default();
        for second in 0..10_000 {
            pace.take_in(Moment::from_millis(second * 1000), 4.0, false);
        }
        assert_eq!(
            pace,
            Pace {
                changes: 0.0,
                settled: Some((Moment::from_millis(0), 4.0)),
                held: Some(4.0),
            }
        );
    }

    #[test]
    fn a_clock_that_was_set_back_loses_nothing() {
        let mut pace = changing_every(6);
        let (before, now) = (pace.dearer(after(0)), Moment::from_millis(0));
        pace.take_in(now, 8.0, false);
        assert!(pace.dearer(now) > before && pace.dearer(now) < before + 0.1);
    }
}
