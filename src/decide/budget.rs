//! What the node can still hand out. Grows draw on it; shrinks never wait for it.

use crate::config::HostLimits;
use crate::domain::{Lever, Reading, Resource};
use crate::observe::{HostView, Power, Snapshot, Unselected, VmView};

use super::Reason;
use super::memory::stands;

/// Who was refused is granted again only when so much of the node is free beyond what it asks for at least: else each
/// little that comes free is handed out, taken back and handed out again.
const REOPENS: f64 = 0.02;

/// The room that is left on the node in this tick.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Budget {
    cpu: Result<Room, String>,
    memory: Result<Room, String>,
}

/// The room for one resource, in cores or mebibytes.
#[derive(Debug, Clone, PartialEq)]
struct Room {
    /// Below zero where more is used than may be.
    left: f64,
    /// What the node has of it.
    whole: f64,
    /// What the shrinks in hand will give back.
    coming: f64,
    /// Whether it grows when an idle VM is shrunk.
    by_allocation: bool,
}

impl Budget {
    /// What the limits leave free.
    ///
    /// Memory that was handed to a VM but that its guest has not touched yet still shows as available; it is
    /// promised, and is not handed out twice. So is what a change in hand is about to give, and what the VMs that are not
    /// selected were given.
    pub(super) fn new(snapshot: &Snapshot, limits: &HostLimits) -> Self {
        Self {
            cpu: cpu(snapshot, limits),
            memory: memory(snapshot, limits),
        }
    }

    /// Shares what there is among `requests` of equal rank: everyone gets what it asks for or an equal part,
    /// whichever is less, in whole steps. An error says why one gets nothing.
    pub(super) fn share(
        &mut self,
        resource: Resource,
        requests: &[Request],
    ) -> Vec<Result<f64, Reason>> {
        let room = match self.room_mut(resource) {
            Ok(room) => room,
            Err(why) => return vec![Err(Reason::Unmeasured { why: why.clone() }); requests.len()],
        };
        let refused = Reason::HostFull {
            resource,
            free: resource.amount(room.left.max(0.0)),
        };
        let reopens = REOPENS * room.whole;
        let waits = |request: &Request| request.waits && room.left < request.grain + reopens;
        let asked: Vec<Request> = requests
            .iter()
            .map(|request| Request {
                extra: if waits(request) { 0.0 } else { request.extra },
                ..*request
            })
            .collect();
        let granted = divide(&mut room.left, &asked);
        granted
            .into_iter()
            .map(|g| if g > 0.0 { Ok(g) } else { Err(refused.clone()) })
            .collect()
    }

    /// What must be given back for `request`, which was refused. Nothing where giving back makes no room.
    pub(super) fn missing(&self, resource: Resource, request: &Request) -> Option<Missing> {
        let room = self.room(resource).as_ref().ok()?;
        let there = room.left + room.coming;
        let reopens = if request.waits {
            REOPENS * room.whole
        } else {
            0.0
        };
        let short_of = |wanted: f64| (wanted + reopens - there).max(0.0);
        room.by_allocation.then(|| Missing {
            in_full: short_of(request.extra),
            at_all: short_of(request.grain),
        })
    }

    fn room(&self, resource: Resource) -> &Result<Room, String> {
        match resource {
            Resource::Cpu => &self.cpu,
            Resource::Memory => &self.memory,
        }
    }

    fn room_mut(&mut self, resource: Resource) -> &mut Result<Room, String> {
        match resource {
            Resource::Cpu => &mut self.cpu,
            Resource::Memory => &mut self.memory,
        }
    }
}

/// How much must be given back so that a request is granted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Missing {
    /// All that it asks for.
    pub(super) in_full: f64,
    /// Anything.
    pub(super) at_all: f64,
}

/// What one VM asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Request {
    /// How much more, in cores or mebibytes.
    pub(super) extra: f64,
    /// The smallest step.
    pub(super) grain: f64,
    /// It was refused the last time, and is granted when there is clearly room.
    pub(super) waits: bool,
}

/// Divides `left` fairly, the modest first, then hands what rounding left over out in single steps.
fn divide(left: &mut f64, requests: &[Request]) -> Vec<f64> {
    let mut granted = vec![0.0; requests.len()];
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by(|a, b| requests[*a].extra.total_cmp(&requests[*b].extra));
    for (place, &i) in order.iter().enumerate() {
        let Request { extra, grain, .. } = requests[i];
        let part = *left / (order.len() - place) as f64;
        granted[i] = if extra <= part {
            extra
        } else {
            (part.max(0.0) / grain + 1e-9).floor() * grain
        };
        *left -= granted[i];
    }
    for &i in &order {
        let Request { extra, grain, .. } = requests[i];
        if granted[i] + grain <= extra + 1e-9 && grain <= *left {
            granted[i] += grain;
            *left -= grain;
        }
    }
    granted
}

