//! Runs several policies on the same demand and bills them alike.

use std::time::Duration;

use crate::config::{CpuMethod, MemoryMethod, PolicyKind, Settings, VmSettings};
use crate::decide::policy::{Policy, State};
use crate::domain::{Cores, Mib, Moment, Resource};

use super::baselines::{Hpa, Neon, Predecessor, Simple, Vpa};
use super::bill::{Bill, Course, Grid, Prices};
use super::oracle::oracle;
use super::replay::Replay;
use super::simulate::{Setup, simulate};
use super::trace::{Demand, Trace};

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contestant {
    /// The peak of the whole history, always: what an admin does who knows it.
    Static,
    /// proxmox-vm-autoscale 1.7.2.
    Predecessor,
    /// Kubernetes' vertical autoscaler.
    Vpa,
    /// Kubernetes' horizontal autoscaler.
    Hpa,
    /// Neon's autoscaler.
    Neon,
    /// A rule of three lines: the floor.
    Simple,
    /// One of our policies alone, with its default settings.
    Ours(PolicyKind),
    /// The default policy with all that decides after it: gates, cool-downs, limits, levers.
    Agent,
}

impl Contestant {
    /// All of them; ours are the last.
    pub const ALL: [Self; 9] = [
        Self::Static,
        Self::Predecessor,
        Self::Vpa,
        Self::Hpa,
        Self::Neon,
        Self::Simple,
        Self::Ours(PolicyKind::Threshold),
        Self::Ours(PolicyKind::Adaptive),
        Self::Agent,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Predecessor => "predecessor",
            Self::Vpa => "VPA",
            Self::Hpa => "HPA",
            Self::Neon => "Neon",
            Self::Simple => "three lines",
            Self::Ours(PolicyKind::Threshold) => "threshold",
            Self::Ours(PolicyKind::Adaptive) => "adaptive",
            Self::Agent => "agent",
        }
    }

    fn policy(self) -> Option<Box<dyn Policy>> {
        Some(match self {
            Self::Static | Self::Agent => return None,
            Self::Predecessor => Box::<Predecessor>::default(),
            Self::Vpa => Box::<Vpa>::default(),
            Self::Hpa => Box::<Hpa>::default(),
            Self::Neon => Box::<Neon>::default(),
            Self::Simple => Box::<Simple>::default(),
            Self::Ours(kind) => Box::new(State::new(kind)),
        })
    }
}

/// One demand on which policies compete.
#[derive(Debug, Clone)]
pub struct Race {
    /// The trace's name.
    pub trace: String,
    /// Of which resource.
    pub resource: Resource,
    /// What is wanted.
    pub demand: Demand,
    /// The sizes there are.
    pub grid: Grid,
    /// The bill of the oracle.
    pub best: Bill,
}

impl Race {
    /// The races that a trace gives: CPU, and memory where it has it, in whole cores and steps of 512 MiB.
    pub fn of(trace: &Trace) -> Vec<Self> {
        let race = |resource, demand: &Demand, max: f64| {
            let grid = Grid::coarse(resource, max);
            let prices = Prices::of(resource);
            let course = oracle(demand, grid, prices);
            Self {
                trace: trace.name.clone(),
                resource,
                demand: demand.clone(),
                grid,
                best: Bill::of(demand, &course, prices),
            }
        };
        let cpu = race(Resource::Cpu, &trace.cpu, trace.max_cores.as_f64());
        let memory = trace.memory.as_ref().zip(trace.max_memory);
        let memory = memory.map(|(demand, max)| race(Resource::Memory, demand, max.as_f64()));
        std::iter::once(cpu).chain(memory).collect()
    }

    /// The course that `contestant` takes.
    pub fn run(&self, contestant: Contestant) -> Course {
        let settings = VmSettings::default();
        if contestant == Contestant::Agent {
            return self.agent(settings);
        }
        let Some(mut policy) = contestant.policy() else {
            return vec![(0, self.grid.fit(self.demand.peak()))];
        };
        let setup = Setup {
            resource: self.resource,
            grid: self.grid,
            tick: tick(),
            start: self.grid.start(self.resource, &self.demand),
            settings: match self.resource {
                Resource::Cpu => &settings.cpu.rule,
                Resource::Memory => &settings.memory.rule,
            },
        };
        simulate(&self.demand, setup, policy.as_mut())
    }

    /// The course of the whole agent, with vCPUs and modules as its levers.
    fn agent(&self, mut own: VmSettings) -> Course {
        own.cpu.method = CpuMethod::Vcpus;
        own.cpu.max = Cores::from_f64(self.grid.top());
        own.memory.method = MemoryMethod::Dimm;
        own.memory.unplug = true;
        own.memory.max = Mib::from_f64(self.grid.top());
        let replay = Replay {
            resource: self.resource,
            settings: &Settings::default(),
            own: &own,
            begin: Moment::default(),
        };
        replay.course(&self.demand)
    }

    /// What a course comes to.
    pub fn bill(&self, course: &[(i64, f64)]) -> Bill {
        Bill::of(&self.demand, course, Prices::of(self.resource))
    }

    /// The cost of a bill as a multiple of the oracle's: 1 is clairvoyant.
    pub fn score(&self, bill: &Bill) -> f64 {
        bill.cost / self.best.cost
    }
}

/// The default interval between decisions.
fn tick() -> Duration {
    Settings::default().check_interval
}
