//! What a simulated node looks like and how its guests behave: the words of scenario files and control commands.
//!
//! Plain data, read from `var/lib/pve-sim/scenario.yaml` when the node starts and from `var/lib/pve-sim/control/`
//! while it runs. It must not know how the model works, since the tests build these values too.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A whole node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Scenario {
    /// The node itself.
    pub(crate) node: NodeSpec,
    /// Its VMs, by VMID. A configuration file without an entry here is a VM that is stopped.
    pub(crate) vms: BTreeMap<u32, VmSpec>,
    /// Configuration files of other nodes' VMs: node, VMID, text.
    pub(crate) elsewhere: BTreeMap<String, BTreeMap<u32, String>>,
    /// What other nodes of the cluster are like, by name. One that only has VMs `elsewhere` is online and tells nothing of
    /// itself.
    pub(crate) others: BTreeMap<String, OtherSpec>,
    /// Percent of the node's memory that pvestatd's auto-ballooning aims at, and how often it runs.
    pub(crate) ballooning: Ballooning,
}

/// The node's hardware and what it uses for itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NodeSpec {
    /// Its name, one DNS label.
    pub(crate) name: String,
    /// Logical CPUs.
    pub(crate) cpus: u32,
    /// Memory that its kernel manages.
    pub(crate) memory_mib: u64,
    /// CPU used by everything but VMs, in cores.
    pub(crate) base_cpu: f64,
    /// Memory used by everything but VMs and the ARC.
    pub(crate) base_memory_mib: u64,
    /// Size of the ZFS ARC; none means a node without ZFS.
    pub(crate) arc: Option<Arc>,
    /// The cluster it belongs to; none means standalone.
    pub(crate) cluster: Option<String>,
    /// How often files are brought up to date, in milliseconds.
    pub(crate) update_ms: u64,
    /// Whether etc/pve is mounted already and shared with other nodes: the node then makes nothing of it up itself, and
    /// its pvestatd, which would hang with it, does not run.
    pub(crate) shares_etc_pve: bool,
}

/// Another node, as this one hears of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OtherSpec {
    /// Whether its pmxcfs is reached.
    pub(crate) online: bool,
    /// Logical CPUs.
    pub(crate) cpus: u32,
    /// Memory that its kernel manages.
    pub(crate) memory_mib: u64,
    /// Memory that it could still hand out.
    pub(crate) memory_free_mib: u64,
}

impl Default for OtherSpec {
    fn default() -> Self {
        Self {
            online: true,
            cpus: 16,
            memory_mib: 64 * 1024,
            memory_free_mib: 48 * 1024,
        }
    }
}

/// The ZFS read cache.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arc {
    /// What it holds now.
    pub(crate) size_mib: u64,
    /// Below this ZFS does not shrink it.
    pub(crate) min_mib: u64,
}

impl Default for NodeSpec {
    fn default() -> Self {
        Self {
            name: "pve1".to_owned(),
            cpus: 16,
            memory_mib: 64 * 1024,
            base_cpu: 0.2,
            base_memory_mib: 2048,
            arc: None,
            cluster: None,
            update_ms: 100,
            shares_etc_pve: false,
        }
    }
}

/// pvestatd's auto-ballooning.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Ballooning {
    /// Seconds between two rounds; pvestatd's own is 10.
    pub(crate) every_s: f64,
    /// Percent of the node's memory that it fills; `ballooning-target` of the node's config, 80 if unset.
    pub(crate) target_percent: u64,
}

impl Default for Ballooning {
    fn default() -> Self {
        Self {
            every_s: 10.0,
            target_percent: 80,
        }
    }
}

/// One VM of this node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct VmSpec {
    /// Text of its configuration file, written if there is no such file yet.
    pub(crate) config: Option<String>,
    /// Whether it runs when the node comes up.
    pub(crate) running: bool,
    /// Whether it is paused from the start.
    pub(crate) paused: bool,
    /// How long ago it started, in seconds.
    pub(crate) uptime_s: f64,
    /// What its guest does.
    pub(crate) load: Load,
    /// What its guest is like.
    pub(crate) guest: GuestSpec,
    /// How its QEMU answers.
    pub(crate) monitor: MonitorState,
    /// A real QEMU and Linux in place of the model; `load`, `guest` and `monitor` mean nothing then.
    pub(crate) real: Option<RealSpec>,
}

