//! How long memory is left to a guest that does not use it.
//!
//! What was needed within the rest stays. The rest begins at a quarter of an hour; for a lone peak, half of it. A need that
//! comes back after some minutes makes it an hour, whether anything was taken or not, and no peak is a lone one then. Each time
//! that memory is wanted back soon after it was taken, the rest grows threefold. It comes back down over weeks.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::Moment;

use super::extremes::{self, Extremes, UNIT_MIB};

/// The shortest rest, and the first. What shorter and longer ones cost is in `docs/backtest.md`.
const SHORTEST: Duration = Duration::from_secs(900);
/// The shortest rest of a guest whose needs come back after some minutes.
const COMES_BACK: Duration = Duration::from_secs(3600);
/// Who rests less has lone peaks: whose needs came back has none for more than a week.
const HAS_LONE_PEAKS: Duration = Duration::from_secs(1800);
/// What was needed before this time and not since, and then again, comes back after some minutes.
const SOME_MINUTES: Duration = Duration::from_secs(300);
/// The longest: a daily peak is kept from day to day.
const LONGEST: Duration = Duration::from_secs(26 * 3600);
/// What is wanted back within this time should have stayed. A lone peak that comes back later, also each hour, costs less
/// to give again than to keep.
const TOO_SOON: Duration = Duration::from_secs(1800);
/// Whoever wants something back within this time is given back all that was taken, since more is likely to follow.
const AT_ONCE: Duration = Duration::from_secs(600);
/// By how much the rest grows then.
const GROWTH: f64 = 3.0;
/// The time constant with which it shrinks.
const FORGETS: Duration = Duration::from_secs(7 * 86_400);
/// The share of its swing that a guest is expected to need beyond its peak.
const SWING: f64 = 0.5;
/// Needs are told apart in so many steps of what the VM may have, so that few are kept.
const STEPS: f64 = 1024.0;

/// What was needed when, and how long it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Rest {
    /// In which steps needs are told apart, in MiB.
    #[serde(default = "least_step")]
    step: f64,
    /// Needs that no later one has reached, so that they fall.
    #[serde(with = "extremes")]
    peaks: Extremes,
    /// Needs that no later one was below, so that they rise.
    #[serde(with = "extremes")]
    lows: Extremes,
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
            step: UNIT_MIB,
            peaks: VecDeque::new(),
            lows: VecDeque::new(),
            seconds: SHORTEST.as_secs_f64(),
            taken: None,
            held: 0.0,
        }
    }
}

impl Rest {
    /// Needs are told apart as fits a VM that may have so much.
    pub(super) fn sized(&mut self, max: f64) {
        let steps = (max / STEPS / UNIT_MIB).ceil();
        self.step = UNIT_MIB * if steps >= 1.0 { steps } else { 1.0 };
    }

    /// Takes in that `need` is there under `held`, `since` the last look, and that `with_margin` is wanted for it. Returns
    /// what was held before the last shrinks, where that is to be given back at once.
    pub(super) fn take_in(
        &mut self,
        now: Moment,
        since: Duration,
        need: f64,
        with_margin: f64,
        held: f64,
    ) -> Option<f64> {
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
        let wanted_back = self.taken.filter(|_| with_margin > held);
        if wanted_back.is_some_and(|(_, before)| with_margin <= before) {
            self.lasts_at_least((self.seconds * GROWTH).max(COMES_BACK.as_secs_f64()));
            self.taken = None;
        } else if self.comes_back(now, need) {
            self.lasts_at_least(COMES_BACK.as_secs_f64());
        }
        self.needs_at_least(now, need);
        let down = self.step_below(need);
        note(&mut self.lows, now, down, |older| older >= down);
        let at_once = wanted_back.filter(|(at, _)| now.since(*at) <= AT_ONCE);
        at_once.map(|(_, before)| before)
    }

    /// So much was needed at least, however much it was.
    pub(super) fn needs_at_least(&mut self, now: Moment, need: f64) {
        let up = (need / self.step).ceil() * self.step;
        note(&mut self.peaks, now, up, |older| older <= up);
    }

