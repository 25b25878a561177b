//! A VM whose levers all move at once, as snapshots: what the engine is shown of a history.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::act::{Done, Outcome};
use crate::config::{CpuMethod, MemoryMethod, Mode, Select, Settings, VmSettings};
use crate::decide::Change;
use crate::decide::policy::{Sample, mean};
use crate::domain::{
    Amount, Capabilities, Capability, Cores, Lever, Mib, Moment, NodeName, Percent, Reading,
    Resource, Source, VmId, VmName,
};
use crate::observe::{
    Balloon, ClusterView, CpuSample, CpuUsage, CpuView, HostView, MemoryNeed, MemoryView, Power,
    Snapshot, Unselected, VmView,
};

use super::bill::Grid;

/// Modules of this size, one above the other: the smallest that PVE plugs.
const MODULE_MIB: u64 = 512;
/// More than any VM asks for, so that the node never says no.
const ENDLESS: u32 = 1_000_000;
/// Up for so long before the history begins: no guest is just booting.
const UP: Duration = Duration::from_secs(86_400);
/// Which number the VM has does not matter.
const VM: u32 = 100;

/// The settings under which the history of one resource is decided: those of the VM, and nobody else's.
///
/// CPU and memory are separate loops, so each is run alone, with the other one switched off. The mode is `auto`:
/// what is asked is what would have been done.
pub(super) fn settings(of: &Settings, own: &VmSettings, resource: Resource) -> Settings {
    let mut own = own.clone();
    own.mode = Mode::Auto;
    for window in &mut own.schedule {
        window.sets.mode = None;
    }
    match resource {
        Resource::Cpu => own.memory.method = MemoryMethod::Off,
        Resource::Memory => own.cpu.method = CpuMethod::Off,
    }
    Settings {
        select: Select {
            vms: id().into_iter().collect(),
            ..Settings::default().select
        },
        profiles: BTreeMap::from([("default".to_owned(), own)]),
        vms: BTreeMap::new(),
        notify: crate::notify::Settings::default(),
        ..of.clone()
    }
}

fn id() -> Option<VmId> {
    VmId::try_from(VM).ok()
}

/// The VM and its node.
pub(super) struct Stage {
    snapshot: Snapshot,
    id: VmId,
    resource: Resource,
    lever: Option<Lever>,
}

impl Stage {
    /// A VM that has the size `start` of those of `grid` in `resource`, which the settings `own` move. `None` cannot be:
    /// see [`VM`].
    pub(super) fn new(
        resource: Resource,
        grid: Grid,
        start: f64,
        own: &VmSettings,
    ) -> Option<Self> {
        let id = id()?;
        let node: NodeName = "backtest".parse().ok()?;
        let now = Moment::default();
        let lever = lever(resource, own);
        let vm = VmView {
            id,
            name: VmName::new("history"),
            owner: node.clone(),
            tags: Vec::new(),
            power: Power::Running,
            template: false,
            lock: None,
            uptime: known(UP, now),
            unreadable: None,
            can: can(resource, grid),
            cpu: cpu(resource, lever, grid, start),
            memory: memory(resource, lever, grid, start),
            in_hand: Vec::new(),
            pending: Vec::new(),
            hold: None,
            fails_over: false,
        };
        let snapshot = Snapshot {
            at: now,
            node,
            cluster: ClusterView {
                quorate: known(true, now),
                pause: None,
                others: known(Vec::new(), now),
            },
            host: HostView {
                cpus: Cores::whole(ENDLESS),
                cpu_used: known(Cores::ZERO, now),
                memory_total: Mib::gib(u64::from(ENDLESS)),
                memory_available: known(Mib::gib(u64::from(ENDLESS)), now),
                unselected: known(Unselected::default(), now),
            },
            vms: BTreeMap::from([(id, vm)]),
        };
        Some(Self {
            snapshot,
            id,
            resource,
            lever,
        })
    }