/// What a real guest is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RealSpec {
    /// The kernel.
    pub(crate) kernel: PathBuf,
    /// Its initial file system.
    pub(crate) initrd: PathBuf,
    /// A disk that it may read.
    pub(crate) disk: PathBuf,
}

impl Default for VmSpec {
    fn default() -> Self {
        Self {
            config: None,
            running: true,
            paused: false,
            uptime_s: 600.0,
            load: Load::default(),
            guest: GuestSpec::default(),
            monitor: MonitorState::Answers,
            real: None,
        }
    }
}

/// What a guest would use if nothing held it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Load {
    /// CPU demand in cores.
    pub(crate) cpu: Curve,
    /// Threads that make the demand; none means as many as there are vCPUs.
    pub(crate) threads: Option<u32>,
    /// Memory of its processes without page cache and shared memory, in MiB.
    pub(crate) memory_mib: Curve,
    /// Shared memory and tmpfs, in MiB: in the page cache by the kernel's books, but not to be had.
    pub(crate) shmem_mib: Curve,
    /// Files that it reads again and again, in MiB: the page cache grows to this if there is room.
    pub(crate) files_mib: f64,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            cpu: Curve::Constant(0.05),
            threads: None,
            memory_mib: Curve::Constant(256.0),
            shmem_mib: Curve::Constant(0.0),
            files_mib: 128.0,
        }
    }
}

/// A value over time. Time starts when the curve is set (or the node starts).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Curve {
    /// Always the same.
    Constant(f64),
    /// From one value to another, which then stays.
    Ramp(Ramp),
    /// High, low, high, …
    Square(Square),
    /// A recorded demand.
    Trace(TraceSpec),
}

impl From<f64> for Curve {
    fn from(value: f64) -> Self {
        Self::Constant(value)
    }
}

/// From one value to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ramp {
    /// At the start.
    pub(crate) from: f64,
    /// At the end and from then on.
    pub(crate) to: f64,
    /// How long it takes, in seconds; 0 is a step.
    pub(crate) over_s: f64,
    /// Seconds before it begins.
    #[serde(default)]
    pub(crate) after_s: f64,
}

/// High first, then low, over and over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Square {
    /// While low.
    pub(crate) low: f64,
    /// While high.
    pub(crate) high: f64,
    /// Length of one high and one low together, in seconds.
    pub(crate) period_s: f64,
    /// Share of the period that is high.
    #[serde(default = "half")]
    pub(crate) duty: f64,
}

fn half() -> f64 {
    0.5
}

/// A recorded demand: CSV with the header `time_s,cpu_cores[,memory_mib]`, a value holds until the next line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TraceSpec {
    /// The file.
    pub(crate) trace: PathBuf,
    /// Which column.
    pub(crate) column: TraceColumn,
    /// Seconds of the trace that pass in one second.
    #[serde(default = "one")]
    pub(crate) speed: f64,
    /// Where in the trace to start, in its seconds.
    #[serde(default)]
    pub(crate) skip_s: f64,
    /// Multiplies the values.
    #[serde(default = "one")]
    pub(crate) scale: f64,
}

fn one() -> f64 {
    1.0
}

/// A column of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TraceColumn {
    /// CPU demand in cores.
    CpuCores,
    /// Memory demand in MiB.
    MemoryMib,
}

