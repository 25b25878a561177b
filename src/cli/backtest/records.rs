//! Histories out of what Proxmox VE recorded.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::super::blocking;
use super::Args;
use super::progress::Progress;
use super::sources::{Sources, default, with_methods};
use crate::backtest::recorded::{self, Point};
use crate::backtest::run::History;
use crate::config::{Selection, Settings, VmSettings};
use crate::domain::{Cores, Mib, NodeName, VmId};
use crate::pve::vmlist::GuestKind;
use crate::pve::{Layout, Limits, Pvesh, RrdPoint, Timeframe, VmConfig, VmList, pmxcfs};

/// So many records are read at a time: each is a process of Perl that takes a second of CPU.
const AT_A_TIME: usize = 4;

/// One VM, and what is to be known of it before its record is read.
struct Recorded {
    id: VmId,
    node: NodeName,
    /// What the report calls it.
    name: String,
    /// Its settings, if it is managed.
    own: Option<VmSettings>,
    /// The most vCPUs that QEMU gives it while it runs.
    most_vcpus: Cores,
}

/// The histories of the VMs that were named, without those of which nothing is recorded.
///
/// # Errors
/// A VM does not exist or cannot be managed, its record cannot be read, or there is none of any of them.
pub(super) fn read(args: &Args, layout: &Layout, settings: &Settings) -> Result<Sources, String> {
    let list = VmList::read(layout).map_err(|e| e.to_string())?;
    let vms = args.vm.iter().map(|vm| find(*vm, &list, layout, settings));
    let vms = vms.collect::<Result<Vec<_>, _>>()?;
    let progress = Progress::new(vms.len(), "records");
    let records = blocking(fetch(&vms, layout, args.timeframe, &progress));
    progress.end();
    let mut sources = Sources {
        histories: Vec::new(),
        notes: vec![
            "The record holds means over a minute and longer: peaks within them do not show."
                .to_owned(),
            "Memory is what Proxmox VE reports, page cache included: the real need is lower."
                .to_owned(),
        ],
    };
    let mut empty = Vec::new();
    for (vm, record) in vms.into_iter().zip(records??) {
        let points: Vec<Point> = record.iter().map(point).collect();
        let (id, name, beyond) = (vm.id, vm.name.clone(), beyond_qemu(&vm));
        match history(vm, &record, &points, args, settings) {
            Some(history) => {
                sources.notes.extend(notes(&name, &history, &points));
                sources.notes.extend(beyond);
                sources.histories.push(history);
            }
            None => empty.push(id.to_string()),
        }
    }
    if !empty.is_empty() {
        let nothing = nothing(&empty, args.timeframe);
        match sources.histories.is_empty() {
            true => return Err(nothing),
            false => sources.notes.push(nothing),
        }
    }
    Ok(sources)
}

/// What is known of `vm` without its record.
fn find(vm: VmId, list: &VmList, layout: &Layout, settings: &Settings) -> Result<Recorded, String> {
    let node = node_of(vm, list)?;
    let config = pmxcfs::read_vm_config(layout, &node, vm).map_err(|e| e.to_string())?;
    let config = VmConfig::parse(&config.unwrap_or_default());
    let own = match settings.of(vm, &config.tags) {
        Selection::Managed(own) => Some(own.clone()),
        Selection::No => None,
        Selection::Unusable(why) => return Err(format!("VM {vm}: {why}")),
    };
    Ok(Recorded {
        id: vm,
        node,
        name: format!("{vm} {}", config.name).trim_end().to_owned(),
        own,
        most_vcpus: Cores::whole(config.max_vcpus()),
    })
}

/// The node that has the VM's configuration, and so its record.
fn node_of(vm: VmId, list: &VmList) -> Result<NodeName, String> {
    match list.get(vm) {
        Some(guest) if guest.kind == GuestKind::Qemu => Ok(guest.node.clone()),
        Some(_) => Err(format!("{vm} is a container, not a VM")),
        None => Err(format!(
            "there is no VM {vm} in this cluster; `qm list` shows those of this node"
        )),
    }
}

