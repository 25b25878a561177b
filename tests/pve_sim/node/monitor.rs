//! What QEMU answers on its monitor: each command turned into a change of the machine and a reply, in the shapes that
//! were recorded. Pure; the socket is in [`super::qmp`].

use serde_json::{Value, json};

use super::machine::{Balloon, GuestStatistics, MIB, Machine, Request, Wish};
use super::scenario::Statistics;
use super::vm::Vm;

/// What a guest kernel does not report.
const UNKNOWN: u64 = u64::MAX;

/// A command that failed: QMP's error class and text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// `GenericError`, `DeviceNotFound`, …
    pub(crate) class: &'static str,
    /// The text.
    pub(crate) desc: String,
}

impl Failure {
    /// Most errors have no class of their own.
    pub(crate) fn generic(desc: impl Into<String>) -> Self {
        Self {
            class: "GenericError",
            desc: desc.into(),
        }
    }

    fn no_device(path: &str) -> Self {
        Self {
            class: "DeviceNotFound",
            desc: format!("Device '{path}' not found"),
        }
    }
}

type Reply = Result<Value, Failure>;

/// The version that was recorded.
pub(crate) fn version() -> Value {
    json!({"qemu": {"micro": 2, "minor": 2, "major": 10}, "package": "pve-qemu-kvm_10.2.2-lab"})
}

/// Carries out one command at `now` (the node's seconds).
pub(crate) fn execute(vm: &mut Vm, command: &str, arguments: &Value, now: f64) -> Reply {
    match command {
        "qmp_capabilities" => Err(Failure {
            class: "CommandNotFound",
            desc: "Capabilities negotiation is already complete, command ignored".to_owned(),
        }),
        "query-version" => Ok(version()),
        "query-status" => Ok(query_status(&vm.machine)),
        "query-machines" => Ok(query_machines(&vm.machine)),
        "query-cpus-fast" => Ok(query_cpus_fast(&vm.machine)),
        "query-hotpluggable-cpus" => Ok(query_hotpluggable_cpus(&vm.machine)),
        "query-memory-devices" => Ok(query_memory_devices(&vm.machine)),
        "query-memory-size-summary" => Ok(query_memory_size_summary(&vm.machine)),
        "query-balloon" => query_balloon(&vm.machine),
        "query-blockstats" => Ok(json!([])),
        "query-proxmox-support" => Ok(query_proxmox_support()),
        "balloon" => set_balloon(&mut vm.machine, arguments),
        "object-add" => object_add(&mut vm.machine, arguments),
        "object-del" => object_del(&mut vm.machine, arguments),
        "device_add" => device_add(vm, arguments, now),
        "device_del" => device_del(vm, &text(arguments, "id")?, now),
        "qom-get" => qom_get(vm, arguments),
        "qom-set" => qom_set(vm, arguments),
        "human-monitor-command" => {
            let line = text(arguments, "command-line")?;
            Ok(Value::String(human_command(vm, &line, now)))
        }
        "stop" => Ok(set_running(vm, false)),
        "cont" => Ok(set_running(vm, true)),
        "quit" | "system_reset" | "system_powerdown" => {
            vm.quitting |= command != "system_reset";
            Ok(json!({}))
        }
        _ => Err(Failure {
            class: "CommandNotFound",
            desc: format!("The command {command} has not been found"),
        }),
    }
}

fn text(arguments: &Value, name: &str) -> Result<String, Failure> {
    match arguments.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(Failure::generic(format!(
            "Invalid parameter type for '{name}', expected: string"
        ))),
        None => Err(Failure::generic(format!("Parameter '{name}' is missing"))),
    }
}

fn integer(arguments: &Value, name: &str) -> Result<u64, Failure> {
    match arguments.get(name) {
        Some(value) => value.as_u64().ok_or_else(|| {
            Failure::generic(format!(
                "Invalid parameter type for '{name}', expected: integer"
            ))
        }),
        None => Err(Failure::generic(format!("Parameter '{name}' is missing"))),
    }
}

fn query_status(machine: &Machine) -> Value {
    let status = if machine.running { "running" } else { "paused" };
    json!({"status": status, "running": machine.running})
}

fn query_machines(machine: &Machine) -> Value {
    json!([{
        "name": "pc-i440fx-10.2",
        "alias": "pc",
        "is-default": true,
        "is-current": true,
        "cpu-max": 255,
        "hotpluggable-cpus": true,
        "numa-mem-supported": true,
        "deprecated": false,
        "acpi": true,
        "default-cpu-type": machine.cpu_type,
        "default-ram-id": "pc.ram",
    }])
}