    fn lasts_at_least(&mut self, seconds: f64) {
        self.seconds = self.seconds.max(seconds).min(LONGEST.as_secs_f64());
    }

    /// Whether `need` is more than was to be expected of the last minutes, and no more than was needed before: a rest of these
    /// minutes only would have been too short. By how much, and whether it would have been worth a shrink, does not matter:
    /// small needs that come and go tell of large ones.
    fn comes_back(&self, now: Moment, need: f64) -> bool {
        let minutes = SOME_MINUTES.as_secs_f64();
        // Without any, nobody has looked for so long.
        oldest_within(&self.peaks, now, minutes).is_some()
            && need > self.expected(now, minutes)
            && need <= self.peak(now, TOO_SOON.as_secs_f64())
    }

    /// By how much the need has moved within so many seconds.
    fn swing(&self, now: Moment, seconds: f64) -> f64 {
        let swing = self.peak(now, seconds) - self.low(now, seconds);
        // Where needs are told apart in coarse steps, one step is no swing.
        (swing - (self.step - UNIT_MIB)).max(0.0)
    }

    /// The most that is to be expected where only so many seconds are known: their peak, and a share of their swing.
    pub(super) fn expected(&self, now: Moment, seconds: f64) -> f64 {
        self.peak(now, seconds) + SWING * self.swing(now, seconds)
    }

    /// How many seconds a need counts.
    pub(super) fn whole(&self) -> f64 {
        self.seconds
    }

    /// How many seconds a lone peak counts. A guest whose needs come back has none.
    pub(super) fn short(&self) -> f64 {
        if self.seconds < HAS_LONE_PEAKS.as_secs_f64() {
            self.seconds / 2.0
        } else {
            self.seconds
        }
    }

    /// The largest need of so many seconds.
    pub(super) fn peak(&self, now: Moment, seconds: f64) -> f64 {
        oldest_within(&self.peaks, now, seconds).map_or(0.0, |(_, peak)| peak)
    }

    /// The smallest need of so many seconds.
    fn low(&self, now: Moment, seconds: f64) -> f64 {
        oldest_within(&self.lows, now, seconds).map_or(0.0, |(_, low)| low)
    }

    /// How much the need has risen within so many seconds.
    pub(super) fn rise(&self, now: Moment, need: f64, seconds: f64) -> f64 {
        let low = oldest_within(&self.lows, now, seconds);
        low.map_or(0.0, |(_, low)| (self.step_below(need) - low).max(0.0))
    }

    fn step_below(&self, need: f64) -> f64 {
        (need / self.step).floor() * self.step
    }

    /// For how many seconds of the same need the peaks and lows of both spans stay what they are, at least.
    pub(super) fn stays(&self, now: Moment) -> f64 {
        // The rest shortens meanwhile.
        let beyond = self.seconds - SHORTEST.as_secs_f64();
        let shortening = beyond / FORGETS.as_secs_f64();
        let lone = (HAS_LONE_PEAKS - SHORTEST).as_secs_f64();
        let none_yet = if beyond >= lone {
            FORGETS.as_secs_f64() * (beyond / lone).ln()
        } else {
            f64::INFINITY
        };
        let ends = |list: &Extremes, seconds: f64| {
            // The youngest is renewed as long as the need is the same.
            let (at, _) =
                oldest_within(list, now, seconds).filter(|oldest| Some(oldest) != list.back())?;
            let left = seconds - now.since(at).as_secs_f64();
            Some(left.max(0.0) / (1.0 + shortening))
        };
        let spans = [self.whole(), self.short()];
        let all = spans
            .iter()
            .flat_map(|seconds| [&self.peaks, &self.lows].map(|list| ends(list, *seconds)));
        all.flatten().fold(none_yet, f64::min)
    }
}

fn least_step() -> f64 {
    UNIT_MIB
}

/// Adds a need to a list in which only those stand that no later one `replaces`.
fn note(list: &mut Extremes, now: Moment, need: f64, replaces: impl Fn(f64) -> bool) {
    // Needs from the future were written by a clock that has been set back.
    while list
        .back()
        .is_some_and(|(at, older)| replaces(*older) || *at > now)
    {
        list.pop_back();
    }
    list.push_back((now, need));
    while list.front().is_some_and(|(at, _)| now.since(*at) > LONGEST) {
        list.pop_front();
    }
}

