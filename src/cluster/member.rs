//! One agent as a member of the cluster: which VMs are its to change, and what it owes the others to know.
//!
//! A round runs once per tick. A quiet one only reads. It knows the protocol, not what a change is good for.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::act::Done;
use crate::decide::VmMemory;
use crate::domain::{NodeName, Resource, VmId};
use crate::observe::{Hold, Pause};

use super::clearance::{Withheld, free_config};
use super::facts::{LastChange, VmFacts};
use super::files::{FilesError, SharedFiles};
use super::ha::HaStatus;
use super::janitor::{Clock, Janitor};
use super::pause;
use super::report::{AgentReport, Reporter};
use super::round::{Arrival, Note, Round, Seen, View};

/// How often the facts of a VM that is ours are read again. What was written can be overwritten once by an old owner
/// whose write hung while the VM moved; this puts it right.
const VERIFY_EVERY: Duration = Duration::from_secs(60);
/// After a gap of this length between rounds nothing is taken for granted: VMs may have gone and come back.
const GAP: Duration = Duration::from_secs(30);

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

#[derive(Debug, Clone)]
struct Unwritten {
    done: BTreeMap<Resource, Done>,
    learned: Option<VmMemory>,
    /// The changes before these, as the facts had them: what others have put there since is younger than these.
    before: BTreeMap<Resource, LastChange>,
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
        self.take(round.notes);
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
        self.take(round.notes);
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

    /// Remembers what is to be written down.
    fn take(&mut self, notes: Vec<Note>) {
        for note in notes {
            let vm = note.done.change.vm;
            let facts = self.own.get(&vm).and_then(|own| own.facts.as_ref());
            let unwritten = self.unwritten.entry(vm).or_insert_with(|| Unwritten {
                done: BTreeMap::new(),
                learned: None,
                before: facts.map(|facts| facts.changes.clone()).unwrap_or_default(),
            });
            let resource = note.done.change.lever.resource();
            unwritten.done.insert(resource, note.done);
            unwritten.learned = note.learned;
        }
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
            match self.adopt(files, vm, clock, view) {
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
        view: &mut View,
    ) -> Result<Option<Arrival>, Withheld> {
        let known = self.own.remove(&vm);
        let was_own = known.is_some();
        let known = known.and_then(|own| own.facts);
        let mut read = VmFacts::read(files, vm)?;
        if let Some(facts) = &read
            && self.are_of_an_earlier_vm(files, vm, facts)?
        {
            VmFacts::remove(files, vm)?;
            self.unwritten.remove(&vm);
            view.replaced.push(vm);
            read = None;
        }
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

    /// Whether the VM that is here under this number is not the one that `facts` tell of.
    fn are_of_an_earlier_vm(
        &self,
        files: &impl SharedFiles,
        vm: VmId,
        facts: &VmFacts,
    ) -> Result<bool, Withheld> {
        // Without a uuid nothing tells them apart: what stays is what was before.
        if !facts.has_uuid() {
            return Ok(false);
        }
        let config = free_config(files, &self.node, vm)?;
        Ok(!facts.can_be_of(&config))
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
            for (resource, done) in &unwritten.done {
                if !unwritten.is_overtaken(*resource, &facts, &self.node) {
                    facts.record(done, unwritten.learned.as_ref());
                }
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
    /// Whether the VM was with another agent in the meantime, which changed `resource` since: it was given away and came
    /// back while the agent of `node` was stopped.
    fn is_overtaken(&self, resource: Resource, facts: &VmFacts, node: &NodeName) -> bool {
        let last = facts.changes.get(&resource);
        last.is_some_and(|last| last.node != *node && self.before.get(&resource) != Some(last))
    }
}
