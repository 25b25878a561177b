//! One agent as a member of the cluster: which VMs are its to change, and what it owes the others to know.
//!
//! A round runs once per tick. A quiet one only reads. It knows the protocol, not what a change is good for.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::act::Done;
use crate::decide::{Memory, VmMemory};
use crate::domain::{Moment, NodeName, Resource, VmId};
use crate::observe::{Hold, Pause, Power, Snapshot, VmView};
use crate::record::Day;

use super::clearance::{Withheld, free_config};
use super::facts::VmFacts;
use super::files::{FilesError, SharedFiles};
use super::ha::HaStatus;
use super::janitor::{Clock, Janitor};
use super::pause;
use super::report::{AgentReport, Reporter};

/// How often the facts of a VM that is ours are read again. What was written can be overwritten once by an old owner
/// whose write hung while the VM moved; this puts it right.
const VERIFY_EVERY: Duration = Duration::from_secs(60);
/// After a gap of this length between rounds nothing is taken for granted: VMs may have gone and come back.
const GAP: Duration = Duration::from_secs(30);

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
    /// VMs whose facts were cleared away, since they exist no more.
    pub cleared: Vec<VmId>,
    /// What the day was like for the whole cluster, where it fell to this agent to tell it.
    pub day: Option<Day>,
    /// What did not work, though nothing depends on it now.
    pub problem: Option<FilesError>,
}

