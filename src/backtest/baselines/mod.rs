//! The rules that others use, to compare with: none of them can be chosen in the configuration.
//!
//! Each is its published rule for one resource, without the machinery around it.

mod hpa;
mod neon;
mod predecessor;
mod simple;
mod vpa;

pub use hpa::Hpa;
pub use neon::Neon;
pub use predecessor::Predecessor;
pub use simple::Simple;
pub use vpa::Vpa;

use crate::decide::Reason;
use crate::decide::policy::{Observation, Want};
use crate::domain::Moment;

/// A want of `amount`, whatever its reason: baselines are only run, never explained.
fn want(amount: f64, need: f64, stands_until: Moment) -> Want {
    Want {
        amount,
        enough: amount,
        need,
        reason: Reason::Fits,
        stands_until,
    }
}

/// The mean usage since the previous tick, or the last reading where readings have no length.
fn mean(seen: &Observation<'_>) -> f64 {
    let (sum, time) = seen.usage.iter().fold((0.0, 0.0), |(sum, time), sample| {
        let span = sample.span.as_secs_f64();
        (sum + sample.value * span, time + span)
    });
    if time > 0.0 { sum / time } else { last(seen) }
}

/// The latest reading.
fn last(seen: &Observation<'_>) -> f64 {
    seen.usage.last().map_or(0.0, |sample| sample.value)
}
