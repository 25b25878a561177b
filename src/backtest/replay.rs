//! Lets the daemon's own decision code run over a history: policies, gates, cool-downs, limits and levers.
//!
//! What is seen is what an agent would see, see [`super::simulate`]. A change takes effect one tick later, and that is
//! when the decision code is told, as the daemon tells it what was read back.

use std::time::Duration;

use crate::config::{Settings, VmSettings};
use crate::decide::{self, Change, Memory, Plan};
use crate::domain::{Moment, Resource};

use super::bill::{Course, Grid};
use super::simulate::Meter;
use super::stage::{self, Stage};
use super::trace::Demand;

/// How a history is decided.
#[derive(Debug, Clone, Copy)]
pub struct Replay<'a> {
    /// Which resource the demand is of.
    pub resource: Resource,
    /// The node's settings.
    pub settings: &'a Settings,
    /// The VM's settings.
    pub own: &'a VmSettings,
    /// When the demand begins: windows of a schedule open by the history's own time.
    pub begin: Moment,
}

impl Replay<'_> {
    /// The course of allocations that the agent takes through `demand`.
    pub fn course(&self, demand: &Demand) -> Course {
        self.course_with(demand, |plan, _| plan.stands_until)
    }

    /// The size with which the run begins, within the limits that hold then.
    pub fn start(&self, demand: &Demand) -> f64 {
        let in_force = self.own.at(self.begin, &self.settings.zone);
        Grid::within(self.resource, &in_force.settings).start(self.resource, demand)
    }

    /// The course, where the answer `plan` that was given at a time need not be asked for anew before `stands_until`.
    fn course_with(
        &self,
        demand: &Demand,
        stands_until: impl Fn(&Plan, Moment) -> Moment,
    ) -> Course {
        let settings = stage::settings(self.settings, self.own, self.resource);
        let tick = i64::try_from(settings.check_interval.as_millis())
            .unwrap_or(i64::MAX)
            .max(1);
        let grid = Grid::of(self.resource, self.own);
        let start = self.start(demand);
        let Some(mut stage) = Stage::new(self.resource, grid, start, self.own) else {
            return Course::new();
        };
        let mut memory = Memory::default();
        let mut meter = Meter::new(demand);
        let mut held = stage.held();
        let mut course = vec![(0, held)];
        let mut ordered: Option<Change> = None;
        let (mut before, mut now) = (0, 0);
        while now < demand.end() {
            let past = held;
            let at = self.begin + Duration::from_millis(u64::try_from(now).unwrap_or(0));
            if let Some(change) = ordered.take() {
                memory.note(&stage.apply(change, at));
                held = stage.held();
                course.push((now, held));
            }
            let usage = match self.resource {
                Resource::Cpu => meter.cpu(before, now, past),
                Resource::Memory => meter.memory(now, held),
            };
            let plan = decide::plan(stage.look(at, usage, past), &mut memory, &settings, at);
            let stands = stands_until(&plan, at).as_millis();
            let stands = stands.saturating_sub(self.begin.as_millis());
            ordered = plan.changes.into_iter().next();
            before = now;
            now += tick;
            // What was used under another allocation says nothing of what is used under this one.
            if ordered.is_none() && past == held && stands > now {
                let constant = meter.constant_until(before, self.resource);
                let target = stands.min(constant).min(demand.end());
                now += (target - now).max(0) / tick * tick;
            }
        }
        course
    }
}

#[cfg(test)]
mod tests;
