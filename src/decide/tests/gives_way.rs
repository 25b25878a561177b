//! Stories of calm VMs on a node that is full.

use super::room::{holding, leave, nearly_full};
use super::*;
use crate::config::{PolicyKind, VmSettings};

/// VM 102 on a full node: it holds more than 9 GiB, of which it has needed little for twelve minutes. Before that it had
/// needed much twice, so that its rest is long.
fn a_calm_vm_on_a_full_node() -> Story {
    let mut story = nearly_full([holding(102, Mib::gib(10), 9000)], Mib::ZERO);
    for (need, minutes) in [(9000, 5), (1500, 7), (9000, 1), (1500, 12)] {
        story.vm(102).memory.need = memory_need(need);
        story.snapshot = later(story.snapshot.clone(), TICK);
        wait(&mut story, minutes);
    }
    let held = story.vm(102).memory.balloon.actual.get().unwrap();
    assert!(held > Mib::gib(9), "its rest is not over: {held}");
    story
}

/// A VM below what it needs comes to the node.
fn joins(story: &mut Story, needy: VmView) {
    story.snapshot.vms.insert(needy.id, needy);
    story.snapshot = later(story.snapshot.clone(), TICK);
}

/// Has `vm` sized by `threshold`.
fn under_the_classic_rule(story: &mut Story, vm: u32) {
    story.vm(vm).tags = vec!["autoscale-classic".into()];
    let mut own = story.settings.profiles["default"].clone();
    own.policy = PolicyKind::Threshold;
    story.settings.profiles.insert("classic".into(), own);
}

/// Lets time pass.
fn wait(story: &mut Story, minutes: u64) {
    for _ in 0..minutes * 60 / TICK.as_secs() {
        story.step();
    }
}

#[test]
fn calm_vms_give_way_before_one_in_need_is_left_without() {
    let mut story = a_calm_vm_on_a_full_node();
    joins(&mut story, holding(101, Mib::gib(2), 1900));
    let plan = story.step();
    let given: Vec<_> = plan
        .changes
        .iter()
        .map(|change| (change.vm.get(), change.grows(), change.reason.clone()))
        .collect();
    let [(102, false, Reason::GivesWay { .. })] = given.as_slice() else {
        panic!("{:?}", plan.verdicts);
    };
    let given = plan.changes[0].from.value() - plan.changes[0].to.value();
    story.snapshot.host.memory_available = Reading::known(
        Mib(64 * 1024 / 10) + Mib::from_f64(given),
        story.snapshot.at,
        Source::Proc,
    );
    let plan = story.step();
    assert!(
        plan.changes.iter().any(|c| c.vm.get() == 101 && c.grows()),
        "{plan:?}"
    );
}

#[test]
fn nobody_gives_way_to_a_lower_priority() {
    for (priority, gives_way) in [(100, true), (99, false)] {
        let mut story = a_calm_vm_on_a_full_node();
        let mut lower = story.settings.profiles["default"].clone();
        lower.priority = priority;
        story.settings.profiles.insert("lower".into(), lower);
        let mut needy = holding(101, Mib::gib(2), 1900);
        needy.tags = vec!["autoscale-lower".into()];
        joins(&mut story, needy);
        let gave = story.tick().changes.iter().any(|c| c.vm.get() == 102);
        assert_eq!(gave, gives_way, "priority {priority}");
    }
}

#[test]
fn the_shortage_of_a_node_is_made_good_once() {
    let mut story = a_calm_vm_on_a_full_node();
    for id in 110..113 {
        story
            .snapshot
            .vms
            .insert(id.try_into().unwrap(), holding(id, Mib::gib(2), 1900));
    }
    story.snapshot = later(story.snapshot.clone(), TICK);
    leave(&mut story, 0);
    let before = story.vm(102).memory.balloon.actual.get().unwrap();
    let plan = story.step();
    let asked: f64 = plan
        .verdicts
        .iter()
        .filter(|v| matches!(v.reason, Reason::HostFull { .. }))
        .map(|v| v.wanted.unwrap().value() - 2048.0)
        .sum();
    assert!(asked > 1000.0, "{asked}");
    let given = plan.changes[0].from.value() - plan.changes[0].to.value();
    assert_eq!(plan.changes[0].from.value(), before.as_f64());
    // What they ask for, the gibibyte that must be free, and whole steps.
    let expected = asked + 1024.0..asked + 1024.0 + 4.0 * 64.0;
    assert!(expected.contains(&given), "{given} of {expected:?}");
}