impl View {
    /// Puts what was found where decisions look for it: who paused the cluster and which VMs to leave alone into
    /// `snapshot`, what another node's agent learned into `memory`.
    pub fn enter(&self, snapshot: &mut Snapshot, memory: &mut Memory) {
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

/// This node's agent in the cluster.
#[derive(Debug, Clone)]
pub struct Member {
    node: NodeName,
    /// VMs that are ours, with their facts as last read or written.
    own: BTreeMap<VmId, Own>,
    /// Changes that are not written down yet.
    unwritten: BTreeMap<VmId, Unwritten>,
    pause: Option<Pause>,
    last_round: Option<Duration>,
    reporter: Reporter,
    janitor: Janitor,
}

#[derive(Debug, Clone)]
struct Own {
    facts: Option<VmFacts>,
    read: Duration,
}

#[derive(Debug, Clone, Default)]
struct Unwritten {
    done: BTreeMap<Resource, Done>,
    learned: Option<VmMemory>,
}

impl Member {
    /// The agent of `node`, which knows of nothing yet.
    pub fn new(node: NodeName) -> Self {
        Self {
            node,
            own: BTreeMap::new(),
            unwritten: BTreeMap::new(),
            pause: None,
            last_round: None,
            reporter: Reporter::default(),
            janitor: Janitor::default(),
        }
    }

    /// One round. What could not be written is tried again in the next one.
    ///
    /// # Errors
    /// It cannot be told whether anything may be changed: then nothing may.
    pub fn round(&mut self, files: &impl SharedFiles, round: Round) -> Result<View, FilesError> {
        for note in round.notes {
            self.unwritten
                .entry(note.done.change.vm)
                .or_default()
                .take(note);
        }
        if self
            .last_round
            .is_some_and(|last| round.at.saturating_sub(last) > GAP)
        {
            self.own.clear();
        }
        self.last_round = Some(round.at);
        let clock = Clock {
            at: round.at,
            now: round.now,
        };
        let mut view = View {
            ha: HaStatus::read(files)?,
            pause: self.look_for_pause(files)?,
            ..View::default()
        };
        let node = self.node.clone();
        self.own
            .retain(|vm, _| round.vms.get(vm).is_some_and(|seen| seen.owner == node));
        if round.quorate {
            self.write_down(files, clock, &round.vms);
        }
        for (vm, seen) in round
            .vms
            .iter()
            .filter(|(_, seen)| seen.owner == node && seen.free)
        {
            if let Some(hold) = self.stand(files, *vm, seen, clock, round.quorate, &mut view) {
                view.holds.insert(*vm, hold);
            }
        }
        if round.quorate {
            view.problem = self
                .housekeeping(files, round.report, clock, &mut view)
                .err();
        }
        Ok(view)
    }

    /// The last words of an agent that stops: what is not written down yet, and that it stops on purpose.
    ///
    /// # Errors
    /// The shared files refused.
    pub fn stop(&mut self, files: &impl SharedFiles, round: Round) -> Result<(), FilesError> {
        for note in round.notes {
            self.unwritten
                .entry(note.done.change.vm)
                .or_default()
                .take(note);
        }
        let clock = Clock {
            at: round.at,
            now: round.now,
        };
        self.write_down(files, clock, &round.vms);
        let mut report = round.report;
        report.running = false;
        self.reporter
            .tell(files, &self.node, report, clock.at, clock.now)
    }

    /// The order to change nothing. It counts as taken back only when two looks in a row did not find it, since a file
    /// that is being replaced can be absent for an instant.
    fn look_for_pause(&mut self, files: &impl SharedFiles) -> Result<Option<Pause>, FilesError> {
        let found = pause::for_cluster(files)?;
        let before = std::mem::replace(&mut self.pause, found.clone());
        Ok(found.or(before))
    }

    /// Where this agent stands with a VM that runs here: why it must be left alone, if so.
    fn stand(
        &mut self,
        files: &impl SharedFiles,
        vm: VmId,
        seen: &Seen,
        clock: Clock,
        quorate: bool,
        view: &mut View,
    ) -> Option<Hold> {
        debug_assert!(seen.free);
        if let Some(state) = view.ha.hands_off(vm) {
            return Some(Hold::Ha { state });
        }
        let is_fresh = |own: &Own| clock.at.saturating_sub(own.read) < VERIFY_EVERY;
        if quorate && !self.own.get(&vm).is_some_and(is_fresh) {
            match self.adopt(files, vm, clock) {
                Ok(arrival) => view.arrivals.extend(arrival),
                Err(why) => {
                    self.own.remove(&vm);
                    return Some(Hold::HandOver {
                        why: why.to_string(),
                    });
                }
            }
        }
        if !self.own.contains_key(&vm) {
            return Some(Hold::HandOver {
                why: "its shared facts were not read yet".to_owned(),
            });
        }
        self.unwritten.contains_key(&vm).then(|| Hold::HandOver {
            why: "its last change is not written down yet".to_owned(),
        })
    }

    /// Reads the facts of a VM that is here, and makes them ours if they are not.
    fn adopt(
        &mut self,
        files: &impl SharedFiles,
        vm: VmId,
        clock: Clock,
    ) -> Result<Option<Arrival>, Withheld> {
        let known = self.own.remove(&vm);
        let was_own = known.is_some();
        let known = known.and_then(|own| own.facts);
        let read = VmFacts::read(files, vm)?;
        let (facts, arrival) = match read {
            None => (None, None),
            Some(mut facts) if facts.owner == self.node => {
                if known.is_some_and(|known| facts.regain(&known)) {
                    facts.write(files, vm)?;
                }
                let arrival = (!was_own).then(|| Arrival::of(vm, &facts));
                (Some(facts), arrival)
            }
            Some(mut facts) => {
                let arrival = Arrival::of(vm, &facts);
                if let Some(known) = known {
                    facts.regain(&known);
                }
                let facts = facts.taken_over(self.node.clone(), clock.now);
                // The list that says that it is here may be a moment old.
                free_config(files, &self.node, vm)?;
                facts.write(files, vm)?;
                (Some(facts), Some(arrival))
            }
        };
        self.own.insert(
            vm,
            Own {
                facts,
                read: clock.at,
            },
        );
        Ok(arrival)
    }

    /// Writes down the changes that are not yet. A VM that another node took over in the meantime is that node's matter.
    fn write_down(&mut self, files: &impl SharedFiles, clock: Clock, vms: &BTreeMap<VmId, Seen>) {
        let due: Vec<VmId> = self.unwritten.keys().copied().collect();
        for vm in due {
            let here = vms.get(&vm).is_some_and(|seen| seen.owner == self.node);
            match self.write_down_one(files, vm, clock, here) {
                Ok(()) => {
                    self.unwritten.remove(&vm);
                }
                Err(why) => {
                    tracing::debug!("VM {vm}: its last change is not written down yet: {why}")
                }
            }
        }
    }

    fn write_down_one(
        &mut self,
        files: &impl SharedFiles,
        vm: VmId,
        clock: Clock,
        here: bool,
    ) -> Result<(), Withheld> {
        let Some(mut facts) = VmFacts::read(files, vm)? else {
            return Ok(());
        };
        if facts.owner != self.node {
            if !here {
                return Ok(());
            }
            free_config(files, &self.node, vm)?;
            facts = facts.taken_over(self.node.clone(), clock.now);
        }
        if let Some(unwritten) = self.unwritten.get(&vm) {
            for done in unwritten.done.values() {
                facts.record(done, unwritten.learned.as_ref());
            }
        }
        facts.write(files, vm)?;
        if let Some(own) = self.own.get_mut(&vm) {
            *own = Own {
                facts: Some(facts),
                read: clock.at,
            };
        }
        Ok(())
    }

    fn housekeeping(
        &mut self,
        files: &impl SharedFiles,
        report: AgentReport,
        clock: Clock,
        view: &mut View,
    ) -> Result<(), FilesError> {
        self.reporter
            .tell(files, &self.node, report, clock.at, clock.now)?;
        let looked = self.janitor.look(files, &self.node, clock)?;
        view.cleared = looked.removed;
        view.day = looked.day.transpose()?;
        Ok(())
    }
}

impl Unwritten {
    fn take(&mut self, note: Note) {
        self.done
            .insert(note.done.change.lever.resource(), note.done);
        self.learned = note.learned;
    }
}

impl Arrival {
    fn of(vm: VmId, facts: &VmFacts) -> Self {
        Self {
            vm,
            from: facts.owner.clone(),
            learned: facts.learned(),
            written: facts.written,
        }
    }
}
