//! The state of this node's VMs as `qm status`, `qm list` and the API report it.
//!
//! Source: `qemu-server: src/PVE/QemuServer.pm: vmstatus`. A fresh process has no earlier sample to compare with, so
//! `cpu` is always 0 here. When QEMU's monitor does not answer, the config's values stand in without a word.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::failure::Done;
use super::monitor::{Client, Monitor};
use super::session::Session;
use super::store;
use crate::vmconf::VmConfig;

/// What is known of one VM, by the API's names.
pub(crate) type VmStatus = Map<String, Value>;

/// Bytes in a MiB.
const MIB: u64 = 1024 * 1024;
/// Clock ticks a second in /proc.
const USER_HZ: u64 = 100;
/// What a full status asks QEMU, in this order: the last one fails without a balloon device and ends the rest.
const FULL_STATUS: &[&str] = &[
    "query-status",
    "query-proxmox-support",
    "query-blockstats",
    "query-machines",
    "query-version",
    "query-balloon",
];

/// The state of one VM or of all VMs of this node; `full` asks QEMU too.
pub(crate) fn of_vms(
    session: &Session,
    only: Option<u32>,
    full: bool,
) -> Done<BTreeMap<u32, VmStatus>> {
    let vms = store::local_vms(session).into_iter();
    let mut statuses = BTreeMap::new();
    for vmid in vms.filter(|vmid| only.is_none_or(|only| only == *vmid)) {
        let (config, _) = store::load(session, vmid)?;
        let pid = store::running_pid(session, vmid);
        let mut vm = from_config(session, vmid, &config);
        vm.insert(
            "status".to_owned(),
            json!(if pid.is_some() { "running" } else { "stopped" }),
        );
        if let Some(pid) = pid {
            from_processes(session, vmid, pid, &mut vm);
        }
        statuses.insert(vmid, vm);
    }
    if full {
        for (vmid, answers) in ask_monitors(session, &statuses) {
            if let Some(vm) = statuses.get_mut(&vmid) {
                from_monitor(answers, vm);
            }
        }
        for vm in statuses.values_mut() {
            let status = vm["status"].clone();
            vm.entry("qmpstatus").or_insert(status);
        }
    }
    Ok(statuses)
}

/// Connects to one QEMU after the other, then asks all at once. A monitor whose queue is full thus uses up the time of
/// those that were connected before it, as on a real node (recorded in 41b).
fn ask_monitors(session: &Session, vms: &BTreeMap<u32, VmStatus>) -> Vec<(u32, Vec<Value>)> {
    let running = vms
        .iter()
        .filter(|(_, vm)| vm["status"] == "running")
        .map(|(vmid, _)| *vmid);
    let mut clients = Vec::new();
    for vmid in session.perl_order(running) {
        if let Some(client) = Monitor::new(session, vmid).open_for_status() {
            clients.push((vmid, client));
        }
    }
    std::thread::scope(|scope| {
        let ask =
            |(vmid, client): (u32, Client)| (vmid, scope.spawn(|| client.ask_all(FULL_STATUS)));
        let asked: Vec<_> = clients.into_iter().map(ask).collect();
        asked
            .into_iter()
            .map(|(vmid, answers)| (vmid, answers.join().unwrap_or_default()))
            .collect()
    })
}

/// vCPUs that a VM has by its config: `vcpus`, else the topology, but no more than the node has.
fn cpus(session: &Session, config: &VmConfig) -> u64 {
    let (sockets, cores) = config.topology();
    config
        .number("vcpus")
        .filter(|vcpus| *vcpus > 0)
        .unwrap_or((sockets * cores).min(host_cpus(session)))
}

/// Logical CPUs of the node.
pub(crate) fn host_cpus(session: &Session) -> u64 {
    let cpuinfo = session.read("proc/cpuinfo").unwrap_or_default();
    let count = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count() as u64;
    count.max(1)
}

fn from_config(session: &Session, vmid: u32, config: &VmConfig) -> VmStatus {
    let mut vm = VmStatus::new();
    let mut put = |key: &str, value: Value| vm.insert(key.to_owned(), value);
    put("vmid", json!(vmid));
    put(
        "name",
        json!(
            config
                .get("name")
                .map_or_else(|| format!("VM {vmid}"), str::to_owned)
        ),
    );
    put("cpus", json!(cpus(session, config)));
    put("maxmem", json!(config.memory_mib() * MIB));
    for zero in [
        "cpu", "disk", "maxdisk", "mem", "memhost", "netin", "netout", "uptime",
    ] {
        put(zero, json!(0));
    }
    if let Some(balloon) = config.number("balloon").filter(|balloon| *balloon > 0) {
        put("balloon_min", json!(balloon * MIB));
        put("shares", json!(config.number("shares").unwrap_or(1000)));
    }
    if config.flag("template") {
        put("template", json!(1));
    }
    if (0..4).any(|port| config.get(&format!("serial{port}")).is_some()) {
        put("serial", json!(1));
    }
    for key in ["lock", "tags"] {
        if let Some(value) = config.get(key) {
            put(key, json!(value));
        }
    }
    vm
}

