//! `vm-autoscale explain VMID`: the last decision about one VM, with the numbers it rests on.

use std::io;

use serde::Serialize;

use super::output::OutputFormat;
use super::status::{notices, read_state};
use super::{Exit, fail, show, words};
use crate::domain::{Amount, Moment, Reading, VmId, sanitize};
use crate::pve::Layout;
use crate::record::{Event, EventKind, ResourceState, State, VmState, history, span};

/// So many of the last changes are told; `history` has the rest.
const CHANGES: usize = 5;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The VM's number
    #[arg(value_name = "VMID")]
    vm: VmId,
}

/// What programs get.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    vm: &'a VmState,
    changes: &'a [Event],
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
    let changes = changes_of(layout, vm.vmid).unwrap_or_else(|e| {
        anstream::eprintln!("vm-autoscale: the history cannot be read: {e}");
        Vec::new()
    });
    let told = Told {
        vm,
        changes: &changes,
    };
    show(format, &told, || story(&state, vm, &changes, Moment::now()))
}

/// The last changes of a VM, oldest first.
pub(super) fn changes_of(layout: &Layout, vm: VmId) -> io::Result<Vec<Event>> {
    let (mut events, _) = history::read(&layout.data_dir())?;
    events.retain(|event| {
        matches!(event.kind, EventKind::Changed(_))
            && event.vm.as_ref().is_some_and(|of| of.id == vm)
    });
    Ok(events.split_off(events.len().saturating_sub(CHANGES)))
}

/// The story, for people.
pub(super) fn story(state: &State, vm: &VmState, changes: &[Event], now: Moment) -> String {
    let age = span(now.since(state.at));
    let mut lines = vec![format!(
        "VM {} ({}) on {}, decided {age} ago",
        vm.vmid, vm.name, vm.node
    )];
    lines.extend(notices(state, now));
    for window in &vm.windows {
        let ends = span(window.until.since(now));
        lines.push(format!(
            "The window {} is open for another {ends}",
            window.name
        ));
    }
    for resource in [&vm.cpu, &vm.memory] {
        lines.push(String::new());
        lines.extend(chapter(vm.vmid, resource, now));
    }
    lines.push(String::new());
    lines.push(gates(state));
    lines.extend(
        vm.can
            .disagreements
            .iter()
            .map(|told| format!("Note: {told}")),
    );
    if !vm.pending.is_empty() {
        lines.push(format!(
            "Waits for a power cycle: {}",
            vm.pending.join(", ")
        ));
    }
    lines.push(String::new());
    if changes.is_empty() {
        lines.push("No change so far.".to_owned());
    } else {
        lines.push("Last changes".to_owned());
    }
    for event in changes {
        let ago = span(now.since(event.at)) + " ago";
        lines.push(format!("  {ago:<11} {}", event.kind));
    }
    // Some of the words come from guests and their owners: none may move the cursor.
    lines
        .iter()
        .map(|line| sanitize(line, 1000) + "\n")
        .collect()
}

fn chapter(vm: VmId, state: &ResourceState, now: Moment) -> Vec<String> {
    let lever = state
        .lever
        .map_or("no lever".to_owned(), |lever| format!("moved by {lever}"));
    let decision = match (state.target, state.recommended) {
        (Some(target), _) => format!("change to {target}: {}", words::because(state, now)),
        _ => words::because(state, now),
    };
    let mut lines = vec![
        format!("{}, {lever}", state.resource),
        format!("  needs      {}", reading(&state.need, now)),
        format!("  has        {}", reading(&state.allocation, now)),
    ];
    if let Some(wanted) = state.wanted {
        lines.push(format!("  policy     asks for {wanted}"));
    }
    if let (Some(min), Some(max)) = (state.min, state.max) {
        lines.push(format!("  limits     {}", limits(state.wanted, min, max)));
    }
    for peak in &state.peaks {
        lines.push(format!("  peak       {peak}"));
    }
    lines.push(format!("  decision   {decision}"));
    lines.push(format!("  acts when  {}", words::acts_when(vm, state, now)));
    lines
}

/// The limits, and what they do to what the policy asks for.
fn limits(wanted: Option<Amount>, min: Amount, max: Amount) -> String {
    let cut = match wanted {
        Some(wanted) if wanted.value() > max.value() => format!("; the maximum holds it at {max}"),
        Some(wanted) if wanted.value() < min.value() => format!("; the minimum keeps it at {min}"),
        _ => String::new(),
    };
    format!("{min} to {max}{cut}")
}

/// What holds for all VMs of the node.
fn gates(state: &State) -> String {
    let quorum = match &state.quorate {
        Reading::Known { value: true, .. } => "the cluster is quorate".to_owned(),
        Reading::Known { value: false, .. } => "the cluster has no quorum".to_owned(),
        Reading::Unknown(why) => format!("quorum unknown ({why})"),
    };
    let pause = match &state.pause {
        Some(pause) => format!("paused by {}", pause.by),
        None => "not paused".to_owned(),
    };
    format!("Gates: {quorum}; {pause}")
}

fn reading(reading: &Reading<Amount>, now: Moment) -> String {
    match reading {
        Reading::Known { value, at, source } => {
            format!("{value} ({source}, {} ago)", span(now.since(*at)))
        }
        Reading::Unknown(why) => format!("unknown: {why}"),
    }
}

#[cfg(test)]
mod tests;
