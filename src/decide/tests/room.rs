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
