//! Where an allocation may lie: the admin's limits and QEMU's, in whole steps of the lever.

use crate::config::{InForce, VmSettings};
use crate::domain::Resource;

use super::Reason;
use super::levers::Movable;

/// Where an allocation may lie.
pub(super) struct Range {
    pub(super) bottom: f64,
    pub(super) top: f64,
    /// Whether `top` is the admin's maximum, not QEMU's ceiling.
    by_max: bool,
}

impl Range {
    /// The limits of this resource, in whole steps of the lever: never beyond the admin's, never beyond QEMU's.
    pub(super) fn of(
        own: &VmSettings,
        resource: Resource,
        movable: &Movable,
        ceiling: f64,
    ) -> Self {
        let (min, max) = match resource {
            Resource::Cpu => (own.cpu.min.as_f64(), own.cpu.max.as_f64()),
            Resource::Memory => (own.memory.min.as_f64(), own.memory.max.as_f64()),
        };
        let most = movable.stops.down(max);
        let top = most.min(ceiling);
        Self {
            bottom: movable.stops.up(min).min(top),
            top,
            by_max: most <= ceiling,
        }
    }

    pub(super) fn reason_to_stay(
        &self,
        resource: Resource,
        movable: &Movable,
        wanted: f64,
    ) -> Reason {
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

    /// Why a VM that has `has` is moved, if the reason is that it lies outside of these limits.
    pub(super) fn reason_to_enter(
        &self,
        resource: Resource,
        has: f64,
        in_force: &InForce<'_>,
    ) -> Option<Reason> {
        let below = has < self.bottom;
        (below || has > self.top).then(|| Reason::OutsideLimits {
            min: resource.amount(self.bottom),
            max: resource.amount(self.top),
            window: in_force
                .window_that_limits(resource, below)
                .map(str::to_owned),
        })
    }
}
