//! Where log lines go: the journal with structured fields under systemd, stderr with colours by hand.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use tracing::Level;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{format, time::FormatTime};
use tracing_subscriber::prelude::*;

use crate::domain::Moment;

/// Sets up logging for the whole process. `level` is the least that is shown of our own lines.
pub(super) fn start(level: Level) {
    let filter = Targets::new()
        .with_default(Level::WARN)
        .with_target("vm_autoscale", level);
    let journal = stderr_is_the_journal().then(journal).flatten();
    let by_hand = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .with_target(false)
            .with_timer(UtcClock)
            // The sentence holds the numbers; the fields beside it are for the journal's index.
            .fmt_fields(format::debug_fn(|writer, field, value| {
                match field.name() {
                    "message" => write!(writer, "{value:?}"),
                    _ => Ok(()),
                }
            }))
    });
    // A second call can only come from a test that runs commands in one process; the first one stands.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(journal)
        .with(by_hand)
        .try_init();
}

/// systemd tells in `JOURNAL_STREAM` which device and inode its journal has; a redirected stderr is another.
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    let Ok(stat) = nix::sys::stat::fstat(io::stderr().as_fd()) else {
        return false;
    };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

fn journal() -> Option<tracing_journald::Layer> {
    let layer = tracing_journald::layer().ok()?;
    // As Proxmox's own daemons map them, so that `journalctl -p notice` shows less than `-p info`.
    let priorities = PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    };
    let layer = layer
        .with_field_prefix(None)
        .with_syslog_identifier("vm-autoscale".to_owned());
    Some(layer.with_priority_mappings(priorities))
}

/// The wall clock, to the millisecond.
struct UtcClock;

impl FormatTime for UtcClock {
    fn format_time(&self, writer: &mut format::Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", Moment::now())
    }
}
