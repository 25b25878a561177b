//! Why a `qm` or `pvesh` command failed, told from the texts that the real commands print.
//!
//! Their exit codes say only zero or not zero, as a Perl `die` leaves them, so the text is all there is. Every text that was
//! recorded has a test. What is not recognised stays what it is: [`Cause::Other`].

use std::time::Duration;

use super::command::{Ended, Finished};
use crate::domain::sanitize;

/// The most of a command's own words that is repeated in a message.
const WORDS_MAX: usize = 300;

/// A command that failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{command} failed after {:.1} s: {cause}", elapsed.as_secs_f64())]
pub struct CommandError {
    /// The command as a person would type it.
    pub command: String,
    /// Why it failed.
    pub cause: Cause,
    /// From its start to its end.
    pub elapsed: Duration,
}

/// Why a command failed. Prints as a sentence's second half: what is wrong, and what to do where that is not plain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The VM does not exist, or its configuration is on another node.
    #[error("the VM has no configuration on this node")]
    NotOnThisNode,
    /// The configuration is locked by another operation (`backup`, `migrate`, …).
    #[error("the VM is locked ({0}); it can be changed when that has ended")]
    Locked(String),
    /// Another command held the VM's lock file for longer than the ten seconds that PVE waits.
    #[error("another operation on this VM holds its lock file")]
    LockTimeout,
    /// QEMU did not answer in time, while `option` was changed: it hangs, or serves another client.
    #[error("QEMU did not answer in time")]
    QmpTimeout {
        /// The option, where the text names it.
        option: Option<String>,
    },
    /// QEMU could not be reached, or went away during the change.
    #[error("QEMU cannot be reached: {0}")]
    QmpUnreachable(String),
    /// The VM stopped.
    #[error("the VM is not running")]
    VmNotRunning,
    /// /etc/pve does not accept changes.
    #[error("/etc/pve cannot be written: the cluster has no quorum")]
    NoQuorum,
    /// QEMU or the guest refused the change of `option`; the value stays pending.
    #[error("{option} was refused: {message}")]
    Hotplug {
        /// The option.
        option: String,
        /// PVE's words.
        message: String,
    },
    /// QEMU has another number of vCPUs than the configuration: PVE plugs none until they agree.
    #[error(
        "QEMU runs another number of vCPUs than the configuration says; set vcpus to what QEMU has, or power-cycle the VM"
    )]
    VcpuMismatch,
    /// The configuration was changed by somebody else in the meantime.
    #[error("the configuration was changed by somebody else in the meantime")]
    ChecksumMismatch,
    /// PVE does not accept the value or the option.
    #[error("not accepted: {0}")]
    BadParameter(String),
    /// Somebody killed the command: what it did until then is unknown.
    #[error("it was killed by signal {0}; what it did until then is unknown")]
    Killed(i32),
    /// It did not end within its limit and was killed: what it did until then is unknown.
    #[error("it did not end in time and was killed; what it did until then is unknown")]
    TimedOut,
    /// It could not be started.
    #[error("it could not be started: {0}")]
    NotStarted(String),
    /// It succeeded, but its output is not what it should be.
    #[error("its output cannot be understood: {0}")]
    BadOutput(String),
    /// Anything else, in the command's own words.
    #[error("{0}")]
    Other(String),
}

impl Cause {
    /// Whether the same command is worth another try soon, without harm if the first one had some effect after all.
    ///
    /// A QMP time-out while `memory` was changed is not: `qm` counts from the configuration, so that after a module
    /// left late a second run removes one too many (recorded in 23-memory-2048-after-divergence.txt).
    pub fn retryable(&self) -> bool {
        match self {
            Self::LockTimeout => true,
            Self::QmpTimeout { option } => option.as_deref() != Some("memory"),
            _ => false,
        }
    }
}

/// `done` itself if it succeeded, else why it did not. Warnings on stderr beside exit code 0 are no failure.
///
/// # Errors
/// When the command did not exit with code 0.
pub fn check(done: Finished) -> Result<Finished, CommandError> {
    let cause = match &done.ended {
        Ended::Exited(0) => return Ok(done),
        Ended::Exited(code) => told_by(&done.stderr, *code),
        Ended::Signalled(signal) => Cause::Killed(*signal),
        Ended::TimedOut => Cause::TimedOut,
        Ended::SpawnFailed(why) => Cause::NotStarted(sanitize(why, WORDS_MAX)),
    };
    Err(failed(&done, cause))
}

