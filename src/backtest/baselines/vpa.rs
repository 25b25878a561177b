//! Kubernetes' vertical autoscaler (1.7): a decaying histogram, its 90th percentile plus 15 %.
//!
//! A sample a minute, half-life 24 h; for memory the peak of each 24 h. Applied when the allocation is outside the
//! 50th to 95th percentile (each plus 15 %, widened while there is little history), or is 12 h old and 10 % off.

use std::time::Duration;

use crate::decide::policy::{Observation, Policy, Want};
use crate::domain::{Moment, Resource};

use super::{last, mean, want};

const MINUTE: Duration = Duration::from_secs(60);
const HALF_LIFE_MS: f64 = 86_400_000.0;
const DAY_MS: i64 = 86_400_000;
const HALF_DAY_MS: i64 = 43_200_000;
const GROWTH: f64 = 1.05;
const MARGIN: f64 = 1.15;

/// The rule of the vertical pod autoscaler.
#[derive(Debug, Clone, Default)]
pub struct Vpa {
    started: Option<Moment>,
    looked: Option<Moment>,
    applied: Option<Moment>,
    wants: Option<f64>,
    /// Weight by bucket; weights grow with time instead of old ones fading.
    buckets: Vec<f64>,
    samples: f64,
    /// Memory: the day's peak, its bucket and weight in the histogram.
    peak: Option<(Moment, f64, f64)>,
}

impl Policy for Vpa {
    fn want(&mut self, seen: &Observation<'_>) -> Want {
        let due = self.looked.is_none_or(|at| seen.now.since(at) >= MINUTE);
        let used = match seen.resource {
            Resource::Cpu => mean(seen),
            Resource::Memory => last(seen),
        };
        if due {
            self.looked = Some(seen.now);
            self.learn(seen, used);
            self.apply(seen);
        }
        let next = self.looked.map_or(seen.now, |at| at + MINUTE);
        want(self.wants.unwrap_or(seen.allocation), used, next)
    }
}

impl Vpa {
    fn learn(&mut self, seen: &Observation<'_>, used: f64) {
        let started = *self.started.get_or_insert(seen.now);
        let age = seen.now.since(started).as_millis() as f64;
        let weight = (age / HALF_LIFE_MS).exp2();
        self.samples += 1.0;
        let first = first_bucket(seen.resource);
        if seen.resource == Resource::Cpu {
            self.add(first, used, weight);
            return;
        }
        match self.peak {
            Some((since, peak, old)) if seen.now.as_millis() - since.as_millis() < DAY_MS => {
                if used > peak {
                    self.add(first, peak, -old);
                    self.add(first, used, weight);
                    self.peak = Some((since, used, weight));
                }
            }
            _ => {
                self.add(first, used, weight);
                self.peak = Some((seen.now, used, weight));
            }
        }
    }

    fn add(&mut self, first: f64, value: f64, weight: f64) {
        let bucket = bucket_of(first, value);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0.0);
        }
        self.buckets[bucket] = (self.buckets[bucket] + weight).max(0.0);
    }

    /// The upper end of the bucket in which the percentile lies, with margin.
    fn percentile(&self, first: f64, share: f64) -> f64 {
        let total: f64 = self.buckets.iter().sum();
        let mut sum = 0.0;
        for (bucket, weight) in self.buckets.iter().enumerate() {
            sum += weight;
            if *weight > 0.0 && sum >= share * total {
                return start_of(first, bucket + 1) * MARGIN;
            }
        }
        0.0
    }

    fn apply(&mut self, seen: &Observation<'_>) {
        let first = first_bucket(seen.resource);
        let age_ms = self
            .started
            .map_or(0, |at| seen.now.as_millis() - at.as_millis());
        let days = age_ms as f64 / DAY_MS as f64;
        let confidence = days.min(self.samples / 1440.0).max(1e-9);
        let target = self.percentile(first, 0.90);
        let upper = self.percentile(first, 0.95) * (1.0 + 1.0 / confidence);
        let lower = self.percentile(first, 0.50) * (1.0 + 0.001 / confidence).powi(-2);
        let fit = (target / seen.grain).ceil() * seen.grain;
        let old = self
            .applied
            .is_none_or(|at| seen.now.as_millis() - at.as_millis() >= HALF_DAY_MS)
            && age_ms >= HALF_DAY_MS;
        let off = (fit - seen.allocation).abs() >= 0.1 * seen.allocation;
        if seen.allocation < lower || seen.allocation > upper || (old && off) {
            self.wants = Some(fit);
            self.applied = Some(seen.now);
        }
    }
}

fn first_bucket(resource: Resource) -> f64 {
    match resource {
        Resource::Cpu => 0.01,
        Resource::Memory => 10.0,
    }
}

/// Bucket `n` begins at `first · (growth^n − 1) / (growth − 1)`.
fn start_of(first: f64, bucket: usize) -> f64 {
    first * (GROWTH.powi(i32::try_from(bucket).unwrap_or(i32::MAX)) - 1.0) / (GROWTH - 1.0)
}

fn bucket_of(first: f64, value: f64) -> usize {
    ((value / first * (GROWTH - 1.0) + 1.0).ln() / GROWTH.ln()).max(0.0) as usize
}
