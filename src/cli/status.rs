//! `vm-autoscale status`: every managed VM on one screen.

use std::io::{IsTerminal, Write};

use anstyle::{AnsiColor, Style};

use super::output::OutputFormat;
use super::table::{Cell, Table, terminal_width};
use super::words::{self, Tone};
use super::{Exit, fail, show, status_cluster};
use crate::act::Done;
use crate::decide::Reason;
use crate::domain::Moment;
use crate::pve::Layout;
use crate::record::{ResourceState, State, VmState, span};

/// From so many columns on, limits and levers have columns of their own and reasons are whole sentences.
const WIDE: usize = 140;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show it anew with every decision, until Ctrl-C
    #[arg(long, short)]
    watch: bool,
    /// Show every node of the cluster with its agent, and every VM that agents have changed
    #[arg(long, conflicts_with = "watch")]
    cluster: bool,
}

/// Shows it once.
pub(super) fn once(layout: &Layout, format: OutputFormat) -> Exit {
    let args = Args {
        watch: false,
        cluster: false,
    };
    run(&args, layout, format)
}

pub(super) fn run(args: &Args, layout: &Layout, format: OutputFormat) -> Exit {
    if args.cluster {
        return status_cluster::run(layout, format);
    }
    loop {
        let state = match read_state(layout) {
            Ok(state) => state,
            Err(why) => return fail(why),
        };
        if args.watch && format == OutputFormat::Text && std::io::stdout().is_terminal() {
            wipe();
        }
        let exit = show(format, &state, || {
            screen(&state, Moment::now(), terminal_width())
        });
        if !args.watch || exit != Exit::Done {
            return exit;
        }
        pause(state.agent.check_interval);
    }
}

