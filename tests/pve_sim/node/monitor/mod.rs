//! What QEMU answers on its monitor: each command turned into a change of the machine and a reply, in the shapes that
//! were recorded. Pure; the socket is in [`super::qmp`].

mod devices;
mod human;
mod query;

use serde_json::{Value, json};

use super::machine::{Balloon, Machine};
use super::scenario::Statistics;
use super::vm::Vm;
use devices::{device_add, device_del, object_add, object_del};
use human::human_command;
use query::{
    guest_stats, query_balloon, query_cpus_fast, query_hotpluggable_cpus, query_machines,
    query_memory_devices, query_memory_size_summary, query_proxmox_support, query_status,
};

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

/// The version that was recorded, or PVE 8's for a VM that is to have the older statistics.
pub(crate) fn version(statistics: Statistics) -> Value {
    match statistics {
        Statistics::OldQemu => {
            json!({"qemu": {"micro": 0, "minor": 2, "major": 9}, "package": "pve-qemu-kvm_9.2.0-7"})
        }
        Statistics::NewQemu | Statistics::NewQemuNewKernel => {
            json!({"qemu": {"micro": 2, "minor": 2, "major": 10}, "package": "pve-qemu-kvm_10.2.2-lab"})
        }
    }
}

/// Carries out one command at `now` (the node's seconds).
pub(crate) fn execute(vm: &mut Vm, command: &str, arguments: &Value, now: f64) -> Reply {
    match command {
        "qmp_capabilities" => Err(Failure {
            class: "CommandNotFound",
            desc: "Capabilities negotiation is already complete, command ignored".to_owned(),
        }),
        "query-version" => Ok(version(vm.guest.spec.statistics)),
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

fn balloon(machine: &Machine) -> Result<&Balloon, Failure> {
    machine.balloon.as_ref().ok_or_else(|| Failure {
        class: "DeviceNotActive",
        desc: "No balloon device has been activated".to_owned(),
    })
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

fn set_running(vm: &mut Vm, running: bool) -> Value {
    if vm.machine.running != running {
        vm.machine.running = running;
        let name = if running { "RESUME" } else { "STOP" };
        vm.events.push(json!({"event": name}));
    }
    json!({})
}
