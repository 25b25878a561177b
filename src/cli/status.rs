//! `vm-autoscale status`: every managed VM on one screen.

use super::output::OutputFormat;
use super::table::Table;
use super::{Exit, fail, show};
use crate::decide::Reason;
use crate::domain::{Moment, Reading, Resource};
use crate::pve::Layout;
use crate::record::{ResourceState, State, VmState, span};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show it anew with every decision, until Ctrl-C
    #[arg(long, short)]
    watch: bool,
}

pub(super) fn run(args: &Args, layout: &Layout, format: OutputFormat) -> Exit {
    loop {
        let state = match read_state(layout) {
            Ok(state) => state,
            Err(why) => return fail(why),
        };
        let exit = show(format, &state, || {
            // To the top left, and what an earlier, longer screen left below is wiped.
            let wipe = if args.watch { "\x1b[H\x1b[J" } else { "" };
            format!("{wipe}{}", screen(&state, Moment::now()))
        });
        if !args.watch || exit != Exit::Done {
            return exit;
        }
        pause(state.agent.check_interval);
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a command that has nothing else to do; no runtime is blocked"
)]
fn pause(span: std::time::Duration) {
    std::thread::sleep(span);
}

/// What the daemon knows now, or a sentence for a person why that cannot be told.
pub(super) fn read_state(layout: &Layout) -> Result<State, String> {
    let path = layout.state_file();
    State::read(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => format!(
            "{} does not exist: the daemon has not run since the node started; start it with \
             `systemctl start vm-autoscale` and see `journalctl -u vm-autoscale`",
            path.display()
        ),
        _ => format!("{} cannot be read: {e}", path.display()),
    })
}

/// How long the state may lag behind before it is called old: two ticks and a little.
pub(super) fn is_old(state: &State, now: Moment) -> bool {
    now.since(state.at) > state.agent.check_interval * 2 + std::time::Duration::from_secs(5)
}

fn screen(state: &State, now: Moment) -> String {
    let host = &state.host;
    let mut text = format!(
        "{}: {} VMs managed, {} of {} cores used, {} of {} available\n",
        state.node,
        state.vms.len(),
        host.cpu_used,
        host.cpus,
        host.memory_available,
        host.memory_total,
    );
    if is_old(state, now) {
        let age = span(now.since(state.at));
        text += &format!(
            "This is {age} old: the daemon does not run or hangs (systemctl status vm-autoscale).\n"
        );
    }
    if let Some(pause) = &state.pause {
        text += &format!(
            "Paused by {} since {}: {}\n",
            pause.by, pause.since, pause.reason
        );
    }
    if let Some(why) = &state.agent.config_rejected {
        text += &format!("The configuration file is faulty, an earlier one is in force: {why}\n");
    }
    if state.vms.is_empty() {
        return text + "Tag a VM to have it managed: qm set VMID --tags autoscale\n";
    }
    let mut table = Table::new([
        "VMID",
        "NAME",
        "CPU NEED/HAS",
        "MEM NEED/HAS",
        "LAST CHANGE",
        "WHY",
    ]);
    for vm in &state.vms {
        table.row([
            vm.vmid.to_string(),
            vm.name.to_string(),
            need_and_has(&vm.cpu),
            need_and_has(&vm.memory),
            last_change(vm, now),
            why(vm),
        ]);
    }
    text + "\n" + &table.render(super::table::terminal_width())
}

fn need_and_has(resource: &ResourceState) -> String {
    let short = |reading: &Reading<crate::domain::Amount>| match reading {
        Reading::Known { value, .. } => {
            value.to_string().replace(" cores", "").replace(" core", "")
        }
        Reading::Unknown(_) => "?".to_owned(),
    };
    format!(
        "{} / {}",
        short(&resource.need),
        short(&resource.allocation)
    )
}

fn last_change(vm: &VmState, now: Moment) -> String {
    let last = [&vm.cpu.last, &vm.memory.last]
        .into_iter()
        .flatten()
        .max_by_key(|done| done.at);
    last.map_or("-".to_owned(), |done| {
        format!(
            "{}, {} ({} ago)",
            done.change,
            done.outcome.word(),
            span(now.since(done.at))
        )
    })
}

/// The reason that says most: of the resource that does not simply fit.
fn why(vm: &VmState) -> String {
    if vm.cpu.reason == vm.memory.reason {
        return vm.cpu.why.clone();
    }
    let told: Vec<String> = [(Resource::Cpu, &vm.cpu), (Resource::Memory, &vm.memory)]
        .into_iter()
        .filter(|(_, state)| state.reason != Reason::Fits)
        .map(|(resource, state)| format!("{resource}: {}", state.why))
        .collect();
    told.join("; ")
}