    /// What the VM has, in cores or mebibytes.
    pub(super) fn held(&self) -> f64 {
        let Some(vm) = self.snapshot.vms.get(&self.id) else {
            return 0.0;
        };
        match self.resource {
            Resource::Cpu => {
                let limit = vm.cpu.limit.get().flatten().map(Cores::as_f64);
                let vcpus = vm.cpu.vcpus.get().map_or(0.0, f64::from);
                limit.map_or(vcpus, |limit| limit.min(vcpus))
            }
            Resource::Memory => {
                let actual = vm.memory.balloon.actual.get();
                actual
                    .or(vm.memory.ceiling.get())
                    .unwrap_or(Mib::ZERO)
                    .as_f64()
            }
        }
    }

    /// The change takes effect at `now`: it is what is read back.
    pub(super) fn apply(&mut self, change: Change, now: Moment) -> Done {
        if let Some(vm) = self.snapshot.vms.get_mut(&self.id) {
            match (change.lever, change.to) {
                (Lever::Vcpus, Amount::Cpu(cores)) => vm.cpu.vcpus = known(cores.ceil(), now),
                (Lever::Cpulimit, Amount::Cpu(cores)) => vm.cpu.limit = known(Some(cores), now),
                (Lever::Balloon, Amount::Memory(size)) => {
                    vm.memory.balloon.actual = known(size, now)
                }
                (Lever::Dimm, Amount::Memory(size)) => vm.memory.ceiling = known(size, now),
                // A lever moves its own resource only.
                (Lever::Vcpus | Lever::Cpulimit, Amount::Memory(_))
                | (Lever::Balloon | Lever::Dimm, Amount::Cpu(_)) => {}
            }
        }
        Done {
            now: known(change.to, now),
            change,
            outcome: Outcome::Applied,
            at: now,
            took: Duration::ZERO,
        }
    }

    /// What is seen at `now`: `usage` since the previous look, with the allocation `past`.
    pub(super) fn look(&mut self, now: Moment, usage: &[Sample], past: f64) -> &Snapshot {
        let held = self.held();
        self.snapshot.at = now;
        renew(&mut self.snapshot.cluster.quorate, now);
        renew(&mut self.snapshot.host.cpu_used, now);
        renew(&mut self.snapshot.host.memory_available, now);
        renew(&mut self.snapshot.host.unselected, now);
        if let Some(vm) = self.snapshot.vms.get_mut(&self.id) {
            vm.uptime = known(now.since(Moment::default()) + UP, now);
            renew(&mut vm.cpu.vcpus, now);
            renew(&mut vm.cpu.limit, now);
            renew(&mut vm.memory.ceiling, now);
            renew(&mut vm.memory.balloon.actual, now);
            renew(&mut vm.memory.resident, now);
            match self.resource {
                Resource::Cpu => {
                    let throttled = (self.lever == Some(Lever::Cpulimit))
                        .then(|| Percent::from_fraction(at_the_quota(usage, past)));
                    vm.cpu.usage = cpu_usage(usage, throttled, now);
                }
                Resource::Memory => vm.memory.need = memory_need(usage, held, now),
            }
        }
        &self.snapshot
    }
}

fn known<T>(value: T, at: Moment) -> Reading<T> {
    Reading::known(value, at, Source::Trace)
}

fn renew<T>(reading: &mut Reading<T>, now: Moment) {
    if let Reading::Known { at, .. } = reading {
        *at = now;
    }
}

/// The lever that moves at the start.
fn lever(resource: Resource, own: &VmSettings) -> Option<Lever> {
    match resource {
        Resource::Cpu => match own.cpu.method {
            CpuMethod::Auto | CpuMethod::Vcpus => Some(Lever::Vcpus),
            CpuMethod::Cpulimit => Some(Lever::Cpulimit),
            CpuMethod::Off => None,
        },
        Resource::Memory => match own.memory.method {
            MemoryMethod::Auto | MemoryMethod::Balloon => Some(Lever::Balloon),
            MemoryMethod::Dimm => Some(Lever::Dimm),
            MemoryMethod::Off => None,
        },
    }
}

