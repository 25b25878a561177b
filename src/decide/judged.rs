//! What was decided of one resource of one VM, and how the wishes of all become the plan's changes.

use crate::domain::{Amount, Cores, Moment, Reading, Resource};
use crate::observe::VmView;

use super::budget::{Budget, Request};
use super::levers::Movable;
use super::plan::{Change, Verdict};
use super::reason::Reason;

/// One resource of one VM, judged without regard to the others.
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    /// The move to make, if any: the lever's state and where to.
    pub(super) go: Option<(Movable, f64)>,
    pub(super) priority: u32,
    /// It is short of the resource, or below its minimum.
    pub(super) urgent: bool,
    /// The node had no room for it a moment ago.
    pub(super) was_refused: bool,
    /// What it asked for, where the node has no room for it now.
    pub(super) refused: Option<Request>,
    /// How far it could be brought down if others need the rest.
    pub(super) spare: Option<(Movable, f64)>,
    /// See [`Plan::stands_until`].
    pub(super) stands_until: Moment,
}

impl Judged {
    /// A verdict that changes nothing.
    pub(super) fn held(vm: &VmView, resource: Resource, reason: Reason) -> Self {
        let verdict = Verdict {
            vm: vm.id,
            name: vm.name.clone(),
            resource,
            need: need(vm, resource),
            allocation: allocation(vm, resource),
            lever: None,
            min: None,
            max: None,
            wanted: None,
            target: None,
            recommended: None,
            reason,
            peaks: Vec::new(),
            windows: Vec::new(),
        };
        Self {
            verdict,
            go: None,
            priority: 0,
            urgent: false,
            was_refused: false,
            refused: None,
            spare: None,
            stands_until: FOR_EVER,
        }
    }

    /// How much it has to spare, if others need it, beyond what it gives already.
    pub(super) fn to_spare(&self) -> f64 {
        self.spare.as_ref().map_or(0.0, |(movable, enough)| {
            movable.allocation + self.extra() - enough
        })
    }

    /// What it asks of the node's room.
    fn request(&self) -> Request {
        let go = self.go.as_ref();
        Request {
            extra: self.extra(),
            grain: go.map_or(0.0, |(movable, _)| movable.grain()),
            urgent: self.urgent,
            was_refused: self.was_refused,
        }
    }

    /// How much more the VM is to get; negative for a shrink.
    pub(super) fn extra(&self) -> f64 {
        self.go
            .as_ref()
            .map_or(0.0, |(movable, to)| to - movable.allocation)
    }
}

/// For what no passing of time changes.
const FOR_EVER: Moment = Moment::from_millis(i64::MAX);

/// Until when all judgements stay the same by themselves.
pub(super) fn stands_until(judged: &[Judged]) -> Moment {
    let ends = judged.iter().map(|j| match j.verdict.reason {
        Reason::CoolingDown { until }
        | Reason::EnoughChanges { until, .. }
        | Reason::Booting { until }
        | Reason::Resting { until, .. } => j.stands_until.min(until),
        _ => j.stands_until,
    });
    ends.min().unwrap_or(FOR_EVER)
}

/// Grants grows from the node's room, the highest priority first, fairly within one.
pub(super) fn share_out(judged: &mut [Judged], budget: &mut Budget) {
    let mut priorities: Vec<u32> = judged.iter().map(|j| j.priority).collect();
    priorities.sort_unstable_by(|a, b| b.cmp(a));
    priorities.dedup();
    for (priority, resource) in priorities
        .iter()
        .flat_map(|p| Resource::ALL.map(|r| (*p, r)))
    {
        let mut served: Vec<&mut Judged> = judged
            .iter_mut()
            .filter(|j| j.priority == priority && j.verdict.resource == resource && j.extra() > 0.0)
            .collect();
        let requests: Vec<Request> = served.iter().map(|j| j.request()).collect();
        let granted = budget.share(resource, &requests);
        for ((judged, request), granted) in served.iter_mut().zip(requests).zip(granted) {
            match (granted, &mut judged.go) {
                (Ok(granted), Some((movable, to))) => {
                    *to = movable.granted(granted);
                    let extra = request.extra - granted;
                    judged.refused =
                        (extra >= request.grain).then_some(Request { extra, ..request });
                }
                (Err(reason), _) => {
                    judged.refused = Some(request);
                    judged.go = None;
                    judged.verdict.reason = reason;
                }
                (Ok(_), None) => {}
            }
        }
    }
    for judged in judged.iter_mut() {
        judged.verdict.target = judged
            .go
            .as_ref()
            .map(|(_, to)| judged.verdict.resource.amount(*to));
    }
}

/// The changes, shrinks first, then grows by priority.
pub(super) fn changes(judged: &[Judged]) -> Vec<Change> {
    let mut moving: Vec<&Judged> = judged.iter().filter(|j| j.go.is_some()).collect();
    moving.sort_by_key(|j| (j.extra() > 0.0, std::cmp::Reverse(j.priority)));
    let change = |j: &Judged| {
        let (movable, to) = j.go.as_ref()?;
        let resource = j.verdict.resource;
        Some(Change {
            vm: j.verdict.vm,
            name: j.verdict.name.clone(),
            lever: movable.lever,
            from: resource.amount(movable.stands),
            to: resource.amount(movable.position(*to)),
            reason: j.verdict.reason.clone(),
        })
    };
    moving.into_iter().filter_map(change).collect()
}

/// What the VM needs now, for the verdict.
fn need(vm: &VmView, resource: Resource) -> Reading<Amount> {
    match resource {
        Resource::Cpu => vm.cpu.usage.as_ref().map(|usage| Amount::Cpu(usage.mean)),
        Resource::Memory => vm
            .memory
            .need
            .as_ref()
            .map(|need| Amount::Memory(need.need)),
    }
}

/// What the VM has now, for the verdict.
fn allocation(vm: &VmView, resource: Resource) -> Reading<Amount> {
    match resource {
        Resource::Cpu => {
            let limit = vm.cpu.limit.get().flatten();
            let cores =
                |vcpus| limit.map_or(Cores::whole(vcpus), |limit| limit.min(Cores::whole(vcpus)));
            vm.cpu
                .vcpus
                .as_ref()
                .map(|vcpus| Amount::Cpu(cores(*vcpus)))
        }
        Resource::Memory if vm.memory.balloon.device => {
            vm.memory.balloon.actual.clone().map(Amount::Memory)
        }
        Resource::Memory => vm.memory.ceiling.clone().map(Amount::Memory),
    }
}
