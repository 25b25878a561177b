use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::backtest::run::History;
use crate::backtest::trace::Trace;
use crate::config::{CpuMethod, MemoryMethod, PolicyKind};
use crate::domain::{Cores, Mib};

/// A VM of up to 8 cores and 8 GiB that these settings size.
fn own(policy: PolicyKind, cpu: CpuMethod, memory: MemoryMethod) -> VmSettings {
    let mut own = VmSettings {
        policy,
        ..VmSettings::default()
    };
    own.cpu.method = cpu;
    own.memory.method = memory;
    own.memory.unplug = true;
    own.memory.max = Mib::gib(8);
    own
}

fn replay<'a>(resource: Resource, settings: &'a Settings, own: &'a VmSettings) -> Replay<'a> {
    Replay {
        resource,
        settings,
        own,
        begin: Moment::default(),
    }
}

/// The maximum of [`own`].
fn most(resource: Resource) -> f64 {
    match resource {
        Resource::Cpu => 8.0,
        Resource::Memory => 8192.0,
    }
}

fn steps(points: &[(i64, f64)], last_s: u64) -> Demand {
    let points: Vec<_> = points.iter().map(|(s, value)| (s * 1000, *value)).collect();
    Demand::new(&points, Duration::from_secs(last_s)).unwrap()
}

/// Every lever with every policy.
fn ways() -> Vec<(Resource, VmSettings)> {
    let mut ways = Vec::new();
    for policy in [PolicyKind::Adaptive, PolicyKind::Threshold] {
        for cpu in [CpuMethod::Vcpus, CpuMethod::Cpulimit] {
            ways.push((Resource::Cpu, own(policy, cpu, MemoryMethod::Off)));
        }
        for memory in [
            MemoryMethod::Balloon,
            MemoryMethod::Dimm,
            MemoryMethod::Auto,
        ] {
            ways.push((Resource::Memory, own(policy, CpuMethod::Off, memory)));
        }
    }
    ways
}

#[test]
fn a_change_takes_effect_one_tick_after_it_was_decided() {
    let settings = Settings {
        check_interval: Duration::from_secs(5),
        ..Settings::default()
    };
    let own = own(PolicyKind::Adaptive, CpuMethod::Vcpus, MemoryMethod::Off);
    let demand = steps(&[(0, 1.5), (600, 8.0)], 600);
    let course = replay(Resource::Cpu, &settings, &own).course(&demand);
    let grown = course.iter().find(|(at, _)| *at > 600_000).unwrap();
    // The tick at 605 s is the first that sees it.
    assert!(grown.0 >= 610_000 && grown.1 > 2.0, "{course:?}");
}

#[test]
fn the_daemons_cool_downs_hold() {
    let settings = Settings {
        check_interval: Duration::from_secs(1),
        ..Settings::default()
    };
    let mut own = own(PolicyKind::Threshold, CpuMethod::Vcpus, MemoryMethod::Off);
    own.cooldown.up = Duration::from_secs(60);
    let demand = steps(&[(0, 0.5), (60, 8.0)], 600);
    let course = replay(Resource::Cpu, &settings, &own).course(&demand);
    assert!(course.len() > 2, "{course:?}");
    for pair in course[1..].windows(2) {
        assert!(pair[1].0 - pair[0].0 >= 60_000, "{course:?}");
    }
}

#[test]
fn a_resource_that_is_switched_off_stays_as_it_is() {
    let settings = Settings::default();
    let own = own(PolicyKind::Adaptive, CpuMethod::Off, MemoryMethod::Off);
    let demand = steps(&[(0, 0.1), (600, 8.0)], 600);
    for resource in Resource::ALL {
        assert_eq!(replay(resource, &settings, &own).course(&demand).len(), 1);
    }
}

#[test]
fn what_is_not_recorded_changes_nothing_and_what_follows_is_not_foreseen() {
    let settings = Settings::default();
    for (resource, own) in ways() {
        let unit = if resource == Resource::Cpu {
            1.0
        } else {
            1024.0
        };
        let points = [(0, unit), (600, unit), (3600, 6.0 * unit)];
        let demand = steps(&points, 600).known_for(Duration::from_secs(600));
        let course = replay(resource, &settings, &own).course(&demand);
        let unknown = |at: i64| (1_206_000..3_600_000).contains(&at);
        assert!(course.iter().all(|(at, _)| !unknown(*at)), "{course:?}");
    }
}

#[test]
fn a_history_is_sized_up_to_its_own_ceilings_and_not_the_configurations() {
    let trace = Trace {
        name: "large".to_owned(),
        begin: Moment::default(),
        max_cores: Cores::from_f64(12.5),
        max_memory: None,
        cpu: steps(&[(0, 30.0)], 600),
        memory: None,
    };
    let history = History::new(trace, &VmSettings::default());
    let reports = crate::backtest::run::run(&[history], &Settings::default(), |_| {});
    assert_eq!(reports[0].cpu.last().unwrap().1, 12.0);
}

