//! What a clairvoyant's books look like so far: for each size, the least that the past could have cost and end there.
//!
//! It is the forward half of the exact programme that finds the cheapest course for a history that is known
//! (the work function of metrical task systems, Borodin, Linial and Saks, 1992). To hold a size costs its amount, to
//! miss an amount costs a multiple of it, and to come from another size costs a change. Knows nothing of levers.

use serde::{Deserialize, Serialize};

use crate::domain::Resource;

/// The most sizes that are told apart: a larger range is kept in coarser steps, so that what is stored stays small.
const MOST_SIZES: f64 = 96.0;

/// What shortage and changes cost, against holding one unit (a core, a mebibyte) for a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Prices {
    /// One missing unit for a second.
    pub(super) unmet: f64,
    /// One change.
    pub(super) change: f64,
}

impl Prices {
    /// A missing core costs as much as 20 held ones, a missing GiB as 100; a change as 0.02 core-hours or 0.05
    /// GiB-hours.
    pub(super) fn of(resource: Resource) -> Self {
        match resource {
            Resource::Cpu => Self {
                unmet: 20.0,
                change: 72.0,
            },
            Resource::Memory => Self {
                unmet: 100.0,
                change: 180.0 * 1024.0,
            },
        }
    }

    /// The cost of holding `size` for some seconds while `need` is wanted.
    pub(super) fn hold(&self, size: f64, need: f64, seconds: f64) -> f64 {
        seconds * (size + self.unmet * (need - size).max(0.0))
    }
}

/// The sizes between two limits.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Sizes {
    min: f64,
    max: f64,
    step: f64,
}

impl Sizes {
    /// Sizes from `min` to `max` in steps of `grain`, or of a multiple of it where that would be too many.
    pub(super) fn new(min: f64, max: f64, grain: f64) -> Self {
        let max = max.max(0.0);
        let min = min.clamp(0.0, max);
        let range = max - min;
        let range = range.max(1e-3);
        let grain = if grain.is_finite() {
            grain.clamp(range * 1e-6, range)
        } else {
            range
        };
        let multiple = (range / grain / (MOST_SIZES - 1.0)).ceil().max(1.0);
        Self {
            min,
            max,
            step: grain * multiple,
        }
    }

    fn count(&self) -> usize {
        ((self.max - self.min) / self.step - 1e-9).ceil().max(0.0) as usize + 1
    }

    fn at(&self, index: usize) -> f64 {
        (self.min + index as f64 * self.step).min(self.max)
    }

    fn index_of(&self, amount: f64) -> usize {
        let steps = ((amount - self.min) / self.step - 1e-9).ceil().max(0.0);
        (steps as usize).min(self.count() - 1)
    }

    /// The smallest size that is at least `amount`, or the largest there is.
    pub(super) fn fit(&self, amount: f64) -> f64 {
        self.at(self.index_of(amount))
    }
}

/// The books, for one price of a change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ledger {
    /// For each size, how much dearer than the cheapest it is to have come to it. Never more than a change.
    dearer: Vec<f32>,
}

impl Ledger {
    /// Empty books: nothing is known of the past.
    pub(super) fn new(sizes: &Sizes) -> Self {
        Self {
            dearer: vec![0.0; sizes.count()],
        }
    }

    /// Books that `need` was wanted for so many seconds, at these prices.
    pub(super) fn book(&mut self, sizes: &Sizes, need: f64, seconds: f64, prices: Prices) {
        let mut least = f32::INFINITY;
        for (index, dearer) in self.dearer.iter_mut().enumerate() {
            *dearer += prices.hold(sizes.at(index), need, seconds) as f32;
            least = least.min(*dearer);
        }
        let change = prices.change as f32;
        for dearer in &mut self.dearer {
            *dearer = (*dearer - least).min(change);
        }
    }

    /// The size to be in after `held`: another one only if to have come to it would have been cheaper by `gain`.
    pub(super) fn next(&self, sizes: &Sizes, held: f64, gain: f64) -> f64 {
        let mut best = (0, f32::INFINITY);
        for (index, dearer) in self.dearer.iter().enumerate() {
            if *dearer < best.1 {
                best = (index, *dearer);
            }
        }
        let stay = self.dearer.get(sizes.index_of(held)).copied();
        // Rounding of single precision.
        if stay.is_none_or(|stay| stay - best.1 >= gain as f32 * 0.9999) {
            sizes.at(best.0)
        } else {
            held
        }
    }
}
