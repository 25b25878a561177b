//! Stories of windows in which something else holds. The fixture's time is a Friday, 08:00 UTC.

use super::*;
use crate::config::{Days, Overrides, PolicyKind, TimeOfDay, Window};

const HOUR: Duration = Duration::from_secs(3600);

/// A window on Fridays from 09:00 to 17:00.
fn office(sets: Overrides) -> Window {
    Window {
        name: "office".to_owned(),
        days: Days::named("fri").unwrap(),
        from: TimeOfDay::new(9, 0).unwrap(),
        to: TimeOfDay::new(17, 0).unwrap(),
        sets,
    }
}

/// A VM that is content with what it has, in a story where `sets` holds during office hours.
fn story(sets: Overrides) -> Story {
    let mut content = vm(101);
    content.cpu.usage = cpu_usage(1.5);
    let mut story = Story::of([content]);
    let own = story.settings.profiles.get_mut("default").unwrap();
    own.schedule = vec![office(sets)];
    story
}

fn pass(story: &mut Story, span: Duration) {
    story.snapshot = later(story.snapshot.clone(), span);
}

#[test]
fn a_higher_minimum_is_reached_as_soon_as_its_window_opens_and_the_reason_names_it() {
    let mut story = story(Overrides {
        cpu_min: Some(Cores::whole(4)),
        memory_min: Some(Mib::gib(8)),
        ..Overrides::default()
    });
    assert!(story.step().changes.is_empty(), "it is 08:00");
    pass(&mut story, HOUR);
    let plan = story.step();
    let to: Vec<Amount> = plan.changes.iter().map(|change| change.to).collect();
    assert_eq!(
        to,
        [Amount::Cpu(Cores::whole(4)), Amount::Memory(Mib::gib(8))]
    );
    let told = plan.changes[0].reason.to_string();
    assert_eq!(
        told,
        "outside the limits 4 cores to 8 cores of the window office"
    );
    assert_eq!(plan.verdicts[0].min, Some(Amount::Cpu(Cores::whole(4))));
    assert_eq!(plan.verdicts[0].windows[0].until, NOW + HOUR * 9);
}

#[test]
fn a_minimum_waits_for_no_cool_down() {
    let mut story = story(Overrides {
        cpu_min: Some(Cores::whole(6)),
        ..Overrides::default()
    });
    story
        .settings
        .profiles
        .get_mut("default")
        .unwrap()
        .cooldown
        .up = HOUR;
    pass(&mut story, HOUR - TICK);
    story.vm(101).cpu.usage = cpu_usage(2.0);
    pass(&mut story, Duration::ZERO);
    assert_eq!(story.step().changes.len(), 1, "it grows right before");
    assert_eq!(story.step().changes[0].to, Amount::Cpu(Cores::whole(6)));
}

#[test]
fn when_the_window_closes_the_vm_comes_down_as_its_policy_and_gates_say() {
    let mut story = story(Overrides {
        cpu_min: Some(Cores::whole(4)),
        ..Overrides::default()
    });
    pass(&mut story, HOUR);
    story.step();
    for _ in 0..12 {
        let plan = story.step();
        assert!(plan.changes.is_empty(), "{:?}", plan.changes);
    }
    assert!(matches!(
        story.reason(101, Resource::Cpu),
        Reason::AtMin { .. }
    ));
    pass(&mut story, HOUR * 8);
    assert_eq!(story.reason(101, Resource::Cpu), Reason::FirstLowReading);
    let mut last = None;
    for _ in 0..40 {
        last = story
            .step()
            .changes
            .first()
            .map(|change| change.to)
            .or(last);
    }
    assert_eq!(last, Some(Amount::Cpu(Cores::whole(2))));
}

#[test]
fn a_lower_maximum_takes_memory_in_bounded_steps_and_never_what_is_needed() {
    let mut story = story(Overrides {
        memory_max: Some(Mib::gib(2)),
        memory_min: Some(Mib::gib(1)),
        ..Overrides::default()
    });
    story.vm(101).memory.balloon.actual = Reading::known(Mib::gib(8), NOW, Source::Qemu);
    pass(&mut story, HOUR);
    for _ in 0..300 {
        for change in story.step().changes {
            assert!(change.to.value() >= 3550.0 + 512.0, "{change:?}");
        }
    }
    let end = story.vm(101).memory.balloon.actual.get().unwrap();
    assert!(end < Mib(4160), "came down to what is needed: {end}");
}

#[test]
fn a_backup_window_can_leave_everything_to_the_admin() {
    let mut story = story(Overrides {
        mode: Some(Mode::Observe),
        ..Overrides::default()
    });
    story.vm(101).cpu.usage = cpu_usage(2.0);
    pass(&mut story, HOUR);
    assert!(matches!(
        story.reason(101, Resource::Cpu),
        Reason::NotAutomatic { .. }
    ));
    pass(&mut story, HOUR * 8);
    assert_eq!(story.tick().changes.len(), 1);
}

#[test]
fn what_a_policy_has_learned_outlives_a_window_with_another_policy_or_other_limits() {
    let learned = |sets: Option<Overrides>| {
        let mut story = story(sets.unwrap_or_default());
        pass(&mut story, HOUR * 9 - TICK * 900);
        let mut courses = Vec::new();
        for tick in 0..1200 {
            story.vm(101).cpu.usage = cpu_usage(if tick % 36 < 12 { 1.9 } else { 0.5 });
            pass(&mut story, Duration::ZERO);
            courses.push(story.step().changes);
        }
        courses.split_off(905)
    };
    let other_limits = Overrides {
        memory_max: Some(Mib::gib(32)),
        cpu_max: Some(Cores::whole(7)),
        ..Overrides::default()
    };
    assert_eq!(learned(Some(other_limits)), learned(None));
    let mut story = story(Overrides {
        policy: Some(PolicyKind::Threshold),
        ..Overrides::default()
    });
    for _ in 0..30 {
        story.step();
    }
    let before =
        serde_json::to_value(&story.memory).unwrap()["vms"]["101"]["cpu"]["policy"].clone();
    pass(&mut story, HOUR);
    story.step();
    let within = serde_json::to_value(&story.memory).unwrap()["vms"]["101"]["cpu"].clone();
    assert!(before["adaptive"].is_object() && within["policy"]["threshold"].is_object());
    assert_eq!(within["parked"], before);
}

#[test]
fn a_plan_does_not_stand_beyond_the_next_window() {
    let mut story = story(Overrides {
        mode: Some(Mode::Observe),
        ..Overrides::default()
    });
    story.vm(101).power = Power::Stopped;
    assert_eq!(story.tick().stands_until, NOW + HOUR);
    pass(&mut story, HOUR);
    assert_eq!(story.tick().stands_until, NOW + HOUR * 9);
}
