//! What is known of the node and its VMs at one moment. Plain data: everything that `decide` may look at.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{
    Amount, Capabilities, Cores, Lever, Mib, Moment, NodeName, Percent, Reading, VmId, VmName,
};

/// Everything that was observed in one tick.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// When it was taken.
    pub at: Moment,
    /// The node on which the agent runs.
    pub node: NodeName,
    /// The cluster, as this node sees it.
    pub cluster: ClusterView,
    /// The node itself.
    pub host: HostView,
    /// The VMs that the configuration selects, wherever they are, by number.
    pub vms: BTreeMap<VmId, VmView>,
}

/// The state of the cluster that matters before a change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClusterView {
    /// Whether /etc/pve accepts writes. Unknown while it is not mounted or does not answer.
    pub quorate: Reading<bool>,
    /// Set while an admin has told the agent to change nothing.
    pub pause: Option<Pause>,
    /// The other nodes that are online, as far as they tell what they have. Unknown where none of them does. Empty where
    /// this one is alone, or where nothing is to fit elsewhere.
    pub others: Reading<Vec<OtherNode>>,
}

/// What another node could give a VM that came to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OtherNode {
    /// Its name.
    pub name: NodeName,
    /// Logical CPUs.
    pub cpus: Cores,
    /// Memory that its kernel manages.
    pub memory_total: Mib,
    /// Memory that it could still hand out.
    pub memory_available: Mib,
}

/// An admin's order to change nothing until it is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who gave it, as far as known: a user's name, or a node's.
    pub by: String,
    /// When.
    pub since: Moment,
    /// Why, in the admin's words; may be empty.
    #[serde(default)]
    pub reason: String,
    /// Whether it holds for all nodes of the cluster.
    #[serde(default)]
    pub cluster: bool,
}

/// Why the cluster wants a VM of this node left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Hold {
    /// High availability is doing something with it, or waits for an admin.
    Ha {
        /// PVE's word for what.
        state: String,
    },
    /// The agents have not handed it over to this node in full.
    HandOver {
        /// What is missing.
        why: String,
    },
}

/// The node's own CPU and memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostView {
    /// Logical CPUs.
    pub cpus: Cores,
    /// CPU used by everything on the node: the mean since the previous tick, or that of the last ten seconds where it is
    /// larger.
    pub cpu_used: Reading<Cores>,
    /// Memory that the kernel manages.
    pub memory_total: Mib,
    /// Memory that can be handed out: MemAvailable plus the part of the ZFS ARC that ZFS gives back.
    pub memory_available: Reading<Mib>,
    /// What its running VMs that are not selected were given.
    pub unselected: Reading<Unselected>,
}

/// What the node's running VMs that are not selected were given: nobody else may be promised it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Unselected {
    /// Their vCPUs; what is under a quota counts as that.
    pub cores: Cores,
    /// Memory that they may use, beyond what they occupy. Where auto-ballooning may take it back, up to their `balloon`.
    pub untouched: Mib,
}

/// Whether a VM runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// Its QEMU process runs on this node.
    Running,
    /// Not running.
    Stopped,
    /// QEMU is there but the guest does not execute: `paused`, `io-error`, `inmigrate`, …
    Suspended(String),
    /// Cannot be told, and why.
    Unknown(String),
}

/// One VM.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VmView {
    /// Its number.
    pub id: VmId,
    /// Its name, cleaned.
    pub name: VmName,
    /// The node whose directory holds its configuration.
    pub owner: NodeName,
    /// Its tags, in lower case.
    pub tags: Vec<String>,
    /// Whether it runs here.
    pub power: Power,
    /// A template can never be started.
    pub template: bool,
    /// The configuration lock (`backup`, `migrate`, …), while one is held.
    pub lock: Option<String>,
    /// How long its QEMU process has run.
    pub uptime: Reading<Duration>,
    /// Why the configuration could not be understood, if so; nothing may be changed then.
    pub unreadable: Option<String>,
    /// What each of its levers can do.
    pub can: Capabilities,
    /// Its CPU.
    pub cpu: CpuView,
    /// Its memory.
    pub memory: MemoryView,
    /// The changes of it that are still being carried out.
    pub in_hand: Vec<InHand>,
    /// Options whose value waits for a power cycle, by name.
    pub pending: Vec<String>,
    /// Why the cluster wants it left alone, if so.
    pub hold: Option<Hold>,
    /// Whether high availability starts it on another node when this one dies.
    pub fails_over: bool,
}

