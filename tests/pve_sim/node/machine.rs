//! One VM's QEMU: its vCPUs, memory modules and balloon, as made from a configuration file and as changed over its
//! monitor. Pure; what the guest does with them is in [`super::guest`].

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// A mebibyte.
pub(crate) const MIB: u64 = 1024 * 1024;
/// CPU time that a guest takes to bring a vCPU online. A vCPU that it ignores uses none at all.
pub(crate) const BOOT_S: f64 = 0.05;
/// Where the memory modules begin in the guest's address space, as recorded.
const MODULES_AT: u64 = 4 << 30;

/// The active part of a configuration file: the lines before the first section.
pub(crate) type Config = BTreeMap<String, String>;

/// A virtual CPU that QEMU has.
#[derive(Debug, Clone)]
pub(crate) struct Vcpu {
    /// Device id (`cpu2`); the boot CPUs have none.
    pub(crate) id: Option<String>,
    /// Its place, as an index over sockets and cores.
    pub(crate) index: u32,
    /// Thread id on the host.
    pub(crate) tid: u32,
    /// Whether the guest runs on it.
    pub(crate) online: bool,
    /// CPU time used, in seconds.
    pub(crate) used_s: f64,
}

/// A memory module that QEMU has.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    /// Device id (`dimm0`).
    pub(crate) id: String,
    /// Its memory backend (`mem-dimm0`).
    pub(crate) memdev: String,
    /// In bytes.
    pub(crate) size: u64,
    /// Slot number.
    pub(crate) slot: u64,
    /// Guest address.
    pub(crate) addr: u64,
    /// NUMA node.
    pub(crate) node: u64,
    /// Whether it was plugged after the start.
    pub(crate) hotplugged: bool,
    /// Whether the guest uses it.
    pub(crate) online: bool,
}

/// The balloon device.
#[derive(Debug, Clone, Default)]
pub(crate) struct Balloon {
    /// What the guest is asked to hand back, in bytes.
    pub(crate) wanted: u64,
    /// What it has handed back, in bytes.
    pub(crate) inflated: u64,
    /// Seconds between two statistics; 0 is off. PVE sets 2 at every start.
    pub(crate) polling_s: u64,
    /// The last statistics.
    pub(crate) statistics: Option<GuestStatistics>,
}

/// What the guest's balloon driver told, and when.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct GuestStatistics {
    /// Seconds since 1970.
    pub(crate) at: u64,
    /// MemTotal in bytes.
    pub(crate) total: u64,
    /// MemFree in bytes.
    pub(crate) free: u64,
    /// MemAvailable in bytes.
    pub(crate) available: u64,
    /// Page cache with shared memory, in bytes.
    pub(crate) caches: u64,
    /// Bytes swapped in so far.
    pub(crate) swap_in: u64,
    /// Bytes swapped out so far.
    pub(crate) swap_out: u64,
    /// Major faults so far.
    pub(crate) major_faults: u64,
    /// Minor faults so far.
    pub(crate) minor_faults: u64,
    /// OOM kills so far.
    pub(crate) oom_kills: u64,
    /// Allocations that had to wait so far.
    pub(crate) alloc_stalls: u64,
    /// Pages reclaimed directly so far.
    pub(crate) direct_reclaims: u64,
}

/// Something the guest was asked for and has not answered yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    /// Device id.
    pub(crate) device: String,
    /// When the guest reacts, in the node's seconds.
    pub(crate) due: f64,
    /// What is to be done with it.
    pub(crate) wish: Wish,
}

/// What is to be done with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Use it.
    Online,
    /// Give it back.
    Release,
}

/// QEMU.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Sockets.
    pub(crate) sockets: u32,
    /// Cores of each.
    pub(crate) cores: u32,
    /// QOM type of its CPUs.
    pub(crate) cpu_type: &'static str,
    /// Whether NUMA is on: CPUs have a node then.
    pub(crate) numa: bool,
    /// Whether it was started with memory hotplug.
    pub(crate) memory_hotplug: bool,
    /// Whether its memory is in huge pages: taken from the node at once, and in no control group's books.
    pub(crate) hugepages: bool,
    /// CPUs, the boot CPUs first.
    pub(crate) vcpus: Vec<Vcpu>,
    /// Memory without modules, in bytes.
    pub(crate) boot_memory: u64,
    /// Memory modules by address.
    pub(crate) modules: Vec<Module>,
    /// Memory backends: size in bytes by id.
    pub(crate) backends: BTreeMap<String, u64>,
    /// The balloon device, if there is one.
    pub(crate) balloon: Option<Balloon>,
    /// Whether the guest executes.
    pub(crate) running: bool,
    /// Asked of the guest and not answered yet.
    pub(crate) requests: Vec<Request>,
    /// The thread id that the next vCPU gets.
    pub(crate) next_tid: u32,
}

impl Machine {
    /// The most vCPUs it can have.
    pub(crate) fn max_vcpus(&self) -> u32 {
        self.sockets * self.cores
    }

    /// All memory that QEMU has given the guest, in bytes, the balloon not taken off.
    pub(crate) fn ram(&self) -> u64 {
        self.boot_memory + self.modules.iter().map(|module| module.size).sum::<u64>()
    }

    /// What the balloon leaves of it, in bytes.
    pub(crate) fn actual(&self) -> u64 {
        let inflated = self.balloon.as_ref().map_or(0, |balloon| balloon.inflated);
        self.ram().saturating_sub(inflated)
    }

    /// vCPUs on which the guest runs.
    pub(crate) fn online_vcpus(&self) -> u32 {
        self.vcpus.iter().filter(|vcpu| vcpu.online).count() as u32
    }

    /// Adds a vCPU at `index`.
    pub(crate) fn add_vcpu(&mut self, id: Option<String>, index: u32, online: bool) {
        let tid = self.next_tid;
        self.next_tid += 1;
        self.vcpus.push(Vcpu {
            id,
            index,
            tid,
            online,
            used_s: if online { BOOT_S } else { 0.0 },
        });
    }

    /// Plugs a module onto an existing backend, in the first free slot and at the first free address.
    pub(crate) fn add_module(&mut self, id: String, memdev: String, node: u64) -> Result<()> {
        let Some(&size) = self.backends.get(&memdev) else {
            bail!("Device '{memdev}' not found");
        };
        if self.modules.iter().any(|module| module.memdev == memdev) {
            bail!("can't use already busy memdev: {memdev}");
        }
        let used = |slot: &u64| self.modules.iter().any(|module| module.slot == *slot);
        let Some(slot) = (0..255).find(|slot| !used(slot)) else {
            bail!("no free memory slots available");
        };
        let mut addr = MODULES_AT;
        for module in &self.modules {
            if module.addr >= addr + size {
                break;
            }
            addr = module.addr + module.size;
        }
        let at = self.modules.partition_point(|module| module.addr < addr);
        self.modules.insert(
            at,
            Module {
                id,
                memdev,
                size,
                slot,
                addr,
                node,
                hotplugged: true,
                online: false,
            },
        );
        Ok(())
    }

    /// Whether a device with this id exists.
    pub(crate) fn has_device(&self, id: &str) -> bool {
        self.vcpus.iter().any(|vcpu| vcpu.id.as_deref() == Some(id))
            || self.modules.iter().any(|module| module.id == id)
            || (id == "balloon0" && self.balloon.is_some())
    }

    /// Takes a device out, as after the guest has let go of it.
    pub(crate) fn remove_device(&mut self, id: &str) {
        self.vcpus.retain(|vcpu| vcpu.id.as_deref() != Some(id));
        self.modules.retain(|module| module.id != id);
    }
}
