//! Stories of levers: which one moves, how far, and what they respect.

use super::*;
use crate::config::MemoryMethod;
use crate::domain::Percent;
use crate::observe::fixture::with_modules;

fn memory(mib: u64) -> Amount {
    Amount::Memory(Mib(mib))
}

/// A VM whose balloon is empty at 4 GiB and which may have modules up to 32 GiB, in a story with 16 GiB allowed.
fn hungry(need: u64) -> VmView {
    let mut vm = with_modules(vm(101), 32 * 1024);
    vm.memory.configured = Mib(4096);
    vm.memory.ceiling = Reading::known(Mib(4096), NOW, Source::Qemu);
    vm.memory.need = memory_need(need);
    vm.cpu.usage = cpu_usage(1.5);
    vm
}

#[test]
fn above_the_balloons_ceiling_modules_go_on_in_sizes_of_the_ladder() {
    let mut story = Story::of([hungry(3700)]);
    let plan = story.tick();
    let change = &plan.changes[0];
    assert_eq!((change.lever, change.from), (Lever::Dimm, memory(4096)));
    assert!(
        change.to.value() > 4096.0 && change.to.value() % 512.0 == 0.0,
        "{change:?}"
    );
}

#[test]
fn below_its_ceiling_the_balloon_moves_first() {
    let mut vm = hungry(3000);
    vm.memory.balloon.actual = Reading::known(Mib(3072), NOW, Source::Qemu);
    let plan = Story::of([vm]).tick();
    assert_eq!(
        (plan.changes[0].lever, plan.changes[0].to),
        (Lever::Balloon, memory(3520))
    );
}

#[test]
fn a_module_adds_to_all_memory_also_while_some_is_in_the_balloon() {
    let mut vm = hungry(3000);
    vm.memory.balloon.actual = Reading::known(Mib(3072), NOW, Source::Qemu);
    let mut story = Story::of([vm]);
    story
        .settings
        .profiles
        .get_mut("default")
        .unwrap()
        .memory
        .method = MemoryMethod::Dimm;
    let change = story.tick().changes.remove(0);
    assert_eq!((change.lever, change.from), (Lever::Dimm, memory(4096)));
    assert!(
        change.to.value() >= 4608.0 && change.to.value() % 512.0 == 0.0,
        "{change:?}"
    );
}

#[test]
fn a_guest_can_pay_for_the_page_structures_of_what_it_gets() {
    let mut vm = hungry(4000);
    vm.memory.need = memory_need(4050).map(|mut need| {
        need.available = Some(Mib(46));
        need
    });
    let change = Story::of([vm]).tick().changes.remove(0);
    // 23 of the 46 MiB pay for 1.4 GiB.
    assert_eq!(change.to, memory(4096 + 1024));
}

#[test]
fn no_module_in_the_first_two_minutes() {
    let mut vm = hungry(3700);
    vm.uptime = Reading::known(Duration::from_secs(90), NOW, Source::Proc);
    let reason = Story::of([vm]).reason(101, Resource::Memory);
    assert_eq!(
        reason,
        Reason::Booting {
            until: NOW + Duration::from_secs(30)
        }
    );
}

#[test]
fn modules_are_unplugged_only_when_switched_on_several_in_a_call() {
    let mut vm = hungry(1024);
    vm.memory.balloon.device = false;
    vm.can.balloon = Capability::no("no balloon");
    let mut story = Story::of([vm]);
    (0..40).for_each(|_| drop(story.step()));
    assert!(
        matches!(story.reason(101, Resource::Memory), Reason::NoLever { why } if why.contains("unplug"))
    );
    story
        .settings
        .profiles
        .get_mut("default")
        .unwrap()
        .memory
        .unplug = true;
    let plan = story.tick();
    assert_eq!(
        (plan.changes[0].lever, plan.changes[0].to),
        (Lever::Dimm, memory(1536))
    );
}

#[test]
fn a_vcpu_that_the_guest_ignores_is_said_and_not_added_to() {
    let mut vm = vm(101);
    vm.cpu.vcpus = Reading::known(4, NOW, Source::Qemu);
    vm.cpu.idle = 3;
    vm.cpu.usage = cpu_usage(1.0);
    let mut story = Story::of([vm]);
    let reason = story.reason(101, Resource::Cpu);
    assert_eq!(
        reason,
        Reason::GuestIgnores {
            plugged: 4,
            running: 1
        }
    );
    assert!(story.tick().changes.is_empty());
}

