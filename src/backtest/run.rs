//! Runs the histories of many VMs, on all CPUs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::{Settings, VmSettings};
use crate::domain::Resource;

use super::baselines::Predecessor;
use super::bill::{Bill, Course, Grid, Prices};
use super::limits;
use super::replay::Replay;
use super::report::{Comparison, Summary, VmReport, Way};
use super::simulate::{Setup, simulate};
use super::trace::{Demand, Trace};

/// The history of one VM, and how it would have been sized.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// What was wanted.
    pub trace: Trace,
    /// The VM's settings, whose limits hold.
    own: VmSettings,
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
        let own = limits::up_to(trace.max_cores, trace.max_memory, own);
        Self::within(trace, &own)
    }

    /// The history of `trace`, with the settings `own` and their own limits.
    pub fn within(trace: Trace, own: &VmSettings) -> Self {
        let own = limits::within_reach(own);
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
            max_cores: Grid::of(Resource::Cpu, &self.own).top(),
            max_memory_mib: memory
                .is_some()
                .then(|| Grid::of(Resource::Memory, &self.own).top()),
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
        let grid = Grid::of(resource, &self.own);
        let replay = Replay {
            resource,
            settings,
            own: &self.own,
            begin: self.trace.begin,
        };
        let agent = replay.course(demand);
        let setup = Setup {
            resource,
            grid,
            tick: settings.check_interval,
            start: replay.start(demand),
            settings: match resource {
                Resource::Cpu => &self.own.cpu.rule,
                Resource::Memory => &self.own.memory.rule,
            },
        };
        let predecessor = simulate(demand, setup, &mut Predecessor::default());
        let courses = [
            &agent,
            &predecessor,
            &vec![(0, grid.fit(demand.peak()))],
            &vec![(0, grid.top())],
        ];
        let bills = courses.map(|course| Bill::of(demand, course, Prices::of(resource)));
        (agent, Comparison { resource, bills })
    }
}
