//! The language of the stories in `tests/`: builds a simulated node, runs the agent on it, and reads what is really so.
//!
//! ```ignore
//! let node = Node::with([Vm::new(101).cores(8).vcpus(1).cpu(8.0)]);
//! node.write_config("check_interval: 1s\n");
//! let agent = node.daemon();
//! eventually("VM 101 has 8 vCPUs", || node.vm(101).vcpus == 8);
//! assert_eq!(node.vm(101).oom_kills, 0);
//! ```
//!
//! - [`Node`] is a running node (`pve-sim node` on a temporary root). It ends when it is dropped.
//! - [`Vm`] says what a VM looks like before the node starts: its configuration, load and guest.
//! - [`Node::vm`] is the truth about a VM now, [`Node::truth`] about everything.
//! - [`Node::agent`] runs one command of `vm-autoscale` to its end; [`Node::daemon`] runs the daemon beside the test.
//! - [`Node::monitor`] talks to a VM's QEMU.
//! - [`Node::qm`] and [`Node::pvesh`] run the simulated commands, as an admin would.
//! - [`Node::set_load`], [`Node::behave`], [`Node::control`] change what guests and the node do while all runs.
//! - [`eventually`] waits for something to become so; nothing sleeps for a fixed time.
//!
//! The agent and the commands run without root's right to override file modes, so that a node without quorum refuses
//! them as pmxcfs would.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each test crate uses a part of this; what fails here fails the test"
)]

#[path = "../pve_sim/node/scenario.rs"]
pub(crate) mod scenario;
#[path = "../pve_sim/node/truth.rs"]
pub(crate) mod truth;

pub(crate) mod guest;
mod monitor;
mod process;
mod vm;

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

pub(crate) use monitor::Monitor;
pub(crate) use process::{Daemon, Run};
use scenario::{Command, GuestSpec, Load, MonitorState, NodeSpec, STATE_DIR, Scenario, VmSpec};
use truth::{Truth, VmTruth};
pub(crate) use vm::Vm;

/// The longest that a test waits for something to become so. Long, since a busy machine is no fault.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much quicker than PVE the commands wait, unless a test says otherwise: a vCPU may take 2 s instead of 11 to
/// appear, a memory module's unplug is polled every 0.6 s instead of 3.
const SPEED: f64 = 5.0;
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Waits until `is_so`, and fails the test if that does not happen.
#[track_caller]
pub(crate) fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    eventually_within(PATIENCE, what, is_so);
}

/// The same, with another patience.
#[track_caller]
pub(crate) fn eventually_within(patience: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + patience;
    while !is_so() {
        assert!(
            Instant::now() < until,
            "did not happen within {patience:?}: {what}"
        );
        pause(LOOK_AGAIN);
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test thread waits for another process; no runtime is blocked"
)]
pub(crate) fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// A directory for a node's root. A node replaces hundreds of files a second, which a disk would feel.
pub(crate) fn in_memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory)
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// A simulated node that is running.
#[derive(Debug)]
pub(crate) struct Node {
    dir: tempfile::TempDir,
    child: Child,
    scenario: RefCell<Scenario>,
    sent: Cell<u32>,
}

impl Node {
    /// A node of 16 CPUs and 64 GiB with these VMs.
    pub(crate) fn with(vms: impl IntoIterator<Item = Vm>) -> Self {
        Self::shaped(|_| {}, vms)
    }

    /// A node whose hardware and other nodes `shape` sets, with these VMs.
    pub(crate) fn shaped(
        shape: impl FnOnce(&mut Scenario),
        vms: impl IntoIterator<Item = Vm>,
    ) -> Self {
        Self::under(in_memory(), shape, vms)
    }

    /// The same under a root in which something has been prepared.
    pub(crate) fn under(
        dir: tempfile::TempDir,
        shape: impl FnOnce(&mut Scenario),
        vms: impl IntoIterator<Item = Vm>,
    ) -> Self {
        let mut scenario = Scenario {
            node: NodeSpec {
                update_ms: 50,
                ..NodeSpec::default()
            },
            vms: vms.into_iter().map(Vm::into_spec).collect(),
            ..Scenario::default()
        };
        shape(&mut scenario);
        let child = Self::launch(dir.path(), &scenario);
        let node = Self {
            dir,
            child,
            scenario: RefCell::new(scenario),
            sent: Cell::new(0),
        };
        eventually("the simulated node is up", || node.is_up());
        node.speed(SPEED);
        node
    }

