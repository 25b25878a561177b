//! Snapshots for tests: a calm node of 16 cores and 64 GiB, and VMs that are put into any state with a few words.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::{
    Amount, Capabilities, Capability, Cores, Mib, Moment, Reading, Source, VmId, VmName,
};

use super::*;

/// The time of a fixture's snapshot.
pub(crate) const NOW: Moment = Moment::from_millis(1_800_000_000_000);

/// A node on which a fifth of everything is used, with these VMs.
pub(crate) fn node(vms: impl IntoIterator<Item = VmView>) -> Snapshot {
    Snapshot {
        at: NOW,
        node: "pve1".parse().unwrap(),
        cluster: ClusterView {
            quorate: Reading::known(true, NOW, Source::Proc),
            pause: None,
            others: Reading::known(Vec::new(), NOW, Source::Proc),
        },
        host: HostView {
            cpus: Cores::whole(16),
            cpu_used: Reading::known(Cores::from_f64(3.2), NOW, Source::Proc),
            memory_total: Mib::gib(64),
            memory_available: Reading::known(Mib::gib(48), NOW, Source::Proc),
            unselected: Reading::known(Unselected::default(), NOW, Source::ConfigFile),
        },
        vms: vms
            .into_iter()
            .map(|vm| (vm.id, vm))
            .collect::<BTreeMap<_, _>>(),
    }
}

/// A running VM with 8 cores of which 2 are plugged and 1 is used, and 4 of 16 GiB of which 3.5 are needed.
pub(crate) fn vm(id: u32) -> VmView {
    VmView {
        id: VmId::try_from(id).unwrap(),
        name: VmName::new("web"),
        owner: "pve1".parse().unwrap(),
        tags: vec!["autoscale".into()],
        power: Power::Running,
        template: false,
        lock: None,
        uptime: Reading::known(Duration::from_secs(3600), NOW, Source::Proc),
        unreadable: None,
        can: can(8, 16 * 1024),
        cpu: CpuView {
            ceiling: 8,
            configured: 2,
            vcpus: Reading::known(2, NOW, Source::Qemu),
            idle: 0,
            limit: Reading::known(None, NOW, Source::Cgroup),
            usage: cpu_usage(1.0),
        },
        memory: MemoryView {
            configured: Mib::gib(16),
            ceiling: Reading::known(Mib::gib(16), NOW, Source::Qemu),
            balloon: Balloon {
                device: true,
                configured: Some(Mib::gib(4)),
                shares: Some(0),
                actual: Reading::known(Mib::gib(4), NOW, Source::Qemu),
            },
            resident: Reading::known(Mib::gib(4), NOW, Source::Cgroup),
            pinned: false,
            need: memory_need(3550),
        },
        in_hand: Vec::new(),
        pending: Vec::new(),
        hold: None,
        fails_over: false,
    }
}

/// What a VM can do that has `cores` and a balloon under `mib`, and no memory hotplug.
pub(crate) fn can(cores: u32, mib: u64) -> Capabilities {
    let memory = |mib| Amount::Memory(Mib(mib));
    Capabilities {
        vcpus: now(Amount::vcpus(1), Amount::vcpus(cores)),
        cpulimit: now(Amount::Cpu(Cores::milli(100)), Amount::vcpus(cores)),
        balloon: now(memory(16), memory(mib)),
        dimm: Capability::no("it was started without memory hotplug"),
        sizes: Vec::new(),
        disagreements: Vec::new(),
    }
}

/// A lever that moves both ways.
pub(crate) fn now(least: Amount, most: Amount) -> Capability {
    Capability::Now {
        least,
        most,
        shrinks: true,
    }
}

/// The VM with memory hotplug: modules of 512 MiB up to `mib`.
pub(crate) fn with_modules(mut vm: VmView, mib: u64) -> VmView {
    vm.can.sizes = (2..=mib / 512).map(|n| Mib(n * 512)).collect();
    vm.can.dimm = now(Amount::Memory(Mib(1024)), Amount::Memory(Mib(mib)));
    vm
}

/// CPU usage that has been the same for five seconds.
pub(crate) fn cpu_usage(cores: f64) -> Reading<CpuUsage> {
    let mean = Cores::from_f64(cores);
    let second = CpuSample {
        span: Duration::from_secs(1),
        mean,
    };
    let usage = CpuUsage {
        mean,
        samples: vec![second; 5],
        throttled: None,
        busiest_vcpu: None,
    };
    Reading::known(usage, NOW, Source::Cgroup)
}

/// What a guest that is not short of memory says.
pub(crate) fn memory_need(mib: u64) -> Reading<MemoryNeed> {
    let need = MemoryNeed {
        need: Mib(mib),
        includes_cache: false,
        available: None,
        pressure: false,
        out_of_memory: false,
    };
    Reading::known(need, NOW, Source::Guest)
}

/// The same snapshot `span` later, with every reading taken anew.
pub(crate) fn later(mut snapshot: Snapshot, span: Duration) -> Snapshot {
    fn renew<T: Clone>(reading: &mut Reading<T>, now: Moment) {
        if let Reading::Known { at, .. } = reading {
            *at = now;
        }
    }
    let now = snapshot.at + span;
    snapshot.at = now;
    renew(&mut snapshot.cluster.quorate, now);
    renew(&mut snapshot.host.cpu_used, now);
    renew(&mut snapshot.host.memory_available, now);
    renew(&mut snapshot.host.unselected, now);
    for vm in snapshot.vms.values_mut() {
        renew(&mut vm.cpu.vcpus, now);
        renew(&mut vm.cpu.limit, now);
        renew(&mut vm.cpu.usage, now);
        renew(&mut vm.memory.ceiling, now);
        renew(&mut vm.memory.balloon.actual, now);
        renew(&mut vm.memory.resident, now);
        renew(&mut vm.memory.need, now);
    }
    snapshot
}