#[test]
fn one_saturated_thread_is_told_from_a_saturated_vm() {
    let mut vm = vm(101);
    vm.cpu.vcpus = Reading::known(2, NOW, Source::Qemu);
    vm.cpu.usage = cpu_usage(1.02).map(|mut usage| {
        usage.busiest_vcpu = Some(Percent::whole(99));
        usage
    });
    let mut story = Story::of([vm]);
    let reason = story.reason(101, Resource::Cpu);
    assert_eq!(
        reason,
        Reason::OneThread {
            busiest: Percent::whole(99)
        }
    );
    assert!(reason.to_string().contains("more vCPUs do not help"));
}

#[test]
fn a_guest_that_gives_no_vcpu_back_gets_a_quota_instead() {
    let mut vm = vm(101);
    vm.can.vcpus = Capability::Now {
        least: Amount::vcpus(1),
        most: Amount::vcpus(8),
        shrinks: false,
    };
    vm.cpu.limit = Reading::known(Some(Cores::milli(500)), NOW, Source::Cgroup);
    vm.cpu.usage = cpu_usage(0.5);
    let mut story = Story::of([vm]);
    assert_eq!(story.tick().changes[0].lever, Lever::Cpulimit);
    story
        .settings
        .profiles
        .get_mut("default")
        .unwrap()
        .cpu
        .method = CpuMethod::Vcpus;
    story.vm(101).cpu.limit = Reading::known(None, NOW, Source::Cgroup);
    story.vm(101).cpu.usage = cpu_usage(2.0);
    assert_eq!(
        story.tick().changes[0].lever,
        Lever::Vcpus,
        "upwards it moves on request"
    );
}

#[test]
fn what_somebody_set_by_hand_is_respected() {
    let mut busy = vm(101);
    busy.cpu.usage = cpu_usage(2.0);
    let mut story = Story::of([busy]);
    let set = story.step().changes.remove(0).to;
    assert!(
        story.tick().by_hand.is_empty(),
        "its own change is not somebody else's"
    );
    let at = story.snapshot.at;
    story.vm(101).cpu.vcpus = Reading::known(8, at, Source::Qemu);
    story.vm(101).cpu.usage = cpu_usage(1.0).map(|usage| usage);
    story.snapshot = later(story.snapshot.clone(), TICK);
    let plan = story.tick();
    assert_eq!(plan.by_hand.len(), 1);
    assert_eq!(
        (plan.by_hand[0].from, plan.by_hand[0].to),
        (set, Amount::vcpus(8))
    );
    for _ in 0..5 {
        let plan = story.step();
        assert!(
            plan.changes.is_empty() && plan.by_hand.is_empty(),
            "{plan:?}"
        );
    }
    assert!(matches!(
        story.reason(101, Resource::Cpu),
        Reason::CoolingDown { .. }
    ));
}

#[test]
fn a_limit_that_somebody_took_away_is_not_set_again_at_once() {
    let mut calm = vm(101);
    calm.can.vcpus = Capability::no("it was started without CPU hotplug");
    calm.cpu.vcpus = Reading::known(4, NOW, Source::Qemu);
    calm.cpu.limit = Reading::known(Some(Cores::whole(4)), NOW, Source::Cgroup);
    calm.cpu.usage = cpu_usage(1.0);
    let mut story = Story::of([calm]);
    let set = (0..60).find_map(|_| story.step().changes.pop()).unwrap();
    assert_eq!(set.lever, Lever::Cpulimit);
    let at = story.snapshot.at;
    story.vm(101).cpu.limit = Reading::known(None, at, Source::Cgroup);
    story.snapshot = later(story.snapshot.clone(), TICK);
    let plan = story.tick();
    let seen = plan
        .by_hand
        .first()
        .map(|hand| (hand.lever, hand.from, hand.to));
    assert_eq!(seen, Some((Lever::Cpulimit, set.to, Amount::vcpus(4))));
    assert!(plan.changes.is_empty(), "it cools down first: {plan:?}");
}

#[test]
fn a_power_cycle_is_no_change_by_hand() {
    let mut busy = vm(101);
    busy.cpu.usage = cpu_usage(2.0);
    let mut story = Story::of([busy]);
    story.step();
    story.snapshot = later(story.snapshot.clone(), TICK);
    let at = story.snapshot.at;
    story.vm(101).cpu.vcpus = Reading::known(2, at, Source::Qemu);
    story.vm(101).uptime = Reading::known(Duration::from_secs(2), at, Source::Proc);
    assert!(story.tick().by_hand.is_empty());
}

#[test]
fn page_cache_and_faults_without_shortage_do_not_grow_memory() {
    let mut vm = vm(101);
    vm.memory.need = memory_need(1500).map(|mut need| {
        (need.pressure, need.available) = (true, Some(Mib(2596)));
        need
    });
    let plan = Story::of([vm]).tick();
    assert!(
        plan.changes.iter().all(|c| c.lever != Lever::Balloon),
        "{:?}",
        plan.changes
    );
}