/// The records of `vms`, in their order.
async fn fetch(
    vms: &[Recorded],
    layout: &Layout,
    timeframe: Timeframe,
    progress: &Progress,
) -> Result<Vec<Vec<RrdPoint>>, String> {
    let slots = Arc::new(Semaphore::new(AT_A_TIME));
    let mut asked = JoinSet::new();
    for (index, vm) in vms.iter().enumerate() {
        let (id, node, slots) = (vm.id, vm.node.clone(), Arc::clone(&slots));
        let pvesh = Pvesh::new(layout, Limits::default());
        asked.spawn(async move {
            // Closed once a record could not be read: the others are of no use then.
            let _slot = slots.acquire().await.ok()?;
            Some((index, pvesh.rrddata(&node, id, timeframe).await))
        });
    }
    let mut records = vec![Vec::new(); vms.len()];
    let mut failed = None;
    let mut done = 0;
    while let Some(read) = asked.join_next().await {
        match read.map_err(|e| e.to_string()) {
            Ok(Some((index, Ok(record)))) => records[index] = record,
            Ok(Some((_, Err(why)))) => failed = failed.or(Some(why.to_string())),
            Ok(None) => {}
            Err(why) => failed = failed.or(Some(why)),
        }
        if failed.is_some() {
            slots.close();
        }
        done += 1;
        progress.show(done);
    }
    failed.map_or(Ok(records), Err)
}

/// The history in the record of `vm`, if there is anything in it.
fn history(
    vm: Recorded,
    record: &[RrdPoint],
    points: &[Point],
    args: &Args,
    settings: &Settings,
) -> Option<History> {
    let (max_cores, max_memory) = largest(record);
    let trace = recorded::trace(&vm.name, points, max_cores, max_memory)?;
    Some(match vm.own {
        Some(own) => History::within(trace, &with_methods(own, args)),
        // Not managed yet: what it has been given is the most that it may have.
        None => History::new(trace, &with_methods(default(settings), args)),
    })
}

/// That a VM is run with more vCPUs than it can be given while it runs, if that is so.
fn beyond_qemu(vm: &Recorded) -> Option<String> {
    let max = vm.own.as_ref()?.cpu.max;
    (max > vm.most_vcpus).then(|| {
        let (name, id, most) = (&vm.name, vm.id, vm.most_vcpus);
        format!(
            "{name}: run up to {max} cores, as the configuration allows; it is given no more than {most} (sockets × cores) \
             until it is prepared (`vm-autoscale prepare {id}`) and was stopped and started."
        )
    })
}

/// What the record of a VM does not tell.
fn notes(name: &str, history: &History, points: &[Point]) -> Vec<String> {
    let mut notes = Vec::new();
    let unknown = history.trace.cpu.unknown() as f64 / 3_600_000.0;
    if unknown > 0.0 {
        notes.push(format!(
            "{name}: {unknown:.1} h are not in the record and are left out."
        ));
    }
    let full = recorded::full_hours(points);
    if full > 0.0 {
        notes.push(format!(
            "{name}: for {full:.1} h it used 99 % or more of its vCPUs: its need was not known then and may have been larger."
        ));
    }
    notes
}

fn nothing(vms: &[String], timeframe: Timeframe) -> String {
    let (who, they) = match vms {
        [one] => (format!("VM {one}"), "it"),
        several => (format!("VMs {}", several.join(", ")), "they"),
    };
    let timeframe = timeframe.word();
    format!(
        "{who}: Proxmox VE recorded nothing of the last {timeframe}; did {they} run, and does pvestatd?"
    )
}

fn point(point: &RrdPoint) -> Point {
    Point {
        time: point.time,
        cpu: point.cores(),
        max_cpu: point.maxcpu,
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
