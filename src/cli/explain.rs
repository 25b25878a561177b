//! `vm-autoscale explain VMID`: the last decision about one VM, with the numbers it rests on.

use super::output::OutputFormat;
use super::status::read_state;
use super::{Exit, fail, show};
use crate::domain::{Amount, Moment, Reading, Resource, VmId};
use crate::pve::Layout;
use crate::record::{VmState, span};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The VM's number
    #[arg(value_name = "VMID")]
    vm: VmId,
}

pub(super) fn run(args: &Args, layout: &Layout, format: OutputFormat) -> Exit {
    let state = match read_state(layout) {
        Ok(state) => state,
        Err(why) => return fail(why),
    };
    let Some(vm) = state.vms.iter().find(|vm| vm.vmid == args.vm) else {
        return fail(format_args!(
            "VM {} is not managed: it has none of the tags under select.tags and is not listed under select.vms",
            args.vm
        ));
    };
    show(format, vm, || story(vm, Moment::now()))
}

fn story(vm: &VmState, now: Moment) -> String {
    let mut text = format!("VM {} ({}) on {}\n", vm.vmid, vm.name, vm.node);
    for (resource, state) in [(Resource::Cpu, &vm.cpu), (Resource::Memory, &vm.memory)] {
        text += &format!("\n{resource}\n");
        text += &format!("  needs       {}\n", reading(&state.need, now));
        text += &format!("  has         {}\n", reading(&state.allocation, now));
        text += &format!(
            "  lever       {}\n",
            state
                .lever
                .map_or("none".to_owned(), |lever| lever.to_string())
        );
        text += &format!("  policy asks {}\n", amount(state.wanted));
        text += &format!("  changes to  {}\n", amount(state.target));
        text += &format!("  because     {}\n", state.why);
        if let Some(done) = &state.last {
            text += &format!("  last change {done}, {} ago\n", span(now.since(done.at)));
        }
    }
    for told in &vm.can.disagreements {
        text += &format!("\nNote: {told}\n");
    }
    if !vm.pending.is_empty() {
        text += &format!("\nWaits for a power cycle: {}\n", vm.pending.join(", "));
    }
    text
}

fn reading(reading: &Reading<Amount>, now: Moment) -> String {
    match reading {
        Reading::Known { value, at, source } => {
            format!("{value} ({source}, {} ago)", span(now.since(*at)))
        }
        Reading::Unknown(why) => format!("unknown: {why}"),
    }
}

fn amount(amount: Option<Amount>) -> String {
    amount.map_or("nothing".to_owned(), |amount| amount.to_string())
}
