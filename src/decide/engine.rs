//! From a snapshot to a plan: each VM and resource is judged alone, then the node's room is shared out.

use std::borrow::Cow;
use std::time::Duration;

use crate::config::{HostLimits, InForce, Mode, ResourceSettings, Selection, Settings, VmSettings};
use crate::domain::{Moment, Resource};
use crate::observe::{Snapshot, VmView};

use super::budget::Budget;
use super::gates::{self, LOW_READINGS};
use super::judged::{self, Judged};
use super::levers::{self, Levers};
use super::memory::Memory;
use super::plan::{OpenWindow, Plan};
use super::policy::{Observation, Policy, Want};
use super::range::Range;
use super::reason::Reason;
use super::reclaim::reclaim;
use super::usage::{self, Usage};

/// Decides what to change at `now`.
///
/// Gives one verdict for every managed VM and resource. `memory` takes in what was seen, also where nothing is
/// changed; what became of the changes is told to it later, by [`Memory::note`].
pub fn plan(snapshot: &Snapshot, memory: &mut Memory, settings: &Settings, now: Moment) -> Plan {
    memory.begin(now);
    let mut judged = Vec::new();
    let mut by_hand = Vec::new();
    memory.keep_positions(|vm| snapshot.vms.contains_key(&vm));
    for vm in snapshot.vms.values() {
        match settings.of(vm.id, &vm.tags) {
            Selection::No => {}
            Selection::Unusable(why) => judged.extend(
                Resource::ALL
                    .map(|r| Judged::held(vm, r, Reason::BadSettings { why: why.clone() })),
            ),
            Selection::Managed(own) => {
                by_hand.extend(memory.changed_by_hand(vm, now));
                let tick = Tick {
                    snapshot,
                    in_force: own.at(now, &settings.zone),
                    widest: own.at_its_widest(),
                    now,
                    second_of_week: settings.zone.second_of_week(now),
                    oldest: gates::oldest_reading(settings),
                    host: &settings.host,
                };
                for resource in Resource::ALL {
                    let mut of_this = tick.judge(vm, resource, memory);
                    of_this.verdict.windows = tick.open_windows();
                    judged.push(of_this);
                }
            }
        }
    }
    let mut budget = Budget::new(snapshot, &settings.host);
    judged::share_out(&mut judged, &mut budget);
    reclaim(&mut judged, &budget);
    for Judged { verdict, .. } in &judged {
        memory.note_room(verdict.vm, verdict.resource, &verdict.reason, now);
    }
    let changes = judged::changes(&judged);
    let mut stands_until = judged::stands_until(&judged);
    if stands_until > now {
        // A window may open or close before.
        let scheduled = snapshot.vms.values().filter_map(|vm| {
            let Selection::Managed(own) = settings.of(vm.id, &vm.tags) else {
                return None;
            };
            own.changes_at(now, &settings.zone)
        });
        stands_until = scheduled.fold(stands_until, Moment::min);
    }
    Plan {
        at: now,
        changes,
        by_hand,
        stands_until,
        verdicts: judged.into_iter().map(|j| j.verdict).collect(),
    }
}

/// What is the same for all judgements of one VM in one tick.
pub(super) struct Tick<'a> {
    pub(super) snapshot: &'a Snapshot,
    /// The VM's settings as they hold now.
    pub(super) in_force: InForce<'a>,
    /// The same with the widest limits that ever hold. Policies learn within these, so that they do not begin anew
    /// with each window.
    widest: Cow<'a, VmSettings>,
    pub(super) now: Moment,
    /// By the node's clock, from Monday 00:00 on.
    second_of_week: u32,
    pub(super) oldest: Duration,
    pub(super) host: &'a HostLimits,
}

/// What a policy wants, and what it was told.
pub(super) struct Asked {
    pub(super) want: Want,
    /// The guest shows that it wants more than it has.
    pub(super) short: bool,
    /// When what it was told was read.
    pub(super) read: Moment,
}

