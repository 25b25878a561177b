//! `vm-autoscale release VMID`: puts back what a VM's settings were, and stops managing it.
//!
//! The VM's opt-in tags are removed, which any daemon of the cluster sees at its next tick; setting one again opts in anew.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::output::OutputFormat;
use super::status::is_old;
use super::{Exit, blocking, fail, managed_settings, show};
use crate::act::release::{Step, put_back, steps};
use crate::cluster::{self, Mounted, VmFacts};
use crate::config::{Selection, Settings};
use crate::decide::memory_margin;
use crate::domain::{Mib, Moment, NodeName, VmId};
use crate::observe::inspect;
use crate::pve::{Layout, Limits, Qm, VmConfig};
use crate::record::{Event, EventKind, State, VmRef, left};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The VM's number
    #[arg(value_name = "VMID")]
    vm: VmId,
}

/// How long the daemon may take to let go: a few ticks.
const LET_GO: Duration = Duration::from_secs(60);

/// What was done.
#[derive(Serialize)]
struct Released {
    vmid: VmId,
    /// The commands that put things back, in order.
    commands: Vec<String>,
    /// What could not be put back, or stays as it is, a sentence each.
    attention: Vec<String>,
}

pub(super) fn run(args: &Args, layout: &Layout, format: OutputFormat) -> Exit {
    let (settings, node) = match (cluster::settings_in_force(layout), layout.node_name()) {
        (Ok(settings), Ok(node)) => (settings, node),
        (Err(e), _) => return fail(e),
        (_, Err(e)) => return fail(e),
    };
    let released = match blocking(release(args.vm, layout, &node, &settings)) {
        Ok(Ok(released)) => released,
        Ok(Err(why)) | Err(why) => return fail(why),
    };
    match show(format, &released, || text(&released)) {
        Exit::Done if !released.attention.is_empty() => Exit::Attention,
        exit => exit,
    }
}

async fn release(
    vm: VmId,
    layout: &Layout,
    node: &NodeName,
    settings: &Settings,
) -> Result<Released, String> {
    let own = managed_settings(layout, node, vm)?;
    let found = inspect(layout, node, vm, &own).await?;
    if settings.of(vm, &[]) != Selection::No {
        return Err(format!(
            "VM {vm} is managed by the configuration file, whatever its tags: remove it from select.vms, reload the \
             service, and release it then"
        ));
    }
    let qm = Qm::new(layout, Limits::default());
    let mut released = Released {
        vmid: vm,
        commands: Vec::new(),
        attention: Vec::new(),
    };
    let files = Mounted::new(layout.clone());
    // From now on a change that was decided before is not begun any more.
    let facts = VmFacts::read(&files, vm).map_err(|e| e.to_string())?;
    // What an earlier VM with its number had is not put back.
    let facts = facts.filter(|facts| facts.can_be_of(&found.config));
    if let Some(facts) = &facts {
        let mut marked = facts.clone();
        marked.releasing = true;
        marked.write(&files, vm).map_err(|e| e.to_string())?;
    }
    if let Some(step) = opt_out(&found.config, vm, settings) {
        let done = match &step {
            Step::Set(options) => qm.set(vm, options).await,
            Step::Delete(option) => qm.delete(vm, option).await,
        };
        done.map_err(|e| e.to_string())?;
        released.commands.push(step.command(vm));
    }
    until_let_go(layout, vm).await?;
    let Some(facts) = facts else {
        return Ok(released);
    };
    let found = inspect(layout, node, vm, &own).await?;
    let floor = found.need.map(|need| need + memory_margin(need));
    let (steps, kept) = steps(&found.config, &facts.baseline, floor);
    released
        .commands
        .extend(steps.iter().map(|step| step.command(vm)));
    released.attention.extend(kept);
    let read = async || {
        inspect(layout, node, vm, &own)
            .await
            .map(|found| found.config)
    };
    let failed = put_back(&qm, vm, &steps, read).await;
    if failed.is_empty() {
        VmFacts::remove(&files, vm).map_err(|e| e.to_string())?;
        let event = Event {
            at: Moment::now(),
            node: node.clone(),
            vm: Some(VmRef {
                id: vm,
                name: found.config.name.clone(),
                tags: found.config.tags.clone(),
            }),
            kind: EventKind::Released {
                what: facts.baseline.to_string(),
            },
        };
        // What was done is done, whether or not it can be told.
        if let Err(e) = left::leave(&layout.left_events_dir(), &event) {
            let told = format!("the history will not tell of it: {e}");
            released.attention.push(told);
        }
    }
    released.attention.extend(failed);
    if found.config.memory != facts.baseline.memory {
        released
            .attention
            .push(memory_stays(found.config.memory, facts.baseline.memory));
    }
    Ok(released)
}

fn memory_stays(has: Mib, had: Mib) -> String {
    format!(
        "memory stays at {has} (it was {had}): modules are not unplugged from a guest that uses them"
    )
}

/// Removes the tags by which the VM opted in.
fn opt_out(config: &VmConfig, vm: VmId, settings: &Settings) -> Option<Step> {
    let alone = |tag: &String| settings.of(vm, std::slice::from_ref(tag)) == Selection::No;
    let kept: Vec<String> = config
        .tags
        .iter()
        .filter(|tag| alone(tag))
        .cloned()
        .collect();
    if kept.len() == config.tags.len() {
        return None;
    }
    Some(match kept.is_empty() {
        true => Step::Delete("tags"),
        false => Step::Set(vec![("tags", kept.join(";"))]),
    })
}

/// Waits until the daemon, if it runs, no longer manages the VM.
async fn until_let_go(layout: &Layout, vm: VmId) -> Result<(), String> {
    let deadline = Instant::now() + LET_GO;
    loop {
        let state = State::read(&layout.state_file());
        let holds = state.is_ok_and(|state| {
            !is_old(&state, Moment::now()) && state.vms.iter().any(|told| told.vmid == vm)
        });
        if !holds {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(format!(
                "the daemon still manages VM {vm}; try again, or stop the service first"
            ));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

fn text(released: &Released) -> String {
    let mut text = format!("VM {} is no longer managed.\n", released.vmid);
    for command in &released.commands {
        text += &format!("  {command}\n");
    }
    for told in &released.attention {
        text += &format!("  FIX  {told}\n");
    }
    text
}
