//! proxmox-vm-autoscale 1.7.2, with its percentages taken of the allocation (as it ships they are of the ceiling).
//!
//! Every 300 s the last sample: above 80 % (memory 85 %) one core (512 MiB) more, below 20 % (25 %) twice in a row
//! one less, 300 s apart.

use std::time::Duration;

use crate::decide::policy::{Observation, Policy, Want};
use crate::domain::{Moment, Resource};

use super::{last, want};

const INTERVAL: Duration = Duration::from_secs(300);

/// The predecessor's rule.
#[derive(Debug, Clone, Default)]
pub struct Predecessor {
    looked: Option<Moment>,
    low: u32,
    wants: Option<f64>,
}

impl Policy for Predecessor {
    fn want(&mut self, seen: &Observation<'_>) -> Want {
        let used = last(seen);
        let due = self.looked.is_none_or(|at| seen.now.since(at) >= INTERVAL);
        if due {
            self.looked = Some(seen.now);
            self.wants = Some(self.step(seen, used));
        }
        let next = self.looked.map_or(seen.now, |at| at + INTERVAL);
        want(self.wants.unwrap_or(seen.allocation), used, next)
    }
}

impl Predecessor {
    fn step(&mut self, seen: &Observation<'_>, used: f64) -> f64 {
        let (high, low, step) = match seen.resource {
            Resource::Cpu => (0.80, 0.20, 1.0),
            Resource::Memory => (0.85, 0.25, 512.0),
        };
        let share = used / seen.allocation;
        self.low = if share < low { self.low + 1 } else { 0 };
        if share > high {
            (seen.allocation + step).min(seen.max)
        } else if self.low >= 2 {
            self.low = 0;
            (seen.allocation - step).max(seen.min)
        } else {
            seen.allocation
        }
    }
}