    fn launch(root: &Path, scenario: &Scenario) -> Child {
        let state = root.join(STATE_DIR);
        fs::create_dir_all(&state).unwrap();
        let text = serde_yaml::to_string(scenario).unwrap();
        fs::write(state.join("scenario.yaml"), text).unwrap();
        let log = fs::File::create(state.join("node.log")).unwrap();
        Process::new(env!("CARGO_BIN_EXE_pve-sim"))
            .args(["node", "--with-parent", "--root"])
            .arg(root)
            // Ends with the test, even if that is killed.
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn is_up(&self) -> bool {
        let log = fs::read_to_string(self.state("node.log")).unwrap_or_default();
        assert!(log.is_empty(), "the simulated node says: {log}");
        let sockets = || {
            let running = self.truth().vms.into_keys();
            running.into_iter().all(|id| {
                let refuses = self.spec(id).monitor == MonitorState::Refuses;
                let socket = self.path(&format!("run/qemu-server/{id}.qmp"));
                refuses || UnixStream::connect(socket).is_ok()
            })
        };
        self.state("truth.json").exists() && self.path("etc/pve/.vmlist").exists() && sockets()
    }

    /// The root directory.
    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    /// A path under the root.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root().join(relative)
    }

    fn state(&self, relative: &str) -> PathBuf {
        self.root().join(STATE_DIR).join(relative)
    }

    /// The text of a file under the root.
    #[track_caller]
    pub(crate) fn read(&self, relative: &str) -> String {
        fs::read_to_string(self.path(relative))
            .unwrap_or_else(|error| panic!("{relative}: {error}"))
    }

