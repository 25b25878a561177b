//! What an allocation costs: to hold it, to miss it, to change it. Policies are judged by these prices, and the default
//! one goes by them.
//!
//! Prices are ratios: one unit (a core, a GiB) held for an hour costs 1.

use crate::domain::Resource;

/// What shortage and changes cost, against one core or one GiB held for an hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// A core-hour or GiB-hour of unmet demand.
    pub unmet: f64,
    /// One change, in core-hours or GiB-hours.
    pub change: f64,
    /// How many of the resource's units (cores, mebibytes) make one core or GiB.
    pub unit: f64,
}

impl Prices {
    /// A missing core costs as much as 20 held ones, a missing GiB as 100 (it stalls or kills, where a missing core
    /// slows down); a change as much as 72 core-seconds or 180 GiB-seconds.
    pub fn of(resource: Resource) -> Self {
        match resource {
            Resource::Cpu => Self {
                unmet: 20.0,
                change: 0.02,
                unit: 1.0,
            },
            Resource::Memory => Self {
                unmet: 100.0,
                change: 0.05,
                unit: 1024.0,
            },
        }
    }

    /// The cost of holding `allocation` against `demand` for `ms` milliseconds.
    pub fn hold(&self, allocation: f64, demand: f64, ms: i64) -> f64 {
        self.rate(allocation, demand) / self.unit * ms as f64 / 3_600_000.0
    }

    /// What holding `allocation` against `demand` costs a second, in units of the resource.
    pub(super) fn rate(&self, allocation: f64, demand: f64) -> f64 {
        allocation + self.unmet * (demand - allocation).max(0.0)
    }

    /// One change, in seconds of one unit of the resource.
    pub(super) fn change_seconds(&self) -> f64 {
        self.change * self.unit * 3600.0
    }
}