/// The error for `done`, which failed by `cause`.
pub fn failed(done: &Finished, cause: Cause) -> CommandError {
    CommandError {
        command: sanitize(&done.command_line(), WORDS_MAX),
        cause,
        elapsed: done.elapsed,
    }
}

/// What a command's stderr says of its failure.
fn told_by(stderr: &str, code: i32) -> Cause {
    if let Some(lock) = between(stderr, "VM is locked (", ")") {
        return Cause::Locked(sanitize(lock, 40));
    }
    if stderr.contains("can't lock file") && stderr.contains("got timeout") {
        return Cause::LockTimeout;
    }
    if stderr.contains("checksum mismatch") {
        return Cause::ChecksumMismatch;
    }
    if between(stderr, "Configuration file '", "' does not exist").is_some() {
        return Cause::NotOnThisNode;
    }
    let pve_file_refused = between(stderr, "unable to open file '", "' - Permission denied")
        .is_some_and(|path| path.contains("/etc/pve/"));
    if pve_file_refused || stderr.contains("no quorum") {
        return Cause::NoQuorum;
    }
    if let Some((option, message)) = hotplug_problem(stderr) {
        return running_vm_problem(&message, Some(&option))
            .unwrap_or(Cause::Hotplug { option, message });
    }
    if let Some(cause) = running_vm_problem(stderr, None) {
        return cause;
    }
    let words = own_words(stderr.lines());
    if stderr.lines().any(|line| line.starts_with("400 ")) || words.contains("balloon value too") {
        Cause::BadParameter(words)
    } else if words.is_empty() {
        Cause::Other(format!("exit code {code} without a message"))
    } else {
        Cause::Other(words)
    }
}

/// Troubles with QEMU that can stand alone or behind `hotplug problem - `.
fn running_vm_problem(text: &str, option: Option<&str>) -> Option<Cause> {
    let qmp = text.contains("qmp command") || text.contains("qmp socket");
    if qmp && text.contains("timeout") {
        let option = option.map(str::to_owned);
        return Some(Cause::QmpTimeout { option });
    }
    if qmp {
        // "… failed - unable to connect to VM 101 qmp socket - Connection refused": the reason stands last.
        let words = own_words(text.lines());
        let reason = words.rsplit(" - ").next().unwrap_or(&words);
        return Some(Cause::QmpUnreachable(reason.to_owned()));
    }
    if text.contains("does not match its configuration") {
        return Some(Cause::VcpuMismatch);
    }
    let stopped = between(text, "VM ", " not running")
        .is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()));
    stopped.then_some(Cause::VmNotRunning)
}

/// The option and PVE's words of the first `OPTION: hotplug problem - …`.
///
/// The words can go on in the next line, where PVE repeats the option: `vcpus: error unplugging cpu2`.
fn hotplug_problem(stderr: &str) -> Option<(String, String)> {
    let (before, after) = stderr.split_once(": hotplug problem - ")?;
    let option = sanitize(before.lines().last().unwrap_or(before).trim(), 40);
    let lines = after
        .lines()
        .take_while(|line| !line.contains(": hotplug problem - "));
    let words = own_words(lines);
    let repeated = format!("{option}: ");
    let message = words.strip_prefix(&repeated).unwrap_or(&words).to_owned();
    Some((option, message))
}

/// The lines that tell something, joined and made safe to print.
fn own_words<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    const NOISE: [&str; 5] = [
        "400 Parameter verification failed.",
        "qm set <",
        "qm config <",
        "pvesh ",
        "trying to acquire lock...",
    ];
    let telling: Vec<&str> = lines
        .map(str::trim)
        .filter(|line| !line.is_empty() && !NOISE.iter().any(|noise| line.starts_with(noise)))
        .collect();
    sanitize(&telling.join("; "), WORDS_MAX)
}

/// The text between the first `start` and the next `end`, on one line.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (_, rest) = line.split_once(start)?;
        rest.split_once(end).map(|(inner, _)| inner)
    })
}

#[cfg(test)]
mod tests;
