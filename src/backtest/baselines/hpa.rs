//! Kubernetes' horizontal autoscaler, with cores or memory in place of replicas.
//!
//! `desired = current · usage / target`, target 70 %, tolerance 10 %, every 15 s; at most doubled per step; the
//! highest wish of the last 300 s holds (its default stabilisation window for scaling down).

use std::collections::VecDeque;
use std::time::Duration;

use crate::decide::policy::{Observation, Policy, Want};
use crate::domain::Moment;

use super::{mean, want};

const SYNC: Duration = Duration::from_secs(15);
const WINDOW: Duration = Duration::from_secs(300);
const TARGET: f64 = 0.70;
const TOLERANCE: f64 = 0.10;

/// The rule of the horizontal pod autoscaler.
#[derive(Debug, Clone, Default)]
pub struct Hpa {
    looked: Option<Moment>,
    wishes: VecDeque<(Moment, f64)>,
    wants: Option<f64>,
}

impl Policy for Hpa {
    fn want(&mut self, seen: &Observation<'_>) -> Want {
        let used = mean(seen);
        let due = self.looked.is_none_or(|at| seen.now.since(at) >= SYNC);
        if due {
            self.looked = Some(seen.now);
            self.wants = Some(self.decide(seen, used));
        }
        let next = self.looked.map_or(seen.now, |at| at + SYNC);
        want(self.wants.unwrap_or(seen.allocation), used, next)
    }
}

impl Hpa {
    fn decide(&mut self, seen: &Observation<'_>, used: f64) -> f64 {
        let ratio = used / (seen.allocation * TARGET);
        let wish = if (ratio - 1.0).abs() <= TOLERANCE {
            seen.allocation
        } else {
            let exact = seen.allocation * ratio / seen.grain;
            (exact.ceil() * seen.grain).min(seen.allocation * 2.0)
        };
        self.wishes.push_back((seen.now, wish));
        while let Some((at, _)) = self.wishes.front()
            && seen.now.since(*at) > WINDOW
        {
            self.wishes.pop_front();
        }
        let highest = self
            .wishes
            .iter()
            .map(|(_, wish)| *wish)
            .fold(0.0, f64::max);
        if wish >= seen.allocation {
            wish
        } else {
            highest.min(seen.allocation)
        }
    }
}
