//! `vm-autoscale apply VMID`: carries out what the daemon recommends for a VM whose mode is `observe` or `recommend`.

use tokio::sync::mpsc;

use super::output::OutputFormat;
use super::status::{is_old, read_state};
use super::{Exit, fail, show};
use crate::act::{Done, Executor, Outcome, Report};
use crate::decide::Change;
use crate::domain::{Moment, Resource, VmId};
use crate::pve::{Layout, Limits, Qm};
use crate::record::{ResourceState, State, VmState};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The VM's number
    #[arg(value_name = "VMID")]
    vm: VmId,
    /// Only this resource
    #[arg(long, value_enum)]
    only: Option<Which>,
}

/// One of the two resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    Cpu,
    Memory,
}

impl Which {
    fn resource(self) -> Resource {
        match self {
            Self::Cpu => Resource::Cpu,
            Self::Memory => Resource::Memory,
        }
    }
}

pub(super) fn run(args: &Args, layout: &Layout, format: OutputFormat) -> Exit {
    let state = match read_state(layout) {
        Ok(state) if is_old(&state, Moment::now()) => {
            return fail(
                "the daemon's state is old, and so is what it recommends: systemctl status vm-autoscale",
            );
        }
        Ok(state) => state,
        Err(why) => return fail(why),
    };
    let Some(vm) = state.vms.iter().find(|vm| vm.vmid == args.vm) else {
        return fail(format_args!("VM {} is not managed", args.vm));
    };
    let changes = recommended(vm, args.only.map(Which::resource));
    if changes.is_empty() {
        return fail(format_args!(
            "nothing is recommended for VM {}; CPU: {}; memory: {}",
            vm.vmid, vm.cpu.why, vm.memory.why
        ));
    }
    let done = match carry_out(layout, &state, changes) {
        Ok(done) => done,
        Err(why) => return fail(why),
    };
    let all_applied = done.iter().all(|done| done.outcome == Outcome::Applied);
    let shown = show(format, &done, || {
        done.iter()
            .map(|done| format!("VM {}: {done}\n", done.change.vm))
            .collect()
    });
    if all_applied { shown } else { Exit::Failed }
}

/// The changes that the daemon would make.
fn recommended(vm: &VmState, only: Option<Resource>) -> Vec<Change> {
    let wanted = [&vm.cpu, &vm.memory]
        .into_iter()
        .filter(|state| only.is_none_or(|only| only == state.resource));
    let change = |state: &ResourceState| {
        Some(Change {
            vm: vm.vmid,
            name: vm.name.clone(),
            lever: state.lever?,
            from: state.allocation.get()?,
            to: state.recommended?,
            reason: state.reason.clone(),
        })
    };
    wanted.filter_map(change).collect()
}

fn carry_out(layout: &Layout, state: &State, changes: Vec<Change>) -> Result<Vec<Done>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let qm = Qm::new(layout, Limits::default());
    let executor = Executor::new(layout.clone(), state.node.clone(), qm);
    let (reports, mut told) = mpsc::unbounded_channel();
    runtime.block_on(executor.carry_out(changes, reports));
    let mut done = Vec::new();
    while let Ok(report) = told.try_recv() {
        if let Report::Done(one) = report {
            done.push(*one);
        }
    }
    Ok(done)
}
