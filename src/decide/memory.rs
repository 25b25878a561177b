//! What a decision remembers from tick to tick, and across restarts: cool-downs, low readings, failures, policies.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::act::{Done, Outcome};
use crate::domain::{Amount, Lever, Moment, Reading, Resource, VmId};
use crate::observe::VmView;

use super::remembered::{MINUTE_MS, ResourceMemory};
use super::{ByHand, Reason};

/// The version of the stored form. A file of another version is set aside and learned anew.
pub const MEMORY_VERSION: u32 = 1;

/// A lever that fails so often in a row rests.
const FAILURES_BEFORE_REST: u32 = 3;
/// The first rest; each further failure doubles it, up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_secs(5 * 60);
/// A guest can be repaired at any time, so a lever is tried again within the hour.
const LONGEST_REST: Duration = Duration::from_secs(60 * 60);
/// After a single refusal the same is not asked again at once: a guest that could not free a CPU or a memory
/// module just now will hardly do so in the next second.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(30);

/// Clocks of a cluster's nodes that differ by less are taken to agree: chrony keeps them within milliseconds, and
/// corosync and Ceph complain about far less than this.
const CLOCKS_AGREE: Duration = Duration::from_secs(60);

/// Everything that decisions remember.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    version: u32,
    /// The time of the last decision.
    #[serde(default)]
    decided: Moment,
    vms: BTreeMap<VmId, VmMemory>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            version: MEMORY_VERSION,
            decided: Moment::default(),
            vms: BTreeMap::new(),
        }
    }
}

/// What decisions remember of one VM. It goes with the VM to the node that the VM moves to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VmMemory {
    cpu: ResourceMemory,
    memory: ResourceMemory,
    #[serde(default)]
    levers: BTreeMap<Lever, Failures>,
    /// Where the agent left each lever that it moved.
    #[serde(default)]
    left: BTreeMap<Lever, Left>,
}

/// Where a lever was left: seen at `seen` after a change to `to`. Between the two it may still move by itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Left {
    seen: f64,
    to: f64,
    at: Moment,
}

