//! Stories of the classic rule.

use super::*;
use crate::config::{Rate, ResourceSettings, Steady};

const RULE: ResourceSettings = ResourceSettings::new(Percent::whole(80), Percent::whole(20));

fn ask(policy: &mut Threshold, second: i64, usage: f64, allocation: f64) -> f64 {
    ask_with(policy, &RULE, second, usage, allocation)
}

fn ask_with(
    policy: &mut Threshold,
    settings: &ResourceSettings,
    second: i64,
    usage: f64,
    allocation: f64,
) -> f64 {
    look(policy, settings, second, 5, usage, allocation)
}

/// A look at so many seconds of usage.
fn look(
    policy: &mut Threshold,
    settings: &ResourceSettings,
    second: i64,
    seconds: u64,
    usage: f64,
    allocation: f64,
) -> f64 {
    let now = Moment::from_millis(second * 1000);
    let usage = [Sample {
        at: now,
        span: Duration::from_secs(seconds),
        value: usage,
    }];
    seen_by(policy, settings, now, &usage, allocation)
}

fn seen_by(
    policy: &mut Threshold,
    settings: &ResourceSettings,
    now: Moment,
    usage: &[Sample],
    allocation: f64,
) -> f64 {
    policy
        .want(&observation(settings, now, usage, allocation))
        .amount
}

fn observation<'a>(
    settings: &'a ResourceSettings,
    now: Moment,
    usage: &'a [Sample],
    allocation: f64,
) -> Observation<'a> {
    Observation {
        now,
        second_of_week: 0,
        resource: Resource::Cpu,
        usage,
        allocation,
        changing: false,
        short: false,
        min: 1.0,
        max: 16.0,
        grain: 1.0,
        settings,
    }
}

#[test]
fn the_further_past_the_threshold_the_larger_the_step() {
    let mut policy = Threshold::default();
    assert_eq!(ask(&mut policy, 5, 2.0, 4.0), 4.0);
    assert_eq!(ask(&mut policy, 10, 3.3, 4.0), 5.0);
    assert_eq!(ask(&mut policy, 15, 3.7, 4.0), 6.0);
    assert_eq!(ask(&mut policy, 20, 4.0, 4.0), 8.0);
}

#[test]
fn a_burst_of_a_second_is_no_reason_to_grow() {
    let mut policy = Threshold::default();
    let mut rule = RULE;
    rule.steady.down = Duration::ZERO;
    for (second, usage, wanted) in [(1, 2.0, 4.0), (2, 2.0, 4.0), (3, 4.0, 4.0), (4, 2.0, 4.0)] {
        assert_eq!(look(&mut policy, &rule, second, 1, usage, 4.0), wanted);
    }
    // Two seconds of the last three are no burst.
    assert_eq!(look(&mut policy, &rule, 5, 1, 4.0, 4.0), 5.0);
}

#[test]
fn who_looks_seldom_judges_by_all_that_was_used_since() {
    let mut policy = Threshold::default();
    let now = Moment::from_millis(60_000);
    let usage: Vec<Sample> = (0..60)
        .map(|before| Sample {
            at: now - Duration::from_secs(before),
            span: Duration::from_secs(1),
            value: if before < 3 { 4.0 } else { 2.0 },
        })
        .rev()
        .collect();
    assert_eq!(seen_by(&mut policy, &RULE, now, &usage, 4.0), 4.0);
}

#[test]
fn what_was_used_under_another_size_says_nothing_of_this_one() {
    let mut policy = Threshold::default();
    let mut held = 1.0;
    let mut grown_at = Vec::new();
    for second in 1..=8 {
        let wanted = look(&mut policy, &RULE, second, 1, held, held);
        if wanted > held {
            grown_at.push((second, wanted));
            held = wanted;
        }
    }
    // A second may have been measured before the change, and three are looked at.
    assert_eq!(grown_at, [(4, 5.0), (8, 9.0)]);
}

#[test]
fn who_is_held_back_waits_for_no_mean() {
    let mut policy = Threshold::default();
    let now = Moment::from_millis(1000);
    let usage = [Sample {
        at: now,
        span: Duration::from_secs(1),
        value: 1.0,
    }];
    let seen = Observation {
        short: true,
        ..observation(&RULE, now, &usage, 1.0)
    };
    assert_eq!(policy.want(&seen).amount, 5.0);
}

#[test]
fn less_is_given_only_after_a_whole_window_in_which_less_was_right() {
    let mut policy = Threshold::default();
    assert_eq!(ask(&mut policy, 0, 2.0, 4.0), 4.0, "in the band");
    for second in (5..=300).step_by(5) {
        assert_eq!(ask(&mut policy, second, 0.5, 4.0), 4.0, "at {second} s");
    }
    assert_eq!(ask(&mut policy, 310, 0.5, 4.0), 3.0);
}

#[test]
fn an_almost_idle_vm_comes_down_by_two() {
    let mut policy = Threshold::default();
    (0..=300).step_by(5).for_each(|second| {
        ask(&mut policy, second, 0.1, 8.0);
    });
    assert_eq!(ask(&mut policy, 305, 0.1, 8.0), 6.0);
}

#[test]
fn nothing_is_wanted_beyond_the_limits() {
    let mut policy = Threshold::default();
    assert_eq!(ask(&mut policy, 5, 16.0, 16.0), 16.0);
    (10..=400).step_by(5).for_each(|second| {
        assert!(ask(&mut policy, second, 0.0, 1.0) >= 1.0);
    });
}

