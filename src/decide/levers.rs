//! Which lever can move a resource of a VM now, how far, and in which steps.

use std::time::Duration;

use crate::config::{CpuMethod, MemoryMethod, MemorySettings, VmSettings};
use crate::domain::{Lever, Moment, Resource};
use crate::observe::{MemoryView, VmView};

use super::Reason;
use super::gates::fresh;

/// The balloon moves in steps of this size; smaller moves are not worth a call.
pub(crate) const BALLOON_GRAIN_MIB: f64 = 64.0;
/// `cpulimit` is kept to tenths of a core.
pub(crate) const CPULIMIT_GRAIN: f64 = 0.1;
/// The balloon gives back at most this share of what the guest has at a time: its statistics lag 2 s behind, and
/// a guest that has to free much memory at once stalls on reclaim.
const BALLOON_SHRINK_SHARE: f64 = 0.25;
/// … but this much is always one step, so that small guests come down in a few.
const BALLOON_SHRINK_LEAST_MIB: f64 = 512.0;
/// A guest needs this share of a new module for its page structures before it can use the rest: 64 bytes a page of 4 KiB.
const PAGE_STRUCTURES: f64 = 0.016;
/// So many modules are unplugged in one call: PVE holds the VM's lock meanwhile. It takes the highest first, 3 s each,
/// writes down each that is gone, and stops at the first that the guest refuses (`Memory.pm: qemu_memory_hotplug`).
const MODULES_AT_A_TIME: usize = 16;
/// A guest that boots is still finding its own memory, and services still take theirs.
const BOOT: Duration = Duration::from_secs(120);

/// The levers of one resource: the one that moves first, and the one that goes on where that ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Levers {
    first: Movable,
    beyond: Option<Movable>,
}

/// A resource that can be moved: what it has, how far it can go, in which steps. In cores or mebibytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Movable {
    pub(super) lever: Lever,
    /// What the VM has now, as read back.
    pub(super) allocation: f64,
    /// Where the lever stands for that: with a module, all of the VM's memory; with vCPUs, all that are plugged.
    pub(super) stands: f64,
    /// The most that the running VM can have.
    pub(super) ceiling: f64,
    /// Where it can stop.
    pub(super) stops: Stops,
    /// The most that is taken away at a time.
    pub(super) shrink_at_most: f64,
    /// The most that is given at a time.
    pub(super) grow_at_most: f64,
    /// Why it does not go up, if so.
    pub(super) no_grow: Option<Reason>,
    /// Why it does not go down, if so.
    pub(super) no_shrink: Option<Reason>,
}

/// The amounts at which a lever can stop.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stops {
    /// Every multiple of this.
    Every(f64),
    /// These only, rising.
    At(Vec<f64>),
}

impl Stops {
    /// The least stop that holds `value`, or the last one.
    pub(super) fn up(&self, value: f64) -> f64 {
        match self {
            Self::Every(grain) => (value / grain - 1e-6).ceil() * grain,
            Self::At(stops) => {
                let stop = stops.iter().find(|stop| **stop >= value - 1e-6);
                stop.or(stops.last()).copied().unwrap_or(value)
            }
        }
    }

    /// The greatest stop within `value`, or the first one.
    pub(super) fn down(&self, value: f64) -> f64 {
        match self {
            Self::Every(grain) => (value / grain + 1e-6).floor() * grain,
            Self::At(stops) => {
                let stop = stops.iter().rfind(|stop| **stop <= value + 1e-6);
                stop.or(stops.first()).copied().unwrap_or(value)
            }
        }
    }
}

impl Movable {
    /// The size of the step from the present allocation upwards.
    pub(super) fn grain(&self) -> f64 {
        match &self.stops {
            Stops::Every(grain) => *grain,
            Stops::At(_) => {
                let step = self.stops.up(self.allocation + 1.0) - self.allocation;
                if step > 0.0 { step } else { f64::INFINITY }
            }
        }
    }

    /// The smallest step anywhere: by it a policy tells sizes apart, whatever the present one is.
    pub(super) fn finest_step(&self) -> f64 {
        match &self.stops {
            Stops::Every(grain) => *grain,
            Stops::At(stops) => {
                let steps = stops.windows(2).map(|pair| pair[1] - pair[0]);
                steps
                    .filter(|step| *step > 0.0)
                    .fold(f64::INFINITY, f64::min)
            }
        }
    }

    /// The size of the step from the present allocation downwards.
    pub(super) fn least_step_down(&self) -> f64 {
        match &self.stops {
            Stops::Every(grain) => *grain,
            Stops::At(_) => {
                let step = self.allocation - self.stops.down(self.allocation - 1.0);
                if step > 0.0 { step } else { f64::INFINITY }
            }
        }
    }

