//! Devices and memory backends that come and go.

use serde_json::{Value, json};

use super::super::machine::{Machine, Request, Wish};
use super::super::vm::Vm;
use super::{Failure, Reply, integer, text};

pub(crate) fn object_add(machine: &mut Machine, arguments: &Value) -> Reply {
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

pub(crate) fn object_del(machine: &mut Machine, arguments: &Value) -> Reply {
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

pub(crate) fn device_add(vm: &mut Vm, arguments: &Value, now: f64) -> Reply {
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
pub(crate) fn device_del(vm: &mut Vm, id: &str, now: f64) -> Reply {
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
