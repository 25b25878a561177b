//! Memory of a running VM in modules (DIMMs): the ladder, plugging and unplugging, and the checks at start.
//!
//! Source: `qemu-server: src/PVE/QemuServer/Memory.pm`. The config's value, not QEMU's, is the starting point, which
//! is why a repeated shrink after a late unplug takes too much (recorded in 21 to 23).

use serde_json::{Value, json};

use super::failure::{Done, Failure};
use super::monitor::Monitor;
use super::session::Session;
use super::store;
use crate::faults::Point;
use crate::vmconf::VmConfig;

/// Boot memory of a VM with memory hotplug.
const STATIC_MIB: u64 = 1024;
/// Size of the first modules.
const FIRST_DIMM_MIB: u64 = 512;
/// Size of the first modules with huge pages of 1 GiB.
const FIRST_HUGE_DIMM_MIB: u64 = 1024;
/// Modules of one size, and how many sizes there are; each is twice the one before.
const DIMMS_PER_SIZE: u64 = 32;
const SIZES: u64 = 8;
/// No VM gets more than this, 4 TiB.
const MOST_MIB: u64 = 4 * 1024 * 1024;
/// Physical address bits that PVE assumes where the node does not tell.
const FALLBACK_ADDRESS_BITS: u32 = 36;
/// More bits than this only with CPU types `host` and `max`.
const COMMON_ADDRESS_BITS: u32 = 40;
/// Seconds from the request to unplug until PVE looks.
const UNPLUG_PAUSE: f64 = 3.0;
/// How often PVE asks again.
const UNPLUG_RETRIES: u32 = 5;
/// Bytes in a MiB.
const MIB: u64 = 1024 * 1024;

/// One rung of the ladder.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Dimm {
    name: String,
    size_mib: u64,
    /// Guest NUMA node.
    node: u64,
    /// Memory of the VM with this and all lower modules.
    total_mib: u64,
}

/// The modules that a VM of at least `target` MiB has, in order. The last one reaches or exceeds the target.
fn ladder(config: &VmConfig, target: u64) -> Vec<Dimm> {
    let huge = config.get("hugepages") == Some("1024");
    let (sockets, _) = config.topology();
    let mut size_mib = if huge {
        FIRST_HUGE_DIMM_MIB
    } else {
        FIRST_DIMM_MIB
    };
    let mut total_mib = static_mib(config);
    let mut dimms = Vec::new();
    for group in 0..SIZES {
        for index in 0..DIMMS_PER_SIZE {
            if total_mib >= target {
                return dimms;
            }
            total_mib += size_mib;
            let name = format!("dimm{}", group * DIMMS_PER_SIZE + index);
            dimms.push(Dimm {
                name,
                size_mib,
                node: index % sockets,
                total_mib,
            });
        }
        size_mib *= 2;
    }
    dimms
}

fn static_mib(config: &VmConfig) -> u64 {
    let (sockets, _) = config.topology();
    if config.get("hugepages") == Some("1024") {
        STATIC_MIB * sockets
    } else {
        STATIC_MIB
    }
}

/// The largest memory that QEMU can be asked for: half of what the physical address bits reach.
fn most_mib(session: &Session, config: &VmConfig) -> u64 {
    let host = host_address_bits(session);
    let mut model = None;
    let mut asked = None;
    for part in config.get("cpu").unwrap_or_default().split(',') {
        match part.split_once('=') {
            Some(("phys-bits", "host")) => asked = host,
            Some(("phys-bits", bits)) => asked = bits.parse().ok(),
            Some(("cputype", name)) => model = Some(name),
            None if !part.is_empty() => model = Some(part),
            _ => {}
        }
    }
    let host = host.unwrap_or(FALLBACK_ADDRESS_BITS);
    let common = if matches!(model, Some("host" | "max")) {
        host
    } else {
        host.min(COMMON_ADDRESS_BITS)
    };
    let bits = asked.unwrap_or(common) & !1;
    1_u64
        .checked_shl(bits.saturating_sub(21))
        .unwrap_or(MOST_MIB)
        .min(MOST_MIB)
}

