//! Neon's autoscaler-agent: one-minute load over 0.9, memory usage over 0.75; saturated memory asks for more at
//! once, down by one unit a request.

use crate::decide::policy::{Observation, Policy, Want};
use crate::domain::Resource;

use super::want;

const LOAD_SHARE: f64 = 0.9;
const MEMORY_SHARE: f64 = 0.75;
const LOAD_WINDOW_S: f64 = 60.0;

/// Neon's rule.
#[derive(Debug, Clone, Default)]
pub struct Neon {
    load: Option<f64>,
}

impl Policy for Neon {
    fn want(&mut self, seen: &Observation<'_>) -> Want {
        let need = match seen.resource {
            Resource::Cpu => self.load_of(seen) / LOAD_SHARE,
            Resource::Memory => super::last(seen) / MEMORY_SHARE,
        };
        want((need / seen.grain).ceil() * seen.grain, need, seen.now)
    }
}

impl Neon {
    /// The kernel's one-minute load: an exponential mean.
    fn load_of(&mut self, seen: &Observation<'_>) -> f64 {
        for sample in seen.usage {
            let kept = (-sample.span.as_secs_f64() / LOAD_WINDOW_S).exp();
            let load = self.load.unwrap_or(sample.value);
            self.load = Some(load * kept + sample.value * (1.0 - kept));
        }
        self.load.unwrap_or_default()
    }
}