fn query_proxmox_support() -> Value {
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

fn query_cpus_fast(machine: &Machine) -> Value {
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

fn query_hotpluggable_cpus(machine: &Machine) -> Value {
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

fn query_memory_devices(machine: &Machine) -> Value {
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

fn query_memory_size_summary(machine: &Machine) -> Value {
    json!({
        "base-memory": machine.boot_memory,
        "plugged-memory": machine.ram() - machine.boot_memory,
    })
}

fn balloon(machine: &Machine) -> Result<&Balloon, Failure> {
    machine.balloon.as_ref().ok_or_else(|| Failure {
        class: "DeviceNotActive",
        desc: "No balloon device has been activated".to_owned(),
    })
}

/// PVE's extended form: the guest's numbers only while polling is on and at least one report came.
fn query_balloon(machine: &Machine) -> Reply {
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

/// The target is kept as what is to be handed back of the memory that there is now, so a later module adds to it.
fn set_balloon(machine: &mut Machine, arguments: &Value) -> Reply {
    let ram = machine.ram();
    balloon(machine)?;
    let value = integer(arguments, "value")?;
    if value == 0 {
        return Err(Failure::generic("Parameter 'target' expects a size"));
    }
    if let Some(balloon) = &mut machine.balloon {
        balloon.wanted = ram - value.min(ram);
    }
    Ok(json!({}))
}

fn object_add(machine: &mut Machine, arguments: &Value) -> Reply {
    let (kind, id) = (text(arguments, "qom-type")?, text(arguments, "id")?);
    if !kind.starts_with("memory-backend-") {
        return Err(Failure::generic(format!(
            "Parameter 'qom-type' does not accept value '{kind}'"
        )));
    }
    let size = integer(arguments, "size")?;
    if machine.backends.contains_key(&id) {
        return Err(Failure::generic(format!(
            "attempt to add duplicate property '{id}' to object (type 'container')"
        )));
    }
    machine.backends.insert(id, size);
    Ok(json!({}))
}

fn object_del(machine: &mut Machine, arguments: &Value) -> Reply {
    let id = text(arguments, "id")?;
    if machine.modules.iter().any(|module| module.memdev == id) {
        return Err(Failure::generic(format!(
            "object '{id}' is in use, can not be deleted"
        )));
    }
    match machine.backends.remove(&id) {
        Some(_) => Ok(json!({})),
        None => Err(Failure::generic(format!("object '{id}' not found"))),
    }
}

fn device_add(vm: &mut Vm, arguments: &Value, now: f64) -> Reply {
    let (driver, id) = (text(arguments, "driver")?, text(arguments, "id")?);
    if vm.machine.has_device(&id) {
        return Err(Failure::generic(format!("Duplicate device ID '{id}'")));
    }
    let delay = if driver == "pc-dimm" {
        plug_module(vm, arguments, &id)?;
        vm.guest.spec.memory_delay_s
    } else if driver.ends_with("-cpu") {
        plug_vcpu(&mut vm.machine, arguments, &driver, &id)?;
        vm.guest.spec.vcpu_delay_s
    } else {
        return Err(Failure::generic(format!(
            "'{driver}' is not a valid device model name"
        )));
    };
    vm.machine.requests.push(Request {
        device: id,
        due: now + delay,
        wish: Wish::Online,
    });
    Ok(json!({}))
}

fn plug_module(vm: &mut Vm, arguments: &Value, id: &str) -> Result<(), Failure> {
    if !vm.machine.memory_hotplug {
        return Err(Failure::generic(
            "memory devices (e.g. for memory hotplug) are not enabled, please specify the maxmem option",
        ));
    }
    let memdev = text(arguments, "memdev")?;
    let node = integer(arguments, "node").unwrap_or(0);
    vm.machine
        .add_module(id.to_owned(), memdev, node)
        .map_err(|error| Failure::generic(error.to_string()))
}

fn plug_vcpu(
    machine: &mut Machine,
    arguments: &Value,
    driver: &str,
    id: &str,
) -> Result<(), Failure> {
    if driver != machine.cpu_type {
        return Err(Failure::generic(format!(
            "Invalid CPU type, expected cpu type: '{}'",
            machine.cpu_type
        )));
    }
    let place = |name: &str, limit: u32| {
        let value = integer(arguments, name)?;
        if value < u64::from(limit) {
            return Ok(value as u32);
        }
        Err(Failure::generic(format!(
            "Invalid CPU {name}: {value} must be in range 0:{}",
            limit - 1
        )))
    };
    let socket = place("socket-id", machine.sockets)?;
    let core = place("core-id", machine.cores)?;
    let index = socket * machine.cores + core;
    if machine.vcpus.iter().any(|vcpu| vcpu.index == index) {
        return Err(Failure::generic(format!(
            "CPU[{index}] with APIC ID {index} exists"
        )));
    }
    machine.add_vcpu(Some(id.to_owned()), index, false);
    Ok(())
}

/// A request to the guest, no more. It is answered later, or never.
fn device_del(vm: &mut Vm, id: &str, now: f64) -> Reply {
    if !vm.machine.has_device(id) {
        return Err(Failure::no_device(id));
    }
    let is_module = vm.machine.modules.iter().any(|module| module.id == id);
    let delay = if is_module {
        vm.guest.spec.memory_delay_s
    } else {
        vm.guest.spec.vcpu_delay_s
    };
    let asked = |request: &Request| request.device == id && request.wish == Wish::Release;
    if !vm.machine.requests.iter().any(asked) {
        vm.machine.requests.push(Request {
            device: id.to_owned(),
            due: now + delay,
            wish: Wish::Release,
        });
    }
    Ok(json!({}))
}

/// The balloon's path with or without the leading slash, both of which QEMU takes.
fn is_balloon(path: &str) -> bool {
    path.trim_start_matches('/') == "machine/peripheral/balloon0"
}

fn qom_get(vm: &Vm, arguments: &Value) -> Reply {
    let (path, property) = (text(arguments, "path")?, text(arguments, "property")?);
    let balloon = match &vm.machine.balloon {
        Some(balloon) if is_balloon(&path) => balloon,
        _ => return Err(Failure::no_device(&path)),
    };
    match property.as_str() {
        "guest-stats" => Ok(guest_stats(
            balloon.statistics.as_ref(),
            vm.guest.spec.statistics,
        )),
        "guest-stats-polling-interval" => Ok(json!(balloon.polling_s)),
        _ => Err(no_property(&property)),
    }
}

fn qom_set(vm: &mut Vm, arguments: &Value) -> Reply {
    let (path, property) = (text(arguments, "path")?, text(arguments, "property")?);
    let balloon = match &mut vm.machine.balloon {
        Some(balloon) if is_balloon(&path) => balloon,
        _ => return Err(Failure::no_device(&path)),
    };
    if property != "guest-stats-polling-interval" {
        return Err(no_property(&property));
    }
    balloon.polling_s = integer(arguments, "value")?;
    Ok(json!({}))
}

fn no_property(property: &str) -> Failure {
    Failure::generic(format!(
        "Property 'virtio-balloon-pci.{property}' not found"
    ))
}

fn guest_stats(told: Option<&GuestStatistics>, kind: Statistics) -> Value {
    let known = |value: fn(&GuestStatistics) -> u64| told.map_or(UNKNOWN, value);
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
    let newer: [(&str, fn(&GuestStatistics) -> u64); 6] = [
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

fn set_running(vm: &mut Vm, running: bool) -> Value {
    if vm.machine.running != running {
        vm.machine.running = running;
        let name = if running { "RESUME" } else { "STOP" };
        vm.events.push(json!({"event": name}));
    }
    json!({})
}

/// The human monitor: what it prints is the answer, errors included.
fn human_command(vm: &mut Vm, line: &str, now: f64) -> String {
    let (command, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let result = match command {
        "device_add" => device_add(vm, &device_options(rest), now),
        "device_del" => device_del(vm, rest.trim(), now),
        "object_del" => object_del(&mut vm.machine, &json!({"id": rest.trim()})),
        "info" => return info(&vm.machine, rest.trim()),
        _ => return format!("unknown command: '{command}'\r\n"),
    };
    match result {
        Ok(_) => String::new(),
        Err(failure) => format!("Error: {}\r\n", failure.desc),
    }
}

/// `driver,key=value,…` as the arguments of `device_add`: numbers as numbers.
fn device_options(line: &str) -> Value {
    let mut words = line.trim().split(',');
    let driver = words.next().unwrap_or_default();
    let mut options = json!({"driver": driver.strip_prefix("driver=").unwrap_or(driver)});
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        options[key] = value
            .parse::<u64>()
            .map_or_else(|_| json!(value), |number| json!(number));
    }
    options
}

fn info(machine: &Machine, what: &str) -> String {
    match what {
        "status" if machine.running => "VM status: running\r\n".to_owned(),
        "status" => "VM status: paused\r\n".to_owned(),
        "balloon" if machine.balloon.is_some() => {
            format!("balloon: actual={}\r\n", machine.actual() / MIB)
        }
        "balloon" => "Error: No balloon device has been activated\r\n".to_owned(),
        "cpus" => machine
            .vcpus
            .iter()
            .map(|vcpu| format!("  CPU #{}: thread_id={}\r\n", vcpu.index, vcpu.tid))
            .collect(),
        _ => format!("unknown command: 'info {what}'\r\n"),
    }
}
