//! Which sizes were enough lately, and for how long: what a VM that uses all it has is likely to want.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ledger::Sizes;

/// The time constant with which it is forgotten.
const LATELY: Duration = Duration::from_secs(2 * 3600);
/// What was seen for less time in all is chance.
const ENOUGH_SECONDS: f64 = 10.0;

/// Seconds by size, the older the less they count.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SizesSeen {
    seconds: Vec<f64>,
}

impl SizesSeen {
    pub(super) fn new(sizes: &Sizes) -> Self {
        Self {
            seconds: vec![0.0; sizes.count()],
        }
    }

    /// Takes in that `needs` (amount and seconds, those of unknown need left out) were wanted in a time of `all` seconds.
    pub(super) fn take_in(&mut self, sizes: &Sizes, needs: &[(f64, f64)], all: f64) {
        let lately = LATELY.as_secs_f64();
        let kept = (-all / lately).exp();
        self.seconds.iter_mut().for_each(|seconds| *seconds *= kept);
        for (need, seconds) in needs {
            if let Some(sum) = self.seconds.get_mut(sizes.index_of(*need)) {
                // Its first moment has faded since, its last one has not.
                *sum += lately * (1.0 - (-seconds / lately).exp());
            }
        }
    }

    /// Half of the time in which more than `held` was needed, this was enough. Nothing if that hardly ever happened.
    pub(super) fn typical_above(&self, sizes: &Sizes, held: f64) -> Option<f64> {
        let first = sizes.index_of(held) + 1;
        let above = self.seconds.get(first..)?;
        let all: f64 = above.iter().sum();
        if all < ENOUGH_SECONDS {
            return None;
        }
        let mut sum = 0.0;
        let index = above.iter().position(|seconds| {
            sum += seconds;
            sum >= all / 2.0
        })?;
        Some(sizes.at(first + index))
    }
}
