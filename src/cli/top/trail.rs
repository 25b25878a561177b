//! What the VMs needed while the screen was up.

use std::collections::{BTreeMap, VecDeque};

use crate::domain::{Moment, Resource, VmId};
use crate::record::State;

/// As many decisions as the widest sparkline has columns.
const KEPT: usize = 200;

/// The needs of each VM's resources, oldest first, one for each decision.
#[derive(Debug, Default)]
pub(super) struct Trail {
    at: Option<Moment>,
    needs: BTreeMap<(VmId, Resource), VecDeque<Option<f64>>>,
}

impl Trail {
    /// Takes in a state, unless it is the one that was seen last. VMs that are gone are forgotten.
    pub(super) fn note(&mut self, state: &State) {
        if self.at == Some(state.at) {
            return;
        }
        self.at = Some(state.at);
        self.needs
            .retain(|(id, _), _| state.vms.iter().any(|vm| vm.vmid == *id));
        for vm in &state.vms {
            for resource in [&vm.cpu, &vm.memory] {
                let needs = self.needs.entry((vm.vmid, resource.resource)).or_default();
                if needs.len() == KEPT {
                    needs.pop_front();
                }
                needs.push_back(resource.need.get().map(|need| need.value()));
            }
        }
    }

    /// The last needs, newest first; `None` where the need was unknown.
    pub(super) fn of(&self, vm: VmId, resource: Resource) -> impl Iterator<Item = Option<f64>> {
        let needs = self.needs.get(&(vm, resource));
        needs
            .into_iter()
            .flat_map(|needs| needs.iter().rev().copied())
    }
}
