//! Stories of a node that has not enough for all.

use super::*;

#[test]
fn a_full_node_grants_nothing_but_still_shrinks() {
    let mut busy = vm(101);
    busy.cpu.usage = cpu_usage(2.0);
    busy.memory.need = memory_need(4000);
    let mut calm = vm(102);
    calm.cpu.vcpus = Reading::known(8, NOW, Source::Qemu);
    calm.cpu.usage = cpu_usage(0.5);
    calm.memory.need = memory_need(1000);
    let mut story = Story::of([busy, calm]);
    story.snapshot.host.cpu_used = Reading::known(Cores::from_f64(15.5), NOW, Source::Proc);
    story.snapshot.host.memory_available = Reading::known(Mib::gib(1), NOW, Source::Proc);
    story.step();
    let plan = story.step();
    let shrunk = |plan: &Plan| -> Vec<_> {
        let change = |c: &Change| (c.vm.get(), c.lever, c.grows());
        plan.changes.iter().map(change).collect()
    };
    assert_eq!(shrunk(&plan), [(102, Lever::Vcpus, false)]);
    assert!(matches!(
        plan.verdicts[0].reason,
        Reason::HostFull {
            resource: Resource::Cpu,
            ..
        }
    ));
    assert!(matches!(
        plan.verdicts[1].reason,
        Reason::HostFull {
            resource: Resource::Memory,
            ..
        }
    ));
    // Memory is watched for three minutes before anything is taken.
    let later: Vec<_> = (0..40).flat_map(|_| shrunk(&story.step())).collect();
    assert_eq!(later, [(102, Lever::Balloon, false)]);
}

#[test]
fn the_nodes_room_goes_by_priority_and_fairly_within_one() {
    let hungry = |id| {
        let mut vm = vm(id);
        vm.cpu.usage = cpu_usage(2.0);
        vm
    };
    let mut story = Story::of([hungry(101), hungry(102), hungry(103)]);
    let mut first = story.settings.profiles["default"].clone();
    first.priority = 200;
    story.settings.profiles.insert("first".into(), first);
    story.vm(103).tags = vec!["autoscale-first".into()];
    // 14.4 cores may be used: 4.4 are left, of which VM 103 takes 2 first.
    story.snapshot.host.cpu_used = Reading::known(Cores::from_f64(10.0), NOW, Source::Proc);
    let granted: Vec<_> = story
        .tick()
        .changes
        .iter()
        .map(|c| (c.vm.get(), c.to.value()))
        .collect();
    assert_eq!(granted, [(103, 4.0), (101, 3.0), (102, 3.0)]);
}

#[test]
fn promised_memory_is_not_promised_twice() {
    let mut idle = vm(101);
    idle.memory.balloon.actual = Reading::known(Mib::gib(12), NOW, Source::Qemu);
    idle.memory.resident = Reading::known(Mib::gib(4), NOW, Source::Cgroup);
    idle.memory.need = memory_need(11 * 1024);
    let mut hungry = vm(102);
    hungry.memory.need = memory_need(4000);
    let mut story = Story::of([idle, hungry]);
    story.snapshot.host.memory_available = Reading::known(Mib::gib(14), NOW, Source::Proc);
    assert!(matches!(
        story.reason(102, Resource::Memory),
        Reason::HostFull { .. }
    ));
    story.vm(101).memory.resident = Reading::known(Mib::gib(12), NOW, Source::Cgroup);
    assert!(!story.tick().changes.is_empty());
}

#[test]
fn what_a_change_in_hand_will_give_is_not_promised_twice() {
    let mut story = Story::of([vm(101), vm(102)]);
    for (id, lever, from, to) in [
        (
            101,
            Lever::Balloon,
            Amount::Memory(Mib::gib(4)),
            Amount::Memory(Mib::gib(12)),
        ),
        (102, Lever::Vcpus, Amount::vcpus(2), Amount::vcpus(6)),
    ] {
        story.vm(id).in_hand = vec![InHand { lever, from, to }];
    }
    let mut hungry = vm(103);
    hungry.memory.need = memory_need(4000);
    hungry.cpu.usage = cpu_usage(2.0);
    story.snapshot.vms.insert(hungry.id, hungry);
    // 14.4 cores may be used, and 2 GiB are to stay.
    story.snapshot.host.cpu_used = Reading::known(Cores::from_f64(10.2), NOW, Source::Proc);
    story.snapshot.host.memory_available = Reading::known(Mib::gib(10), NOW, Source::Proc);
    for resource in Resource::ALL {
        let refused = Reason::HostFull {
            resource,
            free: resource.amount(match resource {
                Resource::Cpu => 0.2,
                Resource::Memory => 0.0,
            }),
        };
        assert_eq!(story.reason(103, resource), refused);
    }
    // The changes have ended: the guest has what it was given, and has not touched it yet.
    story.vm(101).memory.balloon.actual = Reading::known(Mib::gib(12), NOW, Source::Qemu);
    story.vm(101).in_hand.clear();
    let free = Resource::Memory.amount(0.0);
    let refused = Reason::HostFull {
        resource: Resource::Memory,
        free,
    };
    assert_eq!(story.reason(103, Resource::Memory), refused);
    story.vm(102).in_hand.clear();
    assert_ne!(story.tick().changes, []);
}
