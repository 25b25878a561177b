//! What an allocation over time costs, given the demand it met.
//!
//! `cost = Σ allocation + L · Σ unmet demand + C · changes`, with the sums in core-hours or GiB-hours.

use crate::decide::memory_margin;
pub use crate::decide::policy::Prices;
use crate::domain::{Mib, Resource};

use super::trace::Demand;

/// Allocations over time: each holds from its moment (milliseconds since the start) until the next.
pub type Course = Vec<(i64, f64)>;

/// The sizes an allocation may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// The smallest, in cores or mebibytes.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// From one size to the next.
    pub grain: f64,
}

impl Grid {
    /// The grid of the judged run: whole cores from 1, and steps of 512 MiB from 1 GiB, up to `max`.
    pub fn coarse(resource: Resource, max: f64) -> Self {
        let (min, grain) = match resource {
            Resource::Cpu => (1.0, 1.0),
            Resource::Memory => (1024.0, 512.0),
        };
        Self {
            min,
            max: max.max(min),
            grain,
        }
    }

    /// The smallest size that is at least `amount`, or the largest size there is.
    pub fn fit(&self, amount: f64) -> f64 {
        if amount.is_nan() {
            return self.min;
        }
        // A want a rounding error above a size is that size.
        let steps = ((amount - self.min) / self.grain - 1e-9).ceil().max(0.0);
        (self.min + steps * self.grain).min(self.top())
    }

    /// The size with which a run through `demand` begins. A history does not say what the VM had before it: whoever made
    /// the VM is taken to have given it what it needs at its first sample, of memory with the margin that the agent keeps.
    pub fn start(&self, resource: Resource, demand: &Demand) -> f64 {
        let first = demand.piece(0).map_or(0.0, |piece| piece.value);
        match resource {
            Resource::Cpu => self.fit(first),
            Resource::Memory => self.fit(first + memory_margin(Mib::from_f64(first)).as_f64()),
        }
    }

    /// The largest size.
    pub fn top(&self) -> f64 {
        self.min + ((self.max - self.min) / self.grain + 1e-9).floor() * self.grain
    }

    /// All sizes, rising.
    pub fn sizes(&self) -> Vec<f64> {
        let count = ((self.top() - self.min) / self.grain).round() as usize;
        (0..=count)
            .map(|step| self.min + step as f64 * self.grain)
            .collect()
    }
}

/// What one course of allocations came to. Sums are in core-hours or GiB-hours.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Bill {
    /// Time covered, in hours.
    pub hours: f64,
    /// Demand.
    pub demand: f64,
    /// Allocation.
    pub allocated: f64,
    /// Allocation above demand.
    pub slack: f64,
    /// Demand above allocation.
    pub unmet: f64,
    /// Hours with demand above allocation.
    pub short: f64,
    /// Changes of the allocation.
    pub changes: usize,
    /// Times at which demand rose above the allocation, or the allocation fell below demand.
    pub spells: usize,
    /// Those of them that would not have begun had the allocation not been lowered in the ten minutes before.
    pub regretted: usize,
    /// `allocated + L · unmet + C · changes`.
    pub cost: f64,
}

/// The most that was held at any time from `since` on; `course` ends at the present.
fn most_since(course: &[(i64, f64)], since: i64) -> f64 {
    let mut most: f64 = 0.0;
    for (start, value) in course.iter().rev() {
        most = most.max(*value);
        if *start <= since {
            break;
        }
    }
    most
}

/// A shortage this soon after a shrink is counted as caused by it.
const REGRET_MS: i64 = 600_000;

impl Bill {
    /// Adds up what `course` came to against `demand`.
    pub fn of(demand: &Demand, course: &[(i64, f64)], prices: Prices) -> Self {
        let mut bill = Self {
            changes: course.len().saturating_sub(1),
            ..Self::default()
        };
        let mut at = 0;
        let mut was_short = false;
        for piece in demand.pieces() {
            let mut from = piece.start;
            while from < piece.end {
                while let Some((start, _)) = course.get(at + 1)
                    && *start <= from
                {
                    at += 1;
                }
                let Some((_, allocation)) = course.get(at) else {
                    return bill;
                };
                let to = course
                    .get(at + 1)
                    .map_or(piece.end, |(start, _)| piece.end.min(*start));
                let short = piece.value > *allocation + 1e-9;
                if short && !was_short {
                    bill.spells += 1;
                    if piece.value <= most_since(&course[..=at], from - REGRET_MS) {
                        bill.regretted += 1;
                    }
                }
                was_short = short;
                bill.add(piece.value, *allocation, to - from, prices);
                from = to;
            }
        }
        bill.cost =
            bill.allocated + prices.unmet * bill.unmet + prices.change * bill.changes as f64;
        bill
    }

