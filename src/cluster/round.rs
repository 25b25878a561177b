//! What a round of an agent is given, and what it finds.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::act::Done;
use crate::decide::{Memory, VmMemory};
use crate::domain::{Moment, NodeName, VmId};
use crate::observe::{Hold, Pause, Power, Snapshot, VmView};
use crate::record::Day;

use super::facts::VmFacts;
use super::files::FilesError;
use super::ha::HaStatus;
use super::report::AgentReport;

/// A managed VM as the agent sees it in this round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The node whose directory holds its configuration.
    pub owner: NodeName,
    /// Whether it runs here and carries no lock.
    pub free: bool,
}

impl Seen {
    /// The managed VMs of `snapshot`.
    pub fn all(snapshot: &Snapshot) -> BTreeMap<VmId, Self> {
        let seen = |vm: &VmView| {
            let free = vm.owner == snapshot.node && vm.power == Power::Running && vm.lock.is_none();
            Self {
                owner: vm.owner.clone(),
                free,
            }
        };
        snapshot
            .vms
            .iter()
            .map(|(id, vm)| (*id, seen(vm)))
            .collect()
    }
}

/// A change that was seen to take effect, and what is remembered of the VM since.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// The change.
    pub done: Done,
    /// What decisions remember of the VM.
    pub learned: Option<VmMemory>,
}

/// What a round is given.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// The time by the wall clock.
    pub now: Moment,
    /// The time since the process began.
    pub at: Duration,
    /// Whether /etc/pve accepts changes.
    pub quorate: bool,
    /// The managed VMs of the whole cluster.
    pub vms: BTreeMap<VmId, Seen>,
    /// Changes since the last round.
    pub notes: Vec<Note>,
    /// What the agent says of itself.
    pub report: AgentReport,
}

/// A VM that this node's agent may change from now on.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// Which VM.
    pub vm: VmId,
    /// Whose it was; this node itself where its agent was restarted.
    pub from: NodeName,
    /// What the last owner's decisions remembered of it.
    pub learned: Option<VmMemory>,
    /// When that was written down, by the last owner's clock.
    pub written: Moment,
}

/// What a round found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct View {
    /// The order to change nothing, if there is one.
    pub pause: Option<Pause>,
    /// VMs of this node that must be left alone, and why.
    pub holds: BTreeMap<VmId, Hold>,
    /// VMs that HA restarts elsewhere when this node dies.
    pub ha: HaStatus,
    /// VMs that have come to this node.
    pub arrivals: Vec<Arrival>,
    /// VMs of this node under the number of an earlier one, whose facts were cleared away.
    pub replaced: Vec<VmId>,
    /// VMs whose facts were cleared away, since they exist no more.
    pub cleared: Vec<VmId>,
    /// What the day was like for the whole cluster, where it fell to this agent to tell it.
    pub day: Option<Day>,
    /// What did not work, though nothing depends on it now.
    pub problem: Option<FilesError>,
}

impl View {
    /// Puts what was found where decisions look for it: who paused the cluster and which VMs to leave alone into
    /// `snapshot`, what another node's agent learned into `memory`, from which what was learned of another VM goes.
    pub fn enter(&self, snapshot: &mut Snapshot, memory: &mut Memory) {
        if !self.replaced.is_empty() {
            memory.retain(|vm| !self.replaced.contains(&vm));
        }
        for arrival in &self.arrivals {
            let comes_back = arrival.from == snapshot.node;
            // What this node itself remembers of its VMs is younger than what it wrote down for the others.
            if !(comes_back && memory.of_vm(arrival.vm).is_some()) {
                memory.take_over(
                    arrival.vm,
                    arrival.learned.clone(),
                    arrival.written,
                    snapshot.at,
                );
            }
        }
        if snapshot.cluster.pause.is_none() {
            snapshot.cluster.pause.clone_from(&self.pause);
        }
        for (vm, view) in &mut snapshot.vms {
            view.fails_over = self.ha.manages(*vm);
        }
        for (vm, hold) in &self.holds {
            if let Some(view) = snapshot.vms.get_mut(vm) {
                view.hold = Some(hold.clone());
            }
        }
    }
}

impl Arrival {
    pub(super) fn of(vm: VmId, facts: &VmFacts) -> Self {
        Self {
            vm,
            from: facts.owner.clone(),
            learned: facts.learned(),
            written: facts.written,
        }
    }
}
