//! CPU usage from counters that only ever rise: sampled every second, read out every tick.
//!
//! Bursts hide in longer means, and reading a counter costs microseconds.

use std::time::Duration;

use crate::domain::{Cores, Percent};

use super::CpuUsage;

/// A sample interval shorter than this would turn clock jitter into load.
const SHORTEST: Duration = Duration::from_millis(50);

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
#[derive(Debug, Clone, Default)]
pub(super) struct CpuMeter {
    /// The last sample, and when it was taken (any clock that never goes back).
    last: Option<(Duration, Counters)>,
    /// The sample that the last read-out ended with.
    start: Option<(Duration, Counters)>,
    /// Means between samples since then.
    means: Vec<Cores>,
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
        self.means
            .push(Cores::from_f64(used.as_secs_f64() / span.as_secs_f64()));
        self.last = Some((at, now));
    }

    /// The usage since the last read-out; `None` if no interval has ended since.
    pub(super) fn read_out(&mut self) -> Option<CpuUsage> {
        let (Some((from, before)), Some((to, now))) = (self.start, self.last) else {
            return None;
        };
        if self.means.is_empty() {
            return None;
        }
        let used = now.used.saturating_sub(before.used);
        let mean = Cores::from_f64(used.as_secs_f64() / to.saturating_sub(from).as_secs_f64());
        let periods = now.periods - before.periods;
        let held_back = now.throttled.saturating_sub(before.throttled);
        let throttled =
            (periods > 0).then(|| Percent::from_fraction(held_back as f64 / periods as f64));
        self.start = self.last;
        Some(CpuUsage {
            mean,
            seconds: std::mem::take(&mut self.means),
            each: Duration::from_secs(1),
            throttled,
            busiest_vcpu: None,
        })
    }

    fn restart(&mut self, at: Duration, now: Counters) {
        self.last = Some((at, now));
        self.start = self.last;
        self.means.clear();
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
        assert_eq!(
            usage.seconds,
            [Cores::milli(100), Cores::whole(4), Cores::milli(100)]
        );
        assert_eq!(usage.throttled, None, "without periods there is no quota");
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

    #[test]
    fn throttling_is_a_share_of_the_periods() {
        let mut meter = CpuMeter::default();
        meter.sample(second(0), Counters::default());
        meter.sample(
            second(1),
            Counters {
                used: second(1) / 2,
                periods: 10,
                throttled: 4,
            },
        );
        assert_eq!(
            meter.read_out().unwrap().throttled,
            Some(Percent::whole(40))
        );
    }
}
