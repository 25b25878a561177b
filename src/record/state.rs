//! `run/vm-autoscale/state.json`: what the daemon knows now, replaced whole each tick. `status` and `explain` read it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::act::Done;
use crate::decide::{Plan, Reason, Verdict};
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
    /// Its CPU, in cores.
    pub cpu: ResourceState,
    /// Its memory, in mebibytes.
    pub memory: ResourceState,
}

/// One resource of one VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResourceState {
    /// What it needs.
    pub need: Reading<Amount>,
    /// What it has, as read back.
    pub allocation: Reading<Amount>,
    /// The lever that would move it.
    pub lever: Option<Lever>,
    /// What the policy asked for.
    pub wanted: Option<Amount>,
    /// What is being reached now.
    pub target: Option<Amount>,
    /// Why, in words.
    pub why: String,
    /// Why, for machines.
    pub reason: Reason,
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

impl ResourceState {
    fn new(verdict: &Verdict, last: Option<Done>) -> Self {
        Self {
            need: verdict.need.clone(),
            allocation: verdict.allocation.clone(),
            lever: verdict.lever,
            wanted: verdict.wanted,
            target: verdict.target,
            why: verdict.reason.to_string(),
            reason: verdict.reason.clone(),
            last,
        }
    }
}