    /// The size of so many steps downwards from the present allocation.
    fn steps_down(&self, count: usize) -> f64 {
        let mut to = self.allocation;
        (0..count).for_each(|_| to = self.stops.down(to - 1.0).min(to));
        self.allocation - to
    }

    /// The allocation after a growth of `extra`, in whole steps; the present one if that is not a step.
    pub(super) fn granted(&self, extra: f64) -> f64 {
        match &self.stops {
            Stops::Every(_) => self.allocation + extra,
            Stops::At(_) => self
                .stops
                .down(self.allocation + extra)
                .max(self.allocation),
        }
    }

    /// Where the lever is to stand so that the VM has `allocation`.
    pub(super) fn position(&self, allocation: f64) -> f64 {
        match self.lever {
            Lever::Dimm => allocation + self.stands - self.allocation,
            // The last vCPUs are unplugged first, which are those that the guest ignores.
            _ => allocation,
        }
    }
}

impl Levers {
    fn only(first: Movable) -> Self {
        Self {
            first,
            beyond: None,
        }
    }

    /// What the VM has and the steps in which that is moved first.
    pub(super) fn first(&self) -> &Movable {
        &self.first
    }

    /// The most that all levers together reach.
    pub(super) fn ceiling(&self) -> f64 {
        let beyond = self.beyond.as_ref().map(|beyond| beyond.ceiling);
        beyond.map_or(self.first.ceiling, |beyond| beyond.max(self.first.ceiling))
    }

    /// The lever that brings the VM to `amount`, or nearer to it.
    pub(super) fn towards(self, amount: f64) -> Movable {
        let at_its_end = self.first.allocation > self.first.ceiling - self.first.grain();
        match self.beyond {
            Some(beyond) if at_its_end && amount > self.first.allocation => beyond,
            _ => self.first,
        }
    }
}

/// The levers for `resource`, or why there is none.
pub(super) fn of(
    resource: Resource,
    vm: &VmView,
    settings: &VmSettings,
    now: Moment,
    oldest: Duration,
) -> Result<Levers, Reason> {
    match resource {
        Resource::Cpu => cpu(vm, settings, now, oldest).map(Levers::only),
        Resource::Memory => memory(vm, &settings.memory, now, oldest),
    }
}

fn no(why: &str) -> Reason {
    Reason::NoLever {
        why: why.to_owned(),
    }
}

fn unknown(what: &str, why: String) -> Reason {
    Reason::Unmeasured {
        why: format!("{what}: {why}"),
    }
}

fn cpu(
    vm: &VmView,
    settings: &VmSettings,
    now: Moment,
    oldest: Duration,
) -> Result<Movable, Reason> {
    let cpu = &vm.cpu;
    let vcpus = fresh(&cpu.vcpus, now, oldest).map_err(|why| unknown("vCPUs", why))?;
    let limit = fresh(&cpu.limit, now, oldest)
        .map_err(|why| unknown("CPU quota", why))?
        .map(|c| c.as_f64());
    let obstacle = vm.can.vcpus.obstacle();
    let lever = match (settings.cpu.method, obstacle) {
        (CpuMethod::Off, _) => return Err(no("cpu.method is off")),
        (CpuMethod::Vcpus, Some(why)) => return Err(no(why)),
        (CpuMethod::Vcpus, None) => Lever::Vcpus,
        // A guest that gives no vCPU back is better served by the quota, which moves both ways.
        (CpuMethod::Auto, None) if vm.can.vcpus.shrinks() => Lever::Vcpus,
        (CpuMethod::Auto | CpuMethod::Cpulimit, _) => Lever::Cpulimit,
    };
    let plugged = f64::from(vcpus);
    let free = |lever, allocation, stands, ceiling, grain| Movable {
        lever,
        allocation,
        stands,
        ceiling,
        stops: Stops::Every(grain),
        shrink_at_most: f64::INFINITY,
        grow_at_most: f64::INFINITY,
        no_grow: None,
        no_shrink: None,
    };
    if lever == Lever::Cpulimit {
        let has = limit.unwrap_or(f64::INFINITY).min(plugged);
        return Ok(free(lever, has, has, plugged, CPULIMIT_GRAIN));
    }
    let running = vcpus.saturating_sub(cpu.idle).max(1);
    // A quota that the admin set stays: more vCPUs than it admits are of no use.
    let ceiling = f64::from(cpu.ceiling).min(limit.map_or(f64::INFINITY, f64::ceil));
    let mut movable = free(
        lever,
        f64::from(running),
        plugged,
        ceiling.max(plugged),
        1.0,
    );
    movable.no_grow = (running < vcpus).then_some(Reason::GuestIgnores {
        plugged: vcpus,
        running,
    });
    movable.no_shrink = (!vm.can.vcpus.shrinks()).then(|| no("this guest gives no vCPU back"));
    Ok(movable)
}

