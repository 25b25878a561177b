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

/// Pages that programs had to reclaim themselves, beyond what a burst of file reading costs: 32 MiB.
const DIRECT_RECLAIMS: u64 = 8192;

/// What a guest reported before, against which its next statistics are read.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    last: Option<(Moment, GuestStats)>,
    signs: Signs,
    /// What QEMU gives the guest, and when it was first seen to.
    given: Option<(Mib, Moment)>,
    /// What the guest's kernel keeps for itself before it counts: what QEMU gave less what the kernel counted, in MiB,
    /// when both held at the same time. Negative where the driver takes pages and the kernel goes on counting them.
    uncounted: Option<i64>,
}

/// Signs of shortage between two statistics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Signs {
    /// Something was waited for, or read back in.
    pub(super) pressure: bool,
    /// A program was killed.
    pub(super) out_of_memory: bool,
}

impl Heard {
    /// What the guest needs: what its kernel counts less what it could hand out, and what the kernel does not count.
    ///
    /// Only numbers of one moment are compared. The statistics may be seconds old, and what QEMU gives may have moved
    /// since: subtracting the one from the other makes a guest that was just squeezed look as if it needed nothing.
    fn need(
        &mut self,
        has: Mib,
        at: Moment,
        now: Moment,
        stats: &GuestStats,
        available: Mib,
    ) -> Mib {
        let since = match self.given {
            Some((given, since)) if given == has => since,
            _ => {
                self.given = Some((has, now));
                now
            }
        };
        let Some(total) = stats.total else {
            return has.saturating_sub(available);
        };
        // The statistics carry whole seconds, rounded down: these are younger than the balloon's size.
        if at > since {
            self.uncounted = Some(has.0 as i64 - total.0 as i64);
        }
        match self.uncounted {
            Some(uncounted @ 0..) => (total + Mib(uncounted as u64)).saturating_sub(available),
            Some(uncounted) => {
                let given = total.saturating_sub(Mib(uncounted.unsigned_abs()));
                given.max(has).saturating_sub(available)
            }
            None => has.max(total).saturating_sub(available),
        }
    }

    /// Whether the guest got short of memory between the previous statistics and these.
    ///
    /// Statistics that did not change since the last look tell nothing new: the answer stands until they do.
    pub(super) fn look(&mut self, at: Moment, stats: &GuestStats) -> Signs {
        if self.last.as_ref().is_some_and(|(then, _)| *then == at) {
            return self.signs;
        }
        let Some((then, before)) = self.last.replace((at, stats.clone())) else {
            return self.signs;
        };
        let seconds = at.since(then).as_secs_f64();
        let rise = |now: Option<u64>, before: Option<u64>| match (now, before) {
            (Some(now), Some(before)) => now.saturating_sub(before),
            _ => 0,
        };
        let faults = rise(stats.major_faults, before.major_faults) as f64;
        self.signs = Signs {
            out_of_memory: rise(stats.oom_kills, before.oom_kills) > 0,
            pressure: rise(stats.alloc_stalls, before.alloc_stalls) > 0
                || rise(stats.direct_reclaims, before.direct_reclaims) > DIRECT_RECLAIMS
                || rise(stats.swap_in, before.swap_in) > SWAP_IN_BYTES
                || (seconds > 0.0 && faults / seconds > MAJOR_FAULTS_PER_S),
        };
        self.signs
    }
}