    /// Adds another bill of the same resource to this one.
    pub fn add_up(&mut self, other: &Self) {
        self.hours += other.hours;
        self.demand += other.demand;
        self.allocated += other.allocated;
        self.slack += other.slack;
        self.unmet += other.unmet;
        self.short += other.short;
        self.changes += other.changes;
        self.spells += other.spells;
        self.regretted += other.regretted;
        self.cost += other.cost;
    }

    fn add(&mut self, demand: f64, allocation: f64, ms: i64, prices: Prices) {
        let hours = ms as f64 / 3_600_000.0;
        self.hours += hours;
        self.demand += demand / prices.unit * hours;
        self.allocated += allocation / prices.unit * hours;
        self.slack += (allocation - demand).max(0.0) / prices.unit * hours;
        self.unmet += (demand - allocation).max(0.0) / prices.unit * hours;
        if demand > allocation + 1e-9 {
            self.short += hours;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn hours(values: &[f64]) -> Demand {
        let points: Vec<_> = (0..)
            .step_by(3_600_000)
            .zip(values.iter().copied())
            .collect();
        Demand::new(&points, Duration::from_secs(3600)).unwrap()
    }

    #[test]
    fn a_bill_adds_up_what_was_held_what_was_missing_and_what_was_changed() {
        let course = [(0, 2.0), (3_600_000, 4.0), (5_400_000, 1.0)];
        let bill = Bill::of(&hours(&[1.0, 3.0]), &course, Prices::of(Resource::Cpu));
        assert_eq!((bill.hours, bill.demand), (2.0, 4.0));
        assert_eq!(bill.allocated, 2.0 + 2.0 + 0.5);
        assert_eq!(bill.slack, 1.0 + 0.5);
        assert_eq!((bill.unmet, bill.short, bill.spells), (1.0, 0.5, 1));
        assert!((bill.cost - (4.5 + 20.0 * 1.0 + 2.0 * 0.02)).abs() < 1e-12);
    }

    #[test]
    fn memory_is_billed_in_gibibytes() {
        let bill = Bill::of(
            &hours(&[1024.0]),
            &[(0, 2048.0)],
            Prices::of(Resource::Memory),
        );
        assert_eq!((bill.allocated, bill.slack, bill.cost), (2.0, 1.0, 2.0));
    }

    #[test]
    fn shortage_counts_as_regretted_only_if_the_shrink_made_it() {
        let minutes = |values: &[f64]| {
            let points: Vec<_> = (0..).step_by(60_000).zip(values.iter().copied()).collect();
            Demand::new(&points, Duration::from_secs(60)).unwrap()
        };
        let prices = Prices::of(Resource::Cpu);
        let course = [(0, 4.0), (60_000, 2.0)];
        let regretted = |values: &[f64]| Bill::of(&minutes(values), &course, prices).regretted;
        assert_eq!(
            regretted(&[1.0, 1.0, 3.0]),
            1,
            "four cores would have been enough"
        );
        assert_eq!(
            regretted(&[1.0, 1.0, 5.0]),
            0,
            "four cores would not have been enough"
        );
        let late: Vec<f64> = (0..14)
            .map(|minute| if minute < 12 { 1.0 } else { 3.0 })
            .collect();
        assert_eq!(
            regretted(&late),
            0,
            "eleven minutes later it is another story"
        );
    }

    #[test]
    fn a_grid_rounds_up_and_stays_within_its_ends() {
        let grid = Grid::coarse(Resource::Memory, 3000.0);
        assert_eq!(grid.sizes(), [1024.0, 1536.0, 2048.0, 2560.0]);
        assert_eq!(grid.fit(1025.0), 1536.0);
        assert_eq!(grid.fit(1536.0), 1536.0);
        assert_eq!(grid.fit(0.0), 1024.0);
        assert_eq!(grid.fit(9000.0), 2560.0);
        assert_eq!(grid.fit(f64::NAN), 1024.0);
    }
}
