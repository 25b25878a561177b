//! Stories of decisions, and what must hold for every input.

mod levers;
mod properties;

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::act::{Done, Outcome};
use crate::config::{CpuMethod, Mode, Settings};
use crate::domain::{Amount, Capability, Cores, Lever, Mib, Reading, Resource, Source};
use crate::observe::fixture::{NOW, cpu_usage, later, memory_need, node, vm};
use crate::observe::{Pause, Power, Snapshot, VmView};

const TICK: Duration = Duration::from_secs(5);

/// A run of ticks in which every change is applied at once.
struct Story {
    snapshot: Snapshot,
    memory: Memory,
    settings: Settings,
}

impl Story {
    fn of(vms: impl IntoIterator<Item = VmView>) -> Self {
        Self {
            snapshot: node(vms),
            memory: Memory::default(),
            settings: Settings::default(),
        }
    }

    fn tick(&mut self) -> Plan {
        plan(
            &self.snapshot,
            &mut self.memory,
            &self.settings,
            self.snapshot.at,
        )
    }

    /// A tick, its changes applied, and the time of the next one.
    fn step(&mut self) -> Plan {
        let plan = self.tick();
        self.snapshot = later(self.snapshot.clone(), TICK);
        for change in &plan.changes {
            self.apply(change);
        }
        plan
    }

    fn apply(&mut self, change: &Change) {
        let at = self.snapshot.at;
        let vm = self.snapshot.vms.get_mut(&change.vm).unwrap();
        match (change.lever, change.to) {
            (Lever::Vcpus, Amount::Cpu(to)) => {
                vm.cpu.vcpus = Reading::known(to.ceil(), at, Source::Qemu)
            }
            (Lever::Cpulimit, Amount::Cpu(to)) => {
                vm.cpu.limit = Reading::known(Some(to), at, Source::Cgroup)
            }
            (Lever::Balloon, Amount::Memory(to)) => {
                vm.memory.balloon.actual = Reading::known(to, at, Source::Qemu)
            }
            other => panic!("not expected: {other:?}"),
        }
        let now = Reading::known(change.to, at, Source::Qemu);
        let done = Done {
            change: change.clone(),
            outcome: Outcome::Applied,
            now,
            at,
            took: Duration::ZERO,
        };
        self.memory.note(&done);
    }

    fn vm(&mut self, id: u32) -> &mut VmView {
        self.snapshot.vms.get_mut(&id.try_into().unwrap()).unwrap()
    }

    fn reason(&mut self, id: u32, resource: Resource) -> Reason {
        let plan = self.tick();
        let found = plan
            .verdicts
            .into_iter()
            .find(|v| v.vm.get() == id && v.resource == resource);
        found
            .expect("a verdict for every managed VM and resource")
            .reason
    }
}

#[test]
fn a_saturated_vm_reaches_eight_cores_in_two_changes() {
    let mut busy = vm(101);
    busy.cpu.vcpus = Reading::known(1, NOW, Source::Qemu);
    let mut story = Story::of([busy]);
    let mut targets = Vec::new();
    for _ in 0..12 {
        let has = story.vm(101).cpu.vcpus.get().unwrap();
        let at = story.snapshot.at;
        story.vm(101).cpu.usage = cpu_usage(f64::from(has));
        if let Reading::Known { at: read, .. } = &mut story.vm(101).cpu.usage {
            *read = at;
        }
        targets.extend(story.step().changes.iter().map(|c| c.to));
    }
    assert!(targets.len() <= 2, "{targets:?}");
    assert_eq!(targets.last(), Some(&Amount::Cpu(Cores::whole(8))));
}

#[test]
fn a_calm_vm_comes_down_to_its_recent_peak_after_two_low_readings() {
    let mut calm = vm(101);
    calm.cpu.vcpus = Reading::known(8, NOW, Source::Qemu);
    calm.cpu.usage = cpu_usage(2.4);
    let mut story = Story::of([calm]);
    assert_eq!(story.step().verdicts[0].reason, Reason::FirstLowReading);
    let plan = story.step();
    assert_eq!(plan.changes.len(), 1);
    assert_eq!(plan.changes[0].to, Amount::Cpu(Cores::whole(3)));
}

