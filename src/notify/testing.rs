//! Events for the tests of this room.

use std::sync::Arc;
use std::time::Duration;

use crate::act::{Done, Outcome};
use crate::decide::{Change, Reason};
use crate::domain::{
    Amount, Cores, Lever, Mib, Moment, NodeName, Reading, Resource, Source, VmId, VmName,
};
use crate::record::{Event, EventKind, VmRef};

/// 2026-11-24 10:20:10 UTC.
pub(super) const AT: Moment = Moment::from_millis(1_795_515_610_000);

pub(super) fn node() -> NodeName {
    "pve1".parse().unwrap()
}

pub(super) fn vm(id: u32, name: &str) -> VmRef {
    VmRef {
        id: VmId::try_from(id).unwrap(),
        name: VmName::new(name),
        tags: vec!["prod".to_owned()],
    }
}

pub(super) fn event(vm: Option<VmRef>, kind: EventKind) -> Event {
    Event {
        at: AT,
        node: node(),
        vm,
        kind,
    }
}

/// A change of VM 101 (web) from 1 vCPU to `to`, of which `now` were seen afterwards.
pub(super) fn vcpus(to: u32, now: Option<u32>, outcome: Outcome) -> Event {
    let now = match now {
        Some(now) => Reading::known(Amount::Cpu(Cores::whole(now)), AT, Source::Qemu),
        None => Reading::unknown("QEMU does not answer"),
    };
    let change = Change {
        vm: VmId::try_from(101).unwrap(),
        name: VmName::new("web"),
        lever: Lever::Vcpus,
        from: Amount::Cpu(Cores::whole(1)),
        to: Amount::Cpu(Cores::whole(to)),
        reason: Reason::NeedsMore {
            need: Amount::Cpu(Cores::from_f64(3.6)),
        },
    };
    let done = Done {
        change,
        outcome,
        now,
        at: AT,
        took: Duration::from_millis(1_230),
    };
    event(Some(vm(101, "web")), EventKind::Changed(Box::new(done)))
}

/// A change of the memory of VM 101 (web) by `lever`.
pub(super) fn memory(lever: Lever, from: Mib, to: Mib, outcome: Outcome) -> Event {
    let change = Change {
        vm: VmId::try_from(101).unwrap(),
        name: VmName::new("web"),
        lever,
        from: Amount::Memory(from),
        to: Amount::Memory(to),
        reason: Reason::CalmedDown {
            enough: Amount::Memory(Mib(1_400)),
        },
    };
    let done = Done {
        now: Reading::known(change.to, AT, Source::Qemu),
        change,
        outcome,
        at: AT,
        took: Duration::from_millis(400),
    };
    event(Some(vm(101, "web")), EventKind::Changed(Box::new(done)))
}

/// The guest of VM `id` refuses more vCPUs, with `why`.
pub(super) fn refused(id: u32, why: &str) -> Event {
    let mut event = vcpus(4, Some(1), Outcome::Refused(why.to_owned()));
    event.vm = Some(vm(id, "web"));
    event
}

pub(super) fn degraded(what: &str, why: &str) -> Event {
    event(
        None,
        EventKind::Degraded {
            what: what.to_owned(),
            why: why.to_owned(),
        },
    )
}

pub(super) fn recovered(what: &str, after: Duration) -> Event {
    event(
        None,
        EventKind::Recovered {
            what: what.to_owned(),
            after,
        },
    )
}

pub(super) fn wants_more(resource: Resource) -> Event {
    event(
        Some(vm(101, "web")),
        EventKind::WantsMore {
            resource,
            wants: resource.amount(9.2),
            limit: resource.amount(8.0),
            why: "raise cpu.max if it is to have more".to_owned(),
        },
    )
}

pub(super) fn shared(event: Event) -> Arc<Event> {
    Arc::new(event)
}