/// A VM's CPU: what it could have, what it has, what it uses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CpuView {
    /// Sockets × cores of the running VM: the most vCPUs it can have before a power cycle.
    pub ceiling: u32,
    /// vCPUs according to the active configuration.
    pub configured: u32,
    /// vCPUs that QEMU has.
    pub vcpus: Reading<u32>,
    /// Those among them on which the guest has never run: it did not bring them online.
    pub idle: u32,
    /// The quota of its control group; `None` is no limit.
    pub limit: Reading<Option<Cores>>,
    /// What it used since the previous tick.
    pub usage: Reading<CpuUsage>,
}

/// CPU time that a VM used since the previous tick.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CpuUsage {
    /// Mean since the previous tick.
    pub mean: Cores,
    /// What it was made of, oldest first; at least one.
    pub samples: Vec<CpuSample>,
    /// Share of the quota's periods in which the VM was held back; `None` without a quota.
    pub throttled: Option<Percent>,
    /// The busiest vCPU thread's share of one core; `None` where threads could not be read.
    pub busiest_vcpu: Option<Percent>,
}

/// CPU time that a VM used between two looks at its counter: about a second. In a history that stays the same for longer,
/// as long as it does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CpuSample {
    /// How long it took.
    pub span: Duration,
    /// The mean in that time.
    pub mean: Cores,
}

/// A change of a lever that is being carried out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct InHand {
    /// What is changed.
    pub lever: Lever,
    /// Where it stood when the change was decided.
    pub from: Amount,
    /// Where it is to be.
    pub to: Amount,
}

/// A VM's memory: what it could have, what it has, what it needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryView {
    /// `memory` of the active configuration: the ceiling under which the balloon moves.
    pub configured: Mib,
    /// Memory that QEMU really gives the guest at most, plugged modules included.
    pub ceiling: Reading<Mib>,
    /// The balloon.
    pub balloon: Balloon,
    /// Memory of the node that the VM occupies, file cache of the host excluded.
    pub resident: Reading<Mib>,
    /// Whether all of it is taken from the node when the VM starts: huge pages, or a device that is passed through. The
    /// former are not in `resident`.
    pub pinned: bool,
    /// What the guest needs.
    pub need: Reading<MemoryNeed>,
}

/// A VM's balloon device and who moves it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Balloon {
    /// Whether the device exists (`balloon: 0` removes it).
    pub device: bool,
    /// `balloon` of the active configuration, if set: the floor of auto-ballooning, or the target.
    pub configured: Option<Mib>,
    /// `shares` of the active configuration, if set. Only an explicit 0 keeps pvestatd off the balloon.
    pub shares: Option<u32>,
    /// What the guest may use now, as QEMU has it.
    pub actual: Reading<Mib>,
}

/// What a guest needs of its memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryNeed {
    /// Memory that cannot be taken away without harm: total − available. Page cache is not in it.
    pub need: Mib,
    /// True where the guest does not tell: `need` is then what the host sees, page cache included.
    pub includes_cache: bool,
    /// Memory that the guest could still hand out, where it tells.
    pub available: Option<Mib>,
    /// Swap-in, major faults or allocations that had to wait since the previous statistics: nothing may be taken away.
    pub pressure: bool,
    /// The guest killed a program for want of memory since the previous statistics.
    pub out_of_memory: bool,
}
