//! The human monitor: commands in words, and what it prints is the answer, errors included.

use serde_json::{Value, json};

use super::super::machine::{MIB, Machine};
use super::super::vm::Vm;
use super::devices::{device_add, device_del, object_del};

/// The human monitor: what it prints is the answer, errors included.
pub(crate) fn human_command(vm: &mut Vm, line: &str, now: f64) -> String {
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
