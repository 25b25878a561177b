//! The full screen, drawn into a buffer: a pure function of what is to be shown, the time and the room there is.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{
    Block, Borders, LineGauge, Paragraph, RenderDirection, Sparkline, Widget, Wrap,
};

use super::Top;
use super::trail::Trail;
use crate::cli::words::{self, Tone};
use crate::cli::{explain, status};
use crate::domain::{Moment, sanitize};
use crate::record::{ResourceState, VmState, span};

/// A VM's lines: CPU and memory.
const LINES: u16 = 2;

/// From so many columns on there is room for limits, whole changes and whole reasons.
const WIDE: u16 = 140;

/// Draws everything.
pub(super) fn draw(top: &Top, now: Moment, area: Rect, buffer: &mut Buffer) {
    let notices = notices(top, now);
    let [title, warnings, heading, list, story, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(u16::try_from(notices.len()).unwrap_or(u16::MAX)),
        Constraint::Length(1),
        Constraint::Min(LINES),
        Constraint::Max(story_height(top, now, area.width)),
        Constraint::Length(1),
    ])
    .areas(area);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    Line::styled(status::summary(&top.state), bold).render(title, buffer);
    Paragraph::new(
        notices
            .iter()
            .map(|n| Line::raw(n.as_str()))
            .collect::<Vec<_>>(),
    )
    .style(Style::new().fg(Color::Yellow))
    .render(warnings, buffer);
    draw_heading(heading, buffer);
    draw_list(top, now, list, buffer);
    if let Some(text) = story_of(top, now) {
        let frame = Block::new().borders(Borders::TOP);
        let story_text = Paragraph::new(text).wrap(Wrap { trim: false }).block(frame);
        story_text.render(story, buffer);
    }
    let dim = Style::new().add_modifier(Modifier::DIM);
    Line::styled("q quit   ↑↓ jk select   Enter explain", dim).render(keys, buffer);
}

fn notices(top: &Top, now: Moment) -> Vec<String> {
    let trouble = top.trouble.iter().cloned();
    trouble
        .chain(status::notices(&top.state, now))
        .map(|line| sanitize(&line, 300))
        .collect()
}

fn story_of(top: &Top, now: Moment) -> Option<String> {
    let vm = top.state.vms.get(top.row()).filter(|_| top.open)?;
    Some(explain::story(&top.state, vm, &top.changes.1, now))
}

/// The lines of the story as wrapped, and its border.
fn story_height(top: &Top, now: Moment, width: u16) -> u16 {
    let width = usize::from(width.max(1));
    let wrapped = |line: &str| line.chars().count().div_ceil(width).max(1);
    story_of(top, now).map_or(0, |text| {
        let lines: usize = text.lines().map(wrapped).sum();
        u16::try_from(lines + 1).unwrap_or(u16::MAX)
    })
}

/// The places of one line, from left to right.
fn columns(line: Rect) -> [Rect; 7] {
    let [spark, gauge, sizes, change] = if line.width < WIDE {
        [10, 8, 10, 9]
    } else {
        [40, 20, 20, 40]
    };
    Layout::horizontal([
        Constraint::Length(if line.width < WIDE { 15 } else { 30 }),
        Constraint::Length(3),
        Constraint::Length(spark),
        Constraint::Length(gauge),
        Constraint::Length(sizes),
        Constraint::Length(change),
        Constraint::Min(0),
    ])
    .spacing(1)
    .areas(line)
}

fn draw_heading(line: Rect, buffer: &mut Buffer) {
    let sizes = if line.width < WIDE {
        "NEED/HAS"
    } else {
        "NEED/HAS (LIMITS)"
    };
    let titles = ["VM", "", "NEED", "USES", sizes, "CHANGED", "NEXT STEP"];
    let bold = Style::new().add_modifier(Modifier::BOLD);
    for (title, place) in titles.into_iter().zip(columns(line)) {
        Line::styled(title, bold).render(place, buffer);
    }
}

