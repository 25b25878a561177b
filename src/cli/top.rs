//! `vm-autoscale top`: the node's VMs on a full screen, live, until q.
//!
//! Reads the same file as `status`, once a second, and remembers what the VMs needed while it runs. Here are the
//! keys and the loop; [`screen`] draws.

mod screen;
mod trail;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event as TerminalEvent, KeyCode, KeyEvent, KeyModifiers};

use signal_hook::consts::SIGTERM;

use super::output::OutputFormat;
use super::status::{self, read_state};
use super::{Exit, explain, fail};
use crate::domain::{Moment, VmId};
use crate::pve::Layout;
use crate::record::{Event, State};

use trail::Trail;

/// How often the state is read.
const EVERY: Duration = Duration::from_secs(1);

pub(super) fn run(layout: &Layout, format: OutputFormat) -> Exit {
    let at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if !at_terminal || format != OutputFormat::Text {
        return status::once(layout, format);
    }
    let state = match read_state(layout) {
        Ok(state) => state,
        Err(why) => return fail(why),
    };
    let mut terminal = match ratatui::try_init() {
        Ok(terminal) => terminal,
        Err(e) => return fail(format_args!("the terminal cannot be set up: {e}")),
    };
    let watched = told_to_end().and_then(|end| watch(&mut terminal, layout, Top::new(state), &end));
    ratatui::restore();
    match watched {
        Ok(()) => Exit::Done,
        Err(e) => fail(format_args!("the terminal failed: {e}")),
    }
}

/// Becomes true with SIGTERM: the terminal must be put back before this process ends. SIGHUP ends it at once: then there
/// is no terminal any more.
fn told_to_end() -> io::Result<Arc<AtomicBool>> {
    let end = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&end))?;
    Ok(end)
}

/// Draws and reads keys until the person has seen enough, or `end` is set.
fn watch(
    terminal: &mut DefaultTerminal,
    layout: &Layout,
    mut top: Top,
    end: &AtomicBool,
) -> io::Result<()> {
    let mut read_at = Instant::now();
    while !end.load(Ordering::Relaxed) {
        terminal.draw(|frame| {
            screen::draw(&top, Moment::now(), frame.area(), frame.buffer_mut());
        })?;
        if event::poll(EVERY.saturating_sub(read_at.elapsed()))?
            && let TerminalEvent::Key(key) = event::read()?
            && top.press(key) == Go::Away
        {
            return Ok(());
        }
        if read_at.elapsed() >= EVERY {
            read_at = Instant::now();
            top.take(read_state(layout));
        }
        top.look_up(|vm| explain::changes_of(layout, vm));
    }
    Ok(())
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Go {
    On,
    Away,
}

/// What is on the screen.
struct Top {
    state: State,
    /// Why the state could not be read the last time, if so; what is shown is then the one before.
    trouble: Option<String>,
    trail: Trail,
    /// The selected VM. It may be gone from the state.
    selected: Option<VmId>,
    /// Whether its story is shown.
    open: bool,
    /// The last changes of the VM whose story is shown, and what they were looked up for.
    changes: (Option<Seen>, Vec<Event>),
}

/// A VM and its last change's time: while these stay, so do its last changes.
type Seen = (VmId, Option<Moment>);

impl Top {
    fn new(state: State) -> Self {
        let mut trail = Trail::default();
        trail.note(&state);
        Self {
            selected: state.vms.first().map(|vm| vm.vmid),
            state,
            trouble: None,
            trail,
            open: false,
            changes: (None, Vec::new()),
        }
    }

    fn take(&mut self, read: Result<State, String>) {
        match read {
            Ok(state) => {
                self.trail.note(&state);
                self.state = state;
                self.trouble = None;
            }
            Err(why) => self.trouble = Some(why),
        }
    }

    fn press(&mut self, key: KeyEvent) -> Go {
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Go::Away,
            KeyCode::Char('q') => return Go::Away,
            KeyCode::Down | KeyCode::Char('j') => self.select(|at, last| (at + 1).min(last)),
            KeyCode::Up | KeyCode::Char('k') => self.select(|at, _| at.saturating_sub(1)),
            KeyCode::Home => self.select(|_, _| 0),
            KeyCode::End => self.select(|_, last| last),
            KeyCode::Enter => self.open = !self.open,
            KeyCode::Esc => self.open = false,
            _ => {}
        }
        Go::On
    }

    /// The row of the selected VM; the first if it is gone.
    fn row(&self) -> usize {
        let row = self
            .state
            .vms
            .iter()
            .position(|vm| Some(vm.vmid) == self.selected);
        row.unwrap_or(0)
    }

    /// Moves the selection, by its row and the last row.
    fn select(&mut self, to: impl Fn(usize, usize) -> usize) {
        let row = to(self.row(), self.state.vms.len().saturating_sub(1));
        self.selected = self.state.vms.get(row).map(|vm| vm.vmid);
    }

    /// Reads the selected VM's last changes, if they are shown and may have become more.
    /// A history that cannot be read leaves them out; `explain` says why.
    fn look_up(&mut self, changes_of: impl Fn(VmId) -> io::Result<Vec<Event>>) {
        let Some(vm) = self.state.vms.get(self.row()).filter(|_| self.open) else {
            return;
        };
        let last = [&vm.cpu.last, &vm.memory.last].into_iter().flatten();
        let seen = (vm.vmid, last.map(|done| done.at).max());
        if self.changes.0 != Some(seen) {
            self.changes = (Some(seen), changes_of(vm.vmid).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests;
