//! Between which sizes a history is run: the limits of the VM's settings, in whole steps of the lever that moves it.

use crate::config::{CpuMethod, MemoryMethod, VmSettings};
use crate::decide::{BALLOON_GRAIN_MIB, CPULIMIT_GRAIN};
use crate::domain::{Cores, Mib, Resource};

use super::bill::Grid;

/// A rounding error of this many steps is none.
const NEAR: f64 = 1e-6;

/// The least size that a lever leaves a VM, and from one size to the next; in cores or mebibytes.
struct Steps {
    least: f64,
    grain: f64,
}

impl Steps {
    /// Those of the lever that moves `resource` first, or that would, were it not switched off.
    fn of(resource: Resource, own: &VmSettings) -> Self {
        let every = |grain| Self {
            least: grain,
            grain,
        };
        let coarse = Grid::coarse(resource, 0.0);
        let coarse = Self {
            least: coarse.min,
            grain: coarse.grain,
        };
        match (resource, own.cpu.method, own.memory.method) {
            (Resource::Cpu, CpuMethod::Cpulimit, _) => every(CPULIMIT_GRAIN),
            (Resource::Cpu, CpuMethod::Auto | CpuMethod::Vcpus | CpuMethod::Off, _)
            | (Resource::Memory, _, MemoryMethod::Dimm) => coarse,
            (
                Resource::Memory,
                _,
                MemoryMethod::Auto | MemoryMethod::Balloon | MemoryMethod::Off,
            ) => every(BALLOON_GRAIN_MIB),
        }
    }

    /// The greatest size within `amount`.
    fn down(&self, amount: f64) -> f64 {
        let steps = (amount - self.least) / self.grain;
        self.least + (steps + NEAR).floor().max(0.0) * self.grain
    }

    /// The least size that holds `amount`.
    fn up(&self, amount: f64) -> f64 {
        let steps = (amount - self.least) / self.grain;
        self.least + (steps - NEAR).ceil().max(0.0) * self.grain
    }
}

impl Grid {
    /// The sizes of `resource` that lie within the limits of `own`, also of those that its windows set.
    pub fn of(resource: Resource, own: &VmSettings) -> Self {
        let own = own.at_its_widest();
        Self::within(resource, &own)
    }

    /// The sizes of `resource` that lie within the limits of `own` outside of its windows.
    pub(super) fn within(resource: Resource, own: &VmSettings) -> Self {
        let (min, max) = match resource {
            Resource::Cpu => (own.cpu.min.as_f64(), own.cpu.max.as_f64()),
            Resource::Memory => (own.memory.min.as_f64(), own.memory.max.as_f64()),
        };
        let steps = Steps::of(resource, own);
        let max = steps.down(max);
        Self {
            min: steps.up(min).min(max),
            max,
            grain: steps.grain,
        }
    }
}

/// The settings `own` with the ceilings of a history in place of their maximum, which no window exceeds either.
pub(super) fn up_to(max_cores: Cores, max_memory: Option<Mib>, own: &VmSettings) -> VmSettings {
    let mut own = own.clone();
    let (cpu, memory) = (&mut own.cpu, &mut own.memory);
    cpu.max = max_cores;
    cpu.min = cpu.min.min(max_cores);
    memory.max = max_memory.unwrap_or(memory.max);
    memory.min = memory.min.min(memory.max);
    for window in &mut own.schedule {
        let sets = &mut window.sets;
        for cores in [&mut sets.cpu_min, &mut sets.cpu_max] {
            *cores = cores.map(|cores| cores.min(max_cores));
        }
        for size in [&mut sets.memory_min, &mut sets.memory_max] {
            *size = size.map(|size| size.min(own.memory.max));
        }
    }
    own
}

