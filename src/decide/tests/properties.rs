//! What holds for every node and every load.

use std::collections::BTreeMap;

use super::*;
use crate::domain::VmId;

/// The plans of some minutes, in which every change is applied at once.
fn plans(snapshot: Snapshot, ticks: usize) -> Vec<Plan> {
    let mut story = Story::of([]);
    story.snapshot = snapshot;
    let mut plans = Vec::new();
    for _ in 0..ticks {
        plans.push(story.step());
        story.snapshot = later(story.snapshot.clone(), Duration::from_secs(60));
    }
    plans
}

/// What is done with each VM, by its number in `names`.
fn by_name(plan: &Plan, names: &BTreeMap<VmId, u32>) -> BTreeMap<(u32, Lever), (Amount, Amount)> {
    let change = |c: &Change| ((names[&c.vm], c.lever), (c.from, c.to));
    plan.changes.iter().map(change).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn unknown_never_takes_anything_away(node in any_node()) {
        let before = node.clone();
        for plan in plans(node, 6) {
            for change in plan.changes.iter().filter(|change| !change.grows()) {
                let vm = &before.vms[&change.vm];
                let known = match change.lever.resource() {
                    Resource::Cpu => vm.cpu.usage.value().is_some() && vm.cpu.vcpus.value().is_some(),
                    Resource::Memory => vm.memory.need.value().is_some_and(|need| !need.includes_cache),
                };
                prop_assert!(known, "{:?}", change);
            }
        }
    }

    #[test]
    fn where_there_is_room_the_order_of_vms_does_not_matter(
        vms in prop::collection::vec(any_vm(100), 1..6),
    ) {
        let numbered = |number: &dyn Fn(u32) -> u32| {
            let mut names = BTreeMap::new();
            let renamed = vms.iter().zip(0..).map(|(vm, index)| {
                let id = VmId::try_from(number(index)).unwrap();
                names.insert(id, index);
                VmView { id, ..vm.clone() }
            });
            let mut node = node(renamed.collect::<Vec<_>>());
            node.host.cpus = Cores::whole(10_000);
            node.host.memory_total = Mib::gib(10_000);
            node.host.memory_available = Reading::known(Mib::gib(10_000), NOW, Source::Proc);
            (node, names)
        };
        let (forward, forward_names) = numbered(&|index| 100 + index);
        let (backward, backward_names) = numbered(&|index| 999 - index);
        for (one, other) in plans(forward, 6).iter().zip(&plans(backward, 6)) {
            prop_assert_eq!(by_name(one, &forward_names), by_name(other, &backward_names));
        }
    }

    #[test]
    fn the_same_input_gives_the_same_plans(node in any_node()) {
        prop_assert_eq!(plans(node.clone(), 6), plans(node, 6));
    }
}
