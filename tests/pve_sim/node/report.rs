//! What the node tells: `.rrd` as pvestatd writes it, and the truth for the tests.

use anyhow::Result;

use super::clock::unix_millis;
use super::machine::{Config, MIB};
use super::scenario::OtherSpec;
use super::start::memory_mib;
use super::state::Node;
use super::truth::{NodeTruth, Truth, VmTruth};
use super::vm::Vm;

/// Size and use of the node's disk in bytes, as recorded. Nothing here fills it.
const DISK: &str = "270553174016:24056369152";

impl Node {
    /// `.rrd`: what pvestatd broadcasts of the node and its VMs.
    pub(crate) fn write_rrd(&self) -> Result<()> {
        let now = unix_millis() / 1000;
        let spec = &self.scenario.node;
        let total = spec.memory_mib * MIB;
        let free = self.host.memory_free_kib(spec) * 1024;
        let mut text = format!(
            "pve-node-9.0/{}:{}::{now}:{:.2}:{}:{:.6}:0:{total}:{}:0:0:{DISK}:0:0:{free}:{}:{:.2}:0.00:0.00:0.00:0.00\n",
            spec.name,
            self.host.uptime_s as u64,
            self.host.cpu_used,
            spec.cpus,
            self.host.cpu_used / f64::from(spec.cpus),
            total - free,
            spec.arc.map_or(0, |arc| arc.size_mib * MIB),
            self.host.cpu_pressure.avg10().0,
        );
        for (name, other) in &self.scenario.others {
            text += &other_line(name, other, now);
        }
        text += &format!("pve-storage-9.0/{}/local:{now}:{DISK}\n", spec.name);
        for id in self.registry.of_node(&spec.name) {
            if let Ok(config) = self.config(id) {
                text += &rrd_line(id, &config, self.vms.get(&id), (self.at, now));
            }
        }
        self.make_up(".rrd", &text)
    }

    /// Everything as it is now.
    pub(crate) fn truth(&self) -> Truth {
        let spec = &self.scenario.node;
        Truth {
            at_ms: unix_millis(),
            commands: self.commands,
            vms: self
                .vms
                .iter()
                .map(|(id, vm)| (*id, vm_truth(vm)))
                .collect(),
            node: NodeTruth {
                cpus: spec.cpus,
                cpu_used: self.host.cpu_used,
                memory_mib: spec.memory_mib,
                memory_free_mib: self.host.memory_free_kib(spec) / 1024,
                writable: self.quorate && self.writable,
            },
        }
    }
}

/// The line of another node, of which only what it could take matters here; none while it is not reached.
fn other_line(name: &str, other: &OtherSpec, now: u64) -> String {
    if !other.online {
        return String::new();
    }
    let (total, free) = (other.memory_mib * MIB, other.memory_free_mib * MIB);
    format!(
        "pve-node-9.0/{name}:86400::{now}:0.50:{}:0.050000:0:{total}:{}:0:0:{DISK}:0:0:{free}:0:0.00:0.00:0.00:0.00:0.00\n",
        other.cpus,
        total - free,
    )
}

/// A line of `.rrd` (`pvestatd.pm: $generate_rrd_string`).
fn rrd_line(id: u32, config: &Config, vm: Option<&Vm>, (at, now): (f64, u64)) -> String {
    let name = config
        .get("name")
        .cloned()
        .unwrap_or_else(|| format!("VM {id}"));
    let template = u8::from(config.get("template").is_some_and(|value| value == "1"));
    let number = |key: &str| config.get(key).and_then(|text| text.parse::<u32>().ok());
    let all = number("sockets").unwrap_or(1) * number("cores").unwrap_or(1);
    let cpus = number("vcpus").unwrap_or(all).max(1);
    let configured = memory_mib(config) * MIB;
    let Some(vm) = vm else {
        return format!(
            "pve-vm-9.0/{id}:0:{name}:stopped:{template}:{now}:{cpus}:U:{configured}:U:0:0:U:U:U:U:U:U:U:U:U:U:U\n"
        );
    };
    let status = if vm.machine.running {
        "running"
    } else {
        "paused"
    };
    let told = vm
        .machine
        .balloon
        .as_ref()
        .and_then(|balloon| balloon.statistics);
    let resident = vm.charged();
    let used = told.map_or(resident, |told| told.total - told.free);
    let (some, full) = vm.cpu_pressure.avg10();
    format!(
        "pve-vm-9.0/{id}:{}:{name}:{status}:{template}:{now}:{cpus}:{:.6}:{}:{used}:0:0:0:0:0:0:{resident}:{some:.2}:{full:.2}:0:0:0:0\n",
        (at - vm.started) as u64,
        vm.cpu_used / f64::from(cpus),
        vm.machine.ram(),
    )
}

fn vm_truth(vm: &Vm) -> VmTruth {
    let machine = &vm.machine;
    let memory = vm.guest.memory(machine);
    let wanted = machine.balloon.as_ref().map_or(0, |balloon| balloon.wanted);
    VmTruth {
        name: vm.name.clone(),
        pid: vm.pid,
        executing: machine.running,
        vcpus: machine.vcpus.len() as u32,
        vcpus_online: machine.online_vcpus(),
        vcpus_max: machine.max_vcpus(),
        cpu_limit: vm.quota.limit,
        cpu_wanted: vm.cpu_wanted,
        cpu_used: vm.cpu_used,
        cpu_short_core_s: vm.cpu_short_core_s,
        cpu_short_s: vm.cpu_short_s,
        memory_mib: machine.ram() / MIB,
        modules: machine
            .modules
            .iter()
            .map(|module| (module.id.clone(), module.size / MIB))
            .collect(),
        balloon_mib: machine.actual() / MIB,
        balloon_target_mib: machine.ram().saturating_sub(wanted) / MIB,
        memory_used_mib: vm.guest.anonymous + vm.guest.shared,
        total_mib: memory.total,
        available_mib: memory.available,
        cache_mib: vm.guest.cache,
        swapped_mib: vm.guest.swapped,
        major_faults: vm.guest.major_faults(),
        oom_kills: vm.guest.oom_kills,
        memory_short_s: vm.guest.short_s,
        resident_mib: vm.resident() / MIB,
    }
}
