//! `/nodes/NODE/status`: what /proc tells of the node.
//!
//! Source: `pve-manager: PVE/API2/Nodes.pm: status`; `pve-common: src/PVE/ProcFSTools.pm`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::resources::RoundRobin;
use super::session::Session;

/// The release that this node claims to be: the one that was recorded.
pub(crate) const RELEASE: &str = "9.2";
/// The same in full.
pub(crate) const VERSION: &str = "9.2.11";
/// What the release was built from.
pub(crate) const REPOSITORY_ID: &str = "0123456789abcdef";

/// `/nodes/NODE/status`. A fresh process has no earlier sample, so `cpu` and `wait` are 0.
pub(crate) fn status(session: &Session) -> Value {
    let words = |path: &str| -> Vec<String> {
        session
            .read(path)
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    let meminfo = session.read("proc/meminfo").unwrap_or_default();
    let bytes = |key: &str| -> u64 {
        let line = meminfo
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0)
            * 1024
    };
    let load: Vec<String> = words("proc/loadavg").into_iter().take(3).collect();
    let uptime = words("proc/uptime")
        .first()
        .and_then(|text| text.parse::<f64>().ok())
        .unwrap_or(0.0) as u64;
    let shared: u64 = session
        .read("sys/kernel/mm/ksm/pages_sharing")
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    let (total, available) = (bytes("MemTotal"), bytes("MemAvailable"));
    let (swap, swap_free) = (bytes("SwapTotal"), bytes("SwapFree"));
    let rrd = RoundRobin::read(session);
    let disk = |index: usize| {
        rrd.node(session.node())
            .and_then(|fields| fields.get(index)?.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let (disk_total, disk_used) = (disk(11), disk(12));
    json!({
        "boot-info": { "mode": "legacy-bios" }, "cpu": 0, "cpuinfo": cpu_info(session), "idle": 0, "wait": 0,
        "current-kernel": kernel(session), "kversion": format!("Linux {}", kernel_words(session).join(" ")),
        "ksm": { "shared": shared * 4096 }, "loadavg": load, "uptime": uptime,
        "memory": { "available": available, "free": bytes("MemFree"), "total": total, "used": total.saturating_sub(available) },
        "pveversion": format!("pve-manager/{VERSION}/{REPOSITORY_ID}"),
        "rootfs": {
            "avail": disk_total.saturating_sub(disk_used), "free": disk_total.saturating_sub(disk_used),
            "total": disk_total, "used": disk_used,
        },
        "swap": { "free": swap_free, "total": swap, "used": swap.saturating_sub(swap_free) },
    })
}

/// Release and version of the kernel from `/proc/version`: `Linux version RELEASE (…) VERSION`.
fn kernel_words(session: &Session) -> [String; 2] {
    let text = session.read("proc/version").unwrap_or_default();
    let rest = text
        .trim()
        .strip_prefix("Linux version ")
        .unwrap_or_default();
    let release = rest.split(' ').next().unwrap_or_default().to_owned();
    let version = rest.find('#').map_or("", |start| &rest[start..]).to_owned();
    [release, version]
}

fn kernel(session: &Session) -> Value {
    let [release, version] = kernel_words(session);
    json!({ "machine": "x86_64", "release": release, "sysname": "Linux", "version": version })
}

fn cpu_info(session: &Session) -> Value {
    let text = session.read("proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
        value.unwrap_or_default().trim().to_owned()
    };
    let cpus = super::status::host_cpus(session);
    let sockets = text
        .lines()
        .filter(|line| line.starts_with("physical id"))
        .collect::<BTreeSet<_>>();
    json!({
        "cores": cpus, "cpus": cpus, "sockets": sockets.len().max(1), "family": field("cpu family"), "flags": field("flags"),
        "hvm": "", "mhz": field("cpu MHz"), "model": field("model name"), "user_hz": 100, "vendor": field("vendor_id"),
    })
}
