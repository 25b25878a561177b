//! Whether all that is held is used up for longer than a burst.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::Moment;

use super::SATURATED;

/// What used up everything for less than this was a burst.
pub(super) const LASTING: Duration = Duration::from_secs(3);

/// Which share of what was held was used for how many seconds, the last [`LASTING`], oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Lasting {
    shares: Vec<(f64, f64)>,
    /// When the last of them ended.
    until: Moment,
}

impl Lasting {
    /// Takes in shares until `now` and for how many seconds they were used. Says whether all that is kept is the same.
    ///
    /// What was before a time of which nothing is known lasts no longer.
    pub(super) fn take_in(
        &mut self,
        now: Moment,
        shares: impl Iterator<Item = (f64, f64)>,
    ) -> bool {
        let shares: Vec<_> = shares.collect();
        let known: f64 = shares.iter().map(|(_, seconds)| seconds).sum();
        let since = now.since(self.until).as_secs_f64();
        if now < self.until || since > known + LASTING.as_secs_f64() {
            self.shares.clear();
        }
        self.until = now;
        self.shares.extend(shares);
        let mut left = LASTING.as_secs_f64();
        for (_, seconds) in self.shares.iter_mut().rev() {
            *seconds = seconds.min(left);
            left -= *seconds;
        }
        self.shares.retain(|(_, seconds)| *seconds > 0.0);
        let last = self.shares.last().map(|(share, _)| *share);
        left <= 0.0 && self.shares.iter().all(|(share, _)| Some(*share) == last)
    }

    /// Whether all was used up, in the mean: a second's sample is a little more or less than what was used in a second.
    pub(super) fn is_so(&self) -> bool {
        let seconds: f64 = self.shares.iter().map(|(_, seconds)| seconds).sum();
        let used: f64 = self
            .shares
            .iter()
            .map(|(share, seconds)| share * seconds)
            .sum();
        // Seconds are never quite seconds.
        seconds >= 0.9 * LASTING.as_secs_f64() && used >= SATURATED * seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is so after each of these seconds.
    fn seconds(shares: &[f64]) -> Vec<bool> {
        let mut lasting = Lasting::default();
        let one = |(second, share): (i64, &f64)| {
            take_in(&mut lasting, second, *share, 0.999);
            lasting.is_so()
        };
        (1..).zip(shares).map(one).collect()
    }

    fn take_in(lasting: &mut Lasting, second: i64, share: f64, seconds: f64) -> bool {
        let now = Moment::from_millis(second * 1000);
        lasting.take_in(now, std::iter::once((share, seconds)))
    }

    #[test]
    fn what_lasts_three_seconds_is_no_burst() {
        let seen = seconds(&[0.2, 1.0, 1.0, 0.2, 1.0, 1.0, 1.0, 1.0, 0.2]);
        assert_eq!(seen.iter().position(|so| *so), Some(6));
        assert_eq!(seen[6..], [true, true, false]);
    }

    #[test]
    fn samples_that_are_a_little_off_are_known_by_their_mean() {
        let seen = seconds(&[1.0, 1.1, 0.9, 1.0, 1.1, 0.9]);
        assert_eq!(seen[2..], [true, true, true, true]);
    }

    #[test]
    fn less_than_all_never_lasts() {
        assert!(!seconds(&[0.98; 10]).contains(&true));
    }

    #[test]
    fn one_long_look_is_as_good_as_three_short_ones() {
        let mut lasting = Lasting::default();
        assert!(take_in(&mut lasting, 300, 1.0, 300.0));
        assert!(lasting.is_so());
        assert!(!take_in(&mut lasting, 301, 0.5, 1.0));
        assert!(!lasting.is_so());
    }

    #[test]
    fn nothing_lasts_through_a_time_that_nobody_knows() {
        let mut lasting = Lasting::default();
        for (second, share) in [(1, 1.0), (2, 1.0), (3600, 1.0), (3601, 1.0)] {
            take_in(&mut lasting, second, share, 1.0);
            assert!(!lasting.is_so(), "at {second} s");
        }
        take_in(&mut lasting, 3602, 1.0, 1.0);
        assert!(lasting.is_so());
    }
}