#[test]
fn every_kind_of_vm_that_is_not_ours_is_left_alone_with_its_reason() {
    type Change = fn(&mut VmView);
    let cases: [(Change, Reason); 6] = [
        (
            |vm| vm.owner = "pve2".parse().unwrap(),
            Reason::OtherNode {
                node: "pve2".parse().unwrap(),
            },
        ),
        (|vm| vm.template = true, Reason::Template),
        (|vm| vm.power = Power::Stopped, Reason::NotRunning),
        (
            |vm| vm.power = Power::Suspended("io-error".into()),
            Reason::NotExecuting {
                state: "io-error".into(),
            },
        ),
        (
            |vm| vm.unreadable = Some("no cores".into()),
            Reason::Unreadable {
                why: "no cores".into(),
            },
        ),
        (
            |vm| vm.lock = Some("backup".into()),
            Reason::Locked {
                lock: "backup".into(),
            },
        ),
    ];
    for (change, expected) in cases {
        let mut busy = vm(101);
        busy.cpu.usage = cpu_usage(2.0);
        change(&mut busy);
        let mut story = Story::of([busy]);
        assert_eq!(story.reason(101, Resource::Cpu), expected);
        assert!(story.tick().changes.is_empty());
    }
}

#[test]
fn without_quorum_or_while_paused_nothing_is_changed() {
    let mut busy = vm(101);
    busy.cpu.usage = cpu_usage(2.0);
    let mut story = Story::of([busy]);
    story.snapshot.cluster.quorate = Reading::known(false, NOW, Source::Proc);
    assert_eq!(story.reason(101, Resource::Cpu), Reason::NoQuorum);
    story.snapshot.cluster.quorate = Reading::unknown("not mounted");
    assert_eq!(
        story.reason(101, Resource::Cpu),
        Reason::Unmeasured {
            why: "quorum: not mounted".into()
        }
    );
    story.snapshot.cluster.quorate = Reading::known(true, NOW, Source::Proc);
    story.snapshot.cluster.pause = Some(Pause {
        by: "root".into(),
        since: NOW,
        reason: "".into(),
        cluster: true,
    });
    assert_eq!(
        story.reason(101, Resource::Cpu),
        Reason::Paused { by: "root".into() }
    );
}

#[test]
fn a_vm_without_the_tag_gets_no_verdict_and_a_wrong_profile_is_said() {
    let (mut plain, mut wrong) = (vm(101), vm(102));
    plain.tags = vec!["web".into(), "autoscaler".into()];
    wrong.tags = vec!["autoscale-huge".into()];
    let mut story = Story::of([plain, wrong]);
    let plan = story.tick();
    assert_eq!(plan.verdicts.len(), 2);
    assert!(
        matches!(&plan.verdicts[0].reason, Reason::BadSettings { why } if why.contains("huge"))
    );
}

#[test]
fn unknown_is_never_a_reason_to_change() {
    let mut blind = vm(101);
    blind.cpu.vcpus = Reading::known(8, NOW, Source::Qemu);
    blind.cpu.usage = Reading::unknown("cpu.stat is gone");
    blind.memory.need = Reading::unknown("the balloon driver does not answer");
    let mut story = Story::of([blind]);
    for _ in 0..5 {
        let plan = story.step();
        assert!(plan.changes.is_empty());
        assert_eq!(
            plan.verdicts[0].reason,
            Reason::Unmeasured {
                why: "cpu.stat is gone".into()
            }
        );
    }
}