impl Tick<'_> {
    pub(super) fn own(&self) -> &VmSettings {
        &self.in_force.settings
    }

    fn judge(&self, vm: &VmView, resource: Resource, memory: &mut Memory) -> Judged {
        let levers = match self.levers(vm, resource) {
            Ok(levers) => levers,
            Err(reason) => {
                memory.interrupt(vm.id, resource);
                return Judged::held(vm, resource, reason);
            }
        };
        let mut judged = Judged::held(vm, resource, Reason::Fits);
        judged.verdict.lever = Some(levers.first().lever);
        judged.priority = self.own().priority;
        let limits = Range::of(self.own(), resource, levers.first(), levers.ceiling());
        judged.verdict.min = Some(resource.amount(limits.bottom));
        judged.verdict.max = Some(resource.amount(limits.top));
        let asked = match self.ask_policy(vm, resource, &levers, memory) {
            Ok(answer) => answer,
            Err(why) => {
                memory.interrupt(vm.id, resource);
                judged.verdict.reason = Reason::Unmeasured { why };
                judged.stands_until = self.now;
                return judged;
            }
        };
        if self.rule(resource).predict {
            let policy = memory.of(vm.id, resource).policy(self.own().policy);
            judged.verdict.peaks = policy.peaks(resource);
        }
        self.settle(judged, vm, levers, asked, memory)
    }

    /// Settles what comes of what the policy wants.
    fn settle(
        &self,
        mut judged: Judged,
        vm: &VmView,
        levers: Levers,
        asked: Asked,
        memory: &mut Memory,
    ) -> Judged {
        let resource = judged.verdict.resource;
        let want = &asked.want;
        judged.stands_until = want.stands_until;
        judged.was_refused = memory.of(vm.id, resource).was_refused(self.now);
        let enough = if want.amount > levers.first().allocation {
            f64::INFINITY
        } else {
            want.enough
        };
        let (short, read) = (asked.short, asked.read);
        let movable = levers.towards(want.amount);
        judged.verdict.lever = Some(movable.lever);
        judged.verdict.wanted = Some(resource.amount(want.amount));
        let range = Range::of(self.own(), resource, &movable, movable.ceiling);
        let mut spare = None;
        match self.weigh(vm, &movable, &range, asked, memory) {
            Ok((to, reason)) if self.own().mode == Mode::Auto => {
                judged.urgent = short || matches!(reason, Reason::OutsideLimits { .. });
                judged.go = Some((movable.clone(), to));
                judged.verdict.reason = reason;
            }
            Ok((to, _)) => {
                let (mode, to) = (self.own().mode.to_string(), resource.amount(to));
                judged.verdict.recommended = Some(to);
                judged.verdict.reason = Reason::NotAutomatic { mode, to };
            }
            Err(reason) => {
                if reason == Reason::FirstLowReading {
                    judged.stands_until = self.now;
                }
                judged.verdict.reason = reason;
                spare = self.spare(vm, &movable, &range, enough, memory);
            }
        }
        let calm = &mut memory.of(vm.id, resource).calm;
        calm.count(spare.map(|_| read));
        let spare = spare.filter(|_| calm.readings >= LOW_READINGS);
        judged.spare = spare.map(|to| (movable, to));
        judged
    }

    /// The levers that are within reach. An error says why none is.
    fn levers(&self, vm: &VmView, resource: Resource) -> Result<Levers, Reason> {
        match gates::out_of_reach(vm, self.snapshot) {
            Some(reason) => Err(reason),
            None => levers::of(resource, vm, self.own(), self.now, self.oldest),
        }
    }

    /// Lets the policy take in what was measured. An error says what is not known.
    fn ask_policy(
        &self,
        vm: &VmView,
        resource: Resource,
        levers: &Levers,
        memory: &mut Memory,
    ) -> Result<Asked, String> {
        let movable = levers.first();
        let range = Range::of(&self.widest, resource, movable, levers.ceiling());
        let Usage {
            samples,
            read,
            short,
            least,
        } = usage::of(vm, resource, self.now, self.oldest)?;
        let seen = Observation {
            now: self.now,
            second_of_week: self.second_of_week,
            resource,
            usage: &samples,
            allocation: movable.allocation,
            changing: !vm.in_hand.is_empty(),
            short,
            min: range.bottom,
            max: range.top,
            grain: movable.finest_step(),
            settings: self.rule(resource),
        };
        let policy = memory.of(vm.id, resource).policy(self.own().policy);
        let mut want = policy.want(&seen);
        if want.amount < least {
            want.amount = least;
            want.enough = least;
            want.reason = Reason::NeedsMore {
                need: resource.amount(want.need),
            };
        }
        Ok(Asked { want, short, read })
    }

    fn open_windows(&self) -> Vec<OpenWindow> {
        let open = self.in_force.windows.iter();
        open.map(|(window, until)| OpenWindow {
            name: window.name.clone(),
            until: *until,
        })
        .collect()
    }

    fn rule(&self, resource: Resource) -> &ResourceSettings {
        match resource {
            Resource::Cpu => &self.own().cpu.rule,
            Resource::Memory => &self.own().memory.rule,
        }
    }
}