fn can(resource: Resource, grid: Grid) -> Capabilities {
    let (least, most) = (resource.amount(grid.min), resource.amount(grid.top()));
    let moves = || Capability::Now {
        least,
        most,
        shrinks: true,
    };
    let mut can = Capabilities::none("not looked at");
    match resource {
        Resource::Cpu => (can.vcpus, can.cpulimit) = (moves(), moves()),
        Resource::Memory => {
            (can.balloon, can.dimm) = (moves(), moves());
            let (least, most) = (Mib::from_f64(grid.min).0, Mib::from_f64(grid.top()).0);
            let count = most.saturating_sub(least) / MODULE_MIB;
            can.sizes = (0..=count).map(|n| Mib(least + n * MODULE_MIB)).collect();
        }
    }
    can
}

fn cpu(resource: Resource, lever: Option<Lever>, grid: Grid, start: f64) -> CpuView {
    let (top, start) = match resource {
        Resource::Cpu => (Cores::from_f64(grid.top()), Cores::from_f64(start)),
        Resource::Memory => (Cores::whole(1), Cores::whole(1)),
    };
    let by_quota = lever == Some(Lever::Cpulimit);
    let vcpus = if by_quota { top } else { start };
    let now = Moment::default();
    CpuView {
        ceiling: top.ceil(),
        configured: vcpus.ceil(),
        vcpus: known(vcpus.ceil(), now),
        idle: 0,
        limit: known(by_quota.then_some(start), now),
        usage: Reading::unknown("not looked at"),
    }
}

fn memory(resource: Resource, lever: Option<Lever>, grid: Grid, start: f64) -> MemoryView {
    let (top, start) = match resource {
        Resource::Cpu => (Mib::gib(1), Mib::gib(1)),
        Resource::Memory => (Mib::from_f64(grid.top()), Mib::from_f64(start)),
    };
    let now = Moment::default();
    let by_modules = lever == Some(Lever::Dimm);
    let actual = if by_modules {
        Reading::unknown("it has no balloon")
    } else {
        known(start, now)
    };
    MemoryView {
        configured: top,
        ceiling: known(if by_modules { start } else { top }, now),
        balloon: Balloon {
            device: !by_modules,
            configured: (!by_modules).then_some(start),
            shares: (!by_modules).then_some(0),
            actual,
        },
        resident: known(Mib::ZERO, now),
        pinned: false,
        need: Reading::unknown("not looked at"),
    }
}

/// The part of the time in which all of the quota was used.
fn at_the_quota(usage: &[Sample], quota: f64) -> f64 {
    let (mut at_it, mut all) = (0.0, 0.0);
    for sample in usage {
        let span = sample.span.as_secs_f64();
        all += span;
        if sample.value >= quota - 1e-9 {
            at_it += span;
        }
    }
    if all > 0.0 { at_it / all } else { 0.0 }
}

/// What the counters of the control group say.
fn cpu_usage(usage: &[Sample], throttled: Option<Percent>, now: Moment) -> Reading<CpuUsage> {
    if usage.is_empty() {
        return Reading::unknown("the history does not tell");
    }
    let sample = |sample: &Sample| CpuSample {
        span: sample.span,
        mean: Cores::from_f64(sample.value),
    };
    let usage = CpuUsage {
        mean: Cores::from_f64(mean(usage)),
        samples: usage.iter().map(sample).collect(),
        throttled,
        busiest_vcpu: None,
    };
    known(usage, now)
}

/// What the guest says. One that would need more than it has swaps, and how much it could still free is not in a history.
fn memory_need(usage: &[Sample], held: f64, now: Moment) -> Reading<MemoryNeed> {
    let Some(sample) = usage.last() else {
        return Reading::unknown("the history does not tell");
    };
    let is_short = sample.value >= held;
    let need = MemoryNeed {
        need: Mib::from_f64(sample.value),
        includes_cache: false,
        available: (!is_short).then(|| Mib::from_f64(held - sample.value)),
        pressure: is_short,
        out_of_memory: false,
    };
    known(need, now)
}
