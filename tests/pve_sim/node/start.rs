//! The QEMU that PVE starts from a configuration file, or the words with which it refuses.
//!
//! Source: `qemu-server: src/PVE/QemuServer.pm: config_to_command`, `QemuServer/Memory.pm: config`.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::machine::{Balloon, Config, MIB, Machine};

/// Boot memory of a VM with memory hotplug (`Mem.pm: $STATICMEM`).
const STATIC_MIB: u64 = 1024;

/// The sizes of memory modules in the order in which PVE plugs them: 8 groups of 32, doubling from 512 MiB.
fn module_ladder() -> impl Iterator<Item = u64> {
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
fn hotplugs(config: &Config, feature: &str) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(lines: &str) -> Config {
        let pair = |line: &str| {
            let (key, value) = line.split_once(": ").unwrap();
            (key.to_owned(), value.to_owned())
        };
        lines.lines().map(pair).collect()
    }

    fn start(lines: &str) -> Result<Machine> {
        Machine::start(&config(lines), 20_000, 16)
    }

    #[test]
    fn memory_is_laid_out_in_modules_as_pve_does_it() {
        // The vector of qemu-server's own test suite, memory-hotplug.conf.
        let lines = "sockets: 2\ncores: 1\nmemory: 66560\nnuma: 1\nhotplug: memory,cpu";
        let machine = start(lines).unwrap();
        let count = |mib: u64| {
            let sizes = machine.modules.iter().map(|module| module.size / MIB);
            sizes.filter(|size| *size == mib).count()
        };
        assert_eq!(machine.boot_memory, 1024 * MIB);
        assert_eq!([count(512), count(1024), count(2048)], [32, 32, 8]);
        let nodes: Vec<u64> = machine.modules.iter().map(|module| module.node).collect();
        assert_eq!(nodes[..4], [0, 1, 0, 1]);
    }

    #[test]
    fn what_pve_cannot_start_is_refused_with_its_words() {
        let hotplug = "numa: 1\nhotplug: memory,cpu\n";
        for (lines, error) in [
            (
                format!("{hotplug}memory: 2100"),
                "memory size (2100) must be aligned to 512 for hotplugging",
            ),
            (
                format!("{hotplug}memory: 512"),
                "minimum memory must be 1024MB",
            ),
            (
                "hotplug: memory\nmemory: 2048".to_owned(),
                "NUMA needs to be enabled for memory hotplug",
            ),
            (
                "cores: 17".to_owned(),
                "MAX 16 vcpus allowed per VM on this node",
            ),
        ] {
            assert_eq!(start(&lines).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn a_module_takes_the_gap_that_another_left() {
        let mut machine = start("numa: 1\nhotplug: memory\nmemory: 2560").unwrap();
        let gap = machine.modules[1].clone();
        machine.remove_device("dimm1");
        machine.add_module("new".to_owned(), gap.memdev, 0).unwrap();
        let new = &machine.modules[1];
        assert_eq!(
            (new.addr, new.slot, new.hotplugged),
            (gap.addr, gap.slot, true)
        );
    }

    #[test]
    fn hotplug_1_means_neither_cpu_nor_memory() {
        let machine = start("hotplug: 1\nnuma: 1\ncores: 4\nvcpus: 2\nmemory: 2100").unwrap();
        assert!(!machine.memory_hotplug);
        assert_eq!(machine.boot_memory, 2100 * MIB);
        assert!(machine.vcpus.iter().all(|vcpu| vcpu.id.is_none()));
    }
}
