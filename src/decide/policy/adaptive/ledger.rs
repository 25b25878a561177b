//! What a clairvoyant's books look like so far: for each size, the least that the past could have cost and end there.
//!
//! It is the forward half of the exact programme that finds the cheapest course for a history that is known
//! (the work function of metrical task systems, Borodin, Linial and Saks, 1992). To hold a size costs its amount, to
//! miss an amount costs a multiple of it, and to come from another size costs a change. Knows nothing of levers.

use serde::{Deserialize, Serialize};

use crate::decide::policy::Prices;

/// The most sizes that are told apart: a larger range is kept in coarser steps, so that what is stored stays small.
const MOST_SIZES: f64 = 96.0;

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

    pub(super) fn count(&self) -> usize {
        ((self.max - self.min) / self.step - 1e-9).ceil().max(0.0) as usize + 1
    }

    pub(super) fn at(&self, index: usize) -> f64 {
        (self.min + index as f64 * self.step).min(self.max)
    }

    pub(super) fn index_of(&self, amount: f64) -> usize {
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
    dearer: Vec<f64>,
}

impl Ledger {
    /// Empty books: nothing is known of the past.
    pub(super) fn new(sizes: &Sizes) -> Self {
        Self {
            dearer: vec![0.0; sizes.count()],
        }
    }

    /// Books that `need` was wanted for so many seconds, where a change costs `change`.
    ///
    /// To book the same need twice is to book it once for as long: who has fallen behind falls further behind.
    pub(super) fn book(
        &mut self,
        sizes: &Sizes,
        need: f64,
        seconds: f64,
        prices: Prices,
        change: f64,
    ) {
        let mut least = f64::INFINITY;
        for (index, dearer) in self.dearer.iter_mut().enumerate() {
            *dearer += seconds * prices.rate(sizes.at(index), need);
            least = least.min(*dearer);
        }
        for dearer in &mut self.dearer {
            *dearer = (*dearer - least).min(change);
        }
    }

    /// The size to be in after `held`: another one only if to have come to it would have been cheaper by `gain`.
    pub(super) fn next(&self, sizes: &Sizes, held: f64, gain: f64) -> f64 {
        let best = self.cheapest();
        let stay = self.dearer.get(sizes.index_of(held)).copied();
        // Rounding.
        if stay.is_none_or(|stay| stay - best.1 >= gain * ROUNDED) {
            sizes.at(best.0)
        } else {
            held
        }
    }

    /// For how many seconds of `need` the answer of [`Self::next`] is to stay in `held`, at least.
    pub(super) fn stays(
        &self,
        sizes: &Sizes,
        held: f64,
        need: f64,
        prices: Prices,
        gain: f64,
    ) -> f64 {
        let own = sizes.index_of(held);
        let gap = self
            .dearer
            .get(own)
            .map_or(gain, |own| own - self.cheapest().1);
        let rate = |index| prices.rate(sizes.at(index), need);
        let least = (0..sizes.count()).map(rate).fold(f64::INFINITY, f64::min);
        let slope = rate(own) - least;
        if slope > 0.0 {
            (gain * ROUNDED - gap).max(0.0) / slope
        } else {
            f64::INFINITY
        }
    }

    /// The cheapest size to have come to, of equal ones the smallest.
    fn cheapest(&self) -> (usize, f64) {
        let mut best = (0, f64::INFINITY);
        for (index, dearer) in self.dearer.iter().enumerate() {
            if *dearer < best.1 - EQUAL {
                best = (index, *dearer);
            }
        }
        best
    }
}

/// Costs that differ by less are equal: rounding does not decide.
const EQUAL: f64 = 1e-6;
/// So near to a sum is the sum.
const ROUNDED: f64 = 0.9999;
