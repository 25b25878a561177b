//! Demand over time: evaluates curves and reads traces. Pure but for reading a trace's file once.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::scenario::{Curve, Load, Ramp, Square, TraceColumn, TraceSpec};

/// A load whose traces have been read.
#[derive(Debug)]
pub(crate) struct Demand {
    cpu: Series,
    memory: Series,
    shmem: Series,
    /// Threads that make the CPU demand; none means as many as there are vCPUs.
    pub(crate) threads: Option<u32>,
    /// Files that are read again and again, in MiB.
    pub(crate) files_mib: f64,
}

impl Demand {
    /// Reads what `load` refers to.
    pub(crate) fn new(load: &Load) -> Result<Self> {
        Ok(Self {
            cpu: Series::new(&load.cpu)?,
            memory: Series::new(&load.memory_mib)?,
            shmem: Series::new(&load.shmem_mib)?,
            threads: load.threads,
            files_mib: load.files_mib.max(0.0),
        })
    }

    /// CPU demand in cores, `age` seconds after the load was set.
    pub(crate) fn cpu(&self, age: f64) -> f64 {
        self.cpu.at(age)
    }

    /// Memory of processes in MiB.
    pub(crate) fn memory_mib(&self, age: f64) -> f64 {
        self.memory.at(age)
    }

    /// Shared memory in MiB.
    pub(crate) fn shmem_mib(&self, age: f64) -> f64 {
        self.shmem.at(age)
    }
}

#[derive(Debug)]
enum Series {
    Constant(f64),
    Ramp(Ramp),
    Square(Square),
    Trace {
        points: Vec<(f64, f64)>,
        spec: TraceSpec,
    },
}

impl Series {
    fn new(curve: &Curve) -> Result<Self> {
        Ok(match curve.clone() {
            Curve::Constant(value) => Self::Constant(value),
            Curve::Ramp(ramp) => Self::Ramp(ramp),
            Curve::Square(square) => Self::Square(square),
            Curve::Trace(spec) => Self::Trace {
                points: read_trace(&spec.trace, spec.column)?,
                spec,
            },
        })
    }

    fn at(&self, age: f64) -> f64 {
        let value = match self {
            Self::Constant(value) => *value,
            Self::Ramp(ramp) => ramp_at(ramp, age),
            Self::Square(square) if (age / square.period_s).fract() < square.duty => square.high,
            Self::Square(square) => square.low,
            Self::Trace { points, spec } => {
                trace_at(points, spec.skip_s + age * spec.speed) * spec.scale
            }
        };
        value.max(0.0)
    }
}

fn ramp_at(ramp: &Ramp, age: f64) -> f64 {
    let age = age - ramp.after_s;
    if age < 0.0 {
        ramp.from
    } else if age >= ramp.over_s {
        ramp.to
    } else {
        ramp.from + (ramp.to - ramp.from) * age / ramp.over_s
    }
}

/// The value that holds at `time`; a trace that has come to its end starts again.
fn trace_at(points: &[(f64, f64)], time: f64) -> f64 {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return 0.0;
    };
    let step = points.get(1).map_or(1.0, |second| second.0 - first.0);
    let length = last.0 - first.0 + step;
    let time = first.0 + time.rem_euclid(length);
    let after = points.partition_point(|point| point.0 <= time);
    points[after.max(1) - 1].1
}

fn read_trace(path: &Path, column: TraceColumn) -> Result<Vec<(f64, f64)>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("trace {}", path.display()))?;
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let name = match column {
        TraceColumn::CpuCores => "cpu_cores",
        TraceColumn::MemoryMib => "memory_mib",
    };
    let header = lines.next().unwrap_or_default();
    let Some(index) = header.split(',').position(|title| title == name) else {
        bail!("trace {} has no column {name}", path.display());
    };
    let mut points = Vec::new();
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
        let (Some(time), Some(value)) = (number(0), number(index)) else {
            bail!("trace {}: not a line of numbers: {line:?}", path.display());
        };
        ensure!(
            points.last().is_none_or(|&(before, _)| time > before),
            "trace {}: time goes back at {line:?}",
            path.display()
        );
        points.push((time, value));
    }
    ensure!(!points.is_empty(), "trace {} is empty", path.display());
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(curve: Curve) -> Series {
        Series::new(&curve).unwrap()
    }

    #[test]
    fn a_ramp_waits_climbs_and_stays() {
        let ramp = series(Curve::Ramp(Ramp {
            from: 1.0,
            to: 5.0,
            over_s: 4.0,
            after_s: 2.0,
        }));
        let values = [0.0, 2.0, 3.0, 6.0, 60.0].map(|age| ramp.at(age));
        assert_eq!(values, [1.0, 1.0, 2.0, 5.0, 5.0]);
    }

    #[test]
    fn a_square_wave_is_high_first() {
        let square = series(Curve::Square(Square {
            low: 1.0,
            high: 8.0,
            period_s: 10.0,
            duty: 0.2,
        }));
        let values = [0.0, 1.9, 2.1, 9.9, 10.1].map(|age| square.at(age));
        assert_eq!(values, [8.0, 8.0, 1.0, 1.0, 8.0]);
    }

    #[test]
    fn a_trace_holds_each_value_runs_at_its_speed_and_starts_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trace.csv");
        let text =
            "# step_s=60\ntime_s,cpu_cores,memory_mib\n600,1.0,100\n660,2.0,200\n720,3.0,300\n";
        std::fs::write(&file, text).unwrap();
        let trace = series(Curve::Trace(TraceSpec {
            trace: file,
            column: TraceColumn::MemoryMib,
            speed: 60.0,
            skip_s: 60.0,
            scale: 0.5,
        }));
        let values = [0.0, 0.9, 1.0, 2.0, 3.0].map(|age| trace.at(age));
        assert_eq!(values, [100.0, 100.0, 150.0, 50.0, 100.0]);
    }

    #[test]
    fn a_trace_that_cannot_be_read_as_numbers_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trace.csv");
        for text in [
            "",
            "time_s,cpu_cores\n",
            "time_s,cpu_cores\n0,many\n",
            "time_s,memory_mib\n0,1\n",
            "time_s,cpu_cores\n60,1\n0,1\n",
        ] {
            std::fs::write(&file, text).unwrap();
            assert!(
                read_trace(&file, TraceColumn::CpuCores).is_err(),
                "{text:?}"
            );
        }
    }
}
