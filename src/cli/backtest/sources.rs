//! Where histories come from: trace files, or what Proxmox VE recorded.

use std::path::Path;

use super::super::blocking;
use super::Args;
use crate::backtest::recorded::{self, Point};
use crate::backtest::run::History;
use crate::backtest::trace::Trace;
use crate::config::{Selection, Settings, VmSettings};
use crate::domain::{Cores, Mib, NodeName, VmId};
use crate::pve::vmlist::GuestKind;
use crate::pve::{Layout, Limits, Pvesh, RrdPoint, VmConfig, VmList, pmxcfs};

/// The histories that were asked for, and what must be known of them.
pub(super) fn read(
    args: &Args,
    layout: &Layout,
    settings: &Settings,
) -> Result<(Vec<History>, Vec<String>), String> {
    if args.vm.is_empty() {
        let own = with_methods(default(settings), args);
        let histories = args.trace.iter().map(|file| from_file(file, &own));
        return Ok((histories.collect::<Result<_, _>>()?, Vec::new()));
    }
    let histories = blocking(async {
        let mut histories = Vec::new();
        for vm in &args.vm {
            histories.push(from_record(*vm, args, layout, settings).await?);
        }
        Ok::<_, String>(histories)
    })??;
    let mut notes = vec![
        "The record holds means over a minute and longer: peaks within them do not show."
            .to_owned(),
        "Memory is what Proxmox VE reports, page cache included: the real need is lower."
            .to_owned(),
    ];
    for history in &histories {
        let hours = history.trace.cpu.unknown() as f64 / 3_600_000.0;
        if hours > 0.0 {
            let name = &history.trace.name;
            notes.push(format!(
                "{name}: {hours:.1} h are not in the record and are left out."
            ));
        }
    }
    Ok((histories, notes))
}

/// The methods of the command line instead of those of the configuration.
fn with_methods(mut own: VmSettings, args: &Args) -> VmSettings {
    own.cpu.method = args.cpu_method.unwrap_or(own.cpu.method);
    if let Some(method) = args.memory_method {
        own.memory.method = method;
        own.memory.unplug = true;
    }
    own
}

fn from_file(file: &Path, own: &VmSettings) -> Result<History, String> {
    let told = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let bytes = std::fs::read(file).map_err(|e| told(&e))?;
    let text = String::from_utf8(bytes).map_err(|_| told(&"not UTF-8 text; is it a trace?"))?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let trace = Trace::parse(&name, &text).map_err(|e| told(&e))?;
    Ok(History::new(trace, own))
}

async fn from_record(
    vm: VmId,
    args: &Args,
    layout: &Layout,
    settings: &Settings,
) -> Result<History, String> {
    let node = node_of(vm, layout)?;
    let config = pmxcfs::read_vm_config(layout, &node, vm).map_err(|e| e.to_string())?;
    let config = VmConfig::parse(&config.unwrap_or_default());
    let record = Pvesh::new(layout, Limits::default())
        .rrddata(&node, vm, args.timeframe)
        .await
        .map_err(|e| e.to_string())?;
    let points: Vec<Point> = record.iter().map(point).collect();
    let name = format!("{vm} {}", config.name);
    let (max_cores, max_memory) = largest(&record);
    let trace = recorded::trace(name.trim_end(), &points, max_cores, max_memory);
    let trace = trace.ok_or_else(|| {
        let timeframe = args.timeframe.word();
        format!(
            "VM {vm}: Proxmox VE recorded nothing of the last {timeframe}; did it run, and does pvestatd?"
        )
    })?;
    match settings.of(vm, &config.tags) {
        Selection::Managed(own) => Ok(History::within(trace, &with_methods(own.clone(), args))),
        // Not managed yet: what it has been given is the most that it may have.
        Selection::No => Ok(History::new(trace, &with_methods(default(settings), args))),
        Selection::Unusable(why) => Err(format!("VM {vm}: {why}")),
    }
}

/// The settings of a VM of which the configuration says nothing.
fn default(settings: &Settings) -> VmSettings {
    let own = settings.profiles.get("default");
    own.cloned().unwrap_or_default()
}

/// The node that has the VM's configuration, and so its record.
fn node_of(vm: VmId, layout: &Layout) -> Result<NodeName, String> {
    let list = VmList::read(layout).map_err(|e| e.to_string())?;
    match list.get(vm) {
        Some(guest) if guest.kind == GuestKind::Qemu => Ok(guest.node.clone()),
        Some(_) => Err(format!("{vm} is a container, not a VM")),
        None => Err(format!(
            "there is no VM {vm} in this cluster; `qm list` shows those of this node"
        )),
    }
}

fn point(point: &RrdPoint) -> Point {
    Point {
        time: point.time,
        cpu: point.cores(),
        memory: point.mebibytes(),
    }
}

/// The most vCPUs and memory that the VM had while it was recorded.
fn largest(record: &[RrdPoint]) -> (Cores, Mib) {
    let most = |values: &dyn Fn(&RrdPoint) -> Option<f64>| {
        record.iter().filter_map(values).fold(0.0, f64::max)
    };
    let memory = most(&|point| point.maxmem) / f64::from(1 << 20);
    (
        Cores::from_f64(most(&|point| point.maxcpu)),
        Mib::from_f64(memory),
    )
}
