//! Events as people read them: one sentence each, with the numbers in it.

use std::fmt;
use std::time::Duration;

use crate::act::{Done, Outcome};
use crate::decide::Change;
use crate::domain::{Amount, Lever};

use super::{Day, Event, EventKind};

impl fmt::Display for Event {
    /// `VM 101 (web): 1 → 4 vCPUs, need 3.6 cores, applied in 1.2 s`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(vm) = &self.vm {
            write!(f, "VM {}", vm.id)?;
            if !vm.name.as_str().is_empty() {
                write!(f, " ({})", vm.name)?;
            }
            f.write_str(": ")?;
        }
        self.kind.fmt(f)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(done) => done.fmt(f),
            Self::WantsMore {
                resource,
                wants,
                limit,
                why,
            } => {
                write!(f, "wants {wants} of {resource} but may have {limit}: {why}")
            }
            Self::HostLimit { resource, why } => {
                write!(f, "the node has no room for more {resource}: {why}")
            }
            Self::BreakerOpened { lever, until, why } => {
                write!(
                    f,
                    "{lever} failed repeatedly and rests until {until}; last failure: {why}"
                )
            }
            Self::TakenOver { what } => {
                write!(f, "taken over: {what}; `vm-autoscale release` puts it back")
            }
            Self::Released { what } => write!(f, "released: {what}"),
            Self::ConfigLoaded { what } => write!(f, "configuration loaded: {what}"),
            Self::ConfigRejected { why } => {
                write!(
                    f,
                    "new configuration rejected, the previous one stays in force: {why}"
                )
            }
            Self::Degraded { why, .. } => f.write_str(why),
            Self::Recovered { what, after } => {
                write!(f, "recovered after {}: {what}", span(*after))
            }
            Self::Daily(day) => day.fmt(f),
            Self::Started { version, managed } => {
                write!(f, "vm-autoscale {version} started, {managed} VMs managed")
            }
            Self::Stopped { why } => write!(f, "vm-autoscale stopped: {why}"),
        }
    }
}

impl fmt::Display for Day {
    /// `the last day: agents on 2 of 3 nodes, 12 VMs, 34 changes; pve3: agent is silent`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            nodes,
            agents,
            vms,
            changes,
            faults,
            attention,
        } = self;
        write!(
            f,
            "the last day: agents on {agents} of {nodes} nodes, {vms} VMs, {changes} changes"
        )?;
        for fault in attention {
            write!(f, "; {fault}")?;
        }
        match faults.saturating_sub(attention.len()) {
            0 => Ok(()),
            more => write!(f, "; and {more} more, see `vm-autoscale status --cluster`"),
        }
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, ", self.change, self.change.reason)?;
        match &self.outcome {
            Outcome::Applied => write!(f, "applied in {}", span(self.took)),
            outcome => {
                write!(f, "{outcome}")?;
                match self.now.value() {
                    Some(now) => write!(f, " (now {now})"),
                    None => f.write_str(" (value now unknown)"),
                }
            }
        }
    }
}

impl fmt::Display for Change {
    /// `1 → 4 vCPUs`, `cpulimit 0.5 → 2 cores`, `balloon 4 GiB → 6.5 GiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.lever, self.from, self.to) {
            (Lever::Vcpus, Amount::Cpu(from), Amount::Cpu(to)) => write!(f, "{from} → {to} vCPUs"),
            (Lever::Cpulimit, Amount::Cpu(from), Amount::Cpu(to)) => {
                write!(f, "cpulimit {from} → {to} cores")
            }
            (Lever::Dimm, from, to) => write!(f, "memory {from} → {to}"),
            (lever, from, to) => write!(f, "{lever} {from} → {to}"),
        }
    }
}

/// A duration as people say it: `340 ms`, `1.2 s`, `5 min`, `3 h`.
pub fn span(span: Duration) -> String {
    match span.as_secs_f64() {
        s if s < 0.9995 => format!("{:.0} ms", s * 1000.0),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.0} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Reason;
    use crate::domain::{Cores, Moment, Reading, Source, VmName};
    use crate::record::VmRef;

    fn event(outcome: Outcome, now: Reading<Amount>) -> Event {
        let id = "101".parse().unwrap();
        let name = VmName::new("web\nVM 102: owned");
        let change = Change {
            vm: id,
            name: name.clone(),
            lever: Lever::Vcpus,
            from: Amount::Cpu(Cores::whole(1)),
            to: Amount::Cpu(Cores::whole(4)),
            reason: Reason::NeedsMore {
                need: Amount::Cpu(Cores::from_f64(3.6)),
            },
        };
        let at = Moment::from_millis(0);
        let done = Done {
            change,
            outcome,
            now,
            at,
            took: Duration::from_millis(1_230),
        };
        Event {
            at,
            node: "pve1".parse().unwrap(),
            vm: Some(VmRef {
                id,
                name,
                tags: vec![],
            }),
            kind: EventKind::Changed(Box::new(done)),
        }
    }

    #[test]
    fn a_change_reads_as_one_sentence_with_its_numbers() {
        let now = Reading::known(
            Amount::Cpu(Cores::whole(4)),
            Moment::from_millis(0),
            Source::Qemu,
        );
        let text = event(Outcome::Applied, now).to_string();
        assert_eq!(
            text,
            "VM 101 (web?VM 102: owned): 1 → 4 vCPUs, need 3.6 cores, applied in 1.2 s"
        );
    }

    #[test]
    fn a_change_that_did_not_happen_says_so_and_what_is_true_now() {
        let now = Reading::known(
            Amount::Cpu(Cores::whole(1)),
            Moment::from_millis(0),
            Source::Qemu,
        );
        let text = event(Outcome::Pending("waits for a power cycle".into()), now).to_string();
        assert!(
            text.ends_with("pending: waits for a power cycle (now 1 core)"),
            "{text}"
        );
        let text = event(
            Outcome::Unknown("qm did not end within 120 s".into()),
            Reading::unknown(""),
        )
        .to_string();
        assert!(
            text.ends_with("unknown: qm did not end within 120 s (value now unknown)"),
            "{text}"
        );
    }
}