#[test]
fn windows_open_by_the_historys_own_time() {
    use crate::config::{Days, Overrides, TimeOfDay, Window};
    let settings = Settings::default();
    let mut own = own(PolicyKind::Adaptive, CpuMethod::Vcpus, MemoryMethod::Off);
    own.schedule = vec![Window {
        name: "office".to_owned(),
        days: Days::named("tue").unwrap(),
        from: TimeOfDay::new(8, 0).unwrap(),
        to: TimeOfDay::new(9, 0).unwrap(),
        sets: Overrides {
            cpu_min: Some(Cores::whole(4)),
            ..Overrides::default()
        },
    }];
    // 2026-11-24 is a Tuesday; the history begins half an hour before the window.
    let begin: jiff::Timestamp = "2026-11-24T07:30:00Z".parse().unwrap();
    let replay = Replay {
        begin: Moment::from_millis(begin.as_millisecond()),
        ..replay(Resource::Cpu, &settings, &own)
    };
    let course = replay.course(&steps(&[(0, 0.5)], 3 * 3600));
    let held = |minute: i64| {
        let before = course.iter().rfind(|(at, _)| *at <= minute * 60_000);
        before.unwrap().1
    };
    assert_eq!(
        [held(29), held(31), held(89)],
        [1.0, 4.0, 4.0],
        "{course:?}"
    );
    assert_eq!(held(110), 1.0, "{course:?}");
}

/// Pieces of 1 s to 15 min, mostly around one level with bursts, as loads of computers are.
fn shares() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let length = prop_oneof![Just(1), Just(5), Just(60), Just(300), 1..900_i64];
    let share = prop_oneof![0.1..0.4_f64, 0.2..0.3_f64, 0.0..1.1_f64];
    proptest::collection::vec((length, share), 1..40)
}

fn demand(shares: &[(i64, f64)], max: f64) -> Demand {
    let mut at = 0;
    let point = |(seconds, share): &(i64, f64)| {
        let point = (at, (share * max * 1000.0).round() / 1000.0);
        at += seconds;
        point
    };
    steps(&shares.iter().map(point).collect::<Vec<_>>(), 60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_constant_load_ends_in_a_constant_allocation(shares in shares(), share in 0.0..1.2_f64) {
        let settings = Settings { check_interval: Duration::from_secs(60), ..Settings::default() };
        for (resource, own) in ways() {
            let replay = replay(resource, &settings, &own);
            let mut pieces = shares.clone();
            let restless: i64 = pieces.iter().map(|(seconds, _)| seconds).sum();
            pieces.push((4 * 86_400, share));
            let course = replay.course(&demand(&pieces, most(resource)));
            // Longer than the longest for which memory is held.
            let settled = (restless + 3 * 86_400) * 1000;
            let (last, _) = course.last().unwrap();
            prop_assert!(*last < settled, "{:?} {:?}: {:?}", own.policy, resource, course);
        }
    }

    #[test]
    fn scores_do_not_depend_on_the_order_of_vms(loads in proptest::collection::vec(shares(), 2..6)) {
        let settings = Settings::default();
        let history = |(load, name): (&Vec<(i64, f64)>, i32)| {
            let trace = Trace {
                name: name.to_string(),
                begin: Moment::default(),
                max_cores: Cores::whole(8),
                max_memory: Some(Mib::gib(8)),
                cpu: demand(load, 8.0),
                memory: Some(demand(load, 8192.0)),
            };
            History::new(trace, &VmSettings::default())
        };
        let mut histories: Vec<_> = loads.iter().zip(0..).map(history).collect();
        let forward = crate::backtest::run::run(&histories, &settings, |_| {});
        histories.reverse();
        let mut backward = crate::backtest::run::run(&histories, &settings, |_| {});
        backward.reverse();
        prop_assert_eq!(forward, backward);
    }

    #[test]
    fn passing_over_ticks_at_which_nothing_changes_changes_nothing(shares in shares()) {
        let settings = Settings::default();
        for (resource, own) in ways() {
            let replay = replay(resource, &settings, &own);
            let demand = demand(&shares, most(resource));
            let slow = replay.course_with(&demand, |_, now| now);
            prop_assert_eq!(replay.course(&demand), slow, "{:?} {:?}", own.policy, resource);
        }
    }

    #[test]
    fn vcpus_are_whole_and_modules_of_512_mib_within_the_ceilings(
        shares in shares(),
        cores in 1.0..20.0_f64,
        mib in 1024.0..40_000.0_f64,
    ) {
        let settings = Settings::default();
        let methods = (CpuMethod::Vcpus, MemoryMethod::Dimm);
        // The grain of the ceilings.
        let (cores, mib) = ((cores * 1000.0).floor() / 1000.0, mib.floor());
        let trace = Trace {
            name: String::new(),
            begin: Moment::default(),
            max_cores: Cores::from_f64(cores),
            max_memory: Some(Mib::from_f64(mib)),
            cpu: demand(&shares, cores),
            memory: Some(demand(&shares, mib)),
        };
        let history = History::new(trace, &own(PolicyKind::Adaptive, methods.0, methods.1));
        let report = &crate::backtest::run::run(&[history], &settings, |_| {})[0];
        for (course, least, most, grain) in
            [(&report.cpu, 1.0, cores, 1.0), (&report.memory, 1024.0, mib, 512.0)]
        {
            prop_assert_eq!(course[0].0, 0);
            for pair in course.windows(2) {
                prop_assert!(pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1);
            }
            for (_, amount) in course {
                prop_assert!((least..=most).contains(amount), "{} of {}", amount, most);
                prop_assert_eq!(amount % grain, 0.0);
            }
        }
    }
}
