//! How much a VM should have, judged from its usage alone: one algorithm a file, behind one trait.
//!
//! A policy works on bare numbers of one resource (cores or mebibytes), so that the same code serves both. It
//! knows nothing of limits that others set: gates, host budget and levers come after it.

mod adaptive;
mod prices;
mod threshold;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{PolicyKind, ResourceSettings};
use crate::domain::{Moment, Resource};

pub use prices::Prices;

use super::{KnownPeak, Reason};

/// Usage over a span of time, in cores or mebibytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The end of the span.
    pub at: Moment,
    /// Its length: a second for CPU in the daemon, a step of the trace in backtest; zero for memory at the tick.
    pub span: Duration,
    /// The mean over the span. Never above the allocation at that time.
    pub value: f64,
}

/// What a policy is told about one resource of one VM at one tick. Never the future.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation<'a> {
    /// The time of the tick.
    pub now: Moment,
    /// The second of the week at `now`, from Monday 00:00 on, by the node's clock; of a history without dates, from any
    /// fixed time on.
    pub second_of_week: u32,
    /// Which resource.
    pub resource: Resource,
    /// What was measured since the previous tick, oldest first; at least one.
    pub usage: &'a [Sample],
    /// What the VM has now.
    pub allocation: f64,
    /// A change of it is being carried out, so that it is on its way.
    pub changing: bool,
    /// The guest shows that it wants more than it has: throttled CPU, swap-in, failed allocations.
    pub short: bool,
    /// The limits within which the result will be clamped.
    pub min: f64,
    /// See `min`.
    pub max: f64,
    /// The smallest step in which the lever moves.
    pub grain: f64,
    /// What the admin set for this resource.
    pub settings: &'a ResourceSettings,
}

/// What a policy wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Want {
    /// The allocation it asks for, in cores or mebibytes; the current one to leave it alone.
    pub amount: f64,
    /// What would do for now, at most `amount`: the rest is held for what may come, and is given up first where the node
    /// has no room for a VM that needs it.
    pub enough: f64,
    /// The need as the policy sees it.
    pub need: f64,
    /// Why.
    pub reason: Reason,
    /// Asked again before this time, with usage unchanged, the policy would say the same. At the earliest now.
    pub stands_until: Moment,
}

/// An algorithm. Its state is what it has learned of one resource of one VM.
pub trait Policy {
    /// Takes in what was measured and says what it wants.
    fn want(&mut self, seen: &Observation<'_>) -> Want;
}

/// A policy with what it has learned, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Where a clairvoyant would be by now.
    Adaptive(Box<adaptive::Adaptive>),
    /// A step up above `high`, a step down below `low`.
    Threshold(threshold::Threshold),
}

impl State {
    /// A policy that has learned nothing yet.
    pub fn new(kind: PolicyKind) -> Self {
        match kind {
            PolicyKind::Adaptive => Self::Adaptive(Box::default()),
            PolicyKind::Threshold => Self::Threshold(threshold::Threshold::default()),
        }
    }

    /// The peaks of the day that it knows of `resource`.
    pub fn peaks(&self, resource: Resource) -> Vec<KnownPeak> {
        match self {
            Self::Adaptive(policy) => policy.peaks(resource),
            Self::Threshold(_) => Vec::new(),
        }
    }

    /// Which algorithm this is.
    pub fn kind(&self) -> PolicyKind {
        match self {
            Self::Adaptive(_) => PolicyKind::Adaptive,
            Self::Threshold(_) => PolicyKind::Threshold,
        }
    }
}

impl Policy for State {
    fn want(&mut self, seen: &Observation<'_>) -> Want {
        match self {
            Self::Adaptive(policy) => policy.want(seen),
            Self::Threshold(policy) => policy.want(seen),
        }
    }
}

/// The mean of the samples, each with the weight of its length; of readings without length, the plain mean.
pub(crate) fn mean(samples: &[Sample]) -> f64 {
    let total: f64 = samples.iter().map(|s| s.span.as_secs_f64()).sum();
    let share = |sample: &Sample| {
        if total > 0.0 {
            sample.span.as_secs_f64() / total
        } else {
            1.0 / samples.len() as f64
        }
    };
    samples.iter().map(|s| s.value * share(s)).sum()
}

#[cfg(test)]
mod tests;
