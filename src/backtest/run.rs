//! Runs the histories of many VMs, on all CPUs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::config::{Settings, VmSettings};
use crate::domain::{Cores, Mib, Resource};

use super::baselines::Predecessor;
use super::bill::{Bill, Course, Grid, Prices};
use super::replay::Replay;
use super::report::{Comparison, Summary, VmReport, Way};
use super::simulate::{Setup, simulate};
use super::trace::{Demand, Trace};

/// The history of one VM, and how it would have been sized.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// What was wanted.
    pub trace: Trace,
    /// The VM's settings. Its maximum is not looked at: the trace has the ceilings.
    pub own: VmSettings,
}

/// Runs `histories` under `settings`, in their order. `done` is told how many are through, from any thread.
pub fn run(
    histories: &[History],
    settings: &Settings,
    done: impl Fn(usize) + Sync,
) -> Vec<VmReport> {
    let next = AtomicUsize::new(0);
    let through = AtomicUsize::new(0);
    let reports = Mutex::new(Vec::with_capacity(histories.len()));
    let work = || {
        while let Some((index, history)) = take(&next, histories) {
            let report = history.run(settings);
            // A thread that panicked has pushed all or nothing: the list is sound.
            reports
                .lock()
                .unwrap_or_else(|e| e.into_inner())
                .push((index, report));
            done(through.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 1..threads.min(histories.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut reports = reports.into_inner().unwrap_or_else(|e| e.into_inner());
    reports.sort_by_key(|(index, _)| *index);
    reports.into_iter().map(|(_, report)| report).collect()
}

fn take<'a>(next: &AtomicUsize, histories: &'a [History]) -> Option<(usize, &'a History)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    histories.get(index).map(|history| (index, history))
}

impl History {
    /// The history of `trace`, with the settings `own` up to the trace's ceilings.
    pub fn new(trace: Trace, own: &VmSettings) -> Self {
        let mut own = own.clone();
        own.cpu.max = Cores::from_f64(Grid::coarse(Resource::Cpu, trace.max_cores.as_f64()).top());
        own.cpu.min = own.cpu.min.min(own.cpu.max);
        if let Some(max) = trace.max_memory {
            own.memory.max = Mib::from_f64(Grid::coarse(Resource::Memory, max.as_f64()).top());
            own.memory.min = own.memory.min.min(own.memory.max);
        }
        Self { trace, own }
    }

    fn run(&self, settings: &Settings) -> VmReport {
        let trace = &self.trace;
        let (cpu, cpu_compared) = self.compare(Resource::Cpu, &trace.cpu, settings);
        let memory = trace.memory.as_ref();
        let memory = memory.map(|demand| self.compare(Resource::Memory, demand, settings));
        let hours = cpu_compared.of(Way::Agent).hours;
        let (memory, memory_compared) = memory.unzip();
        VmReport {
            trace: trace.name.clone(),
            max_cores: self.own.cpu.max.as_f64(),
            max_memory_mib: memory.is_some().then(|| self.own.memory.max.as_f64()),
            cpu,
            memory: memory.unwrap_or_default(),
            summary: Summary {
                hours,
                unknown_hours: trace.cpu.unknown() as f64 / 3_600_000.0,
                cpu: cpu_compared,
                memory: memory_compared,
            },
            demand: (trace.cpu.clone(), trace.memory.clone()),
        }
    }

    /// The agent's course in one resource, and what all ways come to.
    fn compare(
        &self,
        resource: Resource,
        demand: &Demand,
        settings: &Settings,
    ) -> (Course, Comparison) {
        let max = match resource {
            Resource::Cpu => self.own.cpu.max.as_f64(),
            Resource::Memory => self.own.memory.max.as_f64(),
        };
        let grid = Grid::coarse(resource, max);
        let replay = Replay {
            resource,
            grid,
            settings,
            own: &self.own,
            begin: self.trace.begin,
        };
        let agent = replay.course(demand);
        let predecessor = self.predecessor(resource, demand, grid, settings.check_interval);
        let courses = [
            &agent,
            &predecessor,
            &vec![(0, grid.fit(demand.peak()))],
            &vec![(0, grid.top())],
        ];
        let bills = courses.map(|course| Bill::of(demand, course, Prices::of(resource)));
        (agent, Comparison { resource, bills })
    }

    fn predecessor(
        &self,
        resource: Resource,
        demand: &Demand,
        grid: Grid,
        tick: Duration,
    ) -> Course {
        let setup = Setup {
            resource,
            grid,
            tick,
            start: grid.start(resource, demand),
            settings: match resource {
                Resource::Cpu => &self.own.cpu.rule,
                Resource::Memory => &self.own.memory.rule,
            },
        };
        simulate(demand, setup, &mut Predecessor::default())
    }
}
