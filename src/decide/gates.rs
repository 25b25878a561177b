//! When to keep the hands off a VM, whatever it needs.

use std::time::Duration;

use crate::config::Settings;
use crate::domain::{Mib, Moment, Reading};
use crate::observe::{Hold, MemoryNeed, Power, Snapshot, VmView};

use super::Reason;

/// Low readings in a row before anything is taken away.
pub(super) const LOW_READINGS: u32 = 2;

/// What a guest must have above what it needs now: 1/64, and 512 MiB at least.
///
/// A program that takes 100 MB a second must not outrun the agent: its statistics are up to 2 s old, they are read
/// every second while memory is tight, and `qm` takes 1 to 1.5 s. That is 450 MB, however large the guest is; the share is
/// for what its kernel keeps free in proportion.
pub fn memory_margin(need: Mib) -> Mib {
    Mib((need.0 / 64).max(512))
}

/// Whether a guest is so near to shortage that its memory is looked at every second.
pub fn is_tight(need: &MemoryNeed) -> bool {
    need.pressure
        || need
            .available
            .is_some_and(|available| available < memory_margin(need.need))
}

/// Whether a guest is so short that a growth does not wait for a cool-down.
///
/// Waiting and reading back count only while little is available: reading large files causes both as well.
pub(super) fn is_short(need: &MemoryNeed) -> bool {
    let margin = memory_margin(need.need).0;
    need.out_of_memory
        || match need.available {
            Some(available) => {
                available.0 < margin / 2 || (need.pressure && available.0 < margin * 2)
            }
            None => need.pressure,
        }
}

/// Readings older than this are as good as none.
pub(super) fn oldest_reading(settings: &Settings) -> Duration {
    // PVE asks guests for memory statistics every 2 s; a driver that missed five of them does not answer.
    (settings.check_interval * 2).max(Duration::from_secs(10))
}

/// `reading` if it is young enough to decide on at `now`.
pub(super) fn fresh<T: Clone>(
    reading: &Reading<T>,
    now: Moment,
    oldest: Duration,
) -> Result<T, String> {
    match reading {
        Reading::Known { value, at, .. } if now.since(*at) <= oldest => Ok(value.clone()),
        Reading::Known { at, .. } => Err(format!(
            "the last value is {} s old",
            now.since(*at).as_secs()
        )),
        Reading::Unknown(why) => Err(why.clone()),
    }
}

/// Why this VM is none of our business, if so: not here, not running, a template.
pub(super) fn out_of_reach(vm: &VmView, snapshot: &Snapshot) -> Option<Reason> {
    if vm.owner != snapshot.node {
        return Some(Reason::OtherNode {
            node: vm.owner.clone(),
        });
    }
    if vm.template {
        return Some(Reason::Template);
    }
    if let Some(why) = &vm.unreadable {
        return Some(Reason::Unreadable { why: why.clone() });
    }
    match &vm.power {
        Power::Running => None,
        Power::Stopped => Some(Reason::NotRunning),
        Power::Suspended(state) => Some(Reason::NotExecuting {
            state: state.clone(),
        }),
        Power::Unknown(why) => Some(Reason::Unreadable { why: why.clone() }),
    }
}

/// Why nothing may be changed now although the VM is ours and is measured.
pub(super) fn hands_off(vm: &VmView, snapshot: &Snapshot) -> Option<Reason> {
    if let Some(lock) = &vm.lock {
        return Some(Reason::Locked { lock: lock.clone() });
    }
    match &snapshot.cluster.quorate {
        Reading::Known { value: true, .. } => {}
        Reading::Known { value: false, .. } => return Some(Reason::NoQuorum),
        Reading::Unknown(why) => {
            return Some(Reason::Unmeasured {
                why: format!("quorum: {why}"),
            });
        }
    }
    if let Some(pause) = &snapshot.cluster.pause {
        return Some(Reason::Paused {
            by: pause.by.clone(),
        });
    }
    Some(match vm.hold.clone()? {
        Hold::Ha { state } => Reason::HighAvailability { state },
        Hold::HandOver { why } => Reason::HandOver { why },
    })
}

/// The least memory that may be left to a guest, or why none may be taken at all.
pub(super) fn memory_floor(need: &MemoryNeed) -> Result<Mib, Reason> {
    if need.includes_cache {
        return Err(Reason::Unmeasured {
            why: "the guest does not tell how much is page cache".to_owned(),
        });
    }
    if need.pressure {
        return Err(Reason::ShortOfMemory {
            need: crate::domain::Amount::Memory(need.need),
        });
    }
    Ok(need.need + memory_margin(need.need))
}
