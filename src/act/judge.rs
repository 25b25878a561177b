//! From what was seen to an outcome. Pure: the command's own word counts for little, the value read back for all.

use crate::decide::Change;
use crate::domain::{Amount, Cores, Mib, Reading};

use super::Outcome;
use super::guest::Guest;

/// How the command that was to make a change ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ran {
    /// It returned and reported no error. That proves nothing.
    Returned,
    /// It reported an error, and this is its sentence.
    Failed(String),
    /// PVE declined, since the VM is elsewhere or locked, or there is no quorum.
    Declined(String),
    /// It did not come to an end, or was killed: it may have done part of its work.
    CutOff(String),
}

/// What became of `change`, when the value reads `seen` afterwards.
///
/// `guest` says whether the guest uses what QEMU has, `pending` that PVE keeps the new value for the next power cycle.
pub(super) fn judge(
    change: &Change,
    ran: &Ran,
    seen: &Reading<Amount>,
    guest: &Guest,
    pending: bool,
) -> Outcome {
    let value = match seen {
        Reading::Known { value, .. } => value.value(),
        Reading::Unknown(why) => {
            return Outcome::Unknown(with(ran, format!("it cannot be read back: {why}")));
        }
    };
    let (from, to) = (change.from.value(), change.to.value());
    let way = (value - from) * (to - from).signum();
    let whole_way = (to - from).abs() - tolerance(change.to);
    if way >= whole_way {
        return match guest {
            Guest::Follows => Outcome::Applied,
            Guest::Ignores(what) => Outcome::Partial(with(ran, what.clone())),
            Guest::Silent(why) => Outcome::Unknown(with(
                ran,
                format!("QEMU has it; whether the guest uses it cannot be told: {why}"),
            )),
        };
    }
    let reached = change.lever.resource().amount(value);
    if way > tolerance(change.to) {
        return Outcome::Partial(with(ran, format!("reached {reached} of {}", change.to)));
    }
    match ran {
        _ if pending => Outcome::Pending("PVE keeps it for the next power cycle".to_owned()),
        Ran::CutOff(why) => Outcome::Unknown(format!("{why}; it may still take effect")),
        Ran::Declined(why) => Outcome::Withheld(why.clone()),
        Ran::Failed(why) => Outcome::Refused(why.clone()),
        Ran::Returned => Outcome::Refused("qm reported success, but nothing moved".to_owned()),
    }
}

/// Values closer than this are the same: rounding of QEMU's pages and of quotas.
fn tolerance(to: Amount) -> f64 {
    match to {
        Amount::Cpu(_) => Cores::milli(1).as_f64(),
        Amount::Memory(_) => Mib(1).as_f64(),
    }
}

/// What was seen, and what the command said if it did not simply return.
fn with(ran: &Ran, seen: String) -> String {
    match ran {
        Ran::Returned => seen,
        Ran::Failed(why) | Ran::Declined(why) | Ran::CutOff(why) => format!("{seen} ({why})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Reason;
    use crate::domain::{Lever, Moment, Source, VmName};

    fn vcpus(from: u32, to: u32) -> Change {
        Change {
            vm: "101".parse().unwrap(),
            name: VmName::new("web"),
            lever: Lever::Vcpus,
            from: Amount::Cpu(Cores::whole(from)),
            to: Amount::Cpu(Cores::whole(to)),
            reason: Reason::Fits,
        }
    }

    fn seen(cores: u32) -> Reading<Amount> {
        Reading::known(
            Amount::Cpu(Cores::whole(cores)),
            Moment::from_millis(0),
            Source::Qemu,
        )
    }

    #[test]
    fn the_outcome_is_what_was_seen_whatever_the_command_said() {
        let failed = Ran::Failed("error hotplugging cpu3".into());
        let moved = Ran::Declined("the VM has no configuration on this node".into());
        let hung = Ran::CutOff("qm did not end within 120 s".into());
        let blind = Reading::unknown("QEMU is busy");
        let cases = [
            (vcpus(1, 4), &Ran::Returned, seen(4), false, "applied"),
            (vcpus(1, 4), &failed, seen(4), false, "applied"),
            (vcpus(1, 4), &hung, seen(4), false, "applied"),
            (
                vcpus(1, 4),
                &failed,
                seen(2),
                false,
                "partial: reached 2 cores of 4 cores (error hotplugging cpu3)",
            ),
            (
                vcpus(4, 1),
                &Ran::Returned,
                seen(2),
                true,
                "partial: reached 2 cores of 1 core",
            ),
            (
                vcpus(1, 4),
                &Ran::Returned,
                seen(1),
                true,
                "pending: PVE keeps it for the next power cycle",
            ),
            (
                vcpus(1, 4),
                &failed,
                seen(1),
                false,
                "refused: error hotplugging cpu3",
            ),
            (
                vcpus(1, 4),
                &Ran::Returned,
                seen(1),
                false,
                "refused: qm reported success, but nothing moved",
            ),
            (
                vcpus(1, 4),
                &hung,
                seen(1),
                false,
                "unknown: qm did not end within 120 s; it may still take effect",
            ),
            (
                vcpus(4, 1),
                &Ran::Returned,
                seen(6),
                false,
                "refused: qm reported success, but nothing moved",
            ),
            (
                vcpus(1, 4),
                &Ran::Returned,
                blind,
                false,
                "unknown: it cannot be read back: QEMU is busy",
            ),
            (
                vcpus(1, 4),
                &moved,
                seen(1),
                false,
                "withheld: the VM has no configuration on this node",
            ),
        ];
        for (change, ran, seen, pending, expected) in cases {
            assert_eq!(
                judge(&change, ran, &seen, &Guest::Follows, pending).to_string(),
                expected,
                "{ran:?} {seen:?}"
            );
        }
    }
    #[test]
    fn what_the_guest_ignores_is_partial_and_what_it_hides_is_unknown() {
        let judged =
            |guest| judge(&vcpus(1, 4), &Ran::Returned, &seen(4), &guest, false).to_string();
        assert_eq!(
            judged(Guest::Ignores(
                "QEMU has 4 vCPUs, the guest runs on 1".into()
            )),
            "partial: QEMU has 4 vCPUs, the guest runs on 1"
        );
        assert!(judged(Guest::Silent("no threads".into())).starts_with("unknown: QEMU has it"));
    }
}
