//! How long memory is left to a guest that does not use it.
//!
//! What was needed within the rest stays. The rest begins at ten minutes. Each time that memory is wanted back soon after
//! it was taken, the rest grows threefold; it comes back down over weeks.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::Moment;

/// The shortest rest.
const SHORTEST: Duration = Duration::from_secs(600);
/// The longest: a daily peak is kept from day to day.
const LONGEST: Duration = Duration::from_secs(26 * 3600);
/// What is wanted back within this time should have stayed.
const TOO_SOON: Duration = Duration::from_secs(900);
/// By how much the rest grows then.
const GROWTH: f64 = 3.0;
/// The time constant with which it shrinks.
const FORGETS: Duration = Duration::from_secs(7 * 86_400);

/// What was needed when, and how long it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Rest {
    /// Peaks that no later need has reached, so that they fall; told apart in steps, so that they are few.
    peaks: VecDeque<(Moment, f64)>,
    /// How long they count, in seconds.
    seconds: f64,
    /// The largest size that was held before the last shrinks, and when the last one was.
    taken: Option<(Moment, f64)>,
    /// The size that was held at the last look.
    held: f64,
}

impl Default for Rest {
    fn default() -> Self {
        Self {
            peaks: VecDeque::new(),
            seconds: SHORTEST.as_secs_f64(),
            taken: None,
            held: 0.0,
        }
    }
}

impl Rest {
    /// Takes in that `need` (in whole steps) is wanted while `held` is there, `since` the last look; returns the
    /// largest need that still counts.
    pub(super) fn take_in(&mut self, now: Moment, since: Duration, need: f64, held: f64) -> f64 {
        let shortest = SHORTEST.as_secs_f64();
        let kept = (-since.as_secs_f64() / FORGETS.as_secs_f64()).exp();
        self.seconds = shortest + (self.seconds - shortest).max(0.0) * kept;
        if held < self.held {
            let before = self
                .taken
                .map_or(self.held, |(_, held)| held.max(self.held));
            self.taken = Some((now, before));
        }
        self.held = held;
        self.taken = self
            .taken
            .filter(|(at, _)| *at <= now && now.since(*at) <= TOO_SOON);
        if need > held && self.taken.is_some_and(|(_, before)| need <= before) {
            self.seconds = (self.seconds * GROWTH).min(LONGEST.as_secs_f64());
            self.taken = None;
        }
        // Peaks from the future were written by a clock that has been set back.
        while self
            .peaks
            .back()
            .is_some_and(|(at, peak)| *peak <= need || *at > now)
        {
            self.peaks.pop_back();
        }
        self.peaks.push_back((now, need));
        while self
            .peaks
            .front()
            .is_some_and(|(at, _)| now.since(*at) > LONGEST)
        {
            self.peaks.pop_front();
        }
        let counts = Duration::from_secs_f64(self.seconds);
        self.peaks
            .iter()
            .find(|(at, _)| now.since(*at) <= counts)
            .map_or(need, |(_, peak)| *peak)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: f64 = 1024.0;

    /// Minutes of need under what is held, one look each.
    fn live(rest: &mut Rest, from: i64, minutes: i64, need: f64, held: f64) -> f64 {
        (from..from + minutes)
            .map(|minute| {
                let now = Moment::from_millis(minute * 60_000);
                rest.take_in(now, Duration::from_secs(60), need, held)
            })
            .last()
            .unwrap()
    }

    #[test]
    fn a_peak_counts_for_ten_minutes_at_first() {
        let mut rest = Rest::default();
        live(&mut rest, 0, 1, 8.0 * GIB, 16.0 * GIB);
        assert_eq!(live(&mut rest, 1, 9, 2.0 * GIB, 16.0 * GIB), 8.0 * GIB);
        assert_eq!(live(&mut rest, 10, 2, 2.0 * GIB, 16.0 * GIB), 2.0 * GIB);
    }

    #[test]
    fn who_took_too_soon_waits_longer_the_next_time() {
        let mut rest = Rest::default();
        live(&mut rest, 0, 1, 8.0 * GIB, 16.0 * GIB);
        live(&mut rest, 1, 12, 2.0 * GIB, 16.0 * GIB);
        live(&mut rest, 13, 1, 2.0 * GIB, 3.0 * GIB);
        live(&mut rest, 14, 1, 8.0 * GIB, 3.0 * GIB);
        assert_eq!(live(&mut rest, 15, 25, 2.0 * GIB, 9.0 * GIB), 8.0 * GIB);
        assert_eq!(live(&mut rest, 40, 10, 2.0 * GIB, 9.0 * GIB), 2.0 * GIB);
    }

    #[test]
    fn what_is_kept_does_not_grow_with_time() {
        let mut rest = Rest::default();
        for minute in 0..10_000 {
            let need = (1.0 + f64::from(minute % 32)) * GIB;
            live(&mut rest, i64::from(minute), 1, need, 64.0 * GIB);
        }
        assert!(rest.peaks.len() <= 32, "{}", rest.peaks.len());
    }
}
