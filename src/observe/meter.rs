//! CPU usage from counters that only ever rise: sampled every second, read out every tick.
//!
//! Bursts hide in longer means, and reading a counter costs microseconds.

use std::time::Duration;

use crate::domain::{Cores, Percent};

use super::lately::Lately;
use super::{CpuSample, CpuUsage};

/// A sample interval shorter than this would turn clock jitter into load.
const SHORTEST: Duration = Duration::from_millis(50);
/// Throttling is counted over this time at least, however often the counters are read out: in a second a quota has ten
/// periods only, and one of them says nothing.
const THROTTLED_IN: Duration = Duration::from_millis(2900);
/// Periods in which a VM had nothing to run are not counted by the kernel. So few as there are in that time at most are
/// taken for as many.
const PERIODS: u64 = 30;

/// The counters of one VM at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// CPU time used.
    pub(super) used: Duration,
    /// Quota periods that ended with something to run.
    pub(super) periods: u64,
    /// Those in which the quota ran out.
    pub(super) throttled: u64,
}

/// What the counters did since the last read-out.
#[derive(Debug, Clone)]
pub(super) struct CpuMeter {
    /// The last sample, and when it was taken (any clock that never goes back).
    last: Option<(Duration, Counters)>,
    /// The sample that the last read-out ended with.
    start: Option<(Duration, Counters)>,
    /// What was used between samples since then.
    samples: Vec<CpuSample>,
    /// The samples of the time in which throttling is counted.
    lately: Lately<Counters>,
}

impl Default for CpuMeter {
    fn default() -> Self {
        Self {
            last: None,
            start: None,
            samples: Vec::new(),
            lately: Lately::of(THROTTLED_IN),
        }
    }
}

impl CpuMeter {
    /// Takes in a sample.
    pub(super) fn sample(&mut self, at: Duration, now: Counters) {
        let Some((then, before)) = self.last else {
            self.restart(at, now);
            return;
        };
        // Counters that went back belong to a new QEMU process: nothing can be said of the time between.
        if now.used < before.used || now.periods < before.periods {
            self.restart(at, now);
            return;
        }
        let span = at.saturating_sub(then);
        if span < SHORTEST {
            return;
        }
        let used = now.used.saturating_sub(before.used);
        self.samples.push(CpuSample {
            span,
            mean: Cores::from_f64(used.as_secs_f64() / span.as_secs_f64()),
        });
        self.last = Some((at, now));
        self.lately.push(at, now);
    }

    /// The usage since the last read-out; `None` if no interval has ended since.
    pub(super) fn read_out(&mut self) -> Option<CpuUsage> {
        let (Some((from, before)), Some((to, now))) = (self.start, self.last) else {
            return None;
        };
        if self.samples.is_empty() {
            return None;
        }
        let used = now.used.saturating_sub(before.used);
        let mean = Cores::from_f64(used.as_secs_f64() / to.saturating_sub(from).as_secs_f64());
        let throttled = self.throttled(before, now);
        self.start = self.last;
        Some(CpuUsage {
            mean,
            samples: std::mem::take(&mut self.samples),
            throttled,
            busiest_vcpu: None,
        })
    }

    /// The share of the periods between `start` or earlier and `now` in which the quota ran out.
    fn throttled(&self, start: Counters, now: Counters) -> Option<Percent> {
        let lately = self.lately.first().unwrap_or(start);
        let before = if lately.periods < start.periods {
            lately
        } else {
            start
        };
        let periods = now.periods - before.periods;
        let held_back = now.throttled.saturating_sub(before.throttled);
        let share = || held_back as f64 / periods.max(PERIODS) as f64;
        (periods > 0).then(|| Percent::from_fraction(share()))
    }

