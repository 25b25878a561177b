//! What QEMU tells of itself, in the shapes that were recorded.

use serde_json::{Value, json};

use super::super::machine::{GuestStatistics, Machine};
use super::super::scenario::Statistics;
use super::{Reply, balloon};

/// What a guest kernel does not report.
const UNKNOWN: u64 = u64::MAX;

pub(crate) fn query_status(machine: &Machine) -> Value {
    let status = if machine.running { "running" } else { "paused" };
    json!({"status": status, "running": machine.running})
}

pub(crate) fn query_machines(machine: &Machine) -> Value {
    json!([{
        "name": "pc-i440fx-10.2",
        "alias": "pc",
        "is-default": true,
        "is-current": true,
        "pve-version": "pve0",
        "cpu-max": 255,
        "hotpluggable-cpus": true,
        "numa-mem-supported": true,
        "deprecated": false,
        "acpi": true,
        "default-cpu-type": machine.cpu_type,
        "default-ram-id": "pc.ram",
    }])
}

pub(crate) fn query_proxmox_support() -> Value {
    json!({
        "backup-max-workers": true,
        "pbs-dirty-bitmap": true,
        "pbs-dirty-bitmap-savevm": true,
        "pbs-library-version": "1.5.2 (pvelab)",
        "pbs-masterkey": true,
        "query-bitmap-info": true,
    })
}

/// A CPU's place. With NUMA on it also names its node: one per socket, as PVE lays them out.
fn cpu_props(machine: &Machine, index: u32) -> Value {
    let (socket, core) = (index / machine.cores, index % machine.cores);
    let mut props = json!({"core-id": core, "thread-id": 0, "socket-id": socket});
    if machine.numa {
        props["node-id"] = json!(socket);
    }
    props
}

fn cpu_path(machine: &Machine, at: usize) -> String {
    match &machine.vcpus[at].id {
        Some(id) => format!("/machine/peripheral/{id}"),
        None => format!("/machine/unattached/device[{}]", at * 2),
    }
}

pub(crate) fn query_cpus_fast(machine: &Machine) -> Value {
    let cpus = machine.vcpus.iter().enumerate().map(|(at, vcpu)| {
        json!({
            "thread-id": vcpu.tid,
            "qom-type": machine.cpu_type,
            "props": cpu_props(machine, vcpu.index),
            "qom-path": cpu_path(machine, at),
            "cpu-index": vcpu.index,
            "target": "x86_64",
        })
    });
    Value::Array(cpus.collect())
}

pub(crate) fn query_hotpluggable_cpus(machine: &Machine) -> Value {
    let places = (0..machine.max_vcpus()).rev().map(|index| {
        let mut place = json!({
            "props": cpu_props(machine, index),
            "vcpus-count": 1,
            "type": machine.cpu_type,
        });
        let taken = machine.vcpus.iter().position(|vcpu| vcpu.index == index);
        if let Some(at) = taken {
            place["qom-path"] = json!(cpu_path(machine, at));
        }
        place
    });
    Value::Array(places.collect())
}

pub(crate) fn query_memory_devices(machine: &Machine) -> Value {
    let modules = machine.modules.iter().map(|module| {
        json!({
            "type": "dimm",
            "data": {
                "memdev": format!("/objects/{}", module.memdev),
                "hotplugged": module.hotplugged,
                "addr": module.addr,
                "hotpluggable": true,
                "size": module.size,
                "slot": module.slot,
                "node": module.node,
                "id": module.id,
            },
        })
    });
    Value::Array(modules.collect())
}

pub(crate) fn query_memory_size_summary(machine: &Machine) -> Value {
    json!({
        "base-memory": machine.boot_memory,
        "plugged-memory": machine.ram() - machine.boot_memory,
    })
}

/// PVE's extended form: the guest's numbers only while polling is on and at least one report came.
pub(crate) fn query_balloon(machine: &Machine) -> Reply {
    let balloon = balloon(machine)?;
    let mut info = json!({"actual": machine.actual(), "max_mem": machine.ram()});
    if let (Some(told), true) = (&balloon.statistics, balloon.polling_s > 0) {
        info["mem_swapped_in"] = json!(told.swap_in);
        info["mem_swapped_out"] = json!(told.swap_out);
        info["major_page_faults"] = json!(told.major_faults);
        info["minor_page_faults"] = json!(told.minor_faults);
        info["free_mem"] = json!(told.free);
        info["total_mem"] = json!(told.total);
        info["last_update"] = json!(told.at);
    }
    Ok(info)
}

/// Picks one of the guest's numbers.
type Counter = fn(&GuestStatistics) -> u64;

pub(crate) fn guest_stats(told: Option<&GuestStatistics>, kind: Statistics) -> Value {
    let known = |value: Counter| told.map_or(UNKNOWN, value);
    let mut stats = json!({
        "stat-swap-in": known(|told| told.swap_in),
        "stat-swap-out": known(|told| told.swap_out),
        "stat-major-faults": known(|told| told.major_faults),
        "stat-minor-faults": known(|told| told.minor_faults),
        "stat-free-memory": known(|told| told.free),
        "stat-total-memory": known(|told| told.total),
        "stat-available-memory": known(|told| told.available),
        "stat-disk-caches": known(|told| told.caches),
        "stat-htlb-pgalloc": known(|_| 0),
        "stat-htlb-pgfail": known(|_| 0),
    });
    let newer: [(&str, Counter); 6] = [
        ("stat-oom-kills", |told| told.oom_kills),
        ("stat-alloc-stalls", |told| told.alloc_stalls),
        ("stat-async-scans", |told| told.direct_reclaims * 2),
        ("stat-async-reclaims", |told| told.direct_reclaims),
        ("stat-direct-scans", |told| told.direct_reclaims * 2),
        ("stat-direct-reclaims", |told| told.direct_reclaims),
    ];
    for (name, value) in newer {
        match kind {
            Statistics::OldQemu => {}
            Statistics::NewQemu => stats[name] = json!(UNKNOWN),
            Statistics::NewQemuNewKernel => stats[name] = json!(known(value)),
        }
    }
    json!({"stats": stats, "last-update": told.map_or(0, |told| told.at)})
}