/// What a guest's kernel is like: what it does when asked, and what it tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GuestSpec {
    /// Whether it brings plugged vCPUs online (a udev rule or the kernel does). If not, their threads never run.
    pub(crate) onlines_vcpus: bool,
    /// Whether it gives vCPUs back.
    pub(crate) releases_vcpus: bool,
    /// Seconds until it reacts to a plugged or to-be-unplugged vCPU.
    pub(crate) vcpu_delay_s: f64,
    /// Whether it brings plugged memory online.
    pub(crate) onlines_memory: bool,
    /// Whether it gives memory modules back.
    pub(crate) releases_memory: bool,
    /// Seconds until it reacts to a plugged or to-be-unplugged memory module.
    pub(crate) memory_delay_s: f64,
    /// Whether the balloon driver is there. Without it the balloon never moves and no statistics come.
    pub(crate) balloon_driver: bool,
    /// How fast the balloon moves, in MiB per second.
    pub(crate) balloon_mib_per_s: f64,
    /// Whether statistics keep coming; if not, the last ones stay.
    pub(crate) fresh_statistics: bool,
    /// What the statistics contain.
    pub(crate) statistics: Statistics,
    /// Swap space of the guest, in MiB.
    pub(crate) swap_mib: u64,
    /// Seconds after which the service that the OOM killer struck is back.
    pub(crate) recovers_from_oom_s: f64,
}

impl Default for GuestSpec {
    /// A current Linux cloud image on its best behaviour.
    fn default() -> Self {
        Self {
            onlines_vcpus: true,
            releases_vcpus: true,
            vcpu_delay_s: 0.2,
            onlines_memory: true,
            releases_memory: true,
            memory_delay_s: 0.5,
            balloon_driver: true,
            balloon_mib_per_s: 2048.0,
            fresh_statistics: true,
            statistics: Statistics::NewQemu,
            swap_mib: 0,
            recovers_from_oom_s: 10.0,
        }
    }
}

/// Which balloon statistics there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Statistics {
    /// QEMU 10 with a guest kernel that does not report the newer counters: all ones (as recorded).
    NewQemu,
    /// QEMU 10 with a guest kernel that reports oom-kills, allocation stalls and reclaim too.
    NewQemuNewKernel,
    /// QEMU 9 and before: the newer names do not exist.
    OldQemu,
}

/// How a VM's QEMU answers on its QMP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MonitorState {
    /// As it should.
    Answers,
    /// The socket takes connections, nothing is ever answered.
    Hangs,
    /// The socket refuses connections although the process lives.
    Refuses,
}

/// Something done to a running node, from outside. One file each in `var/lib/pve-sim/control/`, named
/// `<anything>.json`; the node removes it once carried out, or renames it to `<anything>.rejected` with the reason.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Command {
    /// The guest's load changes; the time of its curves starts anew.
    Load {
        /// VMID.
        vm: u32,
        /// The new load.
        load: Load,
    },
    /// The guest behaves differently from now on.
    Guest {
        /// VMID.
        vm: u32,
        /// The new behaviour.
        guest: GuestSpec,
    },
    /// QEMU's monitor answers differently from now on.
    Monitor {
        /// VMID.
        vm: u32,
        /// How.
        state: MonitorState,
    },
    /// Starts QEMU from the active part of the VM's configuration file.
    Start {
        /// VMID.
        vm: u32,
    },
    /// QEMU ends: by shutdown or by a crash, from outside it looks the same.
    Stop {
        /// VMID.
        vm: u32,
    },
    /// The guest stops executing (`qm suspend`).
    Pause {
        /// VMID.
        vm: u32,
    },
    /// It goes on.
    Resume {
        /// VMID.
        vm: u32,
    },
    /// The cluster has a quorum or not. Without one /etc/pve cannot be written.
    Quorum {
        /// Whether there is one.
        quorate: bool,
    },
    /// Whether /etc/pve can be written, whatever the quorum.
    Writable {
        /// Whether it can.
        writable: bool,
    },
    /// Another node comes, goes, or has more or less room.
    Other {
        /// Its name.
        node: String,
        /// What it is like now.
        is: OtherSpec,
    },
    /// The node's own use changes.
    Base {
        /// In cores.
        cpu: f64,
        /// In MiB.
        memory_mib: u64,
    },
}

/// Where scenario and control files are, under the root.
pub(crate) const STATE_DIR: &str = "var/lib/pve-sim";
