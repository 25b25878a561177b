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
