//! Changing a VM: `qm set`, with retries where another try can help.
//!
//! A command that returns proves nothing (recorded: exit code 0 with a value only pending, a balloon not moved, a vCPU
//! that never runs): who asked for a change reads the real value back.

use std::path::PathBuf;
use std::time::Duration;

use super::Layout;
use super::command;
use super::error::{Cause, CommandError, check};
use crate::domain::{VmId, sanitize};

/// How long commands may take and how often they are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For a command that changes something. Generous, since one cut off half-way leaves a pending value behind:
    /// removing 8 GiB of modules takes 48 s at least, and a module may take QMP 60 s (QMPClient.pm).
    pub change: Duration,
    /// For a command that only reads. Measured: 1 to 1.8 s.
    pub read: Duration,
    /// How often a change is tried in all. Each try has waited ten seconds for a lock, or five for QEMU.
    pub attempts: u32,
    /// The pause before the second try; it doubles from try to try.
    pub first_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            change: Duration::from_secs(120),
            read: Duration::from_secs(15),
            attempts: 3,
            first_pause: Duration::from_secs(1),
        }
    }
}

/// A command that returned with exit code 0. No proof of anything: read the real value back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// What it wrote to stderr nevertheless, on one line and safe to print; usually empty.
    pub warnings: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// The command `qm`.
#[derive(Debug, Clone)]
pub struct Qm {
    program: PathBuf,
    limits: Limits,
}

impl Qm {
    /// `qm` as it is installed under `layout`.
    pub fn new(layout: &Layout, limits: Limits) -> Self {
        Self {
            program: layout.qm(),
            limits,
        }
    }

    /// Sets options of a VM in one call: `qm set 101 --shares 0 --balloon 1024`. Where several are set, one can fail
    /// while others take effect.
    ///
    /// # Errors
    /// When the last try failed; whether it had some effect is then unknown.
    pub async fn set(
        &self,
        vm: VmId,
        options: &[(&str, String)],
    ) -> Result<Returned, CommandError> {
        let words = options
            .iter()
            .flat_map(|(option, value)| [format!("--{option}"), value.clone()]);
        self.run(vm, words).await
    }

    /// Takes back the pending value of an option.
    ///
    /// # Errors
    /// As [`Qm::set`].
    pub async fn revert(&self, vm: VmId, option: &str) -> Result<Returned, CommandError> {
        self.run(vm, ["--revert".to_owned(), option.to_owned()])
            .await
    }

    /// Removes an option, which then has PVE's default.
    ///
    /// # Errors
    /// As [`Qm::set`].
    pub async fn delete(&self, vm: VmId, option: &str) -> Result<Returned, CommandError> {
        self.run(vm, ["--delete".to_owned(), option.to_owned()])
            .await
    }

    async fn run(
        &self,
        vm: VmId,
        words: impl IntoIterator<Item = String>,
    ) -> Result<Returned, CommandError> {
        let mut args = vec!["set".to_owned(), vm.to_string()];
        args.extend(words);
        let mut tries = Tries::new(&self.limits);
        loop {
            let done = command::run(&self.program, &args, self.limits.change).await;
            match check(done) {
                Ok(done) => {
                    let lines: Vec<&str> = done.stderr.lines().map(str::trim).collect();
                    return Ok(Returned {
                        warnings: sanitize(&lines.join("; "), 300),
                        attempts: tries.made,
                    });
                }
                Err(error) => match tries.again_after(&error.cause) {
                    Some(pause) => {
                        tracing::debug!(%error, "trying again in {pause:?}");
                        tokio::time::sleep(pause).await;
                    }
                    None => return Err(error),
                },
            }
        }
    }
}

/// Counts tries: whether there is another one, and how long to wait before it.
struct Tries {
    made: u32,
    most: u32,
    pause: Duration,
}

impl Tries {
    fn new(limits: &Limits) -> Self {
        Self {
            made: 1,
            most: limits.attempts,
            pause: limits.first_pause,
        }
    }

    /// The pause before another try; `None` if `cause` cannot get better, or was tried often enough.
    fn again_after(&mut self, cause: &Cause) -> Option<Duration> {
        if !cause.retryable() || self.made >= self.most {
            return None;
        }
        self.made += 1;
        let pause = self.pause;
        self.pause = pause.saturating_mul(2);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn pauses(causes: impl IntoIterator<Item = Cause>) -> Vec<Option<u64>> {
        let mut tries = Tries::new(&Limits {
            attempts: 4,
            ..Limits::default()
        });
        let pauses = causes.into_iter().map(|cause| tries.again_after(&cause));
        pauses.map(|pause| pause.map(|p| p.as_secs())).collect()
    }

    #[test]
    fn a_held_lock_is_tried_again_after_growing_pauses_and_not_for_ever() {
        let locked = std::iter::repeat_n(Cause::LockTimeout, 5);
        assert_eq!(pauses(locked), [Some(1), Some(2), Some(4), None, None]);
    }

    #[test]
    fn what_cannot_get_better_is_tried_once() {
        for cause in [
            Cause::Locked("backup".to_owned()),
            Cause::TimedOut,
            Cause::NoQuorum,
        ] {
            assert_eq!(pauses([cause]), [None]);
        }
    }

    /// A root whose `qm` is another program.
    fn node_with_qm(program: &str) -> (tempfile::TempDir, Qm) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.qm().parent().unwrap()).unwrap();
        symlink(program, layout.qm()).unwrap();
        let qm = Qm::new(&layout, Limits::default());
        (dir, qm)
    }

    #[tokio::test]
    async fn a_program_that_returns_is_a_success_and_one_that_fails_is_named_with_its_arguments() {
        let vm = "101".parse().unwrap();
        let (_dir, qm) = node_with_qm("/bin/true");
        let options = [("shares", "0".to_owned()), ("balloon", "1024".to_owned())];
        let spawned = tokio::spawn({
            let (qm, options) = (qm.clone(), options.clone());
            async move { qm.set(vm, &options).await }
        });
        let returned = spawned.await.unwrap().unwrap();
        assert_eq!((returned.attempts, returned.warnings.as_str()), (1, ""));

        let (_dir, qm) = node_with_qm("/bin/false");
        let commands = [
            qm.set(vm, &options).await.unwrap_err().command,
            qm.revert(vm, "memory").await.unwrap_err().command,
            qm.delete(vm, "cpulimit").await.unwrap_err().command,
        ];
        assert_eq!(
            commands,
            [
                "qm set 101 --shares 0 --balloon 1024",
                "qm set 101 --revert memory",
                "qm set 101 --delete cpulimit",
            ]
        );
    }

    #[tokio::test]
    async fn a_node_without_qm_says_that_it_could_not_be_started() {
        let (_dir, qm) = node_with_qm("/no/such/program");
        let error = qm
            .revert("101".parse().unwrap(), "memory")
            .await
            .unwrap_err();
        assert!(matches!(error.cause, Cause::NotStarted(_)), "{error}");
    }
}
