//! What a guest says of its memory, turned into what it needs.

use std::time::Duration;

use crate::domain::{Mib, Moment, Reading, Source};
use crate::pve::qmp::GuestStats;

use super::MemoryNeed;

/// PVE has guests asked every 2 s; a driver that was silent for five times as long does not answer.
const STALE: Duration = Duration::from_secs(10);
/// Swapping in more than this between two statistics is shortage, not a page that came back by chance.
const SWAP_IN_BYTES: u64 = 4 << 20;
/// Major faults per second beyond what starting a program costs.
const MAJOR_FAULTS_PER_S: f64 = 200.0;

/// The counters of shortage that a guest reported last.
#[derive(Debug, Clone, Default)]
pub(super) struct Shortage {
    last: Option<(Moment, GuestStats)>,
}

impl Shortage {
    /// Whether the guest got short of memory between the previous statistics and these.
    ///
    /// Statistics that did not change since the last look tell nothing new: the answer stands until they do.
    pub(super) fn look(&mut self, at: Moment, stats: &GuestStats) -> bool {
        let Some((then, before)) = self.last.replace((at, stats.clone())) else {
            return false;
        };
        let seconds = at.since(then).as_secs_f64();
        let rise = |now: Option<u64>, before: Option<u64>| match (now, before) {
            (Some(now), Some(before)) => now.saturating_sub(before),
            _ => 0,
        };
        let faults = rise(stats.major_faults, before.major_faults) as f64;
        rise(stats.oom_kills, before.oom_kills) > 0
            || rise(stats.alloc_stalls, before.alloc_stalls) > 0
            || rise(stats.swap_in, before.swap_in) > SWAP_IN_BYTES
            || (seconds > 0.0 && faults / seconds > MAJOR_FAULTS_PER_S)
    }
}

/// What the guest needs, by its own statistics.
///
/// Need is what it has less what it could hand out: page cache is in "available", shared memory is not. `has` is
/// what QEMU gives the guest, not what the guest's kernel counts: the kernel's own share is needed, too.
pub(super) fn need(
    has: Mib,
    stats: &GuestStats,
    now: Moment,
    shortage: &mut Shortage,
) -> Reading<MemoryNeed> {
    let Some(at) = stats.last_update else {
        return Reading::unknown("the guest's balloon driver does not answer");
    };
    let age = now.since(at);
    if age > STALE {
        return Reading::unknown(format!(
            "the guest's balloon driver has been silent for {} s",
            age.as_secs()
        ));
    }
    let Some(available) = stats.available else {
        return Reading::unknown("the guest does not report its available memory");
    };
    let pressure = shortage.look(at, stats);
    let need = MemoryNeed {
        need: has.saturating_sub(available),
        includes_cache: false,
        available: Some(available),
        pressure,
    };
    // The statistics carry whole seconds; a reading is never from the future.
    Reading::known(need, at.min(now), Source::Guest)
}

/// What is known where the guest does not tell: what the host gives it, its page cache included.
pub(super) fn seen_from_outside(resident: &Reading<Mib>, why: String) -> Reading<MemoryNeed> {
    match resident {
        Reading::Known { value, at, source } => {
            let need = MemoryNeed {
                need: *value,
                includes_cache: true,
                available: None,
                pressure: false,
            };
            Reading::known(need, *at, *source)
        }
        Reading::Unknown(_) => Reading::Unknown(why),
    }
}