/// The settings `own` with no maximum below what their levers leave a VM: one vCPU, or 1 GiB where modules are plugged.
pub(super) fn within_reach(own: &VmSettings) -> VmSettings {
    let mut own = own.clone();
    let cores = Cores::from_f64(Steps::of(Resource::Cpu, &own).least);
    let memory = Mib::from_f64(Steps::of(Resource::Memory, &own).least);
    own.cpu.max = own.cpu.max.max(cores);
    own.memory.max = own.memory.max.max(memory);
    for window in &mut own.schedule {
        let sets = &mut window.sets;
        sets.cpu_max = sets.cpu_max.map(|max| max.max(cores));
        sets.memory_max = sets.memory_max.map(|max| max.max(memory));
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Days, Overrides, TimeOfDay, Window};

    fn own(cpu: CpuMethod, memory: MemoryMethod) -> VmSettings {
        let mut own = VmSettings::default();
        (own.cpu.method, own.memory.method) = (cpu, memory);
        own
    }

    fn ends(resource: Resource, own: &VmSettings) -> (f64, f64) {
        let grid = Grid::of(resource, own);
        (grid.min, grid.top())
    }

    #[test]
    fn each_lever_stops_at_its_own_sizes_within_the_limits() {
        let mut quota = own(CpuMethod::Cpulimit, MemoryMethod::Balloon);
        (quota.cpu.min, quota.cpu.max) = (Cores::milli(250), Cores::milli(2580));
        (quota.memory.min, quota.memory.max) = (Mib(500), Mib(2304));
        let (min, top) = ends(Resource::Cpu, &quota);
        assert!((min - 0.3).abs() < 1e-9 && (top - 2.5).abs() < 1e-9);
        assert_eq!(ends(Resource::Memory, &quota), (512.0, 2304.0));
        let mut plugged = quota.clone();
        (plugged.cpu.method, plugged.memory.method) = (CpuMethod::Vcpus, MemoryMethod::Dimm);
        assert_eq!(ends(Resource::Cpu, &plugged), (1.0, 2.0));
        assert_eq!(ends(Resource::Memory, &plugged), (1024.0, 2048.0));
    }

    #[test]
    fn with_vcpus_and_modules_the_sizes_are_those_of_the_judged_run() {
        let own = own(CpuMethod::Vcpus, MemoryMethod::Dimm);
        for (cores, mib) in [(500, 700), (1000, 1024), (12_500, 3000), (64_000, 262_144)] {
            let (cores, size) = (Cores::milli(cores), Mib(mib));
            let own = within_reach(&up_to(cores, Some(size), &own));
            for (resource, max) in [
                (Resource::Cpu, cores.as_f64()),
                (Resource::Memory, size.as_f64()),
            ] {
                let judged = Grid::coarse(resource, max);
                assert_eq!(Grid::of(resource, &own).sizes(), judged.sizes());
            }
        }
    }

    #[test]
    fn a_maximum_below_one_vcpu_or_the_boot_memory_is_raised_to_it_and_a_quotas_is_not() {
        let small = |cpu, memory| {
            let mut own = own(cpu, memory);
            (own.cpu.min, own.cpu.max) = (Cores::milli(500), Cores::milli(800));
            (own.memory.min, own.memory.max) = (Mib(256), Mib(512));
            let own = within_reach(&own);
            (own.cpu.max, own.memory.max)
        };
        let plugged = small(CpuMethod::Vcpus, MemoryMethod::Dimm);
        assert_eq!(plugged, (Cores::whole(1), Mib::gib(1)));
        let free = small(CpuMethod::Cpulimit, MemoryMethod::Balloon);
        assert_eq!(free, (Cores::milli(800), Mib(512)));
    }

    #[test]
    fn windows_widen_the_limits_but_not_beyond_a_historys_ceilings() {
        let mut own = own(CpuMethod::Vcpus, MemoryMethod::Dimm);
        own.schedule = vec![Window {
            name: "office".to_owned(),
            days: Days::ALL,
            from: TimeOfDay::new(8, 0).unwrap(),
            to: TimeOfDay::new(18, 0).unwrap(),
            sets: Overrides {
                cpu_min: Some(Cores::whole(10)),
                cpu_max: Some(Cores::whole(12)),
                ..Overrides::default()
            },
        }];
        assert_eq!(ends(Resource::Cpu, &own), (1.0, 12.0));
        let capped = up_to(Cores::whole(6), None, &own);
        assert_eq!(ends(Resource::Cpu, &capped), (1.0, 6.0));
        assert_eq!(ends(Resource::Memory, &capped), (1024.0, 16384.0));
    }
}
