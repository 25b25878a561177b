//! `run/vm-autoscale/state.json`: what the daemon knows now, replaced whole each tick. `status` and `explain` read it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::act::Done;
use crate::decide::{KnownPeak, OpenWindow, Plan, Reason, Verdict};
use crate::domain::{
    Amount, Capabilities, Cores, Lever, Mib, Moment, NodeName, Reading, Resource, VmId, VmName,
};
use crate::observe::{Pause, Snapshot};

/// The version of the file's form.
pub const STATE_VERSION: u32 = 1;

/// What the daemon knows now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// [`STATE_VERSION`] of the writer.
    pub version: u32,
    /// When this was true.
    pub at: Moment,
    /// The node.
    pub node: NodeName,
    /// The agent.
    pub agent: AgentState,
    /// Whether /etc/pve accepts writes.
    pub quorate: Reading<bool>,
    /// Set while an admin has told the agent to change nothing.
    pub pause: Option<Pause>,
    /// The node's own resources.
    pub host: HostState,
    /// The managed VMs, by number.
    pub vms: Vec<VmState>,
}

/// The agent that wrote the state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentState {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub since: Moment,
    /// How often it decides.
    pub check_interval: Duration,
    /// Why the file's present configuration is not in force, if so.
    pub config_rejected: Option<String>,
}

/// The node's own resources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostState {
    /// Logical CPUs.
    pub cpus: Cores,
    /// CPU in use.
    pub cpu_used: Reading<Cores>,
    /// Memory.
    pub memory_total: Mib,
    /// Memory that can be handed out.
    pub memory_available: Reading<Mib>,
}

/// One managed VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VmState {
    /// Its number.
    pub vmid: VmId,
    /// Its name, cleaned.
    pub name: VmName,
    /// The node that owns it.
    pub node: NodeName,
    /// Whether the configuration selects it. Always true here; kept so that readers need not know that.
    pub managed: bool,
    /// Options whose value waits for a power cycle.
    pub pending: Vec<String>,
    /// What each of its levers can do.
    pub can: Capabilities,
    /// The windows of its schedule that are open.
    #[serde(default)]
    pub windows: Vec<OpenWindow>,
    /// Its CPU, in cores.
    pub cpu: ResourceState,
    /// Its memory, in mebibytes.
    pub memory: ResourceState,
}

/// One resource of one VM. In the file, amounts are bare numbers in the unit that
/// stands beside them, or null, so that `jq '.vms[].cpu.allocation'` is all it takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct ResourceState {
    /// Which resource.
    pub resource: Resource,
    /// What it needs.
    pub need: Reading<Amount>,
    /// What it has, as read back.
    pub allocation: Reading<Amount>,
    /// The lever that would move it.
    pub lever: Option<Lever>,
    /// The least that it may be given.
    pub min: Option<Amount>,
    /// The most that it may be given before a power cycle.
    pub max: Option<Amount>,
    /// What the policy asked for.
    pub wanted: Option<Amount>,
    /// What is being reached now.
    pub target: Option<Amount>,
    /// What `apply` would change it to, where the mode leaves that to the admin.
    pub recommended: Option<Amount>,
    /// Why, in words.
    pub why: String,
    /// Why, for machines.
    pub reason: Reason,
    /// The peaks of the day that the policy knows.
    pub peaks: Vec<KnownPeak>,
    /// The last change that was tried, with its outcome and time.
    pub last: Option<Done>,
}

impl State {
    /// The state after a tick. `last` gives the last change of a VM's resource.
    pub fn new(
        agent: AgentState,
        snapshot: &Snapshot,
        plan: &Plan,
        last: impl Fn(VmId, Resource) -> Option<Done>,
    ) -> Self {
        let host = &snapshot.host;
        let mut vms: Vec<VmState> = Vec::new();
        for pair in plan.verdicts.chunk_by(|a, b| a.vm == b.vm) {
            let [cpu, memory] = pair else { continue };
            let Some(view) = snapshot.vms.get(&cpu.vm) else {
                continue;
            };
            vms.push(VmState {
                vmid: view.id,
                name: view.name.clone(),
                node: view.owner.clone(),
                managed: true,
                pending: view.pending.clone(),
                can: Capabilities {
                    // A hundred sizes tell a reader less than the limits do.
                    sizes: Vec::new(),
                    ..view.can.clone()
                },
                windows: cpu.windows.clone(),
                cpu: ResourceState::new(cpu, last(view.id, Resource::Cpu)),
                memory: ResourceState::new(memory, last(view.id, Resource::Memory)),
            });
        }
        Self {
            version: STATE_VERSION,
            at: snapshot.at,
            node: snapshot.node.clone(),
            agent,
            quorate: snapshot.cluster.quorate.clone(),
            pause: snapshot.cluster.pause.clone(),
            host: HostState {
                cpus: host.cpus,
                cpu_used: host.cpu_used.clone(),
                memory_total: host.memory_total,
                memory_available: host.memory_available.clone(),
            },
            vms,
        }
    }