/// To the top left, and an earlier screen is wiped. No colour, so it is written past what honours NO_COLOR;
/// what goes wrong here shows with the screen that follows.
fn wipe() {
    let _ = std::io::stdout().write_all(b"\x1b[H\x1b[J");
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

/// The node in one line.
pub(super) fn summary(state: &State) -> String {
    let host = &state.host;
    format!(
        "{}: {} VMs managed, {} of {} cores used, {} of {} available",
        state.node,
        state.vms.len(),
        host.cpu_used,
        host.cpus,
        host.memory_available,
        host.memory_total,
    )
}

/// What an admin must know before reading on, a line each.
pub(super) fn notices(state: &State, now: Moment) -> Vec<String> {
    let mut lines = Vec::new();
    if is_old(state, now) {
        let age = span(now.since(state.at));
        lines.push(format!(
            "This is {age} old: the daemon does not run or hangs (systemctl status vm-autoscale)."
        ));
    }
    if let Some(pause) = &state.pause {
        let ago = span(now.since(pause.since));
        lines.push(format!(
            "Paused by {} {ago} ago: {}",
            pause.by, pause.reason
        ));
    }
    if let Some(why) = &state.agent.config_rejected {
        lines.push(format!(
            "The configuration file is faulty, an earlier one is in force: {why}"
        ));
    }
    if state.vms.is_empty() {
        lines.push("Tag a VM to have it managed: qm set VMID --tags autoscale".to_owned());
    }
    lines
}

/// The whole screen, for a terminal of `width` columns, with colours.
fn screen(state: &State, now: Moment, width: usize) -> String {
    let warning = look(Tone::Waits);
    let mut text = summary(state) + "\n";
    for notice in notices(state, now) {
        text += &format!("{warning}{notice}{warning:#}\n");
    }
    if state.vms.is_empty() {
        return text;
    }
    let (table, legend) = if width < WIDE {
        let legend = "need/has (min–max), in cores and GiB. More: vm-autoscale explain VMID";
        (narrow(state, now), legend)
    } else {
        let legend = "CPU in cores, memory in GiB. More: vm-autoscale explain VMID";
        (wide(state, now), legend)
    };
    let dim = Style::new().dimmed();
    format!("{text}\n{}\n{dim}{legend}{dim:#}\n", table.render(width))
}

fn narrow(state: &State, now: Moment) -> Table {
    let mut table = Table::new(&[
        ("VMID", 9),
        ("NAME", 12),
        ("CPU", 14),
        ("MEMORY", 18),
        ("CHANGED", 16),
        ("NEXT STEP", 60),
    ]);
    for vm in &state.vms {
        let size = |r| format!("{} ({})", words::need_and_has(r), words::limits(r));
        let changed = newest(vm).map_or(Cell::from("-".to_owned()), |done| {
            let ago = span(now.since(done.at));
            let text = match done.outcome.word() {
                "applied" => format!("{ago} ago"),
                word => format!("{word} {ago}"),
            };
            Cell::new(text, look(tone_of(done)))
        });
        let (tone, next) = next_steps(vm, now, |state| words::next(state, now).1);
        table.row(vec![
            vm.vmid.to_string().into(),
            vm.name.to_string().into(),
            size(&vm.cpu).into(),
            size(&vm.memory).into(),
            changed,
            Cell::new(next, look(tone)),
        ]);
    }
    table
}

fn wide(state: &State, now: Moment) -> Table {
    let mut table = Table::new(&[
        ("VMID", 9),
        ("NAME", 24),
        ("CPU need/has", 14),
        ("LIMITS", 10),
        ("LEVER", 8),
        ("MEMORY need/has", 16),
        ("LIMITS", 12),
        ("LEVER", 8),
        ("LAST CHANGE", 44),
        ("NEXT STEP", 200),
    ]);
    for vm in &state.vms {
        let mut cells: Vec<Cell> = vec![vm.vmid.to_string().into(), vm.name.to_string().into()];
        for resource in [&vm.cpu, &vm.memory] {
            let lever = resource.lever.map_or("-".to_owned(), |l| l.to_string());
            cells.push(words::need_and_has(resource).into());
            cells.push(words::limits(resource).into());
            cells.push(lever.into());
        }
        cells.push(newest(vm).map_or(Cell::from("-".to_owned()), |done| {
            Cell::new(last_change(done, now), look(tone_of(done)))
        }));
        let (tone, next) = next_steps(vm, now, |state| words::next_and_why(state, now));
        cells.push(Cell::new(next, look(tone)));
        table.row(cells);
    }
    table
}

/// `1 → 4 vCPUs, applied 5 min ago`.
pub(super) fn last_change(done: &Done, now: Moment) -> String {
    let (word, ago) = (done.outcome.word(), span(now.since(done.at)));
    format!("{}, {word} {ago} ago", done.change)
}

fn newest(vm: &VmState) -> Option<&Done> {
    let changes = [&vm.cpu.last, &vm.memory.last].into_iter().flatten();
    changes.max_by_key(|done| done.at)
}

/// How a change that ended looks.
pub(super) fn tone_of(done: &Done) -> Tone {
    match done.outcome.word() {
        "applied" => Tone::Calm,
        "partial" | "pending" => Tone::Waits,
        _ => Tone::Stuck,
    }
}

/// What comes next for the whole VM: of each resource that does not simply fit, in the tone of the more urgent one.
fn next_steps(
    vm: &VmState,
    now: Moment,
    tell: impl Fn(&ResourceState) -> String,
) -> (Tone, String) {
    let (cpu, memory) = (words::next(&vm.cpu, now), words::next(&vm.memory, now));
    let tone = cpu.0.max(memory.0);
    if cpu == memory && vm.cpu.why == vm.memory.why {
        return (tone, tell(&vm.cpu));
    }
    let told: Vec<String> = [("CPU", &vm.cpu), ("mem", &vm.memory)]
        .into_iter()
        .filter(|(_, state)| state.reason != Reason::Fits)
        .map(|(name, state)| format!("{name}: {}", tell(state)))
        .collect();
    (tone, told.join("; "))
}

/// The colour of a tone.
fn look(tone: Tone) -> Style {
    match tone {
        Tone::Calm => Style::new(),
        Tone::Acts => AnsiColor::Cyan.on_default(),
        Tone::Waits => AnsiColor::Yellow.on_default(),
        Tone::Stuck => AnsiColor::Red.on_default(),
    }
}

#[cfg(test)]
mod tests;