fn from_processes(session: &Session, vmid: u32, pid: u32, vm: &mut VmStatus) {
    let scope = format!("sys/fs/cgroup/qemu.slice/{vmid}.scope");
    let memhost = host_memory(session, &scope);
    let mut put = |key: String, value: Value| vm.insert(key, value);
    put("pid".to_owned(), json!(pid));
    put("uptime".to_owned(), json!(age(session, pid).unwrap_or(0)));
    put("memhost".to_owned(), json!(memhost));
    put("mem".to_owned(), json!(memhost));
    for resource in ["cpu", "io", "memory"] {
        let text = session
            .read(format!("{scope}/{resource}.pressure"))
            .unwrap_or_default();
        for kind in ["some", "full"] {
            put(
                format!("pressure{resource}{kind}"),
                number(average_of_10_seconds(&text, kind)),
            );
        }
    }
    for (key, value) in traffic(session, vmid) {
        put(key.to_owned(), json!(value));
    }
}

/// Perl prints a whole number without a point.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 {
        json!(value as i64)
    } else {
        json!(value)
    }
}

fn average_of_10_seconds(pressure: &str, kind: &str) -> f64 {
    let line = pressure
        .lines()
        .find_map(|line| line.strip_prefix(kind)?.strip_prefix(" avg10="));
    line.and_then(|rest| rest.split(' ').next()?.parse().ok())
        .unwrap_or(0.0)
}

/// Memory that the VM's processes take from the node, files not counted.
fn host_memory(session: &Session, scope: &str) -> u64 {
    let current: u64 = match session
        .read(format!("{scope}/memory.current"))
        .and_then(|text| text.trim().parse().ok())
    {
        Some(current) => current,
        None => return 0,
    };
    let stat = session
        .read(format!("{scope}/memory.stat"))
        .unwrap_or_default();
    let file = stat
        .lines()
        .find_map(|line| line.strip_prefix("file ")?.parse().ok())
        .unwrap_or(0);
    current.saturating_sub(file)
}

fn age(session: &Session, pid: u32) -> Option<u64> {
    let uptime: f64 = session
        .read("proc/uptime")?
        .split(' ')
        .next()?
        .parse()
        .ok()?;
    let stat = session.read(format!("proc/{pid}/stat"))?;
    // Fields are counted after the name in brackets, which may hold anything; the start time is the 22nd of all.
    let (_, fields) = stat.rsplit_once(") ")?;
    let started: u64 = fields.split(' ').nth(19)?.parse().ok()?;
    Some((uptime as u64).saturating_sub(started / USER_HZ))
}

/// What the VM's tap devices count; their view is the node's, so in and out change places.
fn traffic(session: &Session, vmid: u32) -> Vec<(&'static str, u64)> {
    let text = session.read("proc/net/dev").unwrap_or_default();
    let (mut netin, mut netout) = (0, 0);
    for line in text.lines() {
        let Some((name, counters)) = line.split_once(':') else {
            continue;
        };
        if name.trim().starts_with(&format!("tap{vmid}i")) {
            let counters: Vec<u64> = counters
                .split_whitespace()
                .filter_map(|field| field.parse().ok())
                .collect();
            netout += counters.first().copied().unwrap_or(0);
            netin += counters.get(8).copied().unwrap_or(0);
        }
    }
    vec![("netin", netin), ("netout", netout)]
}

fn from_monitor(answers: Vec<Value>, vm: &mut VmStatus) {
    for (question, answer) in FULL_STATUS.iter().zip(answers) {
        match *question {
            "query-status" => put_known(vm, "qmpstatus", answer["status"].clone()),
            "query-proxmox-support" => put_known(vm, "proxmox-support", answer),
            "query-blockstats" => {
                let sum = |counter: &str| -> u64 {
                    let disks = answer.as_array().into_iter().flatten();
                    disks
                        .filter_map(|disk| disk["stats"][counter].as_u64())
                        .sum()
                };
                vm.insert("diskread".to_owned(), json!(sum("rd_bytes")));
                vm.insert("diskwrite".to_owned(), json!(sum("wr_bytes")));
            }
            "query-machines" => put_known(vm, "running-machine", running_machine(&answer)),
            "query-version" => {
                let part = |name: &str| answer["qemu"][name].as_u64().unwrap_or(0);
                let version = format!("{}.{}.{}", part("major"), part("minor"), part("micro"));
                vm.insert("running-qemu".to_owned(), json!(version));
            }
            _ => from_balloon(&answer, vm),
        }
    }
}

fn put_known(vm: &mut VmStatus, key: &str, value: Value) {
    if !value.is_null() {
        vm.insert(key.to_owned(), value);
    }
}

fn running_machine(machines: &Value) -> Value {
    let all = || machines.as_array().into_iter().flatten();
    let flagged = |flag: &'static str| all().find(move |machine| machine[flag] == true);
    let Some(machine) = flagged("is-current") else {
        return flagged("is-default").map_or(json!("pc"), |machine| machine["name"].clone());
    };
    match (machine["name"].as_str(), machine["pve-version"].as_str()) {
        (Some(name), Some(version)) => json!(format!("{name}+{version}")),
        _ => machine["name"].clone(),
    }
}

/// Balloon statistics replace what the node sees: total minus free, so the guest's page cache counts as used.
fn from_balloon(info: &Value, vm: &mut VmStatus) {
    let Some(maximum) = info["max_mem"].as_u64().filter(|bytes| *bytes > 0) else {
        return;
    };
    vm.insert("maxmem".to_owned(), json!(maximum));
    put_known(vm, "balloon", info["actual"].clone());
    if let (Some(total), Some(free)) = (info["total_mem"].as_u64(), info["free_mem"].as_u64()) {
        vm.insert("mem".to_owned(), json!(total.saturating_sub(free)));
        vm.insert("freemem".to_owned(), json!(free));
    }
    vm.insert("ballooninfo".to_owned(), info.clone());
}
