//! From a snapshot to a plan: each VM and resource is judged alone, then the node's room is shared out.

use std::borrow::Cow;
use std::time::Duration;

use crate::config::{HostLimits, InForce, Mode, ResourceSettings, Selection, Settings, VmSettings};
use crate::domain::{Moment, Resource};
use crate::observe::{Snapshot, VmView};

use super::budget::Budget;
use super::elsewhere::{self, Elsewhere};
use super::gates::{self, LOW_READINGS};
use super::judged::{self, Judged};
use super::levers::{self, Levers, Movable};
use super::memory::{Capped, Memory};
use super::plan::{OpenWindow, Plan, Reason};
use super::policy::{Observation, Policy, Want};
use super::range::Range;
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
    judged::share_out(&mut judged, Budget::new(snapshot, &settings.host));
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
struct Tick<'a> {
    snapshot: &'a Snapshot,
    /// The VM's settings as they hold now.
    in_force: InForce<'a>,
    /// The same with the widest limits that ever hold. Policies learn within these, so that they do not begin anew
    /// with each window.
    widest: Cow<'a, VmSettings>,
    now: Moment,
    /// By the node's clock, from Monday 00:00 on.
    second_of_week: u32,
    oldest: Duration,
    host: &'a HostLimits,
}

/// What a policy wants, and what it was told.
struct Asked {
    want: Want,
    /// The guest shows that it wants more than it has.
    short: bool,
    /// When what it was told was read.
    read: Moment,
}

impl Tick<'_> {
    fn own(&self) -> &VmSettings {
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
        let want = &asked.want;
        if self.rule(resource).predict {
            let policy = memory.of(vm.id, resource).policy(self.own().policy);
            judged.verdict.peaks = policy.peaks(resource);
        }
        judged.stands_until = want.stands_until;
        let movable = levers.towards(want.amount);
        judged.verdict.lever = Some(movable.lever);
        judged.verdict.wanted = Some(resource.amount(want.amount));
        let range = Range::of(self.own(), resource, &movable, movable.ceiling);
        match self.weigh(vm, &movable, &range, asked, memory) {
            Ok((to, reason)) if self.own().mode == Mode::Auto => {
                judged.go = Some((movable, to));
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
            }
        }
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

    /// Takes a policy's want through limits and gates: where to go and why, or why not.
    fn weigh(
        &self,
        vm: &VmView,
        movable: &Movable,
        range: &Range,
        Asked { want, short, read }: Asked,
        memory: &mut Memory,
    ) -> Result<(f64, Reason), Reason> {
        let resource = movable.lever.resource();
        let has = movable.allocation;
        let to = movable.stops.up(want.amount).clamp(range.bottom, range.top);
        let grows = to >= has + movable.grain() * 0.999;
        let shrinks = to <= has - movable.least_step_down() * 0.999;
        let remembered = memory.of(vm.id, resource);
        remembered.count_low(shrinks.then_some(read));
        if !grows && !shrinks {
            return Err(match range.reason_to_stay(resource, movable, want.amount) {
                // More than is needed now is there for a reason.
                Reason::Fits if matches!(want.reason, Reason::PeakAhead { .. }) => want.reason,
                Reason::Fits => usage::one_busy_thread(vm, movable).unwrap_or(Reason::Fits),
                reason => reason,
            });
        }
        let blocked = if grows {
            &movable.no_grow
        } else {
            &movable.no_shrink
        };
        if let Some(reason) = blocked {
            return Err(reason.clone());
        }
        let enters = range.reason_to_enter(resource, has, &self.in_force);
        // A minimum is a promise: what is below it waits for no cool-down.
        let at_once = grows && (short || enters.is_some());
        let reason = enters.unwrap_or(want.reason);
        self.may_change(vm, movable, memory)?;
        let remembered = memory.of(vm.id, resource);
        let cooldown = if grows {
            self.own().cooldown.up
        } else {
            self.own().cooldown.down
        };
        if shrinks && remembered.low_readings < LOW_READINGS {
            return Err(Reason::FirstLowReading);
        }
        // The cool-down keeps sizes from flapping; it is no reason to leave a VM in distress.
        let waits = remembered
            .cools_until(cooldown, self.now)
            .filter(|_| !at_once);
        if let Some(until) = waits {
            return Err(Reason::CoolingDown { until });
        }
        // A shrink leaves one change for a growth: no cap is to keep a VM small.
        let wanted = if grows { 1 } else { 2 };
        let capped = remembered.capped(&self.own().changes, wanted, self.now);
        if let Some(Capped { most, per, until }) = capped.filter(|_| !at_once) {
            let per = per.to_owned();
            return Err(Reason::EnoughChanges { most, per, until });
        }
        if grows {
            let to = self.fit_elsewhere(vm, movable, to)?;
            let most = movable.stops.down(has + movable.grow_at_most);
            Ok((
                to.min(most.max(movable.stops.up(has + movable.grain()))),
                reason,
            ))
        } else {
            self.shrink(vm, movable, to).map(|to| (to, reason))
        }
    }

    /// How far a growth to `to` may go so that another node could still take the VM.
    fn fit_elsewhere(&self, vm: &VmView, movable: &Movable, to: f64) -> Result<f64, Reason> {
        let resource = movable.lever.resource();
        let others = &self.snapshot.cluster.others;
        let Some(Elsewhere { most, node }) = elsewhere::most(vm, resource, others, self.host)?
        else {
            return Ok(to);
        };
        let to = to.min(movable.stops.down(most));
        if to < movable.allocation + movable.grain() * 0.999 {
            return Err(Reason::FitsNowhereElse {
                most: resource.amount(most),
                node: node.name.clone(),
            });
        }
        Ok(to)
    }

    /// Whether anything may be changed at all.
    fn may_change(&self, vm: &VmView, movable: &Movable, memory: &Memory) -> Result<(), Reason> {
        if !vm.in_hand.is_empty() {
            return Err(Reason::InProgress);
        }
        if let Some(reason) = gates::hands_off(vm, self.snapshot) {
            return Err(reason);
        }
        match memory.rests_until(vm.id, movable.lever, self.now) {
            Some(until) => Err(Reason::Resting {
                lever: movable.lever,
                until,
            }),
            None => Ok(()),
        }
    }

    /// How far a shrink may go: in bounded steps, and for memory never below what the guest needs now.
    fn shrink(&self, vm: &VmView, movable: &Movable, to: f64) -> Result<f64, Reason> {
        let least = movable.allocation - movable.shrink_at_most;
        let mut to = to.max(movable.stops.up(least));
        if movable.lever.resource() == Resource::Memory {
            let need = gates::fresh(&vm.memory.need, self.now, self.oldest);
            let floor = gates::memory_floor(&need.map_err(|why| Reason::Unmeasured { why })?)?;
            to = to.max(movable.stops.up(floor.as_f64()));
            if to > movable.allocation - movable.least_step_down() * 0.999 {
                return Err(Reason::KeepsMargin { floor });
            }
        }
        Ok(to)
    }
}