#[test]
fn the_least_important_give_way_first() {
    let mut story = a_calm_vm_on_a_full_node();
    let mut lower = story.settings.profiles["default"].clone();
    lower.priority = 1;
    story.settings.profiles.insert("lower".into(), lower);
    let mut twin = story.vm(102).clone();
    (twin.id, twin.tags) = (104.try_into().unwrap(), vec!["autoscale-lower".into()]);
    story.memory.take_over(
        twin.id,
        story.memory.of_vm(102.try_into().unwrap()).cloned(),
        story.snapshot.at,
        story.snapshot.at,
    );
    story.snapshot.vms.insert(twin.id, twin);
    joins(&mut story, holding(101, Mib::gib(2), 1900));
    story.snapshot = later(story.snapshot.clone(), Duration::from_secs(60));
    leave(&mut story, 0);
    story.tick();
    story.snapshot = later(story.snapshot.clone(), TICK);
    leave(&mut story, 0);
    let plan = story.tick();
    let gave: Vec<u32> = plan.changes.iter().map(|change| change.vm.get()).collect();
    assert_eq!(gave, [104], "{:?}", plan.verdicts);
}

#[test]
fn vcpus_are_not_taken_where_the_nodes_cpu_is_used_up() {
    let mut calm = vm(102);
    calm.cpu.vcpus = Reading::known(8, NOW, Source::Qemu);
    let mut busy = vm(101);
    busy.cpu.usage = cpu_usage(2.0);
    let ratio = Some(Ratio::hundredths(100));
    for (ratio, used, gives_way) in [
        (ratio, 14.2_f64, false),
        (None, 13.1, false),
        (ratio, 8.0, true),
    ] {
        let mut story = Story::of([calm.clone(), busy.clone()]);
        story.settings.host.cpu_overcommit = ratio;
        let others = Unselected {
            cores: Cores::whole(6),
            untouched: Mib::ZERO,
        };
        story.snapshot.host.unselected = Reading::known(others, NOW, Source::ConfigFile);
        let mut gave = 0;
        for look in 0..28 {
            // It keeps its 8 vCPUs for three quarters of a minute after it used 7 of them.
            story.vm(102).cpu.usage = cpu_usage(if look < 20 { 7.0 } else { 4.5 });
            story.snapshot = later(story.snapshot.clone(), TICK);
            // Once full, there is room again, but not clearly.
            let used = if look == 0 { used.max(14.0) } else { used };
            let at = story.snapshot.at;
            story.snapshot.host.cpu_used = Reading::known(Cores::from_f64(used), at, Source::Proc);
            let plan = story.tick();
            let gives = |change: &&Change| matches!(change.reason, Reason::GivesWay { .. });
            gave += plan.changes.iter().filter(gives).count();
        }
        assert_eq!(gave > 0, gives_way, "{used} cores used");
    }
}

/// Whether VM 102 gives way to one in need, when `change` was made to its settings and to the story before.
fn gives_way(change: impl FnOnce(&mut VmSettings, &mut Story)) -> bool {
    let mut story = a_calm_vm_on_a_full_node();
    let mut own = story.settings.profiles["default"].clone();
    change(&mut own, &mut story);
    story.settings.profiles.insert("calm".into(), own);
    story.vm(102).tags = vec!["autoscale-calm".into()];
    joins(&mut story, holding(101, Mib::gib(2), 1900));
    leave(&mut story, 0);
    let plan = story.tick();
    plan.changes.iter().any(|change| change.vm.get() == 102)
}

#[test]
fn only_a_vm_that_may_be_shrunk_gives_way() {
    assert!(gives_way(|_, _| {}));
    assert!(!gives_way(|own, _| own.mode = Mode::Recommend));
    assert!(!gives_way(|own, _| own.memory.min = Mib::gib(9)));
    assert!(!gives_way(
        |own, _| own.cooldown.down = Duration::from_secs(86_400)
    ));
    assert!(!gives_way(
        |_, story| story.vm(102).lock = Some("backup".into())
    ));
}

