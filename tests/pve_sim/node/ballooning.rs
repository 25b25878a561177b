//! pvestatd's auto-ballooning: moves the balloons of the VMs that leave it to PVE (`balloon` set, `shares` not 0) so
//! that the node's memory is filled to its target. Pure. (`pve-manager: PVE/AutoBalloon.pm: compute_alg1`)

/// At most this much per VM and round, in bytes.
const STEP: i64 = 100 * 1024 * 1024;
/// Below this, in bytes, nothing is done.
const ENOUGH: i64 = 10 * 1024 * 1024;

/// A VM that takes part. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Participant {
    /// VMID.
    pub(crate) vm: u32,
    /// The balloon's actual size.
    pub(crate) balloon: i64,
    /// The configured minimum.
    pub(crate) min: i64,
    /// All its memory.
    pub(crate) max: i64,
    /// Its weight.
    pub(crate) shares: i64,
    /// MemFree, where the guest tells.
    pub(crate) free: Option<i64>,
}

impl Participant {
    fn under_pressure(&self) -> bool {
        let scarce = self.free.is_none_or(|free| free <= self.min / 4);
        scarce || self.balloon < self.min
    }
}

/// The new sizes that differ, for a node with `goal` bytes to hand out (negative: to take back).
pub(crate) fn targets(goal: i64, vms: &[Participant]) -> Vec<(u32, i64)> {
    if goal.abs() <= ENOUGH {
        return Vec::new();
    }
    // Growing serves the hungry first, shrinking spares them.
    let first: Vec<Participant> = vms
        .iter()
        .filter(|vm| vm.under_pressure() == (goal > 0))
        .copied()
        .collect();
    let moved = changes(goal, &first);
    if moved.is_empty() {
        changes(goal, vms)
    } else {
        moved
    }
}

fn changes(goal: i64, vms: &[Participant]) -> Vec<(u32, i64)> {
    let mut sizes: Vec<i64> = vms.iter().map(|vm| vm.balloon).collect();
    let mut rest = goal;
    // Each round hands on what the clamped ones could not take; two per VM are more than enough.
    for _ in 0..vms.len() * 2 {
        let open: Vec<usize> = (0..vms.len())
            .filter(|&i| limit(&vms[i], goal) != sizes[i])
            .collect();
        let shares: i64 = open.iter().map(|&i| vms[i].shares).sum();
        if open.is_empty() || shares == 0 || rest.abs() <= ENOUGH {
            break;
        }
        let above: i64 = open.iter().map(|&i| sizes[i] - vms[i].min).sum();
        let mut progress = 0;
        for &i in &open {
            let fair = vms[i].min + (above + rest) * vms[i].shares / shares;
            let next = between(fair, sizes[i], limit(&vms[i], goal));
            progress += next - sizes[i];
            sizes[i] = next;
        }
        if progress == 0 {
            break;
        }
        rest -= progress;
    }
    vms.iter()
        .zip(sizes)
        .filter(|(vm, size)| vm.balloon != *size)
        .map(|(vm, size)| (vm.vm, size))
        .collect()
}

/// How far this VM may go in this round.
fn limit(vm: &Participant, goal: i64) -> i64 {
    if goal > 0 {
        vm.max.min(vm.balloon + STEP).max(vm.balloon)
    } else {
        vm.min.max(vm.balloon - STEP).min(vm.balloon)
    }
}

/// `value`, kept between two bounds given in either order.
fn between(value: i64, one: i64, other: i64) -> i64 {
    value.clamp(one.min(other), one.max(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: i64 = 1024 * 1024;

    fn vm(id: u32, balloon: i64, free: i64) -> Participant {
        Participant {
            vm: id,
            balloon: balloon * MIB,
            min: 1024 * MIB,
            max: 4096 * MIB,
            shares: 1000,
            free: Some(free * MIB),
        }
    }

    #[test]
    fn a_balloon_moves_100_mib_at_most_in_a_round() {
        assert_eq!(
            targets(1000 * MIB, &[vm(100, 1024, 10)]),
            vec![(100, 1124 * MIB)]
        );
    }

    #[test]
    fn a_vm_under_pressure_is_served_first_and_spared_last() {
        let vms = [vm(100, 2048, 10), vm(101, 2048, 1500)];
        assert_eq!(targets(50 * MIB, &vms), vec![(100, 2098 * MIB)]);
        assert_eq!(targets(-50 * MIB, &vms), vec![(101, 1998 * MIB)]);
    }

    #[test]
    fn small_imbalances_are_left_alone() {
        assert_eq!(targets(10 * MIB, &[vm(100, 1024, 10)]), vec![]);
    }
}
