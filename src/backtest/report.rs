//! What a backtest found: for each VM and in total, the agent's course and what it came to, beside other ways to size.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::domain::Resource;

use super::bill::{Bill, Course};
use super::trace::Demand;

/// The ways to size a VM that are compared; the first is the agent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// This agent, with the configuration that was given.
    Agent,
    /// proxmox-vm-autoscale 1.7.2 with its defaults, see [`super::baselines::Predecessor`].
    Predecessor,
    /// Always what the VM needs at its peak: the least fixed size that is never short.
    FixedAtPeak,
    /// Always all that the VM can have.
    FixedAtMax,
}

impl Way {
    /// All of them, as they are listed.
    pub const ALL: [Self; 4] = [
        Self::Agent,
        Self::Predecessor,
        Self::FixedAtPeak,
        Self::FixedAtMax,
    ];

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "vm-autoscale",
            Self::Predecessor => "predecessor",
            Self::FixedAtPeak => "fixed at peak",
            Self::FixedAtMax => "fixed at max",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Agent => "vm_autoscale",
            Self::Predecessor => "predecessor",
            Self::FixedAtPeak => "fixed_at_peak",
            Self::FixedAtMax => "fixed_at_max",
        }
    }
}

/// What all ways came to in one resource, of one VM or of all.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Which resource.
    pub resource: Resource,
    /// The bills, in the order of [`Way::ALL`].
    pub bills: [Bill; 4],
}

impl Comparison {
    /// The bill of one way.
    pub fn of(&self, way: Way) -> &Bill {
        match way {
            Way::Agent => &self.bills[0],
            Way::Predecessor => &self.bills[1],
            Way::FixedAtPeak => &self.bills[2],
            Way::FixedAtMax => &self.bills[3],
        }
    }

    fn add(&mut self, other: &Self) {
        for (sum, bill) in self.bills.iter_mut().zip(&other.bills) {
            sum.add_up(bill);
        }
    }

    /// `core` or `gib`, as names of numbers end.
    fn unit(&self) -> &'static str {
        match self.resource {
            Resource::Cpu => "core",
            Resource::Memory => "gib",
        }
    }
}

impl Serialize for Comparison {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(
            &format!("demand_{}_hours", self.unit()),
            &told(self.bills[0].demand),
        )?;
        for way in Way::ALL {
            let bill = self.of(way);
            map.serialize_entry(
                way.key(),
                &Named {
                    bill,
                    unit: self.unit(),
                },
            )?;
        }
        map.end()
    }
}

/// A bill with the unit in the names of its numbers.
struct Named<'a> {
    bill: &'a Bill,
    unit: &'static str,
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { bill, unit } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(&format!("allocated_{unit}_hours"), &told(bill.allocated))?;
        map.serialize_entry(&format!("slack_{unit}_hours"), &told(bill.slack))?;
        map.serialize_entry(&format!("unmet_{unit}_hours"), &told(bill.unmet))?;
        map.serialize_entry("short_hours", &told(bill.short))?;
        map.serialize_entry("shortages", &bill.spells)?;
        map.serialize_entry("shortages_after_a_shrink", &bill.regretted)?;
        map.serialize_entry("changes", &bill.changes)?;
        map.end()
    }
}

/// What is summed up of one VM, or of all.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Hours of history, of all VMs together.
    #[serde(serialize_with = "hours")]
    pub hours: f64,
    /// Hours in between of which nothing is known; they count nowhere else.
    #[serde(serialize_with = "hours")]
    pub unknown_hours: f64,
    /// CPU.
    pub cpu: Comparison,
    /// Memory, where the history has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Comparison>,
}

/// One VM.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VmReport {
    /// The trace's name, or the VM's number.
    pub trace: String,
    /// The most cores that it can have.
    pub max_cores: f64,
    /// The most memory, where the history has memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory_mib: Option<f64>,
    /// The agent's course: from which second on it has how many cores. The first is at 0.
    #[serde(serialize_with = "seconds")]
    pub cpu: Course,
    /// The same for memory in MiB; empty where the history has no memory.
    #[serde(serialize_with = "seconds")]
    pub memory: Course,
    /// What it came to.
    pub summary: Summary,
    /// The demand, for charts.
    #[serde(skip)]
    pub demand: (Demand, Option<Demand>),
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Each VM, in the order in which they were named.
    pub vms: Vec<VmReport>,
    /// All VMs together.
    pub total: Summary,
    /// What an admin must know of the numbers, a sentence each.
    pub notes: Vec<String>,
}

impl Report {
    /// Adds up `vms`.
    pub fn of(vms: Vec<VmReport>, notes: Vec<String>) -> Self {
        let mut total = Summary {
            hours: 0.0,
            unknown_hours: 0.0,
            cpu: nothing(Resource::Cpu),
            memory: None,
        };
        for VmReport { summary, .. } in &vms {
            total.hours += summary.hours;
            total.unknown_hours += summary.unknown_hours;
            total.cpu.add(&summary.cpu);
            if let Some(memory) = &summary.memory {
                let sum = &mut total.memory;
                sum.get_or_insert_with(|| nothing(Resource::Memory))
                    .add(memory);
            }
        }
        Self { vms, total, notes }
    }
}

fn nothing(resource: Resource) -> Comparison {
    Comparison {
        resource,
        bills: [Bill::default(); 4],
    }
}

/// A sum without what is off in it by the way in which it was added up.
fn told(sum: f64) -> f64 {
    (sum * 1e9).round() / 1e9
}

fn hours<S: Serializer>(sum: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(told(*sum))
}

/// Milliseconds become seconds, without a fraction where there is none.
fn seconds<S: Serializer>(course: &Course, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(
        course
            .iter()
            .map(|(at, amount)| (number(*at as f64 / 1000.0), number(*amount))),
    )
}

/// `4` rather than `4.0`.
fn number(value: f64) -> serde_json::Number {
    let whole = value as i64;
    match serde_json::Number::from_f64(value) {
        Some(fraction) if whole as f64 != value => fraction,
        _ => whole.into(),
    }
}
