//! The default: straight to what is needed plus head-room, back to the recent peak.
//!
//! Usage at the allocation says that the need is larger, not how large: the answer is a factor, so that eight
//! cores are reached from one in two or three changes. Less is given only when a whole window stayed below.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::Reason;
use crate::domain::{Moment, Resource};

use super::{Observation, Policy, Want, mean};

/// Head-room over the need: bursts shorter than a tick fit into it.
const HEADROOM: f64 = 1.1;
/// Usage of this share of the allocation is usage at the allocation.
const SATURATED: f64 = 0.95;
/// From 1 core, two such steps reach 8.
const GROWTH: f64 = 3.0;
/// Memory is taken by touching it, which no guest does by such factors within a tick.
const MEMORY_GROWTH: f64 = 1.5;
/// The peak of this window is held.
const WINDOW: Duration = Duration::from_secs(300);
/// The window is kept in so many parts.
const PARTS: usize = 10;

/// The recent peaks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Adaptive {
    /// Start and peak of each part of the window, oldest first.
    parts: VecDeque<(Moment, f64)>,
}

impl Adaptive {
    /// Takes in a need and returns the peak of the window.
    fn peak(&mut self, now: Moment, need: f64) -> f64 {
        let part = WINDOW / PARTS as u32;
        match self.parts.back_mut() {
            Some((start, peak)) if now.since(*start) < part => *peak = peak.max(need),
            _ => self.parts.push_back((now, need)),
        }
        while self.parts.len() > PARTS
            || self
                .parts
                .front()
                .is_some_and(|(start, _)| now.since(*start) > WINDOW)
        {
            self.parts.pop_front();
        }
        self.parts
            .iter()
            .map(|(_, peak)| *peak)
            .fold(need, f64::max)
    }
}

impl Policy for Adaptive {
    fn want(&mut self, seen: &Observation<'_>) -> Want {
        let need = mean(seen.usage);
        let peak = self.peak(seen.now, need) * HEADROOM;
        let usage = seen.resource.amount(need);
        let (amount, reason) = if seen.short || need >= SATURATED * seen.allocation {
            let factor = if seen.resource == Resource::Cpu {
                GROWTH
            } else {
                MEMORY_GROWTH
            };
            (seen.allocation * factor, Reason::Saturated { usage })
        } else if need * HEADROOM > seen.allocation {
            (need * HEADROOM, Reason::NeedsMore { need: usage })
        } else {
            (
                peak.min(seen.allocation),
                Reason::CalmedDown {
                    peak: seen.resource.amount(peak / HEADROOM),
                },
            )
        };
        Want {
            amount,
            need,
            reason,
            stands_until: seen.now,
        }
    }
}