fn memory(
    vm: &VmView,
    settings: &MemorySettings,
    now: Moment,
    oldest: Duration,
) -> Result<Levers, Reason> {
    let has = Sizes::read(&vm.memory, now, oldest);
    let modules = || module(vm, settings, &has.clone()?, now);
    let balloon = || balloon(vm, &has.clone()?);
    match settings.method {
        MemoryMethod::Off => Err(no("memory.method is off")),
        MemoryMethod::Balloon => balloon().map(Levers::only),
        MemoryMethod::Dimm => modules().map(Levers::only),
        MemoryMethod::Auto => match (balloon(), modules()) {
            (Ok(first), beyond) => Ok(Levers {
                first,
                beyond: beyond.ok(),
            }),
            (Err(_), Ok(modules)) => Ok(Levers::only(modules)),
            (Err(why), Err(_)) => Err(why),
        },
    }
}

/// How much memory a VM has.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// What the guest may use: `total` less what is in the balloon.
    actual: f64,
    /// What QEMU gives it at most.
    total: f64,
}

impl Sizes {
    fn read(memory: &MemoryView, now: Moment, oldest: Duration) -> Result<Self, Reason> {
        let total = fresh(&memory.ceiling, now, oldest)
            .map_err(|why| unknown("memory ceiling", why))?
            .as_f64();
        if !memory.balloon.device {
            return Ok(Self {
                actual: total,
                total,
            });
        }
        let actual =
            fresh(&memory.balloon.actual, now, oldest).map_err(|why| unknown("balloon", why))?;
        Ok(Self {
            actual: actual.as_f64(),
            total,
        })
    }
}

fn balloon(vm: &VmView, has: &Sizes) -> Result<Movable, Reason> {
    if let Some(why) = vm.can.balloon.obstacle() {
        return Err(no(why));
    }
    let ceiling = has.total.min(vm.memory.configured.as_f64());
    Ok(Movable {
        lever: Lever::Balloon,
        allocation: has.actual,
        stands: has.actual,
        ceiling: ceiling.max(has.actual),
        stops: Stops::Every(BALLOON_GRAIN_MIB),
        shrink_at_most: (has.actual * BALLOON_SHRINK_SHARE).max(BALLOON_SHRINK_LEAST_MIB),
        grow_at_most: f64::INFINITY,
        no_grow: None,
        no_shrink: None,
    })
}

fn module(
    vm: &VmView,
    settings: &MemorySettings,
    has: &Sizes,
    now: Moment,
) -> Result<Movable, Reason> {
    if let Some(why) = vm.can.dimm.obstacle() {
        return Err(no(why));
    }
    let in_balloon = has.total - has.actual;
    let sizes = vm.can.sizes.iter().map(|size| size.as_f64() - in_balloon);
    let stops: Vec<f64> = sizes.filter(|stop| *stop > 0.0).collect();
    let mut movable = Movable {
        lever: Lever::Dimm,
        allocation: has.actual,
        stands: has.total,
        ceiling: stops.last().copied().unwrap_or(has.actual).max(has.actual),
        stops: Stops::At(stops),
        shrink_at_most: 0.0,
        grow_at_most: f64::INFINITY,
        no_grow: booting(vm, now),
        no_shrink: None,
    };
    movable.shrink_at_most = movable.steps_down(MODULES_AT_A_TIME);
    // The guest pays for a module's page structures out of what it has left: half of that at most.
    if let Some(available) = vm.memory.need.value().and_then(|need| need.available) {
        let paid = available.as_f64() / 2.0 / PAGE_STRUCTURES;
        movable.grow_at_most = paid.max(movable.grain());
    }
    movable.no_shrink = no_unplug(vm, settings);
    Ok(movable)
}

/// Until when a guest is left alone by modules after its start.
fn booting(vm: &VmView, now: Moment) -> Option<Reason> {
    match vm.uptime.get() {
        Some(uptime) if uptime >= BOOT => None,
        Some(uptime) => Some(Reason::Booting {
            until: now + (BOOT - uptime),
        }),
        None => Some(unknown("uptime", "it cannot be read".to_owned())),
    }
}

/// Why modules are not unplugged, if so.
fn no_unplug(vm: &VmView, settings: &MemorySettings) -> Option<Reason> {
    if !settings.unplug {
        return Some(no(
            "memory.unplug is off: modules are plugged, not unplugged",
        ));
    }
    if !vm.can.dimm.shrinks() {
        return Some(no("this guest gives no memory module back"));
    }
    // With `shares: 0` a smaller memory would need a smaller balloon in the same call, in an order that PVE picks at
    // random: the balloon could take from the guest what the module is about to take once more.
    let balloon = &vm.memory.balloon;
    let owned = balloon.device && balloon.shares == Some(0) && balloon.configured.is_some();
    owned.then(|| {
        no("the agent or an admin owns its balloon (shares: 0), which gives memory back instead")
    })
}
