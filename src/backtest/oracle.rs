//! The cheapest course of allocations that exists for a demand: what a clairvoyant would do.
//!
//! An exact dynamic programme over the sizes of the grid. It may change at every change of demand, at once; the
//! first size is free. No policy can be cheaper, so costs are given as multiples of this one.

use super::bill::{Course, Grid, Prices};
use super::trace::Demand;

/// The cheapest course for `demand` on `grid`.
pub fn oracle(demand: &Demand, grid: Grid, prices: Prices) -> Course {
    let sizes = grid.sizes();
    // cost[s]: the least cost of everything so far that ends in size s.
    let mut cost = vec![0.0; sizes.len()];
    // came[piece][s]: the size held in the piece before, on the cheapest way to s.
    let mut came: Vec<Vec<u16>> = Vec::with_capacity(demand.len());
    for (index, piece) in demand.pieces().enumerate() {
        let cheapest = cheapest(&cost);
        let mut from = Vec::with_capacity(sizes.len());
        for (size, so_far) in cost.iter_mut().enumerate() {
            let moved = lowest(cheapest, *so_far, prices.change, index);
            match moved {
                Some((other, cost)) => {
                    *so_far = cost;
                    from.push(other);
                }
                None => from.push(u16::try_from(size).unwrap_or(u16::MAX)),
            }
            *so_far += prices.hold(sizes[size], piece.value, piece.end - piece.start);
        }
        came.push(from);
    }
    retrace(demand, &sizes, &came, cheapest(&cost).0)
}

/// Where it pays to come from another size: from which, and the cost so far.
fn lowest(cheapest: (u16, f64), stay: f64, change: f64, index: usize) -> Option<(u16, f64)> {
    let moved = cheapest.1 + change;
    (index > 0 && moved < stay).then_some((cheapest.0, moved))
}

/// The cheapest entry: which, and its cost.
fn cheapest(cost: &[f64]) -> (u16, f64) {
    let mut best = (0, f64::INFINITY);
    for (size, cost) in (0u16..).zip(cost) {
        if *cost < best.1 {
            best = (size, *cost);
        }
    }
    best
}

/// The course that ends in `last`, read off backwards.
fn retrace(demand: &Demand, sizes: &[f64], came: &[Vec<u16>], last: u16) -> Course {
    let mut course = Course::new();
    let mut size = usize::from(last);
    for (piece, from) in demand
        .pieces()
        .zip(came)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        let before = usize::from(from[size]);
        if before != size {
            course.push((piece.start, sizes[size]));
        }
        size = before;
    }
    course.push((0, sizes[size]));
    course.reverse();
    course
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::backtest::bill::Bill;

    const GRID: Grid = Grid {
        min: 1.0,
        max: 3.0,
        grain: 1.0,
    };

    fn minutes(values: &[f64]) -> Demand {
        let points: Vec<_> = (0..).step_by(60_000).zip(values.iter().copied()).collect();
        Demand::new(&points, Duration::from_secs(60)).unwrap()
    }

    /// The least cost of all courses there are.
    fn by_trying_all(demand: &Demand, prices: Prices) -> f64 {
        let pieces: Vec<_> = demand.pieces().collect();
        let count = 3_usize.pow(u32::try_from(pieces.len()).unwrap());
        (0..count)
            .map(|mut code| {
                let mut course = Course::new();
                for piece in &pieces {
                    let size = GRID.min + (code % 3) as f64;
                    code /= 3;
                    if course.last().is_none_or(|(_, before)| *before != size) {
                        course.push((piece.start, size));
                    }
                }
                Bill::of(demand, &course, prices).cost
            })
            .fold(f64::INFINITY, f64::min)
    }

    proptest! {
        #[test]
        fn no_course_is_cheaper_than_the_oracles(
            values in proptest::collection::vec(0.0..4.0_f64, 1..8),
            change in 0.0..0.05_f64,
        ) {
            let demand = minutes(&values);
            let prices = Prices { change, ..Prices::of(crate::domain::Resource::Cpu) };
            let course = oracle(&demand, GRID, prices);
            let cost = Bill::of(&demand, &course, prices).cost;
            prop_assert!((cost - by_trying_all(&demand, prices)).abs() < 1e-9);
        }
    }

    #[test]
    fn a_burst_that_costs_less_than_two_changes_is_borne() {
        // Half a core missing for a minute: 10 core-minutes; two changes: 2.4; four spare cores held for ever: more.
        let prices = Prices::of(crate::domain::Resource::Cpu);
        let short = minutes(&[1.0, 1.0, 1.1, 1.0, 1.0]);
        assert_eq!(oracle(&short, GRID, prices), [(0, 1.0)]);
        let long = minutes(&[1.0, 1.0, 2.5, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(
            oracle(&long, GRID, prices),
            [(0, 1.0), (120_000, 3.0), (180_000, 1.0)]
        );
    }
}
