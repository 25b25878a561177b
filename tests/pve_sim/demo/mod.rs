//! `pve-sim demo`: the real agent on a simulated node whose VMs are under recorded loads, and a table of what happens.
//!
//! The agent is this binary again, through a link named `vm-autoscale`: the same code as the product's binary, with
//! real child processes. The demo only looks; apart from starting the agent it uses the product's library to read its
//! state file.

mod board;
mod draw;
mod stage;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use board::Board;
use stage::Stage;

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Between two tables where there is no terminal.
const TABLE_EVERY_S: f64 = 10.0;
/// Columns where there is no terminal.
const PLAIN_WIDTH: usize = 160;

/// Runs the demo for `seconds`, or until Ctrl-C.
pub(crate) fn run(seconds: f64, plain: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let view: Box<dyn View> = if plain || !std::io::stdout().is_terminal() {
        Box::new(Lines::default())
    } else {
        Box::new(Screen::open())
    };
    runtime.block_on(show(seconds.max(1.0), view))
}

async fn show(seconds: f64, mut view: Box<dyn View>) -> Result<()> {
    let mut stage = Stage::build().await?;
    let mut board = Board::default();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut timer = tokio::time::interval(LOOK_AGAIN);
    // The node and the agent need a moment to come up.
    let deadline = Instant::now() + Duration::from_secs_f64(seconds + 2.0);
    let failure = loop {
        tokio::select! {
            _ = timer.tick() => {}
            _ = interrupt.recv() => break None,
            _ = terminate.recv() => break None,
            () = sleep_until(deadline) => break None,
        }
        board.look(&stage)?;
        view.show(&board, seconds);
        if let Some(failure) = stage.failure() {
            break Some(failure);
        }
        if board.age() >= seconds {
            break None;
        }
    };
    drop(view);
    if let Some(failure) = failure {
        bail!("{failure}");
    }
    stage.stop_agent().await?;
    board.look(&stage)?;
    anstream::print!("\n{}", draw::summary(&board));
    Ok(())
}

/// A way to show the board.
trait View {
    /// Shows it as it is now.
    fn show(&mut self, board: &Board, seconds: f64);
}

/// A terminal: one screen, drawn over and over, and given back as it was.
struct Screen;

impl Screen {
    fn open() -> Self {
        // The other screen, no cursor.
        anstream::print!("\x1b[?1049h\x1b[?25l");
        Self
    }
}

impl View for Screen {
    fn show(&mut self, board: &Board, seconds: f64) {
        let width = terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0));
        let text = draw::screen(board, seconds, width);
        // Home, each line cleared to its end, the rest of the screen cleared: no flicker.
        let text = text.replace('\n', "\x1b[K\n");
        anstream::print!("\x1b[H{text}\x1b[J");
        std::io::stdout().flush().ok();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        anstream::print!("\x1b[?25h\x1b[?1049l");
        std::io::stdout().flush().ok();
    }
}

/// A pipe or a file: the agent's log as it comes, and a table now and then.
#[derive(Default)]
struct Lines {
    told: usize,
    tables: f64,
}

impl View for Lines {
    fn show(&mut self, board: &Board, seconds: f64) {
        for event in &board.events[self.told..] {
            anstream::println!("{}", draw::event_line(event));
        }
        self.told = board.events.len();
        if board.age() >= (self.tables + 1.0) * TABLE_EVERY_S {
            self.tables += 1.0;
            anstream::println!("\n{}", draw::table(board, seconds, PLAIN_WIDTH));
        }
    }
}
