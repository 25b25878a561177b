//! Which lever can move a resource of a VM now, how far, and in which steps.

use crate::config::{CpuMethod, MemoryMethod, VmSettings};
use crate::domain::{Lever, Moment};
use crate::observe::VmView;

use super::Reason;
use super::gates::fresh;

/// The balloon moves in steps of this size; smaller moves are not worth a call.
const BALLOON_GRAIN_MIB: f64 = 64.0;
/// `cpulimit` is kept to tenths of a core.
const CPULIMIT_GRAIN: f64 = 0.1;
/// The balloon gives back at most this share of what the guest has at a time: its statistics lag 2 s behind, and
/// a guest that has to free much memory at once stalls on reclaim.
const BALLOON_SHRINK_SHARE: f64 = 0.25;
/// … but this much is always one step, so that small guests come down in a few.
const BALLOON_SHRINK_LEAST_MIB: f64 = 512.0;

/// A resource that can be moved: what it has, how far it can go, in which steps. In cores or mebibytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Movable {
    pub(super) lever: Lever,
    /// What the VM has now, as read back.
    pub(super) allocation: f64,
    /// The most that the running VM can have.
    pub(super) ceiling: f64,
    /// The smallest step.
    pub(super) grain: f64,
    /// The most that is taken away at a time.
    pub(super) shrink_at_most: f64,
}

/// The lever for CPU, or why there is none.
pub(super) fn cpu(
    vm: &VmView,
    settings: &VmSettings,
    now: Moment,
    oldest: std::time::Duration,
) -> Result<Movable, Reason> {
    let no = |why: &str| Reason::NoLever {
        why: why.to_owned(),
    };
    let unknown = |what: &str, why: String| Reason::Unmeasured {
        why: format!("{what}: {why}"),
    };
    let cpu = &vm.cpu;
    let vcpus = fresh(&cpu.vcpus, now, oldest).map_err(|why| unknown("vCPUs", why))?;
    let limit = fresh(&cpu.limit, now, oldest)
        .map_err(|why| unknown("CPU quota", why))?
        .map(|c| c.as_f64());
    let plug = cpu.hotplug && cpu.ceiling > 1;
    let lever = match settings.cpu.method {
        CpuMethod::Off => return Err(no("cpu.method is off")),
        CpuMethod::Vcpus if !cpu.hotplug => {
            return Err(no("the VM was started without CPU hotplug"));
        }
        CpuMethod::Vcpus if !plug => {
            return Err(no(
                "the VM has one core in all: raise cores, then power-cycle it",
            ));
        }
        CpuMethod::Auto | CpuMethod::Vcpus if plug => Lever::Vcpus,
        _ => Lever::Cpulimit,
    };
    Ok(match lever {
        // A quota that the admin set stays: more vCPUs than it admits are of no use.
        Lever::Vcpus => Movable {
            lever,
            allocation: f64::from(vcpus),
            ceiling: f64::from(cpu.ceiling)
                .min(limit.map_or(f64::INFINITY, f64::ceil))
                .max(f64::from(vcpus)),
            grain: 1.0,
            shrink_at_most: f64::INFINITY,
        },
        _ => Movable {
            lever,
            allocation: limit.unwrap_or(f64::INFINITY).min(f64::from(vcpus)),
            ceiling: f64::from(vcpus),
            grain: CPULIMIT_GRAIN,
            shrink_at_most: f64::INFINITY,
        },
    })
}

/// The lever for memory, or why there is none.
pub(super) fn memory(
    vm: &VmView,
    settings: &VmSettings,
    now: Moment,
    oldest: std::time::Duration,
) -> Result<Movable, Reason> {
    let no = |why: &str| Reason::NoLever {
        why: why.to_owned(),
    };
    match settings.memory.method {
        MemoryMethod::Off => return Err(no("memory.method is off")),
        MemoryMethod::Dimm => return Err(no("memory modules are not moved yet")),
        MemoryMethod::Auto | MemoryMethod::Balloon => {}
    }
    if !vm.memory.balloon.device {
        return Err(no("it has no balloon device (balloon: 0)"));
    }
    let unknown = |what: &str, why: String| Reason::Unmeasured {
        why: format!("{what}: {why}"),
    };
    let actual = fresh(&vm.memory.balloon.actual, now, oldest)
        .map_err(|why| unknown("balloon", why))?
        .as_f64();
    let ceiling = fresh(&vm.memory.ceiling, now, oldest)
        .map_err(|why| unknown("memory ceiling", why))?
        .as_f64();
    Ok(Movable {
        lever: Lever::Balloon,
        allocation: actual,
        ceiling: ceiling.min(vm.memory.configured.as_f64()).max(actual),
        grain: BALLOON_GRAIN_MIB,
        shrink_at_most: (actual * BALLOON_SHRINK_SHARE).max(BALLOON_SHRINK_LEAST_MIB),
    })
}
