//! vCPUs of a running VM: plugged and unplugged one by one, counted after each, the config written after each.
//!
//! Source: `qemu-server: src/PVE/QemuServer.pm: qemu_cpu_hotplug`, `QemuServer/CPUConfig.pm: print_cpu_device`.

use serde_json::json;

use super::failure::{Done, Failure};
use super::monitor::Monitor;
use super::session::Session;
use super::store;
use crate::faults::Point;
use crate::vmconf::VmConfig;

/// How often the number of vCPUs is looked at again after a plug, once a second.
const PLUG_RETRIES: u32 = 10;
/// The same after an unplug.
const UNPLUG_RETRIES: u32 = 5;

/// Brings the running VM to `target` vCPUs; none means all that the topology allows.
pub(crate) fn hotplug(
    session: &Session,
    vmid: u32,
    config: &mut VmConfig,
    target: Option<u64>,
) -> Done<()> {
    let monitor = Monitor::new(session, vmid);
    // PVE asks for the machine type first, so a dead socket shows as this command's failure (recorded in 40d).
    monitor.command("query-machines", json!({}))?;
    let (sockets, cores) = config.topology();
    let most = sockets * cores;
    let target = target.unwrap_or(most);
    if target > most {
        return Err(Failure::died("you can't add more vcpus than maxcpus"));
    }
    let current = config.number("vcpus").unwrap_or(most);
    let plugging = target > current;
    if target >= current && count(&monitor)? != current {
        return Err(Failure::died(
            "vcpus in running vm does not match its configuration",
        ));
    }
    let ids: Vec<u64> = if plugging {
        (current + 1..=target).collect()
    } else {
        (target + 1..=current).rev().collect()
    };
    for (done, id) in ids.iter().enumerate() {
        let reached = if plugging {
            monitor.human(&format!("device_add driver={}", device(config, *id)))?;
            wait_for(session, &monitor, *id, PLUG_RETRIES, || {
                format!("error hotplugging cpu{id}")
            })?
        } else {
            monitor.human(&format!("device_del cpu{id}"))?;
            wait_for(session, &monitor, id - 1, UNPLUG_RETRIES, || {
                format!("error unplugging cpu{id}")
            })?
        };
        config
            .active
            .insert("vcpus".to_owned(), reached.to_string());
        store::write(session, vmid, config)?;
        if done + 1 == ids.len().div_ceil(2) {
            session.reach(Point::HalfPlugged)?;
        }
    }
    Ok(())
}

fn count(monitor: &Monitor<'_>) -> Done<u64> {
    let cpus = monitor.command("query-cpus-fast", json!({}))?;
    Ok(cpus.as_array().map_or(0, Vec::len) as u64)
}

fn wait_for(
    session: &Session,
    monitor: &Monitor<'_>,
    expected: u64,
    retries: u32,
    complaint: impl Fn() -> String,
) -> Done<u64> {
    let mut retry = 0;
    while count(monitor)? != expected {
        if retry > retries {
            return Err(Failure::parameter("vcpus", complaint()));
        }
        retry += 1;
        session.sleep(1.0);
    }
    Ok(expected)
}

/// The device of vCPU number `id`, counted from 1.
fn device(config: &VmConfig, id: u64) -> String {
    let (_, cores) = config.topology();
    let (socket, core) = ((id - 1) / cores, (id - 1) % cores);
    format!(
        "{}-x86_64-cpu,id=cpu{id},socket-id={socket},core-id={core},thread-id=0",
        model(config)
    )
}

/// The CPU model of QEMU's device. PVE's own `x86-64-vN` models report as `qemu64`; two that never existed are mapped.
fn model(config: &VmConfig) -> &str {
    let configured = config.get("cpu").map(|cpu| {
        let model = cpu
            .split(',')
            .find(|part| !part.contains('=') || part.starts_with("cputype="));
        let model = model.unwrap_or("kvm64");
        model.strip_prefix("cputype=").unwrap_or(model)
    });
    match configured {
        Some("x86-64-v2" | "x86-64-v2-AES" | "x86-64-v3" | "x86-64-v4") => "qemu64",
        Some("Icelake-Client") => "Icelake-Server",
        Some("Icelake-Client-noTSX") => "Icelake-Server-noTSX",
        Some(model) => model,
        None if config.get("kvm") == Some("0") => "qemu64",
        None => "kvm64",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vcpus_fill_one_socket_after_the_other() {
        let (config, _) = VmConfig::parse(101, "cores: 2\nsockets: 2\ncpu: host,flags=+aes\n");
        let devices: Vec<String> = (2..=4).map(|id| device(&config, id)).collect();
        assert_eq!(
            devices,
            [
                "host-x86_64-cpu,id=cpu2,socket-id=0,core-id=1,thread-id=0",
                "host-x86_64-cpu,id=cpu3,socket-id=1,core-id=0,thread-id=0",
                "host-x86_64-cpu,id=cpu4,socket-id=1,core-id=1,thread-id=0",
            ]
        );
    }
}