impl Left {
    /// Whether a lever that stands at `now` was moved by somebody else. Less than 1 % is rounding.
    fn was_moved(self, now: f64) -> bool {
        let (low, high) = (self.seen.min(self.to), self.seen.max(self.to));
        now < low * 0.99 - 0.01 || now > high * 1.01 + 0.01
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Failures {
    in_a_row: u32,
    rest_until: Option<Moment>,
}

impl Memory {
    /// Whether this was stored by a version that this one understands.
    pub fn is_current(&self) -> bool {
        self.version == MEMORY_VERSION
    }

    /// What is remembered of one resource of one VM.
    pub(super) fn of(&mut self, vm: VmId, resource: Resource) -> &mut ResourceMemory {
        self.vms.entry(vm).or_default().of(resource)
    }

    /// Nothing is known of a resource now.
    pub(super) fn interrupt(&mut self, vm: VmId, resource: Resource) {
        if let Some(vm) = self.vms.get_mut(&vm) {
            vm.of(resource).begin_rows();
        }
    }

    /// Notes whether the node had room, as far as `reason` tells.
    pub(super) fn note_room(&mut self, vm: VmId, resource: Resource, reason: &Reason, now: Moment) {
        let Some(vm) = self.vms.get_mut(&vm) else {
            return;
        };
        let refused = &mut vm.of(resource).refused;
        match reason {
            Reason::HostFull { .. } => *refused = Some(now),
            Reason::WaitsForRoom { .. } => {}
            _ => *refused = None,
        }
    }

    /// Until when `lever` of `vm` rests after failures, if it does at `now`.
    pub fn rests_until(&self, vm: VmId, lever: Lever, now: Moment) -> Option<Moment> {
        let until = self.vms.get(&vm)?.levers.get(&lever)?.rest_until?;
        // A rest is never longer than the longest: a clock that was set back cannot freeze a lever.
        (until > now).then(|| until.min(now + LONGEST_REST))
    }

    /// Takes in what became of a change. Returns the end of the rest if the lever now begins one.
    pub fn note(&mut self, done: &Done) -> Option<Moment> {
        let change = &done.change;
        if matches!(done.outcome, Outcome::Withheld(_)) {
            return None;
        }
        let remembered = self.of(change.vm, change.lever.resource());
        if done.outcome.moved() {
            remembered.last_change = Some(done.at);
            remembered.begin_rows();
            remembered.count_change(done.at);
        }
        let left = &mut self.vms.entry(change.vm).or_default().left;
        // A module changes what the balloon leaves, too.
        left.remove(if change.lever == Lever::Dimm {
            &Lever::Balloon
        } else {
            &change.lever
        });
        if let Reading::Known { value, .. } = &done.now {
            let (seen, to) = (value.value(), change.to.value());
            left.insert(
                change.lever,
                Left {
                    seen,
                    to,
                    at: done.at,
                },
            );
        }
        let failures = self
            .vms
            .entry(change.vm)
            .or_default()
            .levers
            .entry(change.lever)
            .or_default();
        if done.outcome == Outcome::Applied {
            *failures = Failures::default();
            return None;
        }
        failures.in_a_row += 1;
        let over = failures.in_a_row.saturating_sub(FAILURES_BEFORE_REST);
        let opens = failures.in_a_row >= FAILURES_BEFORE_REST;
        let rest = if opens {
            (FIRST_REST * 2u32.pow(over.min(8))).min(LONGEST_REST)
        } else {
            PAUSE_AFTER_FAILURE
        };
        failures.rest_until = Some(done.at + rest);
        if opens { failures.rest_until } else { None }
    }

    /// The levers of `vm` that somebody else has moved since the agent did. They are left where they are for as long as
    /// a cool-down lasts, as after a change of the agent's own.
    pub(super) fn changed_by_hand(&mut self, vm: &VmView, now: Moment) -> Vec<ByHand> {
        let Some(remembered) = self.vms.get_mut(&vm.id) else {
            return Vec::new();
        };
        // A VM that was started since has what its configuration says.
        let started = vm.uptime.get().map(|uptime| now - uptime);
        remembered
            .left
            .retain(|_, left| started.is_none_or(|started| left.at >= started));
        if !vm.in_hand.is_empty() {
            return Vec::new();
        }
        let mut by_hand = Vec::new();
        for (lever, left) in &mut remembered.left {
            let Some(stands) = stands(vm, *lever) else {
                continue;
            };
            if left.was_moved(stands.value()) {
                let from = lever.resource().amount(left.seen);
                by_hand.push(ByHand {
                    vm: vm.id,
                    lever: *lever,
                    from,
                    to: stands,
                });
                *left = Left {
                    seen: stands.value(),
                    to: stands.value(),
                    at: now,
                };
            } else {
                left.seen = stands.value();
            }
        }
        for change in &by_hand {
            let resource = remembered.of(change.lever.resource());
            resource.last_change = Some(now);
            resource.begin_rows();
        }
        by_hand
    }

    /// Forgets where levers were left of VMs that are not managed now: who released one may do with it as they like.
    pub(super) fn keep_positions(&mut self, managed: impl Fn(VmId) -> bool) {
        for (vm, remembered) in &mut self.vms {
            if !managed(*vm) {
                remembered.left.clear();
            }
        }
    }

    /// Begins a decision at `now`. What was stamped in the future, by a clock that was set back since, counts from now
    /// on: it must end at some time, and not only when the clock has caught up.
    pub(super) fn begin(&mut self, now: Moment) {
        let was_set_back = self.decided > now + CLOCKS_AGREE;
        self.decided = now;
        for vm in self.vms.values_mut() {
            for resource in [&mut vm.cpu, &mut vm.memory] {
                resource.last_change = resource.last_change.map(|at| at.min(now));
                if was_set_back {
                    resource.forget_policies();
                }
            }
            for failures in vm.levers.values_mut() {
                failures.rest_until = failures.rest_until.map(|at| at.min(now + LONGEST_REST));
            }
        }
    }

    /// What is remembered of `vm`.
    pub fn of_vm(&self, vm: VmId) -> Option<&VmMemory> {
        self.vms.get(&vm)
    }

    /// Takes over what another node's agent remembered of `vm` when it wrote that down at `written` by its own clock.
    ///
    /// The clocks of two nodes are not compared, so that a wrong one can neither cut a cool-down short nor make it last:
    /// every cool-down begins anew at `now`. That also covers a last change which its maker could not write down any
    /// more. Counters of usage begin anew on another node, and so do low readings.
    pub fn take_over(&mut self, vm: VmId, learned: Option<VmMemory>, written: Moment, now: Moment) {
        let mut own = learned.unwrap_or_default();
        for resource in [&mut own.cpu, &mut own.memory] {
            resource.begin_rows();
            resource.refused = None;
            resource.last_change = Some(now);
            // What a clock ahead of this one has stamped cannot be put in order with what is measured now.
            if written > now + CLOCKS_AGREE {
                resource.forget_policies();
            }
        }
        self.vms.insert(vm, own);
    }

    /// Forgets VMs that are gone. `known` says whether a VM still exists anywhere in the cluster.
    pub fn retain(&mut self, known: impl Fn(VmId) -> bool) {
        self.vms.retain(|id, _| known(*id));
    }
}

/// Where a lever of `vm` stands, by what was read of it.
pub(super) fn stands(vm: &VmView, lever: Lever) -> Option<Amount> {
    match lever {
        Lever::Vcpus => vm.cpu.vcpus.get().map(Amount::vcpus),
        // Without a limit the vCPUs are the limit: to take it away is a change as well.
        Lever::Cpulimit => match vm.cpu.limit.get()? {
            Some(limit) => Some(Amount::Cpu(limit)),
            None => vm.cpu.vcpus.get().map(Amount::vcpus),
        },
        Lever::Balloon => vm.memory.balloon.actual.get().map(Amount::Memory),
        Lever::Dimm => vm.memory.ceiling.get().map(Amount::Memory),
    }
}

impl VmMemory {
    fn of(&mut self, resource: Resource) -> &mut ResourceMemory {
        match resource {
            Resource::Cpu => &mut self.cpu,
            Resource::Memory => &mut self.memory,
        }
    }

    /// How many changes of both resources there were since `then`, of those that are remembered.
    pub fn changes_since(&self, then: Moment) -> usize {
        let first = then.as_millis() / MINUTE_MS;
        let both = self.cpu.changes.iter().chain(&self.memory.changes);
        both.filter(|minute| **minute >= first).count()
    }

    /// The cool-downs and failures without what the policies learned.
    pub fn without_policies(&self) -> Self {
        let without = |resource: &ResourceMemory| {
            let mut without = resource.clone();
            without.forget_policies();
            without
        };
        Self {
            cpu: without(&self.cpu),
            memory: without(&self.memory),
            levers: self.levers.clone(),
            left: self.left.clone(),
        }
    }
}