#[test]
fn readings_that_stopped_coming_count_as_unknown() {
    let mut story = Story::of([vm(101)]);
    story.snapshot.at = NOW + Duration::from_secs(60);
    let Reason::Unmeasured { why } = story.reason(101, Resource::Cpu) else {
        panic!()
    };
    assert!(why.contains("60 s old"), "{why}");
}

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
fn memory_never_shrinks_below_what_the_guest_needs() {
    let mut story = Story::of([vm(101)]);
    story.vm(101).memory.balloon.actual = Reading::known(Mib::gib(16), NOW, Source::Qemu);
    for _ in 0..500 {
        let plan = story.step();
        for change in plan.changes.iter().filter(|c| c.lever == Lever::Balloon) {
            assert!(change.to.value() >= 3550.0 + 512.0, "{change:?}");
        }
    }
    let end = story.vm(101).memory.balloon.actual.get().unwrap();
    assert!(end < Mib(4160 + 512 + 64), "came down to its need: {end}");
}

#[test]
fn a_guest_short_of_memory_or_silent_about_its_cache_is_never_squeezed() {
    let mut story = Story::of([vm(101)]);
    story.vm(101).memory.balloon.actual = Reading::known(Mib::gib(16), NOW, Source::Qemu);
    let calm = story.vm(101).memory.need.clone();
    for (cache, pressure) in [(true, false), (false, true)] {
        story.vm(101).memory.need = calm.clone().map(|mut need| {
            (need.includes_cache, need.pressure) = (cache, pressure);
            need
        });
        story.snapshot = later(story.snapshot.clone(), TICK);
        for _ in 0..200 {
            let plan = story.step();
            assert!(
                plan.changes
                    .iter()
                    .all(|c| c.lever != Lever::Balloon || c.grows()),
                "{:?}",
                plan.changes
            );
        }
    }
}

#[test]
fn a_cool_down_survives_a_restart_and_a_wrong_clock() {
    let mut busy = vm(101);
    // Not all is used: what is does not wait for a cool-down.
    busy.cpu.vcpus = Reading::known(2, NOW, Source::Qemu);
    busy.cpu.usage = cpu_usage(1.95);
    let mut story = Story::of([busy]);
    assert_eq!(story.step().changes.len(), 1);
    story.vm(101).cpu.vcpus = Reading::known(2, story.snapshot.at, Source::Qemu);
    let stored = serde_json::to_string(&story.memory).unwrap();
    story.memory = serde_json::from_str(&stored).unwrap();
    assert!(matches!(
        story.reason(101, Resource::Cpu),
        Reason::CoolingDown { .. }
    ));
    // The clock is set back by a day: the VM waits for one cool-down, not for a day.
    story.snapshot.at = story.snapshot.at - Duration::from_secs(86_400);
    story.snapshot = later(story.snapshot.clone(), Duration::ZERO);
    let Reason::CoolingDown { until } = story.reason(101, Resource::Cpu) else {
        panic!()
    };
    assert!(until.since(story.snapshot.at) <= Duration::from_secs(10));
}

#[test]
fn three_failures_in_a_row_open_the_breaker_and_time_closes_it() {
    let mut busy = vm(101);
    busy.cpu.usage = cpu_usage(2.0);
    let mut story = Story::of([busy]);
    let mut opened = Vec::new();
    for _ in 0..60 {
        let plan = story.tick();
        story.snapshot = later(story.snapshot.clone(), TICK);
        for change in plan.changes {
            let now = Reading::known(change.from, story.snapshot.at, Source::Qemu);
            let outcome = Outcome::Refused("the guest did not take it".into());
            let done = Done {
                change,
                outcome,
                now,
                at: story.snapshot.at,
                took: Duration::ZERO,
            };
            opened.extend(story.memory.note(&done));
        }
    }
    assert_eq!(opened.len(), 1, "one notice within five minutes");
    assert!(matches!(
        story.reason(101, Resource::Cpu),
        Reason::Resting {
            lever: Lever::Vcpus,
            ..
        }
    ));
    story.snapshot = later(story.snapshot.clone(), Duration::from_secs(300));
    assert_eq!(story.tick().changes.len(), 1, "tried again");
}

