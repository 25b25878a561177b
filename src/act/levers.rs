//! How each lever is pulled, and where its real position is read.

use std::time::Duration;

use crate::decide::Change;
use crate::domain::{Amount, Cores, Lever, Mib, Moment, Reading, Source, VmId};
use crate::pve::scope::Scope;
use crate::pve::{Layout, VmConfig, qmp};

use super::Outcome;
use super::guest::Guest;
use super::judge::{Ran, judge};

/// How long a value may take to settle after `qm` returned, by lever.
///
/// `qm` itself waits for vCPUs and memory modules; systemd sets a quota at once. A balloon moves at the guest's
/// pace, a few hundred MiB a second.
pub(super) fn patience(lever: Lever) -> Duration {
    match lever {
        Lever::Vcpus | Lever::Cpulimit | Lever::Dimm => Duration::from_secs(2),
        Lever::Balloon => Duration::from_secs(10),
    }
}

/// The options of `qm set` that make `change`, given the VM's present configuration.
pub(super) fn options(change: &Change, config: &VmConfig) -> Vec<(&'static str, String)> {
    match (change.lever, change.to) {
        (Lever::Vcpus, Amount::Cpu(to)) => vec![("vcpus", to.ceil().to_string())],
        (Lever::Cpulimit, Amount::Cpu(to)) => vec![("cpulimit", format!("{to}"))],
        (Lever::Balloon, Amount::Memory(to)) => {
            let to = unlike_configured(to, change.grows(), config.balloon);
            let balloon = ("balloon", to.0.to_string());
            // Only with `shares: 0` does PVE hand the value to QEMU; it sets `shares` before `balloon` within one call.
            match config.shares {
                Some(0) => vec![balloon],
                _ => vec![("shares", "0".to_owned()), balloon],
            }
        }
        (_, Amount::Memory(to)) => {
            let memory = ("memory", to.0.to_string());
            match config.balloon {
                // PVE refuses a memory below `balloon`, which is only pvestatd's lower limit here: with `shares: 0`
                // modules are not unplugged at all.
                Some(balloon) if balloon > to => vec![("balloon", to.0.to_string()), memory],
                _ => vec![memory],
            }
        }
        (lever, Amount::Cpu(_)) => unreachable_pair(lever),
    }
}

/// A target that PVE does not take for the one it has.
///
/// PVE drops an option that equals the configured value and then tells QEMU nothing (pve-facts 2.2, step 5), also
/// where pvestatd has moved the balloon since. One MiB less than the step makes it a change.
fn unlike_configured(to: Mib, grows: bool, configured: Option<Mib>) -> Mib {
    match configured {
        Some(configured) if configured == to && grows => Mib(to.0 - 1),
        Some(configured) if configured == to => Mib(to.0 + 1),
        _ => to,
    }
}

/// Whether the lever stands where `change` wanted it, or beyond.
pub(super) fn reached(change: &Change, seen: &Reading<Amount>) -> bool {
    judge(change, &Ran::Returned, seen, &Guest::Follows, false) == Outcome::Applied
}

/// A lever and an amount of the other resource cannot meet in a [`Change`] that `decide` made.
fn unreachable_pair(lever: Lever) -> Vec<(&'static str, String)> {
    tracing::error!("{lever} was asked for an amount of the other resource; nothing is changed");
    Vec::new()
}

/// The option whose pending value says that `lever` waits for a power cycle.
pub(super) fn option_name(lever: Lever) -> &'static str {
    match lever {
        Lever::Vcpus => "vcpus",
        Lever::Cpulimit => "cpulimit",
        Lever::Balloon => "balloon",
        Lever::Dimm => "memory",
    }
}

/// Where the lever really stands now.
pub(super) async fn read(layout: &Layout, vm: VmId, lever: Lever) -> Reading<Amount> {
    let now = Moment::now();
    if lever == Lever::Cpulimit {
        match Scope::new(layout, vm).cpu_limit() {
            Ok(Some(limit)) => return Reading::known(Amount::Cpu(limit), now, Source::Cgroup),
            // No quota: the vCPUs are the limit, and QEMU knows how many there are.
            Ok(None) => {}
            Err(e) => return Reading::unknown(e.to_string()),
        }
    }
    let answers = match qmp::ask(&layout.qmp_socket(vm), qmp::BORROW).await {
        Ok(answers) => answers,
        Err(e) => return Reading::unknown(e.to_string()),
    };
    let amount = match lever {
        Lever::Vcpus | Lever::Cpulimit => answers
            .vcpus
            .map(|v| Amount::Cpu(Cores::whole(v.len() as u32))),
        Lever::Balloon => match answers.balloon {
            Ok(Some(balloon)) => Ok(Amount::Memory(balloon.actual)),
            Ok(None) => Err("there is no balloon device".to_owned()),
            Err(why) => Err(why),
        },
        Lever::Dimm => answers.memory.map(|memory| Amount::Memory(memory.total())),
    };
    match amount {
        Ok(amount) => Reading::known(amount, now, Source::Qemu),
        Err(why) => Reading::Unknown(why),
    }
}
