//! The demo's screen and its summary, as text. Pure.

use anstyle::{AnsiColor, Style};

use super::board::{Board, Gauge, Row, Use};

/// Width of a bar.
const BAR: usize = 12;
/// Lines of the log that are shown.
const EVENTS: usize = 9;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const SHORT: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const BLUE: Style = AnsiColor::Blue.on_default();

fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// The whole screen, no line wider than `width` characters: the table and the end of the log.
pub(crate) fn screen(board: &Board, seconds: f64, width: usize) -> String {
    let mut text = table(board, seconds, width);
    text.push('\n');
    let first = board.events.len().saturating_sub(EVENTS);
    for event in &board.events[first..] {
        text += &cut(&event_line(event), width);
        text.push('\n');
    }
    text
}

/// The node and its VMs.
pub(crate) fn table(board: &Board, seconds: f64, width: usize) -> String {
    let node = &board.truth.node;
    let mut text = format!(
        "{}  {} cores, {:.1} used · {} GiB, {:.1} free · {} VMs under recorded loads · {:.0} of {seconds:.0} s\n\n",
        styled(BOLD, "pve1"),
        node.cpus,
        node.cpu_used,
        node.memory_mib / 1024,
        node.memory_free_mib as f64 / 1024.0,
        board.truth.vms.len(),
        board.age(),
    );
    let columns = format!(
        " {:<14}{:>5} {:>5}  {:<BAR$}  {:>5} {:>5}  {:<BAR$}  {}",
        "VM", "needs", "has", "CPU, cores", "needs", "has", "memory, GiB", "last change"
    );
    text += &styled(BOLD, cut(&columns, width));
    text.push('\n');
    for (id, row) in &board.rows {
        text += &line(*id, row, width);
    }
    text += &format!(
        "\n {}\n",
        styled(
            DIM,
            "█ needed   ░ allocated, free   · could be had   red: needs what it has"
        )
    );
    text
}

/// One line of the log, with the seconds since the start.
pub(crate) fn event_line((at, sentence): &(f64, String)) -> String {
    format!(" {at:>5.1} s  {sentence}")
}

fn line(id: u32, row: &Row, width: usize) -> String {
    let name = format!("{id} {}", row.name);
    let cpu = numbers(row.cpu, 1.0);
    let memory = numbers(row.memory, 1024.0);
    let used = 1 + 14 + 2 * (11 + 2 + BAR + 2);
    format!(
        " {}{cpu}  {}  {memory}  {}  {}\n",
        styled(BOLD, format_args!("{:<14}", cut(&name, 13))),
        bar(row.cpu, GREEN),
        bar(row.memory, BLUE),
        cut(&row.last, width.saturating_sub(used)),
    )
}

fn numbers(gauge: Gauge, unit: f64) -> String {
    let number =
        |value: Option<f64>| value.map_or("?".to_owned(), |value| format!("{:.1}", value / unit));
    let text = format!("{:>5} {:>5}", number(gauge.need), number(gauge.has));
    match (gauge.need, gauge.has) {
        (Some(need), Some(has)) if need >= has * 0.98 => styled(SHORT, text),
        _ => text,
    }
}

fn bar(gauge: Gauge, style: Style) -> String {
    let cells = |value: Option<f64>| {
        let share = value.unwrap_or(0.0) / gauge.most.max(1e-9);
        (share * BAR as f64).round().clamp(0.0, BAR as f64) as usize
    };
    let has = cells(gauge.has);
    let need = cells(gauge.need).min(has);
    let full = styled(style, "█".repeat(need));
    format!(
        "{full}{}{}",
        "░".repeat(has - need),
        styled(DIM, "·".repeat(BAR - has))
    )
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

/// What the run came to.
pub(crate) fn summary(board: &Board) -> String {
    let sums = &board.sums;
    let changes: usize = sums.outcomes.values().sum();
    let outcomes: Vec<String> = sums
        .outcomes
        .iter()
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    let vms = board.truth.vms.values();
    let total = |of: fn(&crate::node::truth::VmTruth) -> f64| vms.clone().map(of).sum::<f64>();
    let vm_seconds = board.age() * board.truth.vms.len() as f64;
    let percent = |seconds: f64| 100.0 * seconds / vm_seconds.max(1e-9);
    let (cpu_short, memory_short) = (total(|vm| vm.cpu_short_s), total(|vm| vm.memory_short_s));
    let commands = |name: &str| sums.commands.get(name).copied().unwrap_or(0);
    format!(
        "{}\n\
         \x20changes     {changes} ({})\n\
         \x20time short  CPU {cpu_short:.1} s ({:.1} %), memory {memory_short:.1} s ({:.1} %) of {vm_seconds:.0} s of {} VMs; OOM kills: {}\n\
         \x20CPU         {}\n\
         \x20memory      {}\n\
         \x20processes   {} qm and {} pvesh were started, the agent itself used {:.2} s of CPU time in {:.0} s\n",
        styled(BOLD, "Summary"),
        if outcomes.is_empty() {
            "none".to_owned()
        } else {
            outcomes.join(", ")
        },
        percent(cpu_short),
        percent(memory_short),
        board.truth.vms.len(),
        oom_kills(board),
        economy(&sums.cpu, sums.looks, "cores", 1.0),
        economy(&sums.memory, sums.looks, "GiB", 1024.0),
        commands("qm"),
        commands("pvesh"),
        sums.agent_cpu_s,
        board.age(),
    )
}

/// How many, and whose.
fn oom_kills(board: &Board) -> String {
    let struck = board.truth.vms.iter().filter(|(_, vm)| vm.oom_kills > 0);
    let told: Vec<String> = struck
        .map(|(id, vm)| format!("{} in VM {id} ({})", vm.oom_kills, vm.name))
        .collect();
    if told.is_empty() {
        "none".to_owned()
    } else {
        told.join(", ")
    }
}

/// Slack against static sizing: what lies idle, on average, with each VM held at its own peak all the time.
fn economy(sums: &Use, looks: f64, unit: &str, size: f64) -> String {
    let mean = |sum: f64| sum / looks.max(1.0) / size;
    let peaks = sums.peaks.values().sum::<f64>() / size;
    let (allocated, wanted) = (mean(sums.allocated), mean(sums.wanted));
    format!(
        "{allocated:.1} {unit} allocated on average, {wanted:.1} wanted: {:.1} idle. Sized for each VM's peak, with nothing to spare: {peaks:.1}, {:.1} idle",
        allocated - wanted,
        peaks - wanted,
    )
}
