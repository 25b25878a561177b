//! A demand out of what Proxmox VE recorded of a VM.

use std::time::Duration;

use crate::domain::{Cores, Mib, Moment};

use super::trace::{Demand, Trace};

/// One recorded point; what was not recorded is unknown, not zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Seconds since 1970.
    pub time: i64,
    /// Cores used.
    pub cpu: Option<f64>,
    /// Cores that it could use.
    pub max_cpu: Option<f64>,
    /// Mebibytes used.
    pub memory: Option<f64>,
}

/// Of what it could use, used by a VM that may have needed more.
const FULL: f64 = 0.99;

/// The trace in `points`, up to the given ceilings; `None` if nothing is recorded.
///
/// Points of which CPU or memory is missing are left out, and the time until the next point with them.
pub fn trace(name: &str, points: &[Point], max_cores: Cores, max_memory: Mib) -> Option<Trace> {
    let step = step(points);
    let known = points
        .iter()
        .filter_map(|point| Some((point.time * 1000, point.cpu?, point.memory?)));
    let (cpu, memory): (Vec<_>, Vec<_>) = known
        .map(|(at, cpu, memory)| ((at, cpu), (at, memory)))
        .unzip();
    Some(Trace {
        name: name.to_owned(),
        begin: Moment::from_millis(cpu.first()?.0),
        max_cores,
        max_memory: Some(max_memory),
        cpu: Demand::new(&cpu, step)?.known_for(step),
        memory: Some(Demand::new(&memory, step)?.known_for(step)),
    })
}

/// The hours in which the VM used all of its CPU, or nearly so: what it would have used beyond is not recorded.
pub fn full_hours(points: &[Point]) -> f64 {
    let is_full = |point: &&Point| {
        let full = point.max_cpu.map(|max| max * FULL);
        point.memory.is_some() && full.zip(point.cpu).is_some_and(|(full, cpu)| cpu >= full)
    };
    points.iter().filter(is_full).count() as f64 * step(points).as_secs_f64() / 3600.0
}

/// From one point to the next; of which some may be missing.
fn step(points: &[Point]) -> Duration {
    let steps = points.windows(2).map(|pair| pair[1].time - pair[0].time);
    let step = steps.filter_map(|step| u64::try_from(step).ok());
    Duration::from_secs(step.filter(|step| *step > 0).min().unwrap_or(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(time: i64, cpu: Option<f64>) -> Point {
        Point {
            time,
            cpu,
            max_cpu: Some(4.0),
            memory: Some(2048.0),
        }
    }

    #[test]
    fn a_gap_in_the_record_is_left_out_and_not_taken_for_idleness() {
        let points = [
            point(1_000_000, Some(1.0)),
            point(1_000_060, None),
            point(1_000_120, None),
            point(1_000_180, Some(2.0)),
        ];
        let trace = trace("101", &points, Cores::whole(4), Mib::gib(4)).unwrap();
        let pieces: Vec<_> = trace
            .cpu
            .pieces()
            .map(|p| (p.start, p.end, p.value))
            .collect();
        assert_eq!(pieces, [(0, 60_000, 1.0), (180_000, 240_000, 2.0)]);
        assert_eq!(trace.cpu.unknown(), 120_000);
        assert_eq!(trace.memory.unwrap().unknown(), 120_000);
    }

    #[test]
    fn time_at_the_most_that_a_vm_could_use_is_counted() {
        let points = [(0, 3.95), (1800, 3.97), (3600, 4.0)].map(|(at, cpu)| point(at, Some(cpu)));
        assert_eq!(full_hours(&points), 1.0);
        let unknown = Point {
            max_cpu: None,
            ..point(0, Some(4.0))
        };
        assert_eq!(full_hours(&[unknown]), 0.0);
    }

    #[test]
    fn nothing_recorded_is_no_trace() {
        let points = [point(0, None), point(60, None)];
        assert_eq!(trace("101", &points, Cores::whole(4), Mib::gib(4)), None);
    }
}
