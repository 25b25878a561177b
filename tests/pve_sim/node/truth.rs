//! What is really so on the simulated node: the file `var/lib/pve-sim/truth.json`, by which tests judge the agent.
//!
//! Plain data, shared with the tests. The agent never reads it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The whole node at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Truth {
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// How many control commands were carried out so far.
    pub(crate) commands: u64,
    /// Running VMs by VMID.
    pub(crate) vms: BTreeMap<u32, VmTruth>,
    /// The node itself.
    pub(crate) node: NodeTruth,
}

/// One running VM.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct VmTruth {
    /// Its name.
    pub(crate) name: String,
    /// The id of its process.
    pub(crate) pid: u32,
    /// Whether the guest executes.
    pub(crate) executing: bool,
    /// vCPUs that QEMU has.
    pub(crate) vcpus: u32,
    /// vCPUs on which the guest runs.
    pub(crate) vcpus_online: u32,
    /// The most it could have.
    pub(crate) vcpus_max: u32,
    /// Quota of its control group in cores.
    pub(crate) cpu_limit: Option<f64>,
    /// CPU that the guest wants, in cores.
    pub(crate) cpu_wanted: f64,
    /// CPU that it gets, in cores.
    pub(crate) cpu_used: f64,
    /// Core-seconds wanted and not had so far.
    pub(crate) cpu_short_core_s: f64,
    /// Seconds in which more than a twentieth of the wanted CPU was not had so far.
    pub(crate) cpu_short_s: f64,
    /// QEMU's memory with all modules, the balloon not taken off.
    pub(crate) memory_mib: u64,
    /// Memory modules by id, size in MiB.
    pub(crate) modules: BTreeMap<String, u64>,
    /// What the balloon leaves of it.
    pub(crate) balloon_mib: u64,
    /// What it was asked to leave.
    pub(crate) balloon_target_mib: u64,
    /// Memory that the guest's processes and shared memory take, in MiB.
    pub(crate) memory_used_mib: f64,
    /// The guest's MemTotal in MiB.
    pub(crate) total_mib: f64,
    /// The guest's MemAvailable in MiB.
    pub(crate) available_mib: f64,
    /// Page cache in MiB, without shared memory.
    pub(crate) cache_mib: f64,
    /// Swapped out by the guest, in MiB.
    pub(crate) swapped_mib: f64,
    /// Major faults in the guest so far.
    pub(crate) major_faults: u64,
    /// OOM kills in the guest so far.
    pub(crate) oom_kills: u64,
    /// Seconds in which the guest was short of memory so far.
    pub(crate) memory_short_s: f64,
    /// Memory of its process on the host, in MiB.
    pub(crate) resident_mib: u64,
}

/// The node itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeTruth {
    /// Logical CPUs.
    pub(crate) cpus: u32,
    /// CPU in use, in cores.
    pub(crate) cpu_used: f64,
    /// All memory, in MiB.
    pub(crate) memory_mib: u64,
    /// Memory that is left, in MiB, the ARC counted as used.
    pub(crate) memory_free_mib: u64,
    /// Whether /etc/pve can be written.
    pub(crate) writable: bool,
}