/// The oldest entry that is at most so many seconds old: in these lists, the extreme one.
fn oldest_within(list: &Extremes, now: Moment, seconds: f64) -> Option<(Moment, f64)> {
    let counts = Duration::from_secs_f64(seconds);
    list.iter()
        .find(|(at, _)| now.since(*at) <= counts)
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: f64 = 1024.0;

    /// Minutes of need under what is held, one look each; returns the peak that counts at the end.
    fn live(rest: &mut Rest, from: i64, minutes: i64, need: f64, held: f64) -> f64 {
        let mut peak = 0.0;
        for minute in from..from + minutes {
            let now = Moment::from_millis(minute * 60_000);
            rest.take_in(now, Duration::from_secs(60), need, need + 512.0, held);
            peak = rest.peak(now, rest.whole());
        }
        peak
    }

    /// Ten minutes: 8 GiB, 2 GiB for seven minutes, and 8 GiB again.
    fn of_a_need_that_came_back() -> Rest {
        let mut rest = Rest::default();
        live(&mut rest, 0, 2, 8.0 * GIB, 16.0 * GIB);
        live(&mut rest, 2, 7, 2.0 * GIB, 16.0 * GIB);
        live(&mut rest, 9, 1, 8.0 * GIB, 16.0 * GIB);
        rest
    }

    #[test]
    fn a_peak_counts_for_a_quarter_of_an_hour_at_first() {
        let mut rest = Rest::default();
        live(&mut rest, 0, 1, 8.0 * GIB, 16.0 * GIB);
        assert_eq!(live(&mut rest, 1, 14, 2.0 * GIB, 16.0 * GIB), 8.0 * GIB);
        assert_eq!(live(&mut rest, 15, 2, 2.0 * GIB, 16.0 * GIB), 2.0 * GIB);
    }

    #[test]
    fn what_comes_back_after_some_minutes_counts_for_an_hour_from_then_on() {
        let hour = COMES_BACK.as_secs_f64();
        for (low, minutes, again, an_hour) in [
            (2.0, 7, 8.0, true),
            (2.0, 29, 8.0, true),
            // It never was away.
            (2.0, 4, 8.0, false),
            // As good as never before.
            (2.0, 31, 8.0, false),
            (2.0, 7, 8.1, false),
            (7.0, 7, 7.0, false),
        ] {
            let mut rest = Rest::default();
            live(&mut rest, 0, 2, 8.0 * GIB, 16.0 * GIB);
            live(&mut rest, 2, minutes, low * GIB, 16.0 * GIB);
            live(&mut rest, 2 + minutes, 1, again * GIB, 16.0 * GIB);
            let rests = rest.whole();
            assert_eq!(rests >= hour, an_hour, "{minutes} min, {again}: {rests}");
        }
    }

    #[test]
    fn a_swing_that_grows_by_less_than_half_does_not_come_back() {
        for (again, an_hour) in [(3.4, false), (3.6, true)] {
            let mut rest = Rest::default();
            live(&mut rest, 0, 2, 4.0 * GIB, 16.0 * GIB);
            for minute in 2..12 {
                let need = if minute % 2 == 0 { 2.0 } else { 3.0 };
                live(&mut rest, minute, 1, need * GIB, 16.0 * GIB);
            }
            live(&mut rest, 12, 1, again * GIB, 16.0 * GIB);
            assert_eq!(rest.whole() >= COMES_BACK.as_secs_f64(), an_hour, "{again}");
        }
    }

    #[test]
    fn after_more_than_a_week_of_calm_lone_peaks_are_known_again() {
        let mut rest = of_a_need_that_came_back();
        const DAY: i64 = 24 * 60;
        live(&mut rest, 10, 7 * DAY, 2.0 * GIB, 16.0 * GIB);
        assert_eq!(rest.short(), rest.whole());
        live(&mut rest, 10 + 7 * DAY, DAY, 2.0 * GIB, 16.0 * GIB);
        assert_eq!(rest.short(), rest.whole() / 2.0);
        live(&mut rest, 10 + 8 * DAY, 60 * DAY, 2.0 * GIB, 16.0 * GIB);
        assert!((899.0..905.0).contains(&rest.whole()), "{}", rest.whole());
    }

    #[test]
    fn the_answer_does_not_stand_beyond_the_time_in_which_a_peak_becomes_a_lone_one() {
        let mut rest = Rest {
            seconds: 1800.5,
            ..Rest::default()
        };
        live(&mut rest, 0, 1, 8.0 * GIB, 16.0 * GIB);
        live(&mut rest, 1, 1, 2.0 * GIB, 16.0 * GIB);
        let stays = rest.stays(Moment::from_millis(60_000));
        let later = 2 + (stays / 60.0) as i64;
        assert!(rest.short() == rest.whole() && stays < 300.0, "{stays}");
        live(&mut rest, 2, later, 2.0 * GIB, 16.0 * GIB);
        assert_eq!(rest.short(), rest.whole() / 2.0);
    }

    #[test]
    fn what_nobody_saw_going_does_not_come_back() {
        let mut rest = Rest::default();
        live(&mut rest, 0, 2, 8.0 * GIB, 16.0 * GIB);
        live(&mut rest, 8, 1, 8.0 * GIB, 16.0 * GIB);
        assert!(rest.whole() < COMES_BACK.as_secs_f64());
    }

    #[test]
    fn who_needs_it_again_and_again_has_no_lone_peaks() {
        let rest = Rest::default();
        assert_eq!(rest.short(), rest.whole() / 2.0);
        let rest = of_a_need_that_came_back();
        assert_eq!(rest.short(), rest.whole());
    }

    #[test]
    fn what_is_wanted_back_within_ten_minutes_is_given_back_whole() {
        for (minutes, given_back) in [(9, Some(16.0 * GIB)), (11, None)] {
            let mut rest = Rest::default();
            live(&mut rest, 0, 2, 2.0 * GIB, 16.0 * GIB);
            live(&mut rest, 2, minutes, 2.0 * GIB, 4.0 * GIB);
            let (now, minute) = (
                Moment::from_millis((2 + minutes) * 60_000),
                Duration::from_secs(60),
            );
            let need = 4.0 * GIB;
            let back = rest.take_in(now, minute, need, need + 512.0, 4.0 * GIB);
            assert_eq!(back, given_back, "after {minutes} minutes");
        }
    }

    #[test]
    fn who_took_too_soon_waits_longer_the_next_time() {
        let mut rest = Rest::default();
        live(&mut rest, 0, 1, 8.0 * GIB, 16.0 * GIB);
        live(&mut rest, 1, 62, 2.0 * GIB, 16.0 * GIB);
        live(&mut rest, 63, 1, 2.0 * GIB, 3.0 * GIB);
        live(&mut rest, 64, 1, 8.0 * GIB, 3.0 * GIB);
        assert_eq!(live(&mut rest, 65, 59, 2.0 * GIB, 9.0 * GIB), 8.0 * GIB);
        assert_eq!(live(&mut rest, 124, 10, 2.0 * GIB, 9.0 * GIB), 2.0 * GIB);
        live(&mut rest, 134, 1, 2.0 * GIB, 3.0 * GIB);
        live(&mut rest, 135, 1, 8.0 * GIB, 3.0 * GIB);
        assert_eq!(live(&mut rest, 136, 175, 2.0 * GIB, 9.0 * GIB), 8.0 * GIB);
        assert_eq!(live(&mut rest, 311, 10, 2.0 * GIB, 9.0 * GIB), 2.0 * GIB);
    }

    #[test]
    fn what_is_kept_does_not_grow_with_time() {
        let mut rest = Rest::default();
        for minute in 0..10_000 {
            let need = (1.0 + f64::from(minute % 997) / 31.0) * GIB;
            live(&mut rest, i64::from(minute), 1, need, 64.0 * GIB);
        }
        let kept = rest.peaks.len() + rest.lows.len();
        assert!(kept <= 600, "{kept}");
    }
}
