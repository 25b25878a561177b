//! Running the agent and the commands, with a time limit, and the daemon beside a test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use super::{LOOK_AGAIN, PATIENCE, eventually, pause};

/// What a command did.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it complained.
    pub(crate) stderr: String,
}

impl Run {
    /// Runs `process` to its end.
    #[track_caller]
    pub(crate) fn of(mut process: Process, name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |stream: &str| fs::File::create(dir.path().join(stream)).unwrap();
        let mut child = process
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let status = wait(&mut child).unwrap_or_else(|| panic!("{name} did not end: {process:?}"));
        let text = |stream: &str| {
            let bytes = fs::read(dir.path().join(stream)).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Self {
            code: status.code(),
            stdout: text("stdout"),
            stderr: text("stderr"),
        }
    }

    /// The same, having checked that it succeeded.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// What it printed, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Waits for the end of `child`; kills it when it takes too long.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        pause(LOOK_AGAIN);
    }
    child.kill().ok();
    child.wait().ok();
    None
}

/// `program`, without root's right to override file modes: a read-only /etc/pve refuses root too on a real node.
pub(crate) fn bound_by_modes(program: &Path) -> Process {
    if !Uid::effective().is_root() {
        return Process::new(program);
    }
    let mut process = Process::new("setpriv");
    process
        .arg("--bounding-set=-dac_override,-dac_read_search")
        .arg("--")
        .arg(program);
    process
}

/// Undoes read-only modes under `dir`.
pub(crate) fn make_deletable(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).ok();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_deletable(&entry.path());
        }
    }
}

/// The agent's daemon, running beside the test. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    root: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Starts `process` and does not wait for anything.
    pub(crate) fn start(mut process: Process, root: &Path) -> Self {
        let log = root.join("var/lib/pve-sim/agent.log");
        let output = fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let child = process
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self {
            child,
            root: root.to_owned(),
            log,
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its state file, or nothing before the first one.
    pub(crate) fn state(&self) -> Option<serde_json::Value> {
        let text = fs::read_to_string(self.root.join("run/vm-autoscale/state.json")).ok()?;
        Some(serde_json::from_str(&text).unwrap())
    }

    /// Waits until its state file is such.
    #[track_caller]
    pub(crate) fn eventually(&self, what: &str, is_so: impl Fn(&serde_json::Value) -> bool) {
        eventually(what, || self.state().is_some_and(|state| is_so(&state)));
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).unwrap();
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Asks it to end (SIGTERM) and waits for that.
    #[track_caller]
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        wait(&mut self.child).unwrap_or_else(|| panic!("the daemon did not end: {}", self.log()))
    }

    /// Kills it as a crash would.
    pub(crate) fn crash(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_alive() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("the daemon wrote:\n{}", self.log());
        }
    }
}
