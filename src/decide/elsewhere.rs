//! How far a VM may grow so that at least one other node could still take it.

use crate::config::{FitElsewhere, HostLimits};
use crate::domain::{Reading, Resource};
use crate::observe::{OtherNode, VmView};

use super::Reason;

/// The most that another node could give a VM.
#[derive(Debug)]
pub(super) struct Elsewhere<'a> {
    /// In cores or mebibytes.
    pub(super) most: f64,
    /// The node that could.
    pub(super) node: &'a OtherNode,
}

/// The most of `resource` that one of `others` could give `vm`; `None` where that is no limit: it need not fit elsewhere,
/// or no other node is online, where holding the VM back would make room nowhere.
///
/// Of several nodes those count first that could take the VM with what it has of the other resource. Room on another
/// node is not set aside: of two VMs that would fit there each, one may find it taken.
///
/// # Errors
/// It is not known what others have.
pub(super) fn most<'a>(
    vm: &VmView,
    resource: Resource,
    others: &'a Reading<Vec<OtherNode>>,
    limits: &HostLimits,
) -> Result<Option<Elsewhere<'a>>, Reason> {
    let needed = match limits.fit_elsewhere {
        FitElsewhere::Ha => vm.fails_over,
        FitElsewhere::All => true,
        FitElsewhere::Off => false,
    };
    if !needed {
        return Ok(None);
    }
    let others = match others {
        Reading::Known { value, .. } => value,
        Reading::Unknown(why) => {
            let why = format!("what other nodes could take: {why}");
            return Err(Reason::Unmeasured { why });
        }
    };
    let (rest, has) = match resource {
        Resource::Cpu => (Resource::Memory, memory_of(vm)),
        Resource::Memory => (Resource::Cpu, cpu_of(vm)),
    };
    let takes_the_rest = |node: &OtherNode| has.is_none_or(|has| room(node, rest, limits) >= has);
    let ranked = others.iter().map(|node| Elsewhere {
        most: room(node, resource, limits),
        node,
    });
    Ok(ranked.max_by(|a, b| {
        let rank = |e: &Elsewhere<'_>| takes_the_rest(e.node);
        rank(a).cmp(&rank(b)).then(a.most.total_cmp(&b.most))
    }))
}

/// What `node` could give one VM. QEMU is not started with more vCPUs than the node has (QemuServer.pm:
/// config_to_command); CPU time itself is shared. For memory the limits of this node are taken for those of the other one.
fn room(node: &OtherNode, resource: Resource, limits: &HostLimits) -> f64 {
    match resource {
        Resource::Cpu => node.cpus.as_f64(),
        Resource::Memory => {
            let (total, free) = (node.memory_total.as_f64(), node.memory_available.as_f64());
            let under_limit = limits.max_memory.of(total) - (total - free);
            under_limit
                .min(free - limits.reserve_memory.as_f64())
                .max(0.0)
        }
    }
}

fn memory_of(vm: &VmView) -> Option<f64> {
    let has = vm.memory.balloon.actual.get().or(vm.memory.ceiling.get())?;
    Some(has.as_f64())
}

fn cpu_of(vm: &VmView) -> Option<f64> {
    Some(f64::from(vm.cpu.vcpus.get()?))
}
