//! How far a long run has come, on the terminal.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What takes less needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);
/// The bar's length in characters.
const LENGTH: usize = 40;

/// A bar on stderr, if that is a terminal and the run takes longer than people wait without wondering.
pub(super) struct Progress {
    started: Instant,
    all: usize,
    what: &'static str,
    shown: Mutex<usize>,
}

impl Progress {
    /// The bar for `all` of `what`.
    pub(super) fn new(all: usize, what: &'static str) -> Self {
        Self {
            started: Instant::now(),
            all,
            what,
            shown: Mutex::new(0),
        }
    }

    /// So many are through.
    pub(super) fn show(&self, done: usize) {
        if self.started.elapsed() < PATIENCE || !std::io::stderr().is_terminal() {
            return;
        }
        let mut shown = self.shown.lock().unwrap_or_else(|e| e.into_inner());
        // Threads may come out of order.
        if done > *shown {
            *shown = done;
            draw(&bar(done, self.all, self.what));
        }
    }

    /// The bar goes away.
    pub(super) fn end(self) {
        if self.shown.into_inner().unwrap_or_else(|e| e.into_inner()) > 0 {
            draw("");
        }
    }
}

/// Writes `text` over the line; a terminal that cannot be written to has nobody before it.
fn draw(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "\r\x1b[K{text}");
    let _ = err.flush();
}

fn bar(done: usize, all: usize, what: &str) -> String {
    let full = LENGTH * done / all.max(1);
    format!(
        "{}{} {done} of {all} {what}",
        "█".repeat(full),
        "░".repeat(LENGTH - full)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_as_vms_are_through() {
        assert_eq!(bar(0, 3, "VMs").matches('█').count(), 0);
        assert_eq!(bar(1, 2, "VMs").matches('█').count(), LENGTH / 2);
        assert!(!bar(2, 2, "VMs").contains('░'));
        assert!(bar(2, 2, "records").ends_with("2 of 2 records"));
    }
}