fn steady(tolerance: u32, up: u64, down: u64) -> ResourceSettings {
    ResourceSettings {
        steady: Steady {
            tolerance: Percent::whole(tolerance),
            up: Duration::from_secs(up),
            down: Duration::from_secs(down),
            ..RULE.steady
        },
        ..RULE
    }
}

/// Without windows, at most `up` and `down` percent a minute.
fn paced(up: Option<u32>, down: Option<u32>) -> ResourceSettings {
    let mut settings = steady(0, 0, 0);
    settings.steady.rate = Rate {
        up: up.map(Percent::whole),
        down: down.map(Percent::whole),
        period: Duration::from_secs(60),
    };
    settings
}

#[test]
fn a_size_goes_no_further_in_a_minute_than_its_rate_allows() {
    // Seconds, usage, what the VM has, what is wanted.
    let table = [
        (0, 4.0, 4.0, 6.0),
        (5, 6.0, 6.0, 6.0),
        (55, 6.0, 6.0, 6.0),
        (66, 6.0, 6.0, 9.0),
        (200, 0.1, 8.0, 6.0),
        (205, 0.1, 6.0, 6.0),
        (262, 0.1, 6.0, 4.0),
    ];
    let (settings, mut policy) = (paced(Some(50), Some(25)), Threshold::default());
    for (second, usage, has, expected) in table {
        let wants = ask_with(&mut policy, &settings, second, usage, has);
        assert_eq!(wants, expected, "at {second} s");
    }
}

#[test]
fn the_smallest_rate_is_a_step_a_period() {
    let (settings, mut policy) = (paced(Some(1), Some(1)), Threshold::default());
    assert_eq!(ask_with(&mut policy, &settings, 0, 2.0, 2.0), 3.0);
    assert_eq!(ask_with(&mut policy, &settings, 5, 3.0, 3.0), 3.0);
    assert_eq!(ask_with(&mut policy, &settings, 70, 0.1, 3.0), 2.0);
}

#[test]
fn what_was_held_within_a_period_does_not_grow_with_the_changes() {
    let (mut settings, mut policy) = (paced(Some(100), None), Threshold::default());
    settings.steady.rate.period = Duration::from_secs(1800);
    for second in 0..1800 {
        let has = (1 + second % 16) as f64;
        ask_with(&mut policy, &settings, second, 0.5 * has, has);
    }
    assert!(policy.held.len() <= HELD_MOST);
}

#[test]
fn usage_within_the_tolerance_of_a_threshold_moves_nothing() {
    // Of 10 cores: 80 % and 20 % are the thresholds, 88 % and 18 % the ends of what is tolerated.
    for (usage, expected) in [
        (8.1, 10.0),
        (8.7, 10.0),
        (8.9, 11.0),
        (1.9, 10.0),
        (1.7, 9.0),
    ] {
        let mut policy = Threshold::default();
        let wants = ask_with(&mut policy, &steady(10, 0, 0), 5, usage, 10.0);
        assert_eq!(wants, expected, "{usage} of 10 cores");
    }
}

#[test]
fn a_growth_waits_until_more_was_right_for_its_whole_window() {
    // Seconds, usage of 4 cores, what is wanted.
    let table = [
        (0, 2.0, 4.0),
        (30, 3.3, 4.0),
        (60, 3.3, 4.0),
        (70, 3.3, 5.0),
        (80, 2.0, 4.0),
        (90, 3.3, 4.0),
    ];
    let (settings, mut policy) = (steady(0, 60, 300), Threshold::default());
    for (second, usage, expected) in table {
        let wants = ask_with(&mut policy, &settings, second, usage, 4.0);
        assert_eq!(wants, expected, "at {second} s");
    }
}

#[test]
fn without_windows_both_ways_are_taken_at_once() {
    let (settings, mut policy) = (steady(0, 0, 0), Threshold::default());
    for (second, usage, expected) in [(0, 3.3, 5.0), (5, 0.7, 3.0), (10, 3.3, 5.0)] {
        let wants = ask_with(&mut policy, &settings, second, usage, 4.0);
        assert_eq!(wants, expected, "at {second} s");
    }
}

#[test]
fn what_would_not_have_passed_the_threshold_for_ten_minutes_does_for_now() {
    let mut policy = Threshold::default();
    let enough = |policy: &mut Threshold, second: i64, used: f64, short: bool| {
        let now = Moment::from_millis(second * 1000);
        let usage = [Sample {
            at: now,
            span: Duration::from_secs(5),
            value: used,
        }];
        let mut seen = observation(&RULE, now, &usage, 10.0);
        seen.short = short;
        policy.want(&seen).enough
    };
    // Between the thresholds: it does not shrink of itself.
    for second in (0..1200).step_by(5) {
        let used = if second == 300 { 6.4 } else { 3.2 };
        let enough = enough(&mut policy, second, used, false);
        let expected = match second {
            ..600 => 10.0,
            600..900 => 8.0,
            930.. => 4.0,
            _ => enough,
        };
        assert_eq!(enough, expected, "after {second} s");
    }
    assert_eq!(enough(&mut policy, 1200, 3.2, true), 10.0, "short");
}
