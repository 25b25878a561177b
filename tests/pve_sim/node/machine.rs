//! One VM's QEMU: its vCPUs, memory modules and balloon, as made from a configuration file and as changed over its
//! monitor. Pure; what the guest does with them is in [`super::guest`].

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};

/// A mebibyte.
pub(crate) const MIB: u64 = 1024 * 1024;
/// Boot memory of a VM with memory hotplug (`Mem.pm: $STATICMEM`).
const STATIC_MIB: u64 = 1024;
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
    next_tid: u32,
}

/// The sizes of memory modules in the order in which PVE plugs them: 8 groups of 32, doubling from 512 MiB.
pub(crate) fn module_ladder() -> impl Iterator<Item = u64> {
    (0..8u32).flat_map(|group| std::iter::repeat_n(512u64 << group, 32))
}

fn number(config: &Config, key: &str) -> Option<u64> {
    config.get(key).and_then(|value| value.parse().ok())
}

/// `memory`, in either of its forms.
pub(crate) fn memory_mib(config: &Config) -> u64 {
    let text = config.get("memory").map_or("512", String::as_str);
    let text = text.strip_prefix("current=").unwrap_or(text);
    text.parse().unwrap_or(512)
}

/// Whether `hotplug` contains `feature`; `1` stands for the default, in which CPU and memory are not.
pub(crate) fn hotplugs(config: &Config, feature: &str) -> bool {
    config.get("hotplug").is_some_and(|list| {
        list.split([',', ';', ' '])
            .any(|entry| entry.trim() == feature)
    })
}

impl Machine {
    /// The QEMU that PVE would start from `config`; the errors are those of `qm start`.
    pub(crate) fn start(config: &Config, pid: u32, host_cpus: u32) -> Result<Self> {
        let sockets = number(config, "sockets").unwrap_or(1).max(1) as u32;
        let cores = number(config, "cores").unwrap_or(1).max(1) as u32;
        let most = sockets.saturating_mul(cores);
        ensure!(
            most <= host_cpus,
            "MAX {host_cpus} vcpus allowed per VM on this node"
        );
        let vcpus = number(config, "vcpus").map_or(most, |n| n as u32);
        ensure!(
            (1..=most).contains(&vcpus),
            "you can't add more vcpus than maxcpus"
        );
        let memory_hotplug = hotplugs(config, "memory");
        let numa = number(config, "numa") == Some(1);
        if memory_hotplug {
            check_memory_hotplug(config, numa)?;
        }
        let mut machine = Self {
            sockets,
            cores,
            cpu_type: cpu_type(config),
            numa,
            memory_hotplug,
            hugepages: config.contains_key("hugepages"),
            vcpus: Vec::new(),
            boot_memory: memory_mib(config) * MIB,
            modules: Vec::new(),
            backends: BTreeMap::new(),
            balloon: None,
            running: true,
            requests: Vec::new(),
            next_tid: pid + 1,
        };
        let plugged_one_by_one = hotplugs(config, "cpu");
        for index in 0..vcpus {
            let id = (plugged_one_by_one && index > 0).then(|| format!("cpu{}", index + 1));
            machine.add_vcpu(id, index, true);
        }
        if memory_hotplug {
            machine.lay_out_modules(config)?;
        }
        machine.add_balloon(config);
        Ok(machine)
    }

    /// Boot memory and modules of a VM with memory hotplug.
    fn lay_out_modules(&mut self, config: &Config) -> Result<()> {
        let memory = memory_mib(config);
        let gigantic = config.get("hugepages").is_some_and(|size| size == "1024");
        let sockets = u64::from(self.sockets);
        let boot = STATIC_MIB * if gigantic { sockets } else { 1 };
        ensure!(memory >= boot, "minimum memory must be {boot}MB");
        self.boot_memory = boot * MIB;
        let mut reached = boot;
        for (slot, size) in module_ladder().enumerate() {
            if reached >= memory {
                break;
            }
            let size = if gigantic { size * 2 } else { size };
            ensure!(
                reached + size <= memory,
                "memory size ({memory}) must be aligned to {size} for hotplugging"
            );
            let (id, memdev) = (format!("dimm{slot}"), format!("mem-dimm{slot}"));
            self.backends.insert(memdev.clone(), size * MIB);
            self.add_module(id, memdev, (slot as u64 % 32) % sockets)?;
            reached += size;
        }
        for module in &mut self.modules {
            (module.hotplugged, module.online) = (false, true);
        }
        Ok(())
    }

    /// The balloon device, told to be at the configured minimum as PVE does at a cold start.
    fn add_balloon(&mut self, config: &Config) {
        let target = number(config, "balloon");
        if target == Some(0) {
            return;
        }
        let ram = self.ram();
        let wanted = target.map_or(0, |mib| ram.saturating_sub(mib * MIB));
        self.balloon = Some(Balloon {
            wanted,
            polling_s: 2,
            ..Balloon::default()
        });
    }

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
            used_s: 0.0,
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

/// What memory hotplug cannot be combined with (`Mem.pm: config`).
fn check_memory_hotplug(config: &Config, numa: bool) -> Result<()> {
    let has = |prefix: &str| {
        config.keys().any(|key| {
            key.strip_prefix(prefix)
                .is_some_and(|rest| rest.parse::<u32>().is_ok())
        })
    };
    ensure!(numa, "NUMA needs to be enabled for memory hotplug");
    ensure!(
        !has("numa"),
        "cannot enable memory hotplugging with custom NUMA topology"
    );
    ensure!(
        !has("virtiofs"),
        "Memory hotplug does not work in combination with virtio-fs."
    );
    Ok(())
}

/// What `-cpu` becomes: without KVM PVE uses qemu64, and its x86-64-v2 models are built on that too.
fn cpu_type(config: &Config) -> &'static str {
    let emulated = config.get("kvm").is_some_and(|kvm| kvm == "0");
    let model = config.get("cpu").map_or("kvm64", String::as_str);
    let model = model.split(',').next().unwrap_or_default();
    let model = model.strip_prefix("cputype=").unwrap_or(model);
    match model {
        _ if emulated => "qemu64-x86_64-cpu",
        "host" => "host-x86_64-cpu",
        "max" => "max-x86_64-cpu",
        "kvm64" => "kvm64-x86_64-cpu",
        _ => "qemu64-x86_64-cpu",
    }
}