fn host_address_bits(session: &Session) -> Option<u32> {
    let cpuinfo = session.read("proc/cpuinfo")?;
    let line = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("address sizes"))?;
    line.trim_start_matches([' ', '\t', ':'])
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// Brings the running VM towards `target` MiB. The config then says what was reached: growing ends at or above the
/// target, shrinking at or below.
pub(crate) fn hotplug(
    session: &Session,
    vmid: u32,
    config: &mut VmConfig,
    target: u64,
) -> Done<()> {
    let current = config.memory_mib();
    if target == current {
        return Ok(());
    }
    let least = static_mib(config);
    if target < least {
        let place = "at /usr/share/perl5/PVE/QemuServer/Memory.pm line 219.";
        return Err(Failure::died(format!(
            "memory can't be lower than {least} MB {place}"
        )));
    }
    let most = most_mib(session, config);
    if target > most {
        return Err(Failure::died(format!(
            "you cannot add more memory than max mem {most} MB!"
        )));
    }
    if target > current {
        grow(session, vmid, config, target)
    } else {
        shrink(session, vmid, config, target)
    }
}

fn grow(session: &Session, vmid: u32, config: &mut VmConfig, target: u64) -> Done<()> {
    let monitor = Monitor::new(session, vmid);
    let current = config.memory_mib();
    let dimms: Vec<Dimm> = ladder(config, target)
        .into_iter()
        .filter(|dimm| dimm.total_mib > current)
        .collect();
    for (done, dimm) in dimms.iter().enumerate() {
        let backend = format!("mem-{}", dimm.name);
        let plugged = monitor.command("object-add", backend_of(config, &backend, dimm.size_mib)).and_then(|_| {
            let device = json!({ "driver": "pc-dimm", "id": dimm.name, "memdev": backend, "node": dimm.node });
            monitor.command("device_add", device)
        });
        if let Err(failure) = plugged {
            let _ = monitor.command("object-del", json!({ "id": backend }));
            return Err(failure);
        }
        record(session, vmid, config, dimm.total_mib)?;
        if done + 1 == dimms.len().div_ceil(2) {
            session.reach(Point::HalfPlugged)?;
        }
    }
    Ok(())
}

fn backend_of(config: &VmConfig, id: &str, size_mib: u64) -> Value {
    let size = size_mib * MIB;
    match config.get("hugepages") {
        Some(pages) => {
            let page_mib: u64 = pages.parse().unwrap_or(2);
            let path = format!("/run/hugepages/kvm/{}kB", page_mib * 1024);
            json!({ "qom-type": "memory-backend-file", "id": id, "size": size, "mem-path": path, "share": true, "prealloc": true })
        }
        None => json!({ "qom-type": "memory-backend-ram", "id": id, "size": size }),
    }
}

fn shrink(session: &Session, vmid: u32, config: &mut VmConfig, target: u64) -> Done<()> {
    let monitor = Monitor::new(session, vmid);
    let mut current = config.memory_mib();
    let mut present = dimms_present(&monitor)?;
    present.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let needed = present.iter().scan(current, |left, (_, size)| {
        let more = *left > target;
        *left = left.saturating_sub(*size);
        more.then_some(())
    });
    let steps = needed.count();
    for (done, (number, size_mib)) in present.into_iter().take(steps).enumerate() {
        let name = format!("dimm{number}");
        session.print(&format!("try to unplug memory dimm {name}\n"));
        unplug(session, &monitor, number)?;
        current = current.saturating_sub(size_mib);
        let _ = monitor.command("object-del", json!({ "id": format!("mem-{name}") }));
        record(session, vmid, config, current)?;
        if done + 1 == steps.div_ceil(2) {
            session.reach(Point::HalfPlugged)?;
        }
    }
    Ok(())
}

