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

/// 16 GiB under the limits of a node with this much left of them.
pub(super) fn nearly_full(vms: impl IntoIterator<Item = VmView>, left: Mib) -> Story {
    let mut story = Story::of(vms);
    let kept = story.settings.host.reserve_memory.max(Mib(64 * 1024 / 10));
    story.snapshot.host.memory_available = Reading::known(left + kept, NOW, Source::Proc);
    story
}

/// A VM that has this much memory and touched all of it.
pub(super) fn holding(id: u32, held: Mib, need: u64) -> VmView {
    let mut vm = vm(id);
    vm.memory.balloon.actual = Reading::known(held, NOW, Source::Qemu);
    vm.memory.balloon.configured = Some(held);
    vm.memory.resident = Reading::known(held, NOW, Source::Cgroup);
    vm.memory.need = memory_need(need);
    vm
}

#[test]
fn what_is_unknown_of_a_vm_is_promised_to_it() {
    let mut silent = holding(102, Mib::gib(4), 2000);
    let mut hungry = vm(101);
    hungry.memory.need = memory_need(4000);
    let refused = |silent: &VmView, left: Mib| {
        let mut story = nearly_full([silent.clone(), hungry.clone()], left);
        matches!(story.reason(101, Resource::Memory), Reason::HostFull { .. })
    };
    assert!(!refused(&silent, Mib::gib(4)));
    silent.memory.balloon.actual = Reading::unknown("QEMU is busy");
    silent.memory.ceiling = Reading::unknown("QEMU is busy");
    assert!(refused(&silent, Mib::gib(12)), "16 GiB may be used, 4 are");
    assert!(!refused(&silent, Mib::gib(13)));
    silent.memory.resident = Reading::unknown("there is no such file");
    assert!(refused(&silent, Mib::gib(16)));
    silent.power = Power::Unknown("its pid file cannot be read".into());
    assert!(refused(&silent, Mib::gib(16)));
    silent.owner = "pve2".parse().unwrap();
    assert!(!refused(&silent, Mib::gib(4)));
    silent.owner = "pve1".parse().unwrap();
    silent.power = Power::Stopped;
    assert!(!refused(&silent, Mib::gib(4)));
    (silent.unreadable, silent.power) = (Some("EIO".into()), Power::Unknown("EIO".into()));
    let mut story = nearly_full([silent, hungry], Mib::gib(20));
    let why = story.reason(101, Resource::Memory).to_string();
    assert!(why.contains("what VM 102 was given: EIO"), "{why}");
}

#[test]
fn what_vms_that_are_not_selected_were_given_is_promised_to_them() {
    let mut hungry = vm(101);
    hungry.memory.need = memory_need(4000);
    let mut story = nearly_full([hungry], Mib::gib(4));
    assert_ne!(story.tick().changes, []);
    let mut others = Unselected {
        cores: Cores::whole(8),
        untouched: Mib::gib(4),
    };
    let known = |others| Reading::known(others, NOW, Source::ConfigFile);
    story.snapshot.host.unselected = known(others);
    assert_eq!(story.tick().changes, []);
    story.snapshot.host.unselected = Reading::unknown("VM 300: no such file");
    let why = story.reason(101, Resource::Memory).to_string();
    assert!(why.contains("VM 300: no such file"), "{why}");
    others.untouched = Mib::gib(3);
    story.snapshot.host.unselected = known(others);
    assert_ne!(story.tick().changes, []);
}

#[test]
fn vcpus_are_handed_out_up_to_the_ratio() {
    let mut busy = vm(101);
    busy.cpu.usage = cpu_usage(2.0);
    let mut limited = vm(102);
    limited.cpu.vcpus = Reading::known(8, NOW, Source::Qemu);
    limited.cpu.limit = Reading::known(Some(Cores::milli(1500)), NOW, Source::Cgroup);
    limited.cpu.usage = cpu_usage(1.2);
    let mut story = Story::of([busy, limited]);
    story.snapshot.host.unselected = Reading::known(
        Unselected {
            cores: Cores::whole(12),
            untouched: Mib::ZERO,
        },
        NOW,
        Source::ConfigFile,
    );
    let grown = |story: &mut Story| {
        let plan = story.tick();
        let change = plan.changes.iter().find(|change| change.vm.get() == 101);
        change.map(|change| change.to.value())
    };
    assert_eq!(grown(&mut story), Some(4.0));
    // Of 16 CPUs, 15.5 are handed out: 12, 2, and 1.5 that are 8 vCPUs under a quota.
    story.settings.host.cpu_overcommit = Some(Ratio::hundredths(100));
    assert_eq!(grown(&mut story), None);
    story.settings.host.cpu_overcommit = Some(Ratio::hundredths(110));
    assert_eq!(grown(&mut story), Some(4.0));
}

/// Sets what is left of the node's memory under its limits.
pub(super) fn leave(story: &mut Story, mib: u64) {
    let at = story.snapshot.at;
    story.snapshot.host.memory_available = Reading::known(Mib(KEPT + mib), at, Source::Proc);
}

