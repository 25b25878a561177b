//! CPU limit and weight of a running VM. On a real node PID 1 writes these files when asked over D-Bus.
//!
//! Source: `qemu-server: src/PVE/QemuServer/CGroup.pm`; systemd's `CPUQuotaPerSecUSec` and `CPUWeight`.

use std::fs;

use super::failure::{Done, Failure};
use super::session::Session;
use super::store;

/// Period in microseconds that systemd uses for a quota.
const PERIOD_USEC: u64 = 100_000;
/// The weight of a unit that has none set.
const DEFAULT_WEIGHT: u64 = 100;

/// Limits the VM to so many CPUs; none or 0 lifts the limit.
pub(crate) fn set_cpu_limit(session: &Session, vmid: u32, cpus: Option<f64>) -> Done<()> {
    let text = match cpus.filter(|cpus| *cpus > 0.0) {
        // PVE cuts to whole percents, in floating point: 2.3 CPUs become 229 %.
        Some(cpus) => format!(
            "{} {PERIOD_USEC}\n",
            (cpus * 100.0) as u64 * PERIOD_USEC / 100
        ),
        None => format!("max {PERIOD_USEC}\n"),
    };
    set(session, vmid, "cpu.max", &text)
}

/// Sets the VM's share of CPU time against others; none is the default.
pub(crate) fn set_cpu_weight(session: &Session, vmid: u32, weight: Option<u64>) -> Done<()> {
    set(
        session,
        vmid,
        "cpu.weight",
        &format!("{}\n", weight.unwrap_or(DEFAULT_WEIGHT)),
    )
}

fn set(session: &Session, vmid: u32, file: &str, text: &str) -> Done<()> {
    let scope = store::scope(session, vmid);
    if !scope.is_dir() {
        return Err(Failure::died(format!(
            "org.freedesktop.systemd1.NoSuchUnit: Unit {vmid}.scope not loaded."
        )));
    }
    fs::write(scope.join(file), text).map_err(|error| {
        Failure::died(format!(
            "org.freedesktop.DBus.Error.Failed: {}",
            store::system_text(&error)
        ))
    })
}
