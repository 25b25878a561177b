//! What a VM uses, as a policy is told of it: the samples of a tick, whether the guest is short, the least it must have.

use std::time::Duration;

use crate::domain::{Lever, Moment, Reading, Resource};
use crate::observe::{CpuUsage, VmView};

use super::Reason;
use super::gates;
use super::levers::Movable;
use super::policy::Sample;

/// What was measured of one resource since the previous tick.
pub(super) struct Usage {
    pub(super) samples: Vec<Sample>,
    /// When the last of it was read.
    pub(super) read: Moment,
    /// The guest shows that it wants more than it has.
    pub(super) short: bool,
    /// The least that the VM must be given, whatever the policy says.
    pub(super) least: f64,
}

/// What was measured since the previous tick. An error says what is not known.
pub(super) fn of(
    vm: &VmView,
    resource: Resource,
    now: Moment,
    oldest: Duration,
) -> Result<Usage, String> {
    match resource {
        Resource::Cpu => {
            let usage = gates::fresh(&vm.cpu.usage, now, oldest)?;
            Ok(Usage {
                samples: samples(&usage, now),
                read: read(&vm.cpu.usage, now),
                // Held back in every tenth period or more: the quota, not the guest, decides what is used.
                short: usage.throttled.is_some_and(|share| share.fraction() >= 0.1),
                least: 0.0,
            })
        }
        Resource::Memory => {
            let need = gates::fresh(&vm.memory.need, now, oldest)?;
            if need.includes_cache {
                return Err(
                    "the guest does not tell how much of its memory is page cache".to_owned(),
                );
            }
            let sample = Sample {
                at: now,
                span: Duration::ZERO,
                value: need.need.as_f64(),
            };
            Ok(Usage {
                samples: vec![sample],
                read: read(&vm.memory.need, now),
                short: gates::is_short(&need),
                least: (need.need + gates::memory_margin(need.need)).as_f64(),
            })
        }
    }
}

/// The samples of which the last one ends now.
fn samples(usage: &CpuUsage, now: Moment) -> Vec<Sample> {
    let mut at = now;
    let from_the_last = usage.samples.iter().rev().map(|sample| {
        let end = at;
        at = at - sample.span;
        Sample {
            at: end,
            span: sample.span,
            value: sample.mean.as_f64(),
        }
    });
    let mut samples: Vec<Sample> = from_the_last.collect();
    samples.reverse();
    samples
}

/// When a reading was made; `now` where it was not.
fn read<T>(reading: &Reading<T>, now: Moment) -> Moment {
    match reading {
        Reading::Known { at, .. } => *at,
        Reading::Unknown(_) => now,
    }
}

/// A vCPU that is busier than this is used up.
const BUSY: f64 = 0.9;

/// Says that one thread of the guest uses up a vCPU while others have room: more of them do not help it.
pub(super) fn one_busy_thread(vm: &VmView, movable: &Movable) -> Option<Reason> {
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