    /// Takes in a change that ended after the tick, so that the state never contradicts what was read back.
    pub fn note(&mut self, done: &Done) {
        let Some(vm) = self.vms.iter_mut().find(|vm| vm.vmid == done.change.vm) else {
            return;
        };
        let resource = match done.change.lever.resource() {
            Resource::Cpu => &mut vm.cpu,
            Resource::Memory => &mut vm.memory,
        };
        resource.allocation = done.now.clone();
        resource.target = None;
        resource.recommended = None;
        resource.last = Some(done.clone());
        self.at = self.at.max(done.at);
    }

    /// Replaces the file at `path`: a reader sees the old text or the new, never half of it.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_string(self).map_err(io::Error::other)?;
        super::replace_file(path, text.as_bytes())
    }

    /// Reads the file at `path`.
    pub fn read(path: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        serde_json::from_str(&text).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }
}

/// [`ResourceState`] as it stands in the file.
#[derive(Serialize, Deserialize)]
struct Written {
    unit: String,
    need: Option<f64>,
    allocation: Option<f64>,
    lever: Option<Lever>,
    min: Option<f64>,
    max: Option<f64>,
    wanted: Option<f64>,
    target: Option<f64>,
    recommended: Option<f64>,
    why: String,
    reason: Reason,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    peaks: Vec<KnownPeak>,
    outcome: Option<String>,
    outcome_at: Option<Moment>,
    last: Option<Done>,
    readings: Readings,
}

/// Where the numbers come from and how old they are, or why they are unknown.
#[derive(Serialize, Deserialize)]
struct Readings {
    need: Reading<Amount>,
    allocation: Reading<Amount>,
}

impl Written {
    fn resource(&self) -> Resource {
        if self.unit == "MiB" {
            Resource::Memory
        } else {
            Resource::Cpu
        }
    }
}

impl From<ResourceState> for Written {
    fn from(state: ResourceState) -> Self {
        Self {
            unit: if state.resource == Resource::Memory {
                "MiB"
            } else {
                "cores"
            }
            .to_owned(),
            need: state.need.get().map(Amount::value),
            allocation: state.allocation.get().map(Amount::value),
            lever: state.lever,
            min: state.min.map(Amount::value),
            max: state.max.map(Amount::value),
            wanted: state.wanted.map(Amount::value),
            target: state.target.map(Amount::value),
            recommended: state.recommended.map(Amount::value),
            why: state.why,
            reason: state.reason,
            peaks: state.peaks,
            outcome: state
                .last
                .as_ref()
                .map(|done| done.outcome.word().to_owned()),
            outcome_at: state.last.as_ref().map(|done| done.at),
            last: state.last,
            readings: Readings {
                need: state.need,
                allocation: state.allocation,
            },
        }
    }
}

impl From<Written> for ResourceState {
    fn from(written: Written) -> Self {
        let resource = written.resource();
        Self {
            resource,
            need: written.readings.need,
            allocation: written.readings.allocation,
            lever: written.lever,
            min: written.min.map(|value| resource.amount(value)),
            max: written.max.map(|value| resource.amount(value)),
            wanted: written.wanted.map(|value| resource.amount(value)),
            target: written.target.map(|value| resource.amount(value)),
            recommended: written.recommended.map(|value| resource.amount(value)),
            why: written.why,
            reason: written.reason,
            peaks: written.peaks,
            last: written.last,
        }
    }
}

impl ResourceState {
    fn new(verdict: &Verdict, last: Option<Done>) -> Self {
        Self {
            resource: verdict.resource,
            need: verdict.need.clone(),
            allocation: verdict.allocation.clone(),
            lever: verdict.lever,
            min: verdict.min,
            max: verdict.max,
            wanted: verdict.wanted,
            target: verdict.target,
            recommended: verdict.recommended,
            why: verdict.reason.to_string(),
            reason: verdict.reason.clone(),
            peaks: verdict.peaks.clone(),
            last,
        }
    }
}
