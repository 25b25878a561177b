//! `vm-autoscale doctor [VMID]`: what works on this node and for its VMs, and what would unlock more.

use serde::Serialize;

use super::output::OutputFormat;
use super::{Exit, blocking, fail, show};
use crate::cluster::{self, Mounted, VmFacts};
use crate::config::{Selection, Settings};
use crate::domain::{Lever, NodeName, Setting, VmId};
use crate::observe::{Inspection, inspect};
use crate::pve::health::{self, Check};
use crate::pve::{Layout, Limits, Pvesh, VmConfig, VmList, pmxcfs};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this VM, also if it did not opt in; without it, the node and every managed VM of it
    #[arg(value_name = "VMID")]
    vm: Option<VmId>,
}

/// What the doctor found.
#[derive(Serialize)]
struct Report {
    node: Vec<Check>,
    vms: Vec<Patient>,
}

/// One VM.
#[derive(Serialize)]
struct Patient {
    vmid: VmId,
    #[serde(flatten)]
    found: Option<Inspection>,
    /// What needs attention, a sentence each.
    attention: Vec<String>,
}

pub(super) fn run(args: &Args, layout: &Layout, format: OutputFormat) -> Exit {
    let (settings, node) = match (cluster::settings_in_force(layout), layout.node_name()) {
        (Ok(settings), Ok(node)) => (settings, node),
        (Err(e), _) => return fail(e),
        (_, Err(e)) => return fail(e),
    };
    let vms = match args.vm {
        Some(vm) => vec![vm],
        None => match managed(layout, &node, &settings) {
            Ok(vms) => vms,
            Err(why) => return fail(why),
        },
    };
    let report = blocking(async {
        let checks = match args.vm {
            Some(_) => Vec::new(),
            None => health::checks(layout, &Pvesh::new(layout, Limits::default())).await,
        };
        let mut patients = Vec::new();
        for vm in vms {
            patients.push(examine(layout, &node, &settings, vm).await);
        }
        Report {
            node: checks,
            vms: patients,
        }
    });
    let report = match report {
        Ok(report) => report,
        Err(e) => return fail(e),
    };
    let unwell = report.node.iter().any(|check| !check.ok)
        || report.vms.iter().any(|vm| !vm.attention.is_empty());
    match show(format, &report, || text(&report, &node)) {
        Exit::Done if unwell => Exit::Attention,
        exit => exit,
    }
}

/// The VMs of this node that opted in.
fn managed(layout: &Layout, node: &NodeName, settings: &Settings) -> Result<Vec<VmId>, String> {
    let list = VmList::read(layout).map_err(|e| e.to_string())?;
    let own = list.vms().filter(|(_, guest)| guest.node == *node);
    let opted_in = |vm: &VmId| {
        let text = pmxcfs::read_vm_config(layout, node, *vm).ok().flatten();
        let tags = text
            .map(|text| VmConfig::parse(&text).tags)
            .unwrap_or_default();
        settings.of(*vm, &tags) != Selection::No
    };
    Ok(own.map(|(vm, _)| vm).filter(opted_in).collect())
}

async fn examine(layout: &Layout, node: &NodeName, settings: &Settings, vm: VmId) -> Patient {
    let fallback = crate::config::VmSettings::default();
    let mut attention = Vec::new();
    let tags = pmxcfs::read_vm_config(layout, node, vm)
        .ok()
        .flatten()
        .map(|text| VmConfig::parse(&text).tags)
        .unwrap_or_default();
    let own = match settings.of(vm, &tags) {
        Selection::Managed(own) => &own.at_its_widest(),
        Selection::Unusable(why) => {
            attention.push(why);
            &fallback
        }
        Selection::No => &fallback,
    };
    match inspect(layout, node, vm, own).await {
        Ok(found) => {
            attention.extend(complaints(&found, layout));
            Patient {
                vmid: vm,
                found: Some(found),
                attention,
            }
        }
        Err(why) => {
            attention.push(why);
            Patient {
                vmid: vm,
                found: None,
                attention,
            }
        }
    }
}

/// What is not as it should be.
fn complaints(found: &Inspection, layout: &Layout) -> Vec<String> {
    let mut all = found.can.disagreements.clone();
    if !found.pending.is_empty() {
        all.push(format!(
            "waits for a power cycle: {}",
            found.pending.join(", ")
        ));
    }
    if !found.unlock.is_empty() {
        all.push(format!(
            "one power cycle would unlock more: {}",
            command(found.vmid, &found.unlock)
        ));
    }
    if !found.running {
        return all;
    }
    let balloon = found
        .can
        .balloon
        .obstacle()
        .filter(|why| why.contains("driver"));
    all.extend(balloon.map(|why| format!("{why}: its memory cannot be measured")));
    let ours = matches!(
        VmFacts::read(&Mounted::new(layout.clone()), found.vmid),
        Ok(Some(_))
    );
    let pvestatd =
        found.config.balloon.is_some_and(|size| size.0 > 0) && found.config.shares != Some(0);
    let took_balloon = ours && found.config.has_balloon() && pvestatd;
    if took_balloon && found.can.balloon.obstacle().is_none() {
        all.push("pvestatd moves its balloon as well (shares is not 0) until the agent's next change of it".to_owned());
    }
    all
}

/// The exact line that makes `set`.
pub(super) fn command(vm: VmId, set: &[Setting]) -> String {
    let words = set.iter().map(|s| format!(" --{} {}", s.option, s.value));
    format!("qm set {vm}{}", words.collect::<String>())
}

fn text(report: &Report, node: &NodeName) -> String {
    let mut text = String::new();
    if !report.node.is_empty() {
        text += &format!("Node {node}\n");
    }
    for check in &report.node {
        text += &format!(
            "  {} {}\n",
            if check.ok { "ok  " } else { "FIX " },
            check.told
        );
    }
    for vm in &report.vms {
        let name = vm
            .found
            .as_ref()
            .map(|found| found.name.to_string())
            .unwrap_or_default();
        text += &format!("\nVM {} ({name})\n", vm.vmid);
        if let Some(found) = &vm.found {
            for lever in [Lever::Vcpus, Lever::Cpulimit, Lever::Balloon, Lever::Dimm] {
                text += &format!("  {lever:<9} {}\n", found.can.of(lever));
            }
        }
        for told in &vm.attention {
            text += &format!("  FIX  {told}\n");
        }
    }
    if report.vms.is_empty() {
        text += "\nNo VM of this node is managed: qm set VMID --tags autoscale\n";
    }
    text
}
