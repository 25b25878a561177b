//! `vm-autoscale prepare VMID [--yes]`: makes a VM ready for more: hotplug, NUMA, a higher ceiling of cores with the same
//! number of vCPUs.

use serde::Serialize;

use super::doctor::command;
use super::output::OutputFormat;
use super::{Exit, blocking, fail, managed_settings, show};
use crate::domain::{NodeName, Setting, VmId};
use crate::observe::inspect;
use crate::pve::{Layout, Limits, Qm};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The VM's number
    #[arg(value_name = "VMID")]
    vm: VmId,
    /// Make the settings; without this they are only shown
    #[arg(long)]
    yes: bool,
}

/// What was, or is to be, done.
#[derive(Serialize)]
struct Prepared {
    vmid: VmId,
    /// The settings.
    set: Vec<Setting>,
    /// The line that makes them.
    command: Option<String>,
    /// Whether they were made.
    done: bool,
    /// What waits for a power cycle now.
    pending: Vec<String>,
}

pub(super) fn run(args: &Args, layout: &Layout, format: OutputFormat) -> Exit {
    let node = match layout.node_name() {
        Ok(node) => node,
        Err(e) => return fail(e),
    };
    let prepared = match blocking(prepare(args, layout, &node)) {
        Ok(Ok(prepared)) => prepared,
        Ok(Err(why)) | Err(why) => return fail(why),
    };
    let waits = !prepared.pending.is_empty() || !(prepared.done || prepared.set.is_empty());
    match show(format, &prepared, || text(&prepared)) {
        Exit::Done if waits => Exit::Attention,
        exit => exit,
    }
}

async fn prepare(args: &Args, layout: &Layout, node: &NodeName) -> Result<Prepared, String> {
    let own = managed_settings(layout, node, args.vm)?;
    let found = inspect(layout, node, args.vm, &own).await?;
    let set = found.unlock;
    let mut prepared = Prepared {
        vmid: args.vm,
        command: (!set.is_empty()).then(|| command(args.vm, &set)),
        done: false,
        pending: found.pending,
        set,
    };
    if args.yes && !prepared.set.is_empty() {
        let options = prepared
            .set
            .iter()
            .map(|s| (s.option.as_str(), s.value.clone()));
        let options: Vec<(&str, String)> = options.collect();
        let qm = Qm::new(layout, Limits::default());
        qm.set(args.vm, &options).await.map_err(|e| e.to_string())?;
        prepared.done = true;
        prepared.pending = inspect(layout, node, args.vm, &own).await?.pending;
    }
    Ok(prepared)
}

fn text(prepared: &Prepared) -> String {
    let vm = prepared.vmid;
    let mut text = match &prepared.command {
        None => format!("VM {vm} is ready: there is nothing to set.\n"),
        Some(command) if prepared.done => format!("done: {command}\n"),
        Some(command) => {
            format!("{command}\nNothing was changed. `vm-autoscale prepare {vm} --yes` does it.\n")
        }
    };
    if !prepared.pending.is_empty() {
        text += &format!(
            "Waits for a power cycle (qm reboot {vm}; a reboot inside the guest is not enough): {}\n",
            prepared.pending.join(", ")
        );
    }
    text
}
