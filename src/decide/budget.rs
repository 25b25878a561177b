//! What the node can still hand out. Grows draw on it; shrinks never wait for it.

use crate::config::HostLimits;
use crate::domain::{Lever, Reading, Resource};
use crate::observe::{HostView, Power, Snapshot, Unselected, VmView};

use super::Reason;
use super::memory::stands;

/// Who was refused a moment ago is granted when so much of the node is free beyond its smallest step: else each little
/// that comes free is handed out, taken back and handed out again.
const REOPENS: f64 = 0.02;
/// On a large node, this much is clearly room.
const REOPENS_CORES: f64 = 1.0;
const REOPENS_MIB: f64 = 1024.0;

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
    /// What the shrinks in hand will give back.
    coming: f64,
    /// The most that could be handed out if VMs gave back all that they were handed. Nothing where that makes no room: an
    /// idle vCPU that is taken away leaves usage as it is.
    most: Option<f64>,
    /// What must be free beyond a step for who was refused a moment ago.
    reopens: f64,
    /// It is kept for one that was refused: nobody else of the same rank or a lower one gets any of it.
    kept: bool,
}

/// What is missing of one resource.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shortage {
    /// What will be there without anybody giving way; below zero where more is used than may be.
    pub(super) there: f64,
    /// See [`Room`].
    pub(super) most: f64,
    /// See [`Room`].
    pub(super) reopens: f64,
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
        let left = room.left;
        let waits = |r: &Request| r.was_refused && !r.urgent && left < r.grain + room.reopens;
        room.kept |= requests.iter().any(waits);
        let asked: Vec<Request> = requests
            .iter()
            .map(|request| Request {
                extra: if room.kept && !request.urgent {
                    0.0
                } else {
                    request.extra
                },
                ..*request
            })
            .collect();
        let granted = divide(&mut room.left, &asked);
        let outcome = |(granted, request): (f64, &Request)| match granted > 0.0 {
            true => Ok(granted),
            false => Err(room.refusal(resource, left, request)),
        };
        granted.into_iter().zip(requests).map(outcome).collect()
    }

    /// What is missing, where it would help that VMs give back what they were handed.
    pub(super) fn shortage(&self, resource: Resource) -> Option<Shortage> {
        let room = self.room(resource).as_ref().ok()?;
        Some(Shortage {
            there: room.left + room.coming,
            most: room.most?,
            reopens: room.reopens,
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

impl Room {
    /// Why `request` gets nothing of the room, of which there was `left`.
    fn refusal(&self, resource: Resource, left: f64, request: &Request) -> Reason {
        let free = resource.amount(left.max(0.0));
        if !self.kept || left < request.grain {
            return Reason::HostFull { resource, free };
        }
        Reason::WaitsForRoom {
            resource,
            wanted: resource.amount(request.grain + self.reopens),
            free,
        }
    }
}

/// What one VM asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Request {
    /// How much more, in cores or mebibytes.
    pub(super) extra: f64,
    /// The smallest step.
    pub(super) grain: f64,
    /// The VM is short of it, or below its minimum.
    pub(super) urgent: bool,
    /// The node had no room for it a moment ago.
    pub(super) was_refused: bool,
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
    let levers = &[Lever::Vcpus, Lever::Cpulimit];
    let vms = || running(snapshot);
    let on_their_way: f64 = vms().map(|vm| in_hand(vm, levers)).sum();
    let used = match &host.cpu_used {
        Reading::Known { value, .. } => value.as_f64(),
        Reading::Unknown(why) => return Err(format!("the node's CPU usage: {why}")),
    };
    let by_use = limits.max_cpu.of(whole) - used - on_their_way;
    let by_ratio = match limits.cpu_overcommit {
        Some(ratio) => {
            let handed_out: f64 = vms().map(cores).sum();
            ratio.of(whole) - handed_out - unselected(host)?.cores.as_f64() - on_their_way
        }
        None => f64::INFINITY,
    };
    Ok(Room {
        left: by_use.min(by_ratio),
        coming: vms().map(|vm| coming_back(vm, levers)).sum(),
        most: (by_ratio < by_use).then_some(by_use),
        reopens: (REOPENS * whole).min(REOPENS_CORES),
        kept: false,
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
    let vms = || running(snapshot);
    let promised = vms().map(promised).sum::<Result<f64, String>>()?;
    let promised = promised + unselected(host)?.untouched.as_f64();
    let levers = &[Lever::Balloon, Lever::Dimm];
    Ok(Room {
        left: under_limit.min(under_reserve) - promised,
        coming: vms().map(|vm| coming_back(vm, levers)).sum(),
        most: Some(f64::INFINITY),
        reopens: (REOPENS * total).min(REOPENS_MIB),
        kept: false,
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

/// The VMs for which QEMU runs on this node, or may: what cannot be told of one is not nothing.
fn running(snapshot: &Snapshot) -> impl Iterator<Item = &VmView> {
    let runs = |vm: &&VmView| vm.owner == snapshot.node && vm.power != Power::Stopped;
    snapshot.vms.values().filter(runs)
}

/// The cores that a VM was handed: what its configuration says where QEMU does not tell.
fn cores(vm: &VmView) -> f64 {
    let vcpus = f64::from(vm.cpu.vcpus.get().unwrap_or(vm.cpu.configured));
    let limit = vm.cpu.limit.get().flatten();
    limit.map_or(vcpus, |limit| limit.as_f64().min(vcpus))
}

/// Memory that a VM may use, or soon will, but does not occupy yet. What is unknown of it is not nothing: it may use what
/// its configuration says, and occupies nothing.
fn promised(vm: &VmView) -> Result<f64, String> {
    if let (Some(why), Power::Unknown(_)) = (&vm.unreadable, &vm.power) {
        return Err(format!("what VM {} was given: {why}", vm.id));
    }
    let memory = &vm.memory;
    let modules = in_hand(vm, &[Lever::Dimm]);
    if memory.pinned {
        return Ok(modules);
    }
    let has = memory.balloon.actual.get().or(memory.ceiling.get());
    let has = has.unwrap_or(memory.configured);
    // A balloon may still be on its way to what it was told, also where nobody waits for it any more.
    let told = memory.balloon.configured.unwrap_or_default();
    let will_have = has.max(told.min(memory.configured)).as_f64();
    let balloons = vm.in_hand.iter().filter(|c| c.lever == Lever::Balloon);
    let to = balloons.map(|change| change.to.value());
    let may_use = to.fold(will_have, f64::max);
    let occupies = memory.resident.get().unwrap_or_default();
    Ok((may_use + modules - occupies.as_f64()).max(0.0))
}

/// How much more the changes in hand of these levers will give than `vm` has now.
fn in_hand(vm: &VmView, levers: &[Lever]) -> f64 {
    still_to_go(vm, levers).map(|way| way.max(0.0)).sum()
}

/// How much the changes in hand of these levers will give back.
fn coming_back(vm: &VmView, levers: &[Lever]) -> f64 {
    still_to_go(vm, levers).map(|way| (-way).max(0.0)).sum()
}

fn still_to_go<'a>(vm: &'a VmView, levers: &'a [Lever]) -> impl Iterator<Item = f64> + 'a {
    let changes = vm.in_hand.iter();
    let changes = changes.filter(|change| levers.contains(&change.lever));
    changes.map(|change| {
        let has = stands(vm, change.lever).unwrap_or(change.from);
        change.to.value() - has.value()
    })
}