/// CPU is bounded by what is used, and, where the admin wants that, by what is handed out.
fn cpu(snapshot: &Snapshot, limits: &HostLimits) -> Result<Room, String> {
    let host = &snapshot.host;
    let whole = host.cpus.as_f64();
    let levers = [Lever::Vcpus, Lever::Cpulimit];
    let vms = || snapshot.vms.values();
    let on_their_way: f64 = vms().map(|vm| in_hand(vm, levers)).sum();
    let used = match &host.cpu_used {
        Reading::Known { value, .. } => value.as_f64(),
        Reading::Unknown(why) => return Err(format!("the node's CPU usage: {why}")),
    };
    let by_use = limits.max_cpu.of(whole) - used - on_their_way;
    let Some(overcommit) = limits.cpu_overcommit else {
        return Ok(Room {
            left: by_use,
            whole,
            coming: 0.0,
            by_allocation: false,
        });
    };
    let handed_out: f64 = vms().map(cores).sum();
    let by_ratio = overcommit.of(whole) - handed_out - unselected(host)?.cores.as_f64();
    let by_ratio = by_ratio - on_their_way;
    Ok(Room {
        left: by_use.min(by_ratio),
        whole,
        coming: vms().map(|vm| coming_back(vm, levers)).sum(),
        by_allocation: by_ratio < by_use,
    })
}

fn memory(snapshot: &Snapshot, limits: &HostLimits) -> Result<Room, String> {
    let host = &snapshot.host;
    let available = match &host.memory_available {
        Reading::Known { value, .. } => value.as_f64(),
        Reading::Unknown(why) => return Err(format!("the node's memory: {why}")),
    };
    let total = host.memory_total.as_f64();
    let under_limit = limits.max_memory.of(total) - (total - available);
    let under_reserve = available - limits.reserve_memory.as_f64();
    let vms = || snapshot.vms.values();
    let promised: f64 = vms().map(promised).sum();
    let promised = promised + unselected(host)?.untouched.as_f64();
    let levers = [Lever::Balloon, Lever::Dimm];
    Ok(Room {
        left: under_limit.min(under_reserve) - promised,
        whole: total,
        coming: vms().map(|vm| coming_back(vm, levers)).sum(),
        by_allocation: true,
    })
}

fn unselected(host: &HostView) -> Result<Unselected, String> {
    match &host.unselected {
        Reading::Known { value, .. } => Ok(*value),
        Reading::Unknown(why) => Err(format!(
            "what the VMs that are not selected were given: {why}"
        )),
    }
}

/// Whether QEMU runs for it on this node.
fn runs(vm: &VmView) -> bool {
    matches!(vm.power, Power::Running | Power::Suspended(_))
}

/// The cores that a VM was handed: what its configuration says where QEMU does not tell.
fn cores(vm: &VmView) -> f64 {
    if !runs(vm) {
        return 0.0;
    }
    let vcpus = f64::from(vm.cpu.vcpus.get().unwrap_or(vm.cpu.configured));
    let limit = vm.cpu.limit.get().flatten();
    limit.map_or(vcpus, |limit| limit.as_f64().min(vcpus))
}

/// Memory that a VM may use, or soon will, but does not occupy yet. What is unknown of it is not nothing: it may use what
/// its configuration says, and occupies nothing.
fn promised(vm: &VmView) -> f64 {
    if !runs(vm) {
        return 0.0;
    }
    let memory = &vm.memory;
    let may_use = memory.balloon.actual.get().or(memory.ceiling.get());
    let may_use = may_use.unwrap_or(memory.configured);
    // A balloon may still be on its way to what it was told, also where nobody waits for it any more.
    let told = memory.balloon.configured.unwrap_or_default();
    let may_use = may_use.max(told.min(memory.configured)).as_f64();
    let soon = in_hand(vm, [Lever::Balloon, Lever::Dimm]);
    let occupies = memory.resident.get().unwrap_or_default();
    (may_use + soon - occupies.as_f64()).max(0.0)
}

/// How much more the changes in hand of these levers will give than `vm` has now.
fn in_hand(vm: &VmView, levers: [Lever; 2]) -> f64 {
    still_to_go(vm, levers).map(|way| way.max(0.0)).sum()
}

/// How much the changes in hand of these levers will give back.
fn coming_back(vm: &VmView, levers: [Lever; 2]) -> f64 {
    still_to_go(vm, levers).map(|way| (-way).max(0.0)).sum()
}

fn still_to_go(vm: &VmView, levers: [Lever; 2]) -> impl Iterator<Item = f64> {
    let changes = vm.in_hand.iter();
    let changes = changes.filter(move |change| levers.contains(&change.lever));
    changes.map(|change| {
        let has = stands(vm, change.lever).unwrap_or(change.from);
        change.to.value() - has.value()
    })
}