    /// Replaces a file under the root, making its directory.
    pub(crate) fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let made = self.state("tmp").join("by-test");
        fs::write(&made, text).unwrap();
        fs::rename(&made, path).unwrap();
    }

    /// The agent's configuration file, as the admin writes it.
    pub(crate) fn write_config(&self, yaml: &str) {
        self.write("etc/vm-autoscale/config.yaml", yaml);
        let path = self.path("etc/vm-autoscale/config.yaml");
        fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    }

    /// What `qm` and `pvesh` do wrong from now on, in the words of `tests/pve_sim/faults.rs`.
    pub(crate) fn faults(&self, yaml: &str) {
        self.write(&format!("{STATE_DIR}/faults.yaml"), yaml);
    }

    /// How many times quicker than PVE the commands wait from now on.
    pub(crate) fn speed(&self, times: f64) {
        let yaml = format!("speed: {times}\n");
        self.write(&format!("{STATE_DIR}/delays.yaml"), &yaml);
    }

    /// The `qm` and `pvesh` processes that were started so far, each with its arguments.
    pub(crate) fn commands(&self) -> Vec<Vec<String>> {
        let log = fs::read_to_string(self.state("commands.log")).unwrap_or_default();
        let argv = |line: &str| {
            let started: serde_json::Value = serde_json::from_str(line).unwrap();
            serde_json::from_value(started["argv"].clone()).unwrap()
        };
        log.lines().map(argv).collect()
    }

    /// Everything as it really is.
    #[track_caller]
    pub(crate) fn truth(&self) -> Truth {
        let text = fs::read_to_string(self.state("truth.json")).unwrap_or_default();
        if text.is_empty() {
            return Truth::default();
        }
        serde_json::from_str(&text).unwrap()
    }

    /// A running VM as it really is.
    #[track_caller]
    pub(crate) fn vm(&self, id: u32) -> VmTruth {
        self.running_vm(id)
            .unwrap_or_else(|| panic!("VM {id} does not run"))
    }

    /// A VM as it really is, or nothing if it does not run.
    pub(crate) fn running_vm(&self, id: u32) -> Option<VmTruth> {
        self.truth().vms.remove(&id)
    }

    /// A connection to a VM's QEMU, past the greeting.
    #[track_caller]
    pub(crate) fn monitor(&self, id: u32) -> Monitor {
        Monitor::connect(&self.path(&format!("run/qemu-server/{id}.qmp"))).unwrap()
    }

    /// The text of a VM's configuration file on this node.
    #[track_caller]
    pub(crate) fn conf(&self, id: u32) -> String {
        self.read(&format!("etc/pve/local/qemu-server/{id}.conf"))
    }

    /// Sets a key in the active part of a VM's configuration file, or removes it, behind PVE's back.
    pub(crate) fn set_conf(&self, id: u32, key: &str, value: Option<&str>) {
        let text = self.conf(id);
        let (active, sections) = match text.find("\n[") {
            Some(at) => text.split_at(at + 1),
            None => (text.as_str(), ""),
        };
        let mut lines: Vec<String> = active
            .lines()
            .filter(|line| line.split(':').next() != Some(key))
            .map(str::to_owned)
            .collect();
        if let Some(value) = value {
            let blank = lines.iter().rposition(|line| !line.is_empty());
            lines.insert(blank.map_or(0, |at| at + 1), format!("{key}: {value}"));
        }
        let name = self.scenario.borrow().node.name.clone();
        self.write(
            &format!("etc/pve/nodes/{name}/qemu-server/{id}.conf"),
            &(lines.join("\n") + "\n" + sections),
        );
    }

    /// Gives a VM another load.
    pub(crate) fn set_load(&self, vm: u32, change: impl FnOnce(&mut Load)) {
        let load = self.change_spec(vm, |spec| {
            change(&mut spec.load);
            spec.load.clone()
        });
        self.control(&Command::Load { vm, load });
    }

    /// Makes a VM's guest behave differently from now on.
    pub(crate) fn behave(&self, vm: u32, change: impl FnOnce(&mut GuestSpec)) {
        let guest = self.change_spec(vm, |spec| {
            change(&mut spec.guest);
            spec.guest.clone()
        });
        self.control(&Command::Guest { vm, guest });
    }

    fn spec(&self, vm: u32) -> VmSpec {
        let scenario = self.scenario.borrow();
        scenario.vms.get(&vm).cloned().unwrap_or_default()
    }

    fn change_spec<T>(&self, vm: u32, change: impl FnOnce(&mut VmSpec) -> T) -> T {
        change(self.scenario.borrow_mut().vms.entry(vm).or_default())
    }

    /// Has the running node do something, and waits until it is done.
    #[track_caller]
    pub(crate) fn control(&self, command: &Command) {
        self.sent.set(self.sent.get() + 1);
        let name = format!("{:06}", self.sent.get());
        let file = format!("{STATE_DIR}/control/{name}.json");
        let before = self.truth().commands;
        self.write(&file, &serde_json::to_string(command).unwrap());
        eventually("the node takes a command", || !self.path(&file).exists());
        // What it did is in the truth once that has been written again.
        eventually("the node has carried it out", || {
            self.truth().commands > before
        });
        let rejected = self.state(&format!("control/{name}.rejected"));
        if let Ok(reason) = fs::read_to_string(rejected) {
            panic!("the node cannot do {command:?}: {reason}");
        }
    }

    /// Runs `vm-autoscale` with these arguments to its end.
    pub(crate) fn agent<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        Run::of(self.agent_process(arguments), "vm-autoscale")
    }

    /// Starts the daemon (`vm-autoscale run`).
    pub(crate) fn daemon(&self) -> Daemon {
        self.daemon_with(std::iter::empty::<&str>())
    }

    /// Starts the daemon with more arguments.
    pub(crate) fn daemon_with<A: AsRef<str>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Daemon {
        let run = std::iter::once("run".to_owned());
        let more = arguments.into_iter().map(|word| word.as_ref().to_owned());
        Daemon::start(self.agent_process(run.chain(more)), self.root())
    }

    fn agent_process<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> Process {
        let mut process = process::bound_by_modes(Path::new(env!("CARGO_BIN_EXE_vm-autoscale")));
        process.arg("--root").arg(self.root());
        for argument in arguments {
            process.arg(argument.as_ref());
        }
        process
    }

    /// Runs the node's `qm`.
    pub(crate) fn qm<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        self.tool("usr/sbin/qm", arguments)
    }

    /// Runs the node's `pvesh`.
    pub(crate) fn pvesh<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        self.tool("usr/bin/pvesh", arguments)
    }

    fn tool<A: AsRef<str>>(&self, path: &str, arguments: impl IntoIterator<Item = A>) -> Run {
        let mut process = process::bound_by_modes(&self.path(path));
        for argument in arguments {
            process.arg(argument.as_ref());
        }
        Run::of(process, path)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        // Directories that were made read-only cannot be emptied.
        process::make_deletable(&self.path("etc/pve"));
    }
}