/// A tenth of 64 GiB is to stay free.
const KEPT: u64 = 64 * 1024 / 10;

/// The VMs that are granted memory now.
fn granted(story: &mut Story) -> Vec<u32> {
    let plan = story.tick();
    let grown = plan.changes.iter().filter(|change| change.grows());
    grown.map(|change| change.vm.get()).collect()
}

#[test]
fn who_was_refused_is_granted_only_when_there_is_clearly_room() {
    let mut story = nearly_full([holding(101, Mib::gib(4), 3700)], Mib::ZERO);
    assert!(granted(&mut story).is_empty());
    let reason = |story: &mut Story| story.reason(101, Resource::Memory).to_string();
    assert_eq!(
        reason(&mut story),
        "the node has no more memory (0 MiB free)"
    );
    // A gibibyte must be free beyond the step of 64 MiB.
    leave(&mut story, 1080);
    let waits =
        "the node had no more memory a moment ago; waits until 1.06 GiB are free (1.05 GiB are)";
    assert_eq!(reason(&mut story), waits);
    leave(&mut story, 1090);
    assert_eq!(granted(&mut story), [101]);
    // Who was granted may take the last.
    leave(&mut story, 500);
    assert_eq!(granted(&mut story), [101]);
    // And so may who is short of it, or who has waited for five minutes.
    leave(&mut story, 0);
    assert!(granted(&mut story).is_empty());
    leave(&mut story, 500);
    assert!(granted(&mut story).is_empty());
    let calm = story.vm(101).memory.need.clone();
    story.vm(101).memory.need = calm.clone().map(|mut need| {
        need.pressure = true;
        need
    });
    assert_eq!(granted(&mut story), [101]);
    story.vm(101).memory.need = calm;
    leave(&mut story, 0);
    assert!(granted(&mut story).is_empty());
    for (seconds, expected) in [(290, vec![]), (10, vec![101_u32])] {
        story.snapshot = later(story.snapshot.clone(), Duration::from_secs(seconds));
        leave(&mut story, 500);
        assert_eq!(granted(&mut story), expected);
    }
}

#[test]
fn what_is_kept_for_one_that_waits_is_not_given_to_others_of_its_rank_or_below() {
    let mut story = nearly_full([holding(101, Mib::gib(4), 3700)], Mib::ZERO);
    assert!(granted(&mut story).is_empty());
    let mut lower = story.settings.profiles["default"].clone();
    lower.priority = 1;
    story.settings.profiles.insert("lower".into(), lower);
    let mut below = holding(103, Mib::gib(4), 3700);
    below.tags = vec!["autoscale-lower".into()];
    for vm in [holding(102, Mib::gib(4), 3700), below] {
        story.snapshot.vms.insert(vm.id, vm);
    }
    leave(&mut story, 500);
    assert!(granted(&mut story).is_empty());
    leave(&mut story, 2500);
    assert_eq!(granted(&mut story), [101, 102, 103]);
}

#[test]
fn a_balloon_that_is_on_its_way_is_promised_once() {
    let mut on_its_way = holding(101, Mib::gib(6), 5500);
    on_its_way.memory.balloon.configured = Some(Mib::gib(12));
    on_its_way.in_hand = vec![InHand {
        lever: Lever::Balloon,
        from: Amount::Memory(Mib::gib(4)),
        to: Amount::Memory(Mib::gib(12)),
    }];
    let mut story = nearly_full([on_its_way, holding(102, Mib::gib(4), 3700)], Mib::gib(6));
    assert!(granted(&mut story).is_empty());
    story.memory = Memory::default();
    leave(&mut story, 6 * 1024 + 512);
    assert_eq!(granted(&mut story), [102]);
}

#[test]
fn huge_pages_are_taken_from_the_node_already() {
    let mut huge = holding(101, Mib::gib(16), 10_000);
    huge.memory.resident = Reading::known(Mib(200), NOW, Source::Cgroup);
    let hungry = holding(102, Mib::gib(4), 3700);
    let mut story = nearly_full([huge, hungry], Mib::gib(2));
    assert!(granted(&mut story).is_empty());
    story.memory = Memory::default();
    story.vm(101).memory.pinned = true;
    assert_eq!(granted(&mut story), [102]);
}

#[test]
fn who_got_nothing_of_a_room_that_was_divided_is_told_that_the_node_is_full() {
    let hungry = |id| {
        let mut vm = vm(id);
        vm.cpu.usage = cpu_usage(2.0);
        vm
    };
    let mut story = Story::of([hungry(101), hungry(102)]);
    story.snapshot.host.cpu_used = Reading::known(Cores::from_f64(13.0), NOW, Source::Proc);
    let plan = story.tick();
    let reasons = plan.verdicts.iter().filter(|v| v.resource == Resource::Cpu);
    let full = reasons.filter(|v| matches!(v.reason, Reason::HostFull { .. }));
    assert_eq!((plan.changes.len(), full.count()), (1, 1));
}
