//! Stories of decisions.

mod elsewhere;
mod gives_way;
mod hands_off;
mod levers;
mod peaks;
mod properties;
mod room;
mod schedule;
mod travel;

use std::time::Duration;

use super::*;
use crate::act::{Done, Outcome};
use crate::config::{CpuMethod, Mode, Settings};
use crate::domain::{Amount, Capability, Cores, Lever, Mib, Ratio, Reading, Resource, Source};
use crate::observe::fixture::{NOW, can, cpu_usage, later, memory_need, node, vm};
use crate::observe::{InHand, Pause, Power, Snapshot, Unselected, VmView};

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

/// VM 101 with 8 vCPUs, which needs 2.4.
fn calm_on_eight_vcpus() -> VmView {
    let mut calm = vm(101);
    calm.cpu.vcpus = Reading::known(8, NOW, Source::Qemu);
    calm.cpu.usage = cpu_usage(2.4);
    calm
}

#[test]
fn a_calm_vm_comes_down_to_its_recent_peak_after_two_low_readings() {
    let mut story = Story::of([calm_on_eight_vcpus()]);
    assert_eq!(story.step().verdicts[0].reason, Reason::FirstLowReading);
    let plan = story.step();
    assert_eq!(plan.changes.len(), 1);
    assert_eq!(plan.changes[0].to, Amount::Cpu(Cores::whole(3)));
}

#[test]
fn a_reading_that_is_looked_at_twice_is_one_reading() {
    let mut story = Story::of([calm_on_eight_vcpus()]);
    let read = story.vm(101).cpu.usage.clone();
    assert_eq!(story.step().verdicts[0].reason, Reason::FirstLowReading);
    story.vm(101).cpu.usage = read;
    assert_eq!(story.step().verdicts[0].reason, Reason::FirstLowReading);
    assert_eq!(story.step().changes.len(), 1);
}

#[test]
fn vcpus_that_leave_one_by_one_are_one_change_for_the_policy() {
    let mut story = Story::of([vm(101)]);
    let change = InHand {
        lever: Lever::Vcpus,
        from: Amount::vcpus(8),
        to: Amount::vcpus(4),
    };
    for (vcpus, in_hand) in [(8, None), (7, Some(change)), (6, Some(change)), (4, None)] {
        let at = story.snapshot.at;
        story.vm(101).cpu.vcpus = Reading::known(vcpus, at, Source::Qemu);
        story.vm(101).in_hand = in_hand.into_iter().collect();
        story.tick();
        story.snapshot = later(story.snapshot.clone(), TICK);
    }
    let learned = story.memory.of_vm(101.try_into().unwrap());
    let learned = serde_json::to_value(learned).unwrap();
    assert_eq!(
        learned["cpu"]["policy"]["adaptive"]["cpu"]["pace"]["changes"],
        1.0
    );
}

#[test]
fn a_reading_that_is_missing_begins_the_row_anew() {
    let mut story = Story::of([calm_on_eight_vcpus()]);
    let read = story.vm(101).cpu.usage.clone();
    assert_eq!(story.step().verdicts[0].reason, Reason::FirstLowReading);
    story.vm(101).cpu.usage = Reading::unknown("gone");
    story.step();
    let at = story.snapshot.at;
    story.vm(101).cpu.usage = Reading::known(read.value().unwrap().clone(), at, Source::Cgroup);
    assert_eq!(story.step().verdicts[0].reason, Reason::FirstLowReading);
    assert_eq!(story.step().changes.len(), 1);
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
fn a_lone_peak_is_given_back_whole_also_by_a_balloon_that_goes_in_steps() {
    let mut story = Story::of([vm(101)]);
    let minutes = |minutes: u64| 0..minutes * 60 / TICK.as_secs();
    for (minutes, need) in [
        (minutes(90), 2000),
        (minutes(2), 12_000),
        (minutes(45), 2000),
    ] {
        for _ in minutes {
            let at = story.snapshot.at;
            let held = story.vm(101).memory.balloon.actual.get().unwrap();
            story.vm(101).memory.need = memory_need(need.min(held.0));
            story.vm(101).memory.resident = Reading::known(held, at, Source::Cgroup);
            if let Reading::Known { at: read, .. } = &mut story.vm(101).memory.need {
                *read = at;
            }
            story.step();
        }
    }
    let end = story.vm(101).memory.balloon.actual.get().unwrap();
    assert!(end < Mib(3072), "{end}");
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