fn unplug(session: &Session, monitor: &Monitor<'_>, number: u64) -> Done<()> {
    let mut retry = 0;
    loop {
        // A refusal shows only in that the module stays.
        let _ = monitor.human(&format!("device_del dimm{number}"));
        session.sleep(UNPLUG_PAUSE);
        if dimms_present(monitor)?
            .iter()
            .all(|(present, _)| *present != number)
        {
            return Ok(());
        }
        if retry > UNPLUG_RETRIES {
            return Err(Failure::parameter(
                format!("dimm{number}"),
                "error unplug memory module",
            ));
        }
        retry += 1;
    }
}

/// Number and size in MiB of the modules that QEMU has.
fn dimms_present(monitor: &Monitor<'_>) -> Done<Vec<(u64, u64)>> {
    let devices = monitor.command("query-memory-devices", json!({}))?;
    let dimm = |device: &Value| {
        let number = device["data"]["id"]
            .as_str()?
            .strip_prefix("dimm")?
            .parse()
            .ok()?;
        Some((number, device["data"]["size"].as_u64()? / MIB))
    };
    Ok(devices
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(dimm)
        .collect())
}

fn record(session: &Session, vmid: u32, config: &mut VmConfig, mib: u64) -> Done<()> {
    config.active.insert("memory".to_owned(), mib.to_string());
    store::write(session, vmid, config)
}

/// The checks that PVE makes on memory when it starts a VM.
pub(crate) fn check_at_start(session: &Session, config: &VmConfig) -> Done<()> {
    if config.get("hugepages").is_some() && !config.flag("numa") {
        return Err(Failure::died("numa needs to be enabled to use hugepages"));
    }
    if !config.hotplugs("memory") {
        return Ok(());
    }
    let memory = config.memory_mib();
    let refuse = |message: String| Err(Failure::died(message));
    if !config.flag("numa") {
        return refuse("NUMA needs to be enabled for memory hotplug".to_owned());
    }
    let most = most_mib(session, config);
    if memory > most {
        return refuse(format!("Total memory is bigger than {most}MB"));
    }
    if (0..8).any(|node| config.get(&format!("numa{node}")).is_some()) {
        return refuse("cannot enable memory hotplugging with custom NUMA topology".to_owned());
    }
    let least = static_mib(config);
    if memory < least {
        return refuse(format!("minimum memory must be {least}MB"));
    }
    if (0..10).any(|index| config.get(&format!("virtiofs{index}")).is_some()) {
        return refuse("Memory hotplug does not work in combination with virtio-fs.".to_owned());
    }
    match ladder(config, memory).last() {
        Some(last) if last.total_mib > memory => refuse(format!(
            "memory size ({memory}) must be aligned to {} for hotplugging",
            last.size_mib
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> VmConfig {
        VmConfig::parse(101, text).0
    }

    #[test]
    fn module_sizes_double_after_every_32() {
        let dimms = ladder(&config("sockets: 2\n"), 66_560);
        let count = |size| dimms.iter().filter(|dimm| dimm.size_mib == size).count();
        assert_eq!(
            (count(512), count(1024), count(2048), dimms.len()),
            (32, 32, 8, 72)
        );
        assert_eq!(dimms.last().map(|dimm| dimm.total_mib), Some(66_560));
        assert_eq!((dimms[0].node, dimms[1].node, dimms[32].node), (0, 1, 0));
    }

    #[test]
    fn an_unaligned_size_ends_above_itself() {
        assert_eq!(
            ladder(&config(""), 2100).last().map(|dimm| dimm.total_mib),
            Some(2560)
        );
        assert_eq!(ladder(&config(""), 1024), []);
    }

    #[test]
    fn huge_pages_of_1_gib_start_with_1_gib_for_each_socket() {
        let dimms = ladder(&config("hugepages: 1024\nsockets: 2\n"), 4096);
        let shape: Vec<(u64, u64)> = dimms
            .iter()
            .map(|dimm| (dimm.size_mib, dimm.total_mib))
            .collect();
        assert_eq!(shape, [(1024, 3072), (1024, 4096)]);
    }
}
