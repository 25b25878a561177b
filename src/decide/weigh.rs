//! A policy's want, weighed against limits, gates and what was changed lately: where to go, or why not.

use crate::config::Mode;
use crate::domain::Resource;
use crate::observe::VmView;

use super::Reason;
use super::elsewhere::{self, Elsewhere};
use super::engine::{Asked, Tick};
use super::gates::{self, LOW_READINGS};
use super::levers::Movable;
use super::memory::Memory;
use super::range::Range;
use super::remembered::Capped;
use super::usage;

impl Tick<'_> {
    /// Takes a policy's want through limits and gates: where to go and why, or why not.
    pub(super) fn weigh(
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
        remembered.low.count(shrinks.then_some(read));
        if !grows && !shrinks {
            return Err(match range.reason_to_stay(resource, movable, want.amount) {
                // More than is needed now is there for a reason.
                Reason::Fits if matches!(want.reason, Reason::PeakAhead { .. }) => want.reason,
                Reason::Fits => usage::one_busy_thread(vm, movable).unwrap_or(Reason::Fits),
                reason => reason,
            });
        }
        // A minimum is a promise: what is below it waits for no cool-down.
        let enters = range.reason_to_enter(resource, has, &self.in_force);
        let at_once = grows && (short || enters.is_some());
        let reason = enters.unwrap_or(want.reason);
        if grows {
            let to = self.grow(vm, movable, to, at_once, memory)?;
            return Ok((to, reason));
        }
        if let Some(reason) = &movable.no_shrink {
            return Err(reason.clone());
        }
        self.may_change(vm, movable, memory)?;
        if memory.of(vm.id, resource).low.readings < LOW_READINGS {
            return Err(Reason::FirstLowReading);
        }
        let to = self.shrink(vm, movable, to, memory)?;
        Ok((to, reason))
    }

    /// How far a VM could be brought down that has more than is enough for it now, if the node needs the rest.
    pub(super) fn spare(
        &self,
        vm: &VmView,
        movable: &Movable,
        range: &Range,
        enough: f64,
        memory: &mut Memory,
    ) -> Option<f64> {
        let to = movable.stops.up(enough).clamp(range.bottom, range.top);
        let has = movable.allocation;
        let shrinks = to <= has - movable.least_step_down() * 0.999;
        // Above its maximum, it comes down anyway.
        let may = shrinks && has <= range.top && self.own().mode == Mode::Auto;
        if !may || movable.no_shrink.is_some() {
            return None;
        }
        self.may_change(vm, movable, memory).ok()?;
        self.shrink(vm, movable, to, memory).ok()
    }

    /// How far a growth to `to` may go now.
    fn grow(
        &self,
        vm: &VmView,
        movable: &Movable,
        to: f64,
        at_once: bool,
        memory: &mut Memory,
    ) -> Result<f64, Reason> {
        if let Some(reason) = &movable.no_grow {
            return Err(reason.clone());
        }
        self.may_change(vm, movable, memory)?;
        // The cool-down keeps sizes from flapping; it is no reason to leave a VM in distress.
        if !at_once {
            self.may_change_again(vm, movable, true, memory)?;
        }
        let has = movable.allocation;
        let to = self.fit_elsewhere(vm, movable, to)?;
        let most = movable.stops.down(has + movable.grow_at_most);
        Ok(to.min(most.max(movable.stops.up(has + movable.grain()))))
    }

    /// Whether the last changes are long enough ago for another one.
    fn may_change_again(
        &self,
        vm: &VmView,
        movable: &Movable,
        grows: bool,
        memory: &mut Memory,
    ) -> Result<(), Reason> {
        let remembered = memory.of(vm.id, movable.lever.resource());
        let cooldown = &self.own().cooldown;
        let span = if grows { cooldown.up } else { cooldown.down };
        if let Some(until) = remembered.cools_until(span, self.now) {
            return Err(Reason::CoolingDown { until });
        }
        // A shrink leaves one change for a growth: no cap is to keep a VM small.
        let wanted = if grows { 1 } else { 2 };
        match remembered.capped(&self.own().changes, wanted, self.now) {
            Some(Capped { most, per, until }) => {
                let per = per.to_owned();
                Err(Reason::EnoughChanges { most, per, until })
            }
            None => Ok(()),
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
    fn shrink(
        &self,
        vm: &VmView,
        movable: &Movable,
        to: f64,
        memory: &mut Memory,
    ) -> Result<f64, Reason> {
        self.may_change_again(vm, movable, false, memory)?;
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