#[test]
fn without_hotplug_the_quota_moves_in_tenths() {
    let mut fixed = vm(101);
    fixed.can.vcpus = Capability::no("it was started without CPU hotplug");
    fixed.cpu.vcpus = Reading::known(4, NOW, Source::Qemu);
    fixed.cpu.limit = Reading::known(Some(Cores::milli(3000)), NOW, Source::Cgroup);
    fixed.cpu.usage = cpu_usage(1.45);
    let mut story = Story::of([fixed]);
    story.step();
    let plan = story.tick();
    assert_eq!(
        (plan.changes[0].lever, plan.changes[0].to),
        (Lever::Cpulimit, Amount::Cpu(Cores::milli(1600)))
    );
    let settings = story.settings.profiles.get_mut("default").unwrap();
    settings.cpu.method = CpuMethod::Vcpus;
    assert!(matches!(
        story.reason(101, Resource::Cpu),
        Reason::NoLever { .. }
    ));
}

#[test]
fn a_mode_other_than_auto_shows_what_it_wants_and_does_nothing() {
    let mut busy = vm(101);
    busy.cpu.usage = cpu_usage(2.0);
    let mut story = Story::of([busy]);
    story.settings.profiles.get_mut("default").unwrap().mode = Mode::Recommend;
    let plan = story.tick();
    assert!(plan.changes.is_empty());
    assert!(matches!(
        plan.verdicts[0].reason,
        Reason::NotAutomatic { .. }
    ));
    assert_eq!(
        plan.verdicts[0].recommended,
        Some(Amount::Cpu(Cores::whole(4)))
    );
}

prop_compose! {
    fn any_vm(id: u32)(
        vcpus in 1u32..=16, ceiling in 1u32..=16, used in prop::option::of(0.0..20.0f64), hotplug: bool,
        limit in prop::option::of(1u32..160), actual in 256u64..40_000, configured in 256u64..40_000,
        need in prop::option::of(0u64..50_000), pressure: bool, cache: bool, resident in 0u64..40_000,
        odd in 0u8..12,
    ) -> VmView {
        let mut vm = vm(id);
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
            _ => {}
        }
        vm
    }
}

prop_compose! {
    fn any_node()(
        vms in prop::collection::vec((100u32..10_000).prop_flat_map(any_vm), 1..8),
        used in 0.0..20.0f64, available in 0u64..65_536,
    ) -> Snapshot {
        let mut node = node(vms);
        node.host.cpu_used = Reading::known(Cores::from_f64(used), NOW, Source::Proc);
        node.host.memory_available = Reading::known(Mib(available), NOW, Source::Proc);
        node
    }
}

proptest! {
    #[test]
    fn no_plan_leaves_the_limits_or_the_budget(node in any_node(), ticks in 1usize..8) {
        let mut story = Story::of([]);
        story.snapshot = node;
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
                        cpu += (change.to.value() - change.from.value()).max(0.0);
                    }
                    Amount::Memory(to) => {
                        // A VM above its maximum comes down in bounded steps.
                        prop_assert!(!change.grows() || to <= own.memory.max);
                        prop_assert!(to <= vm.memory.ceiling.get().unwrap());
                        prop_assert!(vm.memory.need.value().is_some(), "unknown never changes anything");
                        memory += (change.to.value() - change.from.value()).max(0.0);
                        if !change.grows() {
                            prop_assert!(to >= vm.memory.need.value().unwrap().need);
                        }
                    }
                }
                prop_assert!(vm.lock.is_none() && vm.power == Power::Running && vm.owner == before.node);
            }
            let room = 0.9 * 16.0 - before.host.cpu_used.get().unwrap().as_f64();
            prop_assert!(cpu <= room.max(0.0) + 1e-6, "{cpu} cores granted of {room}");
            prop_assert!(memory <= before.host.memory_available.get().unwrap().as_f64());
            let first_grow = plan.changes.iter().position(Change::grows).unwrap_or(plan.changes.len());
            prop_assert!(plan.changes[first_grow..].iter().all(Change::grows), "shrinks come first");
            prop_assert_eq!(plan.verdicts.len(), 2 * before.vms.len());
        }
    }
}
