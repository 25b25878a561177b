//! A demand or a course with thousands of points, as the few that a chart has room for.

use super::bill::Course;
use super::trace::Demand;

/// The largest demand in each of `count` equal parts of the time; `None` where nothing is known of a part.
pub fn of_demand(demand: &Demand, count: usize) -> Vec<Option<f64>> {
    let pieces = demand
        .pieces()
        .map(|piece| (piece.start, piece.end, piece.value));
    peaks(pieces, demand.end(), count)
}

/// The largest allocation in each of `count` equal parts of the time until `end`.
pub fn of_course(course: &Course, end: i64, count: usize) -> Vec<Option<f64>> {
    let ends = course.iter().skip(1).map(|(start, _)| *start).chain([end]);
    let pieces = course
        .iter()
        .zip(ends)
        .map(|((start, value), end)| (*start, end, *value));
    peaks(pieces, end, count)
}

fn peaks(
    pieces: impl Iterator<Item = (i64, i64, f64)>,
    end: i64,
    count: usize,
) -> Vec<Option<f64>> {
    let mut peaks: Vec<Option<f64>> = vec![None; count];
    if end <= 0 || count == 0 {
        return peaks;
    }
    let part = |at: i64| (at as f64 / end as f64 * count as f64).max(0.0);
    for (from, to, value) in pieces.filter(|(from, to, _)| from < to) {
        let first = (part(from) as usize).min(count - 1);
        let last = (part(to).ceil() as usize).clamp(first + 1, count);
        for peak in &mut peaks[first..last] {
            *peak = Some(peak.map_or(value, |before| before.max(value)));
        }
    }
    peaks
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_short_burst_is_not_lost_in_a_coarse_chart() {
        let points: Vec<(i64, f64)> = (0..100)
            .map(|n| (n * 1000, if n == 42 { 9.0 } else { 1.0 }))
            .collect();
        let demand = Demand::new(&points, Duration::from_secs(1)).unwrap();
        let expected = [1.0, 1.0, 9.0, 1.0, 1.0].map(Some);
        assert_eq!(of_demand(&demand, 5), expected[..5].to_vec());
    }

    #[test]
    fn what_is_not_known_leaves_a_gap() {
        let points = [(0, 1.0), (60_000, 2.0)];
        let demand = Demand::new(&points, Duration::from_secs(20))
            .unwrap()
            .known_for(Duration::from_secs(20));
        assert_eq!(of_demand(&demand, 4), [Some(1.0), None, None, Some(2.0)]);
    }

    #[test]
    fn an_allocation_holds_until_the_next_change() {
        let course = vec![(0, 4.0), (50, 2.0)];
        assert_eq!(of_course(&course, 100, 4), [4.0, 4.0, 2.0, 2.0].map(Some));
    }
}
