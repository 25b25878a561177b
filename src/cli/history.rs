//! `vm-autoscale history [VMID]`: what happened on this node, oldest first.

use std::time::Duration;

use super::output::OutputFormat;
use super::{Exit, fail, show};
use crate::domain::{Moment, VmId};
use crate::pve::Layout;
use crate::record::{Event, history};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only what happened to this VM
    #[arg(value_name = "VMID")]
    vm: Option<VmId>,
    /// The last so many events
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 50)]
    last: usize,
    /// Only what happened within this time: 90s, 15m, 2h, 7d
    #[arg(long, value_name = "SPAN", value_parser = span_from)]
    since: Option<Duration>,
}

pub(super) fn run(args: &Args, layout: &Layout, format: OutputFormat) -> Exit {
    let directory = layout.data_dir();
    let (mut events, damaged) = match history::read(&directory) {
        Ok(read) => read,
        Err(e) => {
            return fail(format_args!(
                "the history under {} cannot be read: {e}",
                directory.display()
            ));
        }
    };
    if damaged > 0 {
        anstream::eprintln!(
            "vm-autoscale: {damaged} lines of the history are damaged and left out"
        );
    }
    let from = args.since.map(|span| Moment::now() - span);
    events.retain(|event| {
        args.vm
            .is_none_or(|vm| event.vm.as_ref().is_some_and(|of| of.id == vm))
            && from.is_none_or(|from| event.at >= from)
    });
    let events = events.split_off(events.len().saturating_sub(args.last));
    show(format, &events, || text(&events))
}

fn text(events: &[Event]) -> String {
    if events.is_empty() {
        return "Nothing has happened yet, or nothing that was asked for.\n".to_owned();
    }
    events
        .iter()
        .map(|event| format!("{}  {:<7}  {event}\n", event.at, event.severity()))
        .collect()
}

/// `90s`, `15m`, `2h`, `7d`: what jiff reads as a duration, days as 24 hours.
fn span_from(text: &str) -> Result<Duration, String> {
    let days = text
        .strip_suffix('d')
        .and_then(|days| days.parse::<u64>().ok());
    if let Some(days) = days {
        return days
            .checked_mul(86_400)
            .map(Duration::from_secs)
            .ok_or_else(|| "too long".to_owned());
    }
    let span: jiff::SignedDuration = text.parse().map_err(|e: jiff::Error| e.to_string())?;
    Duration::try_from(span).map_err(|_| "a span cannot be negative".to_owned())
}
