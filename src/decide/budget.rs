//! What the node can still hand out. Grows draw on it; shrinks never wait for it.

use crate::config::HostLimits;
use crate::domain::{Lever, Reading, Resource};
use crate::observe::{Snapshot, VmView};

use super::Reason;
use super::memory::stands;

/// The room that is left on the node in this tick.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Budget {
    cpu: Result<f64, String>,
    memory: Result<f64, String>,
}

impl Budget {
    /// What the limits leave free.
    ///
    /// Memory that was handed to a VM but that its guest has not touched yet still shows as available; it is
    /// promised, and is not handed out twice. So is what a change in hand is about to give.
    pub(super) fn new(snapshot: &Snapshot, limits: &HostLimits) -> Self {
        Self {
            cpu: free_cpu(snapshot, limits),
            memory: free_memory(snapshot, limits),
        }
    }

    /// Shares what there is among `requests` of equal rank: everyone gets what it asks for or an equal part,
    /// whichever is less, in whole steps. An error says why one gets nothing.
    pub(super) fn share(
        &mut self,
        resource: Resource,
        requests: &[Request],
    ) -> Vec<Result<f64, Reason>> {
        let free = match resource {
            Resource::Cpu => &mut self.cpu,
            Resource::Memory => &mut self.memory,
        };
        let left = match free {
            Ok(left) => left,
            Err(why) => return vec![Err(Reason::Unmeasured { why: why.clone() }); requests.len()],
        };
        let refused = Reason::HostFull {
            resource,
            free: resource.amount(left.max(0.0)),
        };
        let granted = divide(left, requests);
        granted
            .into_iter()
            .map(|g| if g > 0.0 { Ok(g) } else { Err(refused.clone()) })
            .collect()
    }
}

/// What one VM asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Request {
    /// How much more, in cores or mebibytes.
    pub(super) extra: f64,
    /// The smallest step.
    pub(super) grain: f64,
}

/// Divides `left` fairly, the modest first, then hands what rounding left over out in single steps.
fn divide(left: &mut f64, requests: &[Request]) -> Vec<f64> {
    let mut granted = vec![0.0; requests.len()];
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by(|a, b| requests[*a].extra.total_cmp(&requests[*b].extra));
    for (place, &i) in order.iter().enumerate() {
        let Request { extra, grain } = requests[i];
        let part = *left / (order.len() - place) as f64;
        granted[i] = if extra <= part {
            extra
        } else {
            (part.max(0.0) / grain + 1e-9).floor() * grain
        };
        *left -= granted[i];
    }
    for &i in &order {
        let Request { extra, grain } = requests[i];
        if granted[i] + grain <= extra + 1e-9 && grain <= *left {
            granted[i] += grain;
            *left -= grain;
        }
    }
    granted
}

fn free_cpu(snapshot: &Snapshot, limits: &HostLimits) -> Result<f64, String> {
    let host = &snapshot.host;
    let on_their_way = |vm: &VmView| in_hand(vm, Lever::Vcpus) + in_hand(vm, Lever::Cpulimit);
    match &host.cpu_used {
        Reading::Known { value, .. } => Ok(limits.max_cpu.of(host.cpus.as_f64())
            - value.as_f64()
            - snapshot.vms.values().map(on_their_way).sum::<f64>()),
        Reading::Unknown(why) => Err(format!("the node's CPU usage: {why}")),
    }
}

fn free_memory(snapshot: &Snapshot, limits: &HostLimits) -> Result<f64, String> {
    let host = &snapshot.host;
    let available = match &host.memory_available {
        Reading::Known { value, .. } => value.as_f64(),
        Reading::Unknown(why) => return Err(format!("the node's memory: {why}")),
    };
    let total = host.memory_total.as_f64();
    let under_limit = limits.max_memory.of(total) - (total - available);
    let under_reserve = available - limits.reserve_memory.as_f64();
    Ok(under_limit.min(under_reserve) - promised(snapshot))
}

/// Memory that VMs may use, or soon will, but do not occupy yet. Where it cannot be told what a VM occupies, that is all
/// it may use.
fn promised(snapshot: &Snapshot) -> f64 {
    let of = |vm: &VmView| {
        let soon = in_hand(vm, Lever::Balloon) + in_hand(vm, Lever::Dimm);
        let may_use = vm.memory.balloon.actual.get().or(vm.memory.ceiling.get());
        let may_use = may_use.map_or(0.0, |allocation| allocation.as_f64()) + soon;
        let occupies = vm.memory.resident.get().unwrap_or_default();
        (may_use - occupies.as_f64()).max(0.0)
    };
    snapshot.vms.values().map(of).sum()
}

/// How much more the changes in hand of `lever` will give than `vm` has now.
fn in_hand(vm: &VmView, lever: Lever) -> f64 {
    let changes = vm.in_hand.iter().filter(|change| change.lever == lever);
    let left = changes.map(|change| {
        let has = stands(vm, lever).unwrap_or(change.from);
        (change.to.value() - has.value()).max(0.0)
    });
    left.sum()
}
