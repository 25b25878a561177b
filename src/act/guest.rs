//! Whether the guest uses what QEMU was given. A plugged vCPU or memory module that it does not bring online is of no use
//! to it, and nobody but the guest can tell.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::decide::Change;
use crate::domain::{Amount, Lever, Mib, Moment, VmId};
use crate::pve::process::QemuProcess;
use crate::pve::{Layout, qmp};

/// The guest's answer to a growth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Guest {
    /// It uses what it was given, or there is nothing that it would have to do.
    Follows,
    /// It does not use all of it, and what it uses.
    Ignores(String),
    /// It does not tell, and why.
    Silent(String),
}

/// How long a guest may take to bring online what was plugged. Its statistics come every 2 s.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The pause between two looks at a value that has not settled.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How long a balloon and the statistics, which come every 2 s, are given to come to rest.
const REST: Duration = Duration::from_secs(6);

/// What has to be known of the guest before a growth, so that it can be told from what was there: its memory.
///
/// `balloon_moved` says that the balloon moved of late: the guest's statistics may then be older than its position, and
/// newer ones are awaited.
pub(super) async fn before(layout: &Layout, change: &Change, balloon_moved: bool) -> Option<Mib> {
    if change.lever != Lever::Dimm || !change.grows() {
        return None;
    }
    if balloon_moved {
        return rested(layout, change.vm).await.ok();
    }
    look(layout, change.vm).await.ok().map(|look| look.online)
}

/// Whether the guest follows `change`, which QEMU has carried out. `before` is from [`before`].
pub(super) async fn follows(layout: &Layout, change: &Change, before: Option<Mib>) -> Guest {
    match (change.lever, change.from, change.to) {
        _ if !change.grows() => Guest::Follows,
        (Lever::Vcpus, _, Amount::Cpu(to)) => vcpus(layout, change.vm, to.ceil()),
        (Lever::Dimm, Amount::Memory(from), Amount::Memory(to)) => {
            let plugged = to.saturating_sub(from);
            module(rested(layout, change.vm).await, before, plugged)
        }
        _ => Guest::Follows,
    }
}

/// A vCPU that the guest does not bring online has a thread that never runs.
fn vcpus(layout: &Layout, vm: VmId, plugged: u32) -> Guest {
    let threads = match QemuProcess::find(layout, vm) {
        Ok(Some(process)) => process.vcpu_threads(),
        Ok(None) => return Guest::Silent("its process is gone".to_owned()),
        Err(e) => Err(e),
    };
    match threads {
        Ok(threads) if threads.is_empty() => Guest::Silent("QEMU names no vCPU threads".to_owned()),
        Ok(threads) => {
            let running = threads.iter().filter(|t| !t.time.is_zero()).count() as u32;
            if running >= plugged {
                return Guest::Follows;
            }
            Guest::Ignores(format!(
                "QEMU has {plugged} vCPUs, the guest runs on {running}"
            ))
        }
        Err(e) => Guest::Silent(e.to_string()),
    }
}

/// What the guest has online rises by a module that it brought online, less what its kernel keeps of it.
fn module(now: Result<Mib, String>, before: Option<Mib>, plugged: Mib) -> Guest {
    let (now, before) = match (now, before) {
        (Ok(now), Some(before)) => (now, before),
        (Err(why), _) => return Guest::Silent(why),
        (_, None) => return Guest::Silent("it did not tell its memory before".to_owned()),
    };
    let used = now.saturating_sub(before);
    // Blocks of 128 MiB come online one by one; all of them are there at nine tenths.
    if used.0 * 10 >= plugged.0 * 9 {
        return Guest::Follows;
    }
    Guest::Ignores(format!(
        "QEMU has {plugged} more, the guest has brought {used} of it online"
    ))
}

/// One look at the memory of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    /// What the guest sees and what its balloon holds: all that it has brought online, less what its kernel keeps.
    online: Mib,
    /// What its balloon holds.
    inflated: Mib,
    /// When the guest told what it sees.
    told: Moment,
}

async fn look(layout: &Layout, vm: VmId) -> Result<Look, String> {
    let answers = qmp::ask(&layout.qmp_socket(vm), qmp::BORROW).await;
    let answers = answers.map_err(|e| e.to_string())?;
    let inflated = match (answers.memory?, answers.balloon?) {
        (memory, Some(balloon)) => memory.total().saturating_sub(balloon.actual),
        (_, None) => Mib(0),
    };
    let stats = answers.guest_stats?;
    match stats.and_then(|stats| Some((stats.total?, stats.last_update?))) {
        Some((total, told)) => Ok(Look {
            online: Mib(total.0 + inflated.0),
            inflated,
            told,
        }),
        None => Err("the guest does not tell how much memory it sees".to_owned()),
    }
}

/// What the guest has online, from statistics that are newer than the balloon's last move: a balloon that gives memory
/// back makes the guest's total rise just as a module does.
async fn rested(layout: &Layout, vm: VmId) -> Result<Mib, String> {
    let deadline = Instant::now() + REST;
    let mut first = look(layout, vm).await?;
    loop {
        sleep(LOOK_AGAIN).await;
        let next = look(layout, vm).await?;
        if next.inflated != first.inflated {
            first = next;
        } else if next.told > first.told {
            return Ok(next.online);
        }
        if Instant::now() >= deadline {
            return Err("its balloon and its statistics did not come to rest".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_counts_when_the_guests_own_total_rose_by_it() {
        let told = |now, before| module(Ok(Mib(now)), before, Mib(1024));
        assert_eq!(told(3000, Some(Mib(1990))), Guest::Follows);
        assert!(matches!(told(1990, Some(Mib(1990))), Guest::Ignores(_)));
        assert!(matches!(told(2500, Some(Mib(1990))), Guest::Ignores(_)));
        assert!(matches!(told(3000, None), Guest::Silent(_)));
        let gone = module(Err("busy".into()), Some(Mib(1)), Mib(1024));
        assert_eq!(gone, Guest::Silent("busy".into()));
    }
}
