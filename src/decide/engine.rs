//! From a snapshot to a plan: each VM and resource is judged alone, then the node's room is shared out.

use std::time::Duration;

use crate::config::{Mode, ResourceSettings, Selection, Settings, VmSettings};
use crate::domain::{Amount, Cores, Lever, Moment, Reading, Resource};
use crate::observe::{Snapshot, VmView};

use super::budget::{Budget, Request};
use super::gates::{self, LOW_READINGS};
use super::levers::{self, Levers, Movable};
use super::memory::Memory;
use super::plan::{Change, Plan, Reason, Verdict};
use super::policy::{Observation, Policy, Sample, Want};

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
                    own,
                    now,
                    oldest: gates::oldest_reading(settings),
                };
                judged.extend(Resource::ALL.map(|resource| tick.judge(vm, resource, memory)));
            }
        }
    }
    share_out(&mut judged, Budget::new(snapshot, &settings.host));
    let changes = changes(&judged);
    Plan {
        at: now,
        changes,
        by_hand,
        stands_until: stands_until(&judged),
        verdicts: judged.into_iter().map(|j| j.verdict).collect(),
    }
}

/// One resource of one VM, judged without regard to the others.
struct Judged {
    verdict: Verdict,
    /// The move to make, if any: the lever's state and where to.
    go: Option<(Movable, f64)>,
    priority: u32,
    /// See [`Plan::stands_until`].
    stands_until: Moment,
}

impl Judged {
    /// A verdict that changes nothing.
    fn held(vm: &VmView, resource: Resource, reason: Reason) -> Self {
        let verdict = Verdict {
            vm: vm.id,
            name: vm.name.clone(),
            resource,
            need: need(vm, resource),
            allocation: allocation(vm, resource),
            lever: None,
            min: None,
            max: None,
            wanted: None,
            target: None,
            recommended: None,
            reason,
        };
        Self {
            verdict,
            go: None,
            priority: 0,
            stands_until: FOR_EVER,
        }
    }

    /// How much more the VM is to get; negative for a shrink.
    fn extra(&self) -> f64 {
        self.go
            .as_ref()
            .map_or(0.0, |(movable, to)| to - movable.allocation)
    }
}

/// For what no passing of time changes.
const FOR_EVER: Moment = Moment::from_millis(i64::MAX);

/// Until when all judgements stay the same by themselves.
fn stands_until(judged: &[Judged]) -> Moment {
    let ends = judged.iter().map(|j| match j.verdict.reason {
        Reason::CoolingDown { until }
        | Reason::Booting { until }
        | Reason::Resting { until, .. } => j.stands_until.min(until),
        _ => j.stands_until,
    });
    ends.min().unwrap_or(FOR_EVER)
}

/// What is the same for all judgements of one VM in one tick.
struct Tick<'a> {
    snapshot: &'a Snapshot,
    own: &'a VmSettings,
    now: Moment,
    oldest: Duration,
}