#[test]
fn under_every_policy_the_calm_give_way() {
    let mut story = nearly_full([holding(102, Mib::gib(10), 3000)], Mib::ZERO);
    under_the_classic_rule(&mut story, 102);
    wait(&mut story, 11);
    let held = story.vm(102).memory.balloon.actual.clone();
    assert_eq!(held.get(), Some(Mib::gib(10)), "it fits of itself");
    joins(&mut story, holding(101, Mib::gib(2), 1900));
    leave(&mut story, 0);
    let plan = story.tick();
    assert!(plan.changes.iter().any(|c| c.vm.get() == 102), "{plan:?}");
}

#[test]
fn the_calm_give_way_for_what_is_missing_of_a_growth_too() {
    for (free, gives_way) in [(300, true), (4000, false)] {
        let mut story = a_calm_vm_on_a_full_node();
        joins(&mut story, holding(101, Mib::gib(2), 1900));
        leave(&mut story, free);
        let plan = story.tick();
        let moves = |vm| plan.changes.iter().any(|change| change.vm.get() == vm);
        assert!(moves(101), "{free} MiB free: {plan:?}");
        assert_eq!(moves(102), gives_way, "{free} MiB free");
    }
}

#[test]
fn what_is_given_back_of_itself_is_not_taken_from_others_as_well() {
    let shrinks = |need| {
        let mut story = a_calm_vm_on_a_full_node();
        joins(&mut story, holding(103, Mib::gib(8), need));
        under_the_classic_rule(&mut story, 103);
        story.tick();
        joins(&mut story, holding(101, Mib::gib(2), 1900));
        leave(&mut story, 0);
        let plan = story.tick();
        [102, 103].map(|vm| {
            let change = plan.changes.iter().find(|change| change.vm.get() == vm);
            change.map_or(0.0, |change| change.from.value() - change.to.value())
        })
    };
    let [alone, nothing] = shrinks(4000);
    let [with_another, given] = shrinks(800);
    assert_eq!((nothing, given), (0.0, 512.0));
    assert_eq!(with_another, alone - given);
}

#[test]
fn a_vm_that_was_short_lately_does_not_give_way() {
    for (minutes_ago, gives) in [(5, false), (11, true)] {
        let short = |_: &mut VmSettings, story: &mut Story| {
            let calm = story.vm(102).memory.need.clone();
            story.vm(102).memory.need = calm.clone().map(|mut need| {
                need.pressure = true;
                need
            });
            story.step();
            story.vm(102).memory.need = calm;
            story.snapshot = later(story.snapshot.clone(), TICK);
            // All that came free is used up again.
            leave(story, 0);
            wait(story, minutes_ago);
        };
        assert_eq!(gives_way(short), gives, "{minutes_ago} minutes ago");
    }
}

#[test]
fn nothing_is_taken_where_all_of_it_is_not_enough_for_anything() {
    for (spare, gives) in [(1000, false), (1200, true)] {
        let least = |own: &mut VmSettings, story: &mut Story| {
            let held = story.vm(102).memory.balloon.actual.get().unwrap();
            own.memory.min = held.saturating_sub(Mib(spare));
        };
        assert_eq!(gives_way(least), gives, "{spare} MiB to spare");
    }
}

#[test]
fn one_low_reading_is_not_enough_to_give_way() {
    let mut story = nearly_full([holding(102, Mib::gib(10), 1500)], Mib::ZERO);
    under_the_classic_rule(&mut story, 102);
    // Short of memory, so that anything helps it.
    let mut needy = holding(101, Mib::gib(2), 1900);
    needy.memory.need = needy.memory.need.map(|mut need| {
        need.pressure = true;
        need
    });
    joins(&mut story, needy);
    leave(&mut story, 0);
    let first = story.tick();
    assert!(first.changes.iter().all(|change| change.vm.get() != 102));
    story.snapshot = later(story.snapshot.clone(), TICK);
    let second = story.tick();
    assert!(second.changes.iter().any(|change| change.vm.get() == 102));
}
