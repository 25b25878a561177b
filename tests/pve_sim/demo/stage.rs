//! Builds the demo's node: a root directory, VMs under recorded loads, the agent's configuration; starts the node and
//! the agent as processes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, mkdtemp};
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::node::scenario::{
    Curve, Load, NodeSpec, STATE_DIR, Scenario, TraceColumn, TraceSpec, VmSpec,
};

/// The node's CPUs. Together the VMs may have more than twice as many.
const CPUS: u32 = 20;
/// The node's memory in MiB.
const MEMORY_MIB: u64 = 40 * 1024;
/// PVE's waiting is quicker here, since the loads are: most traces run 60 times as fast as they were recorded.
const PVE_SPEED: f64 = 4.0;

/// What an admin would write, with the times of a minute's demo.
const AGENT_CONFIG: &str = "\
check_interval: 1s
select: {tags: [autoscale]}
profiles:
  default:
    cpu: {min: 1, max: 8}
    memory: {min: 1GiB, max: 10GiB}
    cooldown: {up: 2s, down: 8s}
host: {max_cpu: 95%, max_memory: 90%, reserve_memory: 2GiB}
";

/// A VM of the demo.
struct Guest {
    id: u32,
    name: &'static str,
    trace: (&'static str, &'static str),
    /// Seconds of the trace that pass in one.
    speed: f64,
    /// What the trace's CPU is multiplied with.
    cpu_scale: f64,
    /// Its memory.
    memory: Memory,
    /// Hotplug, size, balloon.
    config: &'static str,
}

/// Where a guest's demand for memory comes from.
enum Memory {
    /// The trace, multiplied with this.
    Traced(f64),
    /// Always the same, in MiB. Where time is squeezed 60 times, some traces would grow by a gigabyte in a second, which
    /// no machine does.
    Constant(f64),
}

const HOTPLUG: &str = "hotplug: disk,network,usb,memory,cpu\nnuma: 1\n";

/// A trace that is part of the program, so that the demo needs no files.
macro_rules! trace {
    ($name:literal) => {
        ($name, include_str!(concat!("../../data/traces/", $name)))
    };
}

const GUESTS: [Guest; 6] = [
    Guest {
        id: 101,
        name: "shop",
        trace: trace!("server-3-3.csv"),
        speed: 60.0,
        cpu_scale: 0.5,
        memory: Memory::Traced(0.25),
        config: "cores: 8\nvcpus: 1\nmemory: 10240\nballoon: 9216\n",
    },
    Guest {
        id: 102,
        name: "ads",
        trace: trace!("service-ad.csv"),
        speed: 60.0,
        cpu_scale: 1.0,
        memory: Memory::Constant(1500.0),
        config: "cores: 8\nvcpus: 8\nmemory: 8192\nballoon: 4096\n",
    },
    Guest {
        id: 103,
        name: "batch",
        trace: trace!("cluster-15-node7.csv"),
        speed: 1.0,
        cpu_scale: 1.0,
        memory: Memory::Traced(0.2),
        config: "cores: 8\nvcpus: 4\nmemory: 8192\nballoon: 4608\n",
    },
    Guest {
        id: 104,
        name: "spark",
        trace: trace!("cluster-17-node6.csv"),
        speed: 1.0,
        cpu_scale: 0.5,
        memory: Memory::Constant(1500.0),
        config: "cores: 8\nvcpus: 8\nmemory: 4096\nballoon: 0\n",
    },
    Guest {
        id: 105,
        name: "legacy",
        trace: trace!("server-2-7.csv"),
        speed: 60.0,
        cpu_scale: 0.5,
        memory: Memory::Traced(0.25),
        config: "cores: 8\ncpulimit: 2\nmemory: 8192\nballoon: 6144\n",
    },
    Guest {
        id: 106,
        name: "payment",
        trace: trace!("service-payment.csv"),
        speed: 60.0,
        cpu_scale: 1.0,
        memory: Memory::Traced(0.25),
        config: "cores: 4\nvcpus: 2\nmemory: 8192\nballoon: 8192\n",
    },
];

/// The node and the agent, running. Both end when this is dropped.
pub(crate) struct Stage {
    // Dropped last, after the processes that use it.
    node: Child,
    agent: Child,
    dir: TemporaryDir,
}

