//! Stories of VMs that are left alone, and why.

use super::*;
use crate::config::{Caps, PolicyKind};

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
fn a_cool_down_survives_a_restart_and_a_wrong_clock() {
    let mut busy = vm(101);
    busy.cpu.vcpus = Reading::known(1, NOW, Source::Qemu);
    busy.cpu.usage = cpu_usage(1.0);
    let mut story = Story::of([busy]);
    assert_eq!(story.step().changes.len(), 1);
    story.vm(101).cpu.vcpus = Reading::known(1, story.snapshot.at, Source::Qemu);
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

/// A VM whose load goes up and down every quarter of an hour, and the minutes at which its CPU was changed.
fn changes_of_a_swinging_load(caps: Caps, hours: u32) -> Vec<u32> {
    let mut swings = vm(101);
    swings.memory.need = Reading::unknown("not asked here");
    let mut story = Story::of([swings]);
    let own = story.settings.profiles.get_mut("default").unwrap();
    (own.changes, own.policy) = (caps, PolicyKind::Threshold);
    own.cpu.rule.steady.down = Duration::ZERO;
    let mut changed = Vec::new();
    for minute in 0..hours * 60 {
        let load = if minute / 15 % 2 == 0 { 0.5 } else { 6.0 };
        let has = f64::from(story.vm(101).cpu.vcpus.get().unwrap());
        story.vm(101).cpu.usage = cpu_usage(f64::min(load, has));
        story.snapshot = later(story.snapshot.clone(), Duration::from_secs(55));
        // What was decided is stored with each step, as over restarts.
        let stored = serde_json::to_string(&story.memory).unwrap();
        story.memory = serde_json::from_str(&stored).unwrap();
        changed.extend(story.step().changes.iter().map(|_| minute));
    }
    changed
}

/// The most changes in any window of so many minutes.
fn most_within(changed: &[u32], minutes: u32) -> usize {
    let from = |first: &u32| {
        let within = changed
            .iter()
            .filter(|at| (*first..*first + minutes).contains(at));
        within.count()
    };
    changed.iter().map(from).max().unwrap_or(0)
}

#[test]
fn caps_on_changes_hold_in_every_hour_and_day_and_over_restarts() {
    let caps = |per_hour, per_day| Caps { per_hour, per_day };
    let free = changes_of_a_swinging_load(caps(None, None), 30);
    assert!(
        most_within(&free, 60) > 4 && most_within(&free, 1440) > 20,
        "{free:?}"
    );
    for (per_hour, per_day) in [
        (Some(2), None),
        (Some(4), None),
        (None, Some(6)),
        (Some(3), Some(9)),
    ] {
        let changed = changes_of_a_swinging_load(caps(per_hour, per_day), 30);
        let hour = most_within(&changed, 60);
        let day = most_within(&changed, 1440);
        assert!(
            per_hour.is_none_or(|most| hour <= most as usize),
            "{hour} of {per_hour:?}"
        );
        assert!(
            per_day.is_none_or(|most| day <= most as usize),
            "{day} of {per_day:?}"
        );
        assert!(changed.len() > 5, "it still changes: {changed:?}");
    }
}

#[test]
fn a_shrink_leaves_the_last_change_to_a_growth_and_shortage_waits_for_no_cap() {
    let mut busy = vm(101);
    busy.cpu.usage = cpu_usage(2.0);
    let mut story = Story::of([busy]);
    story
        .settings
        .profiles
        .get_mut("default")
        .unwrap()
        .changes
        .per_hour = Some(2);
    assert_eq!(story.step().changes.len(), 1, "it grows");
    story.vm(101).cpu.usage = cpu_usage(0.4);
    for _ in 0..400 {
        assert!(
            story.step().changes.is_empty(),
            "a shrink would be the last one"
        );
    }
    let reason = story.reason(101, Resource::Cpu);
    assert!(
        matches!(reason, Reason::EnoughChanges { most: 2, .. }),
        "{reason:?}"
    );
    assert!(
        reason
            .to_string()
            .starts_with("no more than 2 changes per hour; waits until")
    );
    story.vm(101).cpu.usage = cpu_usage(4.0);
    story.snapshot = later(story.snapshot.clone(), TICK);
    assert_eq!(
        story.step().changes.len(),
        1,
        "a growth may be the last one"
    );
    let short = |mut need: crate::observe::MemoryNeed| {
        need.available = Some(Mib(50));
        need
    };
    for need in [4000, 5000, 6000] {
        story.vm(101).memory.need = memory_need(need).map(short);
        story.snapshot = later(story.snapshot.clone(), TICK);
        assert_eq!(story.step().changes.len(), 1, "short with a need of {need}");
    }
}
