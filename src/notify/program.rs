//! Handing a message to a program, and what the program's end means.

use std::path::Path;
use std::time::Duration;

use super::channel::Answer;
use super::wording::line;
use crate::pve::command::{self, Ended};

/// What `sysexits.h` calls a temporary failure: the program asks to be started again later.
const TEMPORARY: i32 = 75;
/// The most that is quoted of what the program complains, in characters.
const COMPLAINT: usize = 200;

/// Starts `program` with `input` on its standard input and waits for its end, `limit` at most.
pub(super) async fn feed(program: &Path, args: &[String], input: &[u8], limit: Duration) -> Answer {
    let finished = command::feed(program, args, input, limit).await;
    let name = program.display();
    let said = match line(&finished.stderr, COMPLAINT) {
        said if said.is_empty() => String::new(),
        said => format!(": {said}"),
    };
    match finished.ended {
        Ended::Exited(0) => Answer::Delivered,
        Ended::Exited(TEMPORARY) => Answer::retry(format!("{name} asked to try again later{said}")),
        Ended::Exited(code) => Answer::Rejected {
            why: format!("{name} ended with exit code {code}{said}"),
        },
        Ended::Signalled(signal) => {
            Answer::unsure(format!("{name} was ended by signal {signal}{said}"))
        }
        Ended::TimedOut => Answer::unsure(format!(
            "{name} did not end within {} and was stopped",
            crate::record::span(limit)
        )),
        Ended::SpawnFailed(error) => Answer::refused(format!("cannot start {name}: {error}")),
    }
}