impl Tick<'_> {
    fn judge(&self, vm: &VmView, resource: Resource, memory: &mut Memory) -> Judged {
        if let Some(reason) = gates::out_of_reach(vm, self.snapshot) {
            return Judged::held(vm, resource, reason);
        }
        let levers = match levers::of(resource, vm, self.own, self.now, self.oldest) {
            Ok(levers) => levers,
            Err(reason) => return Judged::held(vm, resource, reason),
        };
        let mut judged = Judged::held(vm, resource, Reason::Fits);
        judged.verdict.lever = Some(levers.first().lever);
        judged.priority = self.own.priority;
        let limits = self.range(resource, levers.first(), levers.ceiling());
        judged.verdict.min = Some(resource.amount(limits.bottom));
        judged.verdict.max = Some(resource.amount(limits.top));
        let (want, short) = match self.ask_policy(vm, resource, &levers, memory) {
            Ok(answer) => answer,
            Err(why) => {
                judged.verdict.reason = Reason::Unmeasured { why };
                judged.stands_until = self.now;
                return judged;
            }
        };
        judged.stands_until = want.stands_until;
        let movable = levers.towards(want.amount);
        judged.verdict.lever = Some(movable.lever);
        judged.verdict.wanted = Some(resource.amount(want.amount));
        let range = self.range(resource, &movable, movable.ceiling);
        match self.weigh(vm, &movable, &range, (want, short), memory) {
            Ok((to, reason)) if self.own.mode == Mode::Auto => {
                judged.go = Some((movable, to));
                judged.verdict.reason = reason;
            }
            Ok((to, _)) => {
                let (mode, to) = (self.own.mode.to_string(), resource.amount(to));
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

    /// The limits of this resource, in whole steps of the lever: never beyond the admin's, never beyond QEMU's.
    fn range(&self, resource: Resource, movable: &Movable, ceiling: f64) -> Range {
        let (min, max) = match resource {
            Resource::Cpu => (self.own.cpu.min.as_f64(), self.own.cpu.max.as_f64()),
            Resource::Memory => (self.own.memory.min.as_f64(), self.own.memory.max.as_f64()),
        };
        let most = movable.stops.down(max);
        let top = most.min(ceiling);
        Range {
            bottom: movable.stops.up(min).min(top),
            top,
            by_max: most <= ceiling,
        }
    }

    /// Lets the policy take in what was measured. An error says what is not known.
    fn ask_policy(
        &self,
        vm: &VmView,
        resource: Resource,
        levers: &Levers,
        memory: &mut Memory,
    ) -> Result<(Want, bool), String> {
        let movable = levers.first();
        let range = self.range(resource, movable, levers.ceiling());
        let Usage {
            samples,
            short,
            least,
        } = self.usage(vm, resource)?;
        let seen = Observation {
            now: self.now,
            resource,
            usage: &samples,
            allocation: movable.allocation,
            short,
            min: range.bottom,
            max: range.top,
            grain: movable.finest_step(),
            settings: self.rule(resource),
        };
        let policy = memory.of(vm.id, resource).policy(self.own.policy);
        let mut want = policy.want(&seen);
        if want.amount < least {
            want.amount = least;
            want.reason = Reason::NeedsMore {
                need: resource.amount(want.need),
            };
        }
        // What uses all it has is in distress as well; a longer cool-down than the usual is meant, and holds.
        let saturated = matches!(want.reason, Reason::Saturated { .. })
            && self.own.cooldown.up <= Duration::from_secs(10);
        Ok((want, short || saturated))
    }

    fn rule(&self, resource: Resource) -> &ResourceSettings {
        match resource {
            Resource::Cpu => &self.own.cpu.rule,
            Resource::Memory => &self.own.memory.rule,
        }
    }

    /// What was measured since the previous tick. An error says what is not known.
    fn usage(&self, vm: &VmView, resource: Resource) -> Result<Usage, String> {
        match resource {
            Resource::Cpu => {
                let usage = gates::fresh(&vm.cpu.usage, self.now, self.oldest)?;
                let count = usage.seconds.len() as u32;
                let at = |i: usize| self.now - usage.each * (count - 1 - i as u32);
                let sample = |(i, value): (usize, &Cores)| Sample {
                    at: at(i),
                    span: usage.each,
                    value: value.as_f64(),
                };
                Ok(Usage {
                    samples: usage.seconds.iter().enumerate().map(sample).collect(),
                    // Held back in every tenth period or more: the quota, not the guest, decides what is used.
                    short: usage.throttled.is_some_and(|share| share.fraction() >= 0.1),
                    least: 0.0,
                })
            }
            Resource::Memory => {
                let need = gates::fresh(&vm.memory.need, self.now, self.oldest)?;
                if need.includes_cache {
                    return Err(
                        "the guest does not tell how much of its memory is page cache".to_owned(),
                    );
                }
                let sample = Sample {
                    at: self.now,
                    span: Duration::ZERO,
                    value: need.need.as_f64(),
                };
                Ok(Usage {
                    samples: vec![sample],
                    short: gates::is_short(&need),
                    least: (need.need + gates::memory_margin(need.need)).as_f64(),
                })
            }
        }
    }

    /// Takes a policy's want through limits and gates: where to go and why, or why not.
    fn weigh(
        &self,
        vm: &VmView,
        movable: &Movable,
        range: &Range,
        (want, short): (Want, bool),
        memory: &mut Memory,
    ) -> Result<(f64, Reason), Reason> {
        let resource = movable.lever.resource();
        let has = movable.allocation;
        let to = movable.stops.up(want.amount).clamp(range.bottom, range.top);
        let grows = to >= has + movable.grain() * 0.999;
        let shrinks = to <= has - movable.least_step_down() * 0.999;
        let remembered = memory.of(vm.id, resource);
        remembered.low_readings = if shrinks {
            remembered.low_readings.saturating_add(1)
        } else {
            0
        };
        if !grows && !shrinks {
            return Err(match range.reason_to_stay(resource, movable, want.amount) {
                Reason::Fits => one_busy_thread(vm, movable).unwrap_or(Reason::Fits),
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
        let reason = range.reason_to_move(resource, has, want.reason);
        self.may_change(vm, movable, memory)?;
        let remembered = memory.of(vm.id, resource);
        let cooldown = if grows {
            self.own.cooldown.up
        } else {
            self.own.cooldown.down
        };
        if shrinks && remembered.low_readings < LOW_READINGS {
            return Err(Reason::FirstLowReading);
        }
        // The cool-down keeps sizes from flapping; it is no reason to leave a VM in distress.
        let waits = remembered
            .cools_until(cooldown, self.now)
            .filter(|_| !(grows && short));
        if let Some(until) = waits {
            return Err(Reason::CoolingDown { until });
        }
        if grows {
            let most = movable.stops.down(has + movable.grow_at_most);
            Ok((
                to.min(most.max(movable.stops.up(has + movable.grain()))),
                reason,
            ))
        } else {
            self.shrink(vm, movable, to).map(|to| (to, reason))
        }
    }

    /// Whether anything may be changed at all.
    fn may_change(&self, vm: &VmView, movable: &Movable, memory: &Memory) -> Result<(), Reason> {
        if vm.changing {
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

/// What was measured of one resource since the previous tick.
struct Usage {
    samples: Vec<Sample>,
    /// The guest shows that it wants more than it has.
    short: bool,
    /// The least that the VM must be given, whatever the policy says.
    least: f64,
}

/// Where an allocation may lie.
struct Range {
    bottom: f64,
    top: f64,
    /// Whether `top` is the admin's maximum, not QEMU's ceiling.
    by_max: bool,
}

impl Range {
    fn reason_to_stay(&self, resource: Resource, movable: &Movable, wanted: f64) -> Reason {
        let beyond_top = wanted >= self.top + movable.grain().min(self.top) * 0.5;
        match (beyond_top, self.by_max) {
            (true, true) => Reason::AtMax {
                max: resource.amount(self.top),
            },
            (true, false) => Reason::AtCeiling {
                ceiling: resource.amount(self.top),
            },
            (false, _) if wanted <= self.bottom - movable.least_step_down() => Reason::AtMin {
                min: resource.amount(self.bottom),
            },
            (false, _) => Reason::Fits,
        }
    }

    fn reason_to_move(&self, resource: Resource, has: f64, reason: Reason) -> Reason {
        if has > self.top || has < self.bottom {
            Reason::OutsideLimits {
                min: resource.amount(self.bottom),
                max: resource.amount(self.top),
            }
        } else {
            reason
        }
    }
}

/// Grants grows from the node's room, the highest priority first, fairly within one.
fn share_out(judged: &mut [Judged], mut budget: Budget) {
    let mut priorities: Vec<u32> = judged.iter().map(|j| j.priority).collect();
    priorities.sort_unstable_by(|a, b| b.cmp(a));
    priorities.dedup();
    for (priority, resource) in priorities
        .iter()
        .flat_map(|p| Resource::ALL.map(|r| (*p, r)))
    {
        let mut served: Vec<&mut Judged> = judged
            .iter_mut()
            .filter(|j| j.priority == priority && j.verdict.resource == resource && j.extra() > 0.0)
            .collect();
        let requests: Vec<Request> = served
            .iter()
            .filter_map(|j| {
                j.go.as_ref().map(|(movable, _)| Request {
                    extra: j.extra(),
                    grain: movable.grain(),
                })
            })
            .collect();
        for (judged, granted) in served.iter_mut().zip(budget.share(resource, &requests)) {
            match (granted, &mut judged.go) {
                (Ok(granted), Some((movable, to))) => *to = movable.granted(granted),
                (Err(reason), _) => {
                    judged.go = None;
                    judged.verdict.reason = reason;
                }
                (Ok(_), None) => {}
            }
        }
    }
    for judged in judged.iter_mut() {
        judged.verdict.target = judged
            .go
            .as_ref()
            .map(|(_, to)| judged.verdict.resource.amount(*to));
    }
}

/// The changes, shrinks first, then grows by priority.
fn changes(judged: &[Judged]) -> Vec<Change> {
    let mut moving: Vec<&Judged> = judged.iter().filter(|j| j.go.is_some()).collect();
    moving.sort_by_key(|j| (j.extra() > 0.0, std::cmp::Reverse(j.priority)));
    let change = |j: &Judged| {
        let (movable, to) = j.go.as_ref()?;
        let resource = j.verdict.resource;
        Some(Change {
            vm: j.verdict.vm,
            name: j.verdict.name.clone(),
            lever: movable.lever,
            from: resource.amount(movable.stands),
            to: resource.amount(movable.position(*to)),
            reason: j.verdict.reason.clone(),
        })
    };
    moving.into_iter().filter_map(change).collect()
}

/// What the VM needs now, for the verdict.
fn need(vm: &VmView, resource: Resource) -> Reading<Amount> {
    match resource {
        Resource::Cpu => vm.cpu.usage.as_ref().map(|usage| Amount::Cpu(usage.mean)),
        Resource::Memory => vm
            .memory
            .need
            .as_ref()
            .map(|need| Amount::Memory(need.need)),
    }
}

/// What the VM has now, for the verdict.
fn allocation(vm: &VmView, resource: Resource) -> Reading<Amount> {
    match resource {
        Resource::Cpu => {
            let limit = vm.cpu.limit.get().flatten();
            let cores =
                |vcpus| limit.map_or(Cores::whole(vcpus), |limit| limit.min(Cores::whole(vcpus)));
            vm.cpu
                .vcpus
                .as_ref()
                .map(|vcpus| Amount::Cpu(cores(*vcpus)))
        }
        Resource::Memory if vm.memory.balloon.device => {
            vm.memory.balloon.actual.clone().map(Amount::Memory)
        }
        Resource::Memory => vm.memory.ceiling.clone().map(Amount::Memory),
    }
}

/// A vCPU that is busier than this is used up.
const BUSY: f64 = 0.9;

/// Says that one thread of the guest uses up a vCPU while others have room: more of them do not help it.
fn one_busy_thread(vm: &VmView, movable: &Movable) -> Option<Reason> {
    let usage = vm
        .cpu
        .usage
        .value()
        .filter(|_| movable.lever == Lever::Vcpus)?;
    let busiest = usage
        .busiest_vcpu
        .filter(|busiest| busiest.fraction() >= BUSY)?;
    let others_have_room =
        usage.mean.as_f64() < BUSY * movable.allocation && movable.allocation >= 2.0;
    others_have_room.then_some(Reason::OneThread { busiest })
}