impl Stage {
    /// Builds everything under a temporary directory and starts it.
    pub(crate) async fn build() -> Result<Self> {
        let dir = TemporaryDir::new()?;
        let root = dir.0.as_path();
        let binary = std::env::current_exe().context("the path of this binary")?;
        write(&root.join("etc/vm-autoscale/config.yaml"), AGENT_CONFIG)?;
        let state = root.join(STATE_DIR);
        write(&state.join("delays.yaml"), &format!("speed: {PVE_SPEED}\n"))?;
        let scenario = serde_yaml::to_string(&scenario(&state)?)?;
        write(&state.join("scenario.yaml"), &scenario)?;
        let link = root.join("vm-autoscale");
        symlink(&binary, &link)?;
        let node = start(
            Command::new(&binary).args(["node", "--with-parent", "--root"]),
            root,
            &state.join("node.log"),
        )?;
        for file in ["etc/pve/.vmlist", "var/lib/pve-sim/truth.json"] {
            appears(&root.join(file)).await?;
        }
        let agent = start(
            Command::new(&link).args(["run", "--root"]),
            root,
            &state.join("agent.log"),
        )?;
        Ok(Self { node, agent, dir })
    }

    /// A path under the root.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.dir.0.join(relative)
    }

    /// The agent's process id, while it runs.
    pub(crate) fn agent_pid(&self) -> Option<u32> {
        self.agent.id()
    }

    /// Why the demo cannot go on: the node or the agent ended.
    pub(crate) fn failure(&mut self) -> Option<String> {
        for (name, child, log) in [
            ("the simulated node", &mut self.node, "node.log"),
            ("the agent", &mut self.agent, "agent.log"),
        ] {
            if let Ok(Some(status)) = child.try_wait() {
                let log = self.dir.0.join(STATE_DIR).join(log);
                let log = fs::read_to_string(log).unwrap_or_default();
                return Some(format!("{name} ended ({status}):\n{log}"));
            }
        }
        None
    }

    /// Asks the agent to end, which finishes the change in hand, and waits for that.
    pub(crate) async fn stop_agent(&mut self) -> Result<()> {
        if let Some(pid) = self.agent.id() {
            kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM)?;
            self.agent.wait().await?;
        }
        Ok(())
    }
}

/// Waits until the node has made `file`.
async fn appears(file: &Path) -> Result<()> {
    for _ in 0..500 {
        if file.exists() {
            return Ok(());
        }
        sleep(Duration::from_millis(20)).await;
    }
    bail!("the simulated node did not come up")
}

/// A directory that goes when it is dropped.
struct TemporaryDir(PathBuf);

impl TemporaryDir {
    /// In memory where there is such a place: a node replaces hundreds of files a second, which a disk would feel.
    fn new() -> Result<Self> {
        let made = mkdtemp("/dev/shm/pve-sim-XXXXXX")
            .or_else(|_| mkdtemp(&std::env::temp_dir().join("pve-sim-XXXXXX")));
        Ok(Self(made.context("making a temporary directory")?))
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        // What cannot be removed is small, and in memory.
        fs::remove_dir_all(&self.0).ok();
    }
}

fn start(command: &mut Command, root: &Path, log: &Path) -> Result<Child> {
    let log = File::create(log)?;
    command
        .arg(root)
        // In a group of its own, so that Ctrl-C ends the demo and the demo ends the rest.
        .process_group(0)
        .kill_on_drop(true)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {command:?}"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// The node, with the traces laid out under `state`.
fn scenario(state: &Path) -> Result<Scenario> {
    let mut vms = BTreeMap::new();
    for guest in &GUESTS {
        let (name, text) = guest.trace;
        let file = state.join(name);
        write(&file, text)?;
        vms.insert(guest.id, guest.spec(&file));
    }
    Ok(Scenario {
        node: NodeSpec {
            cpus: CPUS,
            memory_mib: MEMORY_MIB,
            ..NodeSpec::default()
        },
        vms,
        ..Scenario::default()
    })
}

impl Guest {
    fn spec(&self, file: &Path) -> VmSpec {
        let curve = |column, scale| {
            Curve::Trace(TraceSpec {
                trace: file.to_owned(),
                column,
                speed: self.speed,
                // The first lines of the payment service belong to its predecessor.
                skip_s: if self.name == "payment" { 240.0 } else { 0.0 },
                scale,
            })
        };
        let memory_mib = match self.memory {
            Memory::Traced(scale) => curve(TraceColumn::MemoryMib, scale),
            Memory::Constant(mib) => Curve::Constant(mib),
        };
        let hotplug = if self.name == "legacy" { "" } else { HOTPLUG };
        let config = format!(
            "boot: order=scsi0\n{}{hotplug}name: {}\nostype: l26\nsockets: 1\ntags: autoscale\n",
            self.config, self.name
        );
        VmSpec {
            config: Some(config),
            load: Load {
                cpu: curve(TraceColumn::CpuCores, self.cpu_scale),
                memory_mib,
                files_mib: 512.0,
                ..Load::default()
            },
            ..VmSpec::default()
        }
    }
}
