//! What must hold for every node and every load.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::config::{FitElsewhere, HostLimits};
use crate::domain::{Percent, VmId};
use crate::observe::OtherNode;

prop_compose! {
    fn any_vm(id: u32)(
        vcpus in 1u32..=16, ceiling in 1u32..=16, used in prop::option::of(0.0..20.0f64), hotplug: bool,
        limit in prop::option::of(1u32..160), actual in 256u64..40_000, configured in 256u64..40_000,
        need in prop::option::of(0u64..50_000), pressure: bool, cache: bool, resident in 0u64..40_000,
        odd in 0u8..14, fails_over: bool, to in 256u64..40_000,
    ) -> VmView {
        let mut vm = vm(id);
        vm.fails_over = fails_over;
        vm.cpu.ceiling = ceiling.max(vcpus);
        vm.cpu.vcpus = Reading::known(vcpus, NOW, Source::Qemu);
        if !hotplug {
            vm.can.vcpus = Capability::no("it was started without CPU hotplug");
        }
        vm.cpu.limit = Reading::known(limit.map(|tenths| Cores::milli(tenths * 100)), NOW, Source::Cgroup);
        vm.cpu.usage = used.map_or(Reading::unknown("gone"), cpu_usage);
        vm.memory.configured = Mib(configured);
        vm.memory.ceiling = Reading::known(Mib(configured), NOW, Source::Qemu);
        vm.memory.balloon.actual = Reading::known(Mib(actual.min(configured)), NOW, Source::Qemu);
        vm.memory.resident = Reading::known(Mib(resident), NOW, Source::Cgroup);
        vm.memory.need = need.map_or(Reading::unknown("gone"), memory_need).map(|mut n| {
            (n.pressure, n.includes_cache) = (pressure, cache);
            n
        });
        match odd {
            0 => vm.lock = Some("backup".into()),
            1 => vm.power = Power::Stopped,
            2 => vm.owner = "pve2".parse().unwrap(),
            3 => vm.cpu.vcpus = Reading::unknown("QEMU is busy"),
            4 => vm.in_hand = vec![InHand {
                lever: Lever::Balloon,
                from: Amount::Memory(Mib(actual)),
                to: Amount::Memory(Mib(to)),
            }],
            5 => vm.in_hand = vec![InHand {
                lever: Lever::Vcpus,
                from: Amount::vcpus(vcpus),
                to: Amount::Cpu(Cores::milli(to as u32)),
            }],
            _ => {}
        }
        vm
    }
}

prop_compose! {
    fn any_node()(
        vms in prop::collection::vec((100u32..10_000).prop_flat_map(any_vm), 1..8),
        used in 0.0..20.0f64, available in 0u64..65_536,
        others in prop::collection::vec((1u32..32, 0u64..65_536), 0..3),
        cores in 0u32..16, untouched in 0u64..16_384,
    ) -> Snapshot {
        let mut node = node(vms);
        node.host.cpu_used = Reading::known(Cores::from_f64(used), NOW, Source::Proc);
        node.host.memory_available = Reading::known(Mib(available), NOW, Source::Proc);
        let unselected = Unselected { cores: Cores::whole(cores), untouched: Mib(untouched) };
        node.host.unselected = Reading::known(unselected, NOW, Source::ConfigFile);
        let other = |(cpus, available)| OtherNode {
            name: "pve2".parse().unwrap(),
            cpus: Cores::whole(cpus),
            memory_total: Mib::gib(64),
            memory_available: Mib(available),
        };
        let others = others.into_iter().map(other).collect();
        node.cluster.others = Reading::known(others, NOW, Source::Pvestatd);
        node
    }
}

prop_compose! {
    fn any_limits()(
        max_cpu in 50u32..=100, max_memory in 50u32..=100, reserve in 0u64..16_384,
        ratio in prop::option::of(100u32..400),
    ) -> HostLimits {
        HostLimits {
            max_cpu: Percent::whole(max_cpu),
            max_memory: Percent::whole(max_memory),
            reserve_memory: Mib(reserve),
            cpu_overcommit: ratio.map(Ratio::hundredths),
            fit_elsewhere: FitElsewhere::Ha,
        }
    }
}