    fn restart(&mut self, at: Duration, now: Counters) {
        self.last = Some((at, now));
        self.start = self.last;
        self.samples.clear();
        self.lately.restart(at, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(used_usec: u64) -> Counters {
        Counters {
            used: Duration::from_micros(used_usec),
            ..Counters::default()
        }
    }

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_burst_of_a_second_shows_beside_the_mean() {
        let mut meter = CpuMeter::default();
        for (at, usage) in [(0, 0), (1, 100_000), (2, 4_100_000), (3, 4_200_000)] {
            meter.sample(second(at), counters(usage));
        }
        let usage = meter.read_out().unwrap();
        assert_eq!(usage.mean, Cores::from_f64(1.4));
        let means: Vec<Cores> = usage.samples.iter().map(|sample| sample.mean).collect();
        assert_eq!(
            means,
            [Cores::milli(100), Cores::whole(4), Cores::milli(100)]
        );
        assert_eq!(usage.throttled, None, "without periods there is no quota");
    }

    #[test]
    fn a_sample_is_as_long_as_it_took() {
        let mut meter = CpuMeter::default();
        for (at, usage) in [(0, 0), (1000, 100_000), (1200, 300_000), (2000, 380_000)] {
            meter.sample(Duration::from_millis(at), counters(usage));
        }
        let sample = |span, milli| CpuSample {
            span: Duration::from_millis(span),
            mean: Cores::milli(milli),
        };
        assert_eq!(
            meter.read_out().unwrap().samples,
            [sample(1000, 100), sample(200, 1000), sample(800, 100)]
        );
    }

    #[test]
    fn nothing_measured_is_unknown_not_zero() {
        let mut meter = CpuMeter::default();
        assert_eq!(meter.read_out(), None);
        meter.sample(second(1), counters(5_000_000));
        assert_eq!(meter.read_out(), None, "one sample is no interval");
        meter.sample(second(2), counters(5_500_000));
        assert!(meter.read_out().is_some());
        assert_eq!(meter.read_out(), None, "read out already");
    }

    #[test]
    fn counters_of_a_new_process_start_a_new_measurement() {
        let mut meter = CpuMeter::default();
        meter.sample(second(1), counters(9_000_000));
        meter.sample(second(2), counters(1_000));
        assert_eq!(meter.read_out(), None);
        meter.sample(second(3), counters(2_001_000));
        assert_eq!(meter.read_out().unwrap().mean, Cores::whole(2));
    }

    /// The share after each read-out, each of so many seconds in each of which so many periods of ten were throttled.
    fn throttled(seconds: u64, read_outs: &[u64]) -> Vec<f64> {
        let mut meter = CpuMeter::default();
        meter.sample(second(0), Counters::default());
        let (mut at, mut throttled) = (0, 0);
        let mut one = |of_ten: &u64| {
            for _ in 0..seconds {
                (at, throttled) = (at + 1, throttled + of_ten);
                let now = Counters {
                    used: second(at) / 2,
                    periods: at * 10,
                    throttled,
                };
                meter.sample(second(at), now);
            }
            let share = meter.read_out().unwrap().throttled.unwrap();
            (share.fraction() * 1000.0).round() / 1000.0
        };
        read_outs.iter().map(&mut one).collect()
    }

    #[test]
    fn throttling_is_a_share_of_the_periods() {
        assert_eq!(throttled(5, &[0, 4]), [0.0, 0.4]);
    }

    #[test]
    fn one_period_of_a_second_is_hardly_any_throttling() {
        assert_eq!(throttled(1, &[1]), [0.033]);
        let seen = throttled(1, &[0, 0, 1, 0, 0, 0, 3, 3, 3]);
        assert_eq!(seen, [0.0, 0.0, 0.033, 0.033, 0.033, 0.0, 0.1, 0.2, 0.3]);
    }

    #[test]
    fn a_vm_that_is_held_back_whenever_it_runs_shows_it() {
        let mut meter = CpuMeter::default();
        for at in 0..4 {
            let now = Counters {
                used: second(at) / 10,
                periods: at,
                throttled: at,
            };
            meter.sample(second(at), now);
        }
        let share = meter.read_out().unwrap().throttled;
        assert_eq!(share, Some(Percent::whole(10)));
    }
}