/// The VMs, so far scrolled that the selected one shows.
fn draw_list(top: &Top, now: Moment, area: Rect, buffer: &mut Buffer) {
    let shown = usize::from(area.height / LINES).max(1);
    let first = (top.row() + 1).saturating_sub(shown);
    for (place, (row, vm)) in area
        .rows()
        .step_by(usize::from(LINES))
        .zip(top.state.vms.iter().enumerate().skip(first).take(shown))
    {
        let both = Rect {
            height: LINES,
            ..place
        }
        .intersection(area);
        draw_vm(vm, &top.trail, now, both, buffer);
        if row == top.row() {
            let [name, ..] = columns(place);
            buffer.set_style(name, Style::new().add_modifier(Modifier::REVERSED));
        }
    }
}

fn draw_vm(vm: &VmState, trail: &Trail, now: Moment, area: Rect, buffer: &mut Buffer) {
    for (line, state) in area.rows().zip([&vm.cpu, &vm.memory]) {
        let [_, kind, spark, gauge, sizes, change, next] = columns(line);
        let label = if line.y == area.y { "CPU" } else { "mem" };
        Line::raw(label).render(kind, buffer);
        draw_trail(vm, state, trail, spark, buffer);
        draw_gauge(state, gauge, buffer);
        Line::raw(sizes_of(state, line.width)).render(sizes, buffer);
        draw_change(state, now, line.width, change, buffer);
        let (tone, step) = words::next(state, now);
        let text = if line.width < WIDE || state.target.is_some() {
            step
        } else {
            words::because(state, now)
        };
        Line::styled(sanitize(&text, 300), look(tone)).render(next, buffer);
    }
    let [name, ..] = columns(area);
    let text = format!("{} {}", vm.vmid, vm.name);
    Line::raw(sanitize(&text, usize::from(name.width))).render(name, buffer);
}

fn sizes_of(state: &ResourceState, width: u16) -> String {
    let sizes = words::need_and_has(state);
    if width < WIDE {
        sizes
    } else {
        format!("{sizes} ({})", words::limits(state))
    }
}

/// The needs since the screen is up, the newest to the right. The top is the allocation, or the highest need above it.
fn draw_trail(
    vm: &VmState,
    state: &ResourceState,
    trail: &Trail,
    place: Rect,
    buffer: &mut Buffer,
) {
    // Thousandths, since a sparkline takes whole numbers and cores come in fractions.
    let fine = |value: f64| (value * 1000.0) as u64;
    let needs: Vec<Option<u64>> = trail
        .of(vm.vmid, state.resource)
        .take(usize::from(place.width))
        .map(|need| need.map(fine))
        .collect();
    let has = state.allocation.get().map_or(0, |has| fine(has.value()));
    let most = needs.iter().flatten().copied().chain([has, 1]).max();
    Sparkline::default()
        .data(needs)
        .max(most.unwrap_or(1))
        .direction(RenderDirection::RightToLeft)
        .absent_value_symbol("?")
        .style(Style::new().fg(Color::Cyan))
        .render(place, buffer);
}

/// How much of the allocation is needed; nothing is drawn where that is unknown.
fn draw_gauge(state: &ResourceState, place: Rect, buffer: &mut Buffer) {
    let Some(share) = words::share(state) else {
        return;
    };
    let colour = match share {
        s if s >= 0.95 => Color::Red,
        s if s >= 0.8 => Color::Yellow,
        _ => Color::Green,
    };
    LineGauge::default()
        .label("")
        .ratio(share.clamp(0.0, 1.0))
        .filled_symbol("█")
        .unfilled_symbol("░")
        .filled_style(Style::new().fg(colour))
        .render(place, buffer);
}

fn draw_change(state: &ResourceState, now: Moment, width: u16, place: Rect, buffer: &mut Buffer) {
    let Some(done) = &state.last else {
        return;
    };
    let text = if width < WIDE {
        format!("{} ago", span(now.since(done.at)))
    } else {
        status::last_change(done, now)
    };
    Line::styled(text, look(status::tone_of(done))).render(place, buffer);
}

fn look(tone: Tone) -> Style {
    match tone {
        Tone::Calm => Style::new(),
        Tone::Acts => Style::new().fg(Color::Cyan),
        Tone::Waits => Style::new().fg(Color::Yellow),
        Tone::Stuck => Style::new().fg(Color::Red),
    }
}