/// What the guest needs, by its own statistics.
///
/// Need is what it has less what it could hand out: page cache is in "available", shared memory is not. `has` is
/// what QEMU gives the guest now.
pub(super) fn need(
    has: Mib,
    stats: &GuestStats,
    now: Moment,
    heard: &mut Heard,
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
    let signs = heard.look(at, stats);
    let need = MemoryNeed {
        need: heard.need(has, at, now, stats, available),
        includes_cache: false,
        available: Some(available),
        pressure: signs.pressure || signs.out_of_memory,
        out_of_memory: signs.out_of_memory,
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
                out_of_memory: false,
            };
            Reading::known(need, *at, *source)
        }
        Reading::Unknown(_) => Reading::Unknown(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_millis(1_800_000_000_000);

    fn stats(seconds: u64) -> GuestStats {
        GuestStats {
            last_update: Some(NOW + Duration::from_secs(seconds)),
            total: Some(Mib(4000)),
            free: Some(Mib(300)),
            available: Some(Mib(1000)),
            disk_caches: Some(Mib(900)),
            swap_in: Some(0),
            swap_out: Some(0),
            major_faults: Some(10),
            oom_kills: Some(0),
            alloc_stalls: Some(0),
            direct_reclaims: Some(0),
        }
    }

    /// The need by statistics that `change` made of calm ones two seconds before.
    fn after(change: impl FnOnce(&mut GuestStats)) -> MemoryNeed {
        let mut heard = Heard::default();
        need(Mib(4096), &stats(0), NOW, &mut heard);
        let mut later = stats(2);
        change(&mut later);
        let now = NOW + Duration::from_secs(2);
        let seen = need(Mib(4096), &later, now, &mut heard);
        // A second look at the same statistics tells the same.
        assert_eq!(need(Mib(4096), &later, now, &mut heard), seen);
        seen.value().unwrap().clone()
    }

    #[test]
    fn page_cache_is_no_need_and_calm_is_no_shortage() {
        let calm = after(|_| {});
        assert_eq!(
            (calm.need, calm.pressure, calm.out_of_memory),
            (Mib(3096), false, false)
        );
    }

    /// What a guest with 100 MiB that its kernel does not count, and 500 MiB in use, reports at second `at`.
    fn reported(at: u64, given: u64) -> GuestStats {
        GuestStats {
            total: Some(Mib(given - 100)),
            available: Some(Mib(given - 600)),
            ..stats(at)
        }
    }

    fn need_at(heard: &mut Heard, second: u64, has: u64, reported: &GuestStats) -> Mib {
        let now = NOW + Duration::from_secs(second);
        let seen = need(Mib(has), reported, now, heard);
        seen.value().unwrap().need
    }

    #[test]
    fn statistics_from_before_a_balloon_moved_are_not_held_against_its_new_size() {
        let mut heard = Heard::default();
        assert_eq!(need_at(&mut heard, 0, 2048, &reported(0, 2048)), Mib(600));
        assert_eq!(need_at(&mut heard, 3, 2048, &reported(2, 2048)), Mib(600));
        // The balloon has taken half; the guest still says what it could hand out before.
        assert_eq!(need_at(&mut heard, 4, 1024, &reported(2, 2048)), Mib(600));
        assert_eq!(need_at(&mut heard, 6, 1024, &reported(6, 1024)), Mib(600));
        // And back.
        assert_eq!(need_at(&mut heard, 7, 2048, &reported(6, 1024)), Mib(600));
        assert_eq!(need_at(&mut heard, 9, 2048, &reported(9, 2048)), Mib(600));
    }

    #[test]
    fn a_guest_seen_for_the_first_time_after_its_balloon_moved_needs_no_less_than_its_kernel_counts()
     {
        let seen = need_at(&mut Heard::default(), 1, 1024, &reported(0, 2048));
        assert_eq!(seen, Mib(500));
    }

    #[test]
    fn a_driver_that_takes_pages_without_telling_the_kernel_makes_no_need_look_small() {
        // As on Windows: the total stays, only what is available falls.
        let windows = |at, available| GuestStats {
            total: Some(Mib(2048)),
            available: Some(Mib(available)),
            ..stats(at)
        };
        let mut heard = Heard::default();
        need_at(&mut heard, 0, 1024, &windows(0, 424));
        assert_eq!(need_at(&mut heard, 3, 1024, &windows(2, 424)), Mib(600));
        assert!(need_at(&mut heard, 4, 768, &windows(2, 424)) >= Mib(600));
        assert!(need_at(&mut heard, 6, 768, &windows(6, 168)) >= Mib(600));
        assert_eq!(need_at(&mut heard, 9, 768, &windows(8, 168)), Mib(600));
        assert!(need_at(&mut heard, 10, 1536, &windows(8, 168)) >= Mib(600));
        assert!(need_at(&mut heard, 12, 1536, &windows(12, 936)) >= Mib(600));
    }

    #[test]
    fn every_sign_of_shortage_is_seen_and_an_oom_kill_is_the_worst() {
        type Change = fn(&mut GuestStats);
        let signs: [Change; 4] = [
            |s| s.swap_in = Some(5 << 20),
            |s| s.major_faults = Some(1000),
            |s| s.alloc_stalls = Some(1),
            |s| s.direct_reclaims = Some(20_000),
        ];
        for change in signs {
            let seen = after(change);
            assert!(seen.pressure && !seen.out_of_memory);
        }
        let killed = after(|s| s.oom_kills = Some(1));
        assert!(killed.pressure && killed.out_of_memory);
    }

    #[test]
    fn what_a_guest_does_not_report_is_unknown_and_no_sign() {
        let silent = after(|s| (s.oom_kills, s.alloc_stalls, s.swap_in) = (None, None, None));
        assert!(!silent.pressure);
        let mut stale = stats(0);
        stale.last_update = Some(NOW - Duration::from_secs(11));
        let seen = need(Mib(4096), &stale, NOW, &mut Heard::default());
        assert!(matches!(seen, Reading::Unknown(why) if why.contains("silent for 11 s")));
    }
}