/// The room under the limits, in cores and mebibytes: each core and mebibyte belongs to one only.
fn room(node: &Snapshot, limits: &HostLimits) -> (f64, f64) {
    let host = &node.host;
    let unselected = host.unselected.value().unwrap();
    let of_the_node = |vm: &&VmView| vm.power == Power::Running && vm.owner == node.node;
    let (mut handed_out, mut cpu_in_hand) = (unselected.cores.as_f64(), 0.0);
    let mut promised = unselected.untouched.as_f64();
    for vm in node.vms.values().filter(of_the_node) {
        let vcpus = f64::from(vm.cpu.vcpus.get().unwrap_or(vm.cpu.configured));
        let limit = vm.cpu.limit.get().unwrap().map_or(vcpus, Cores::as_f64);
        handed_out += vcpus.min(limit);
        let held = vm.memory.balloon.actual.get().unwrap().as_f64();
        let told = vm
            .memory
            .balloon
            .configured
            .unwrap()
            .min(vm.memory.configured);
        let mut will_hold = held.max(told.as_f64());
        for InHand { lever, from, to } in &vm.in_hand {
            if *lever == Lever::Balloon {
                will_hold = will_hold.max(to.value());
            } else {
                let has = vm.cpu.vcpus.get().map_or(from.value(), f64::from);
                cpu_in_hand += (to.value() - has).max(0.0);
            }
        }
        promised += (will_hold - vm.memory.resident.get().unwrap().as_f64()).max(0.0);
    }
    let by_use = limits.max_cpu.of(16.0) - host.cpu_used.get().unwrap().as_f64();
    let by_ratio = limits
        .cpu_overcommit
        .map_or(f64::INFINITY, |ratio| ratio.of(16.0) - handed_out);
    let available = host.memory_available.get().unwrap().as_f64();
    let kept = limits
        .reserve_memory
        .as_f64()
        .max(64.0 * 1024.0 - limits.max_memory.of(64.0 * 1024.0));
    (
        by_use.min(by_ratio) - cpu_in_hand,
        available - kept - promised,
    )
}

proptest! {
    #[test]
    fn no_plan_leaves_the_limits_or_the_budget(
        node in any_node(), limits in any_limits(), ticks in 1usize..8,
    ) {
        let mut story = Story::of([]);
        story.snapshot = node;
        story.settings.host = limits;
        for _ in 0..ticks {
            // Longer than a cool-down; long enough in all for memory to be taken.
            story.snapshot = later(story.snapshot.clone(), Duration::from_secs(60));
            let before = story.snapshot.clone();
            let plan = story.step();
            let (mut cpu, mut memory) = (0.0, 0.0);
            for change in &plan.changes {
                let vm = &before.vms[&change.vm];
                let own = &story.settings.profiles["default"];
                match change.to {
                    Amount::Cpu(to) => {
                        prop_assert!(to <= own.cpu.max && to <= Cores::whole(vm.cpu.ceiling));
                        prop_assert!(change.grows() || to >= own.cpu.min);
                        prop_assert!(vm.cpu.usage.value().is_some(), "unknown never changes anything");
                        cpu += (change.to.value() - change.from.value()).max(0.0);
                    }
                    Amount::Memory(to) => {
                        // A VM above its maximum comes down in bounded steps.
                        prop_assert!(!change.grows() || to <= own.memory.max);
                        prop_assert!(to <= vm.memory.ceiling.get().unwrap());
                        prop_assert!(vm.memory.need.value().is_some(), "unknown never changes anything");
                        memory += (change.to.value() - change.from.value()).max(0.0);
                        if !change.grows() {
                            let need = vm.memory.need.value().unwrap().need;
                            prop_assert!(to >= need + memory_margin(need), "{change:?}");
                            prop_assert!(to >= own.memory.min || to >= vm.memory.configured);
                        }
                    }
                }
                if change.grows() && vm.fails_over {
                    let others = before.cluster.others.value().unwrap();
                    let could_take = |other: &OtherNode| match change.to {
                        Amount::Cpu(to) => to <= other.cpus,
                        Amount::Memory(to) => to <= other.memory_available,
                    };
                    prop_assert!(others.is_empty() || others.iter().any(could_take), "{change:?}");
                }
                prop_assert!(vm.lock.is_none() && vm.power == Power::Running && vm.owner == before.node);
            }
            let (cores, mib) = room(&before, &story.settings.host);
            prop_assert!(cpu <= cores.max(0.0) + 1e-6, "{cpu} cores granted of {cores}");
            prop_assert!(memory <= mib.max(0.0) + 1e-6, "{memory} MiB granted of {mib}");
            let first_grow = plan.changes.iter().position(Change::grows).unwrap_or(plan.changes.len());
            prop_assert!(plan.changes[first_grow..].iter().all(Change::grows), "shrinks come first");
            prop_assert_eq!(plan.verdicts.len(), 2 * before.vms.len());
        }
    }
}

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
