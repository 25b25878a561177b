//! Stories of days: VMs with peaks that come, stay away, move, and others without any.

use proptest::prelude::*;

use super::*;
use crate::backtest::bill::{Bill, Course, Grid};
use crate::backtest::simulate::{Setup, simulate};
use crate::backtest::trace::Demand;
use crate::config::{PolicyKind, ResourceSettings};
use crate::decide::Reason;
use crate::decide::policy::{Policy, State, Want};
use crate::domain::Percent;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const RULE: ResourceSettings = ResourceSettings::new(Percent::whole(80), Percent::whole(20));

/// A demand that is `calm`, but for spells of so many seconds with another level, each from its second on.
fn demand(days: i64, calm: f64, spells: &[(i64, i64, f64)]) -> Demand {
    let mut points = vec![(0, calm)];
    for (from, seconds, level) in spells {
        points.extend([(from * 1000, *level), ((from + seconds) * 1000, calm)]);
    }
    let last = days * DAY - points.last().unwrap().0 / 1000;
    Demand::new(&points, Duration::from_secs(last.try_into().unwrap())).unwrap()
}

/// Two hours with 5.2 cores from nine on, on these days; the first is a Monday.
fn at_nine(days: impl IntoIterator<Item = i64>) -> Vec<(i64, i64, f64)> {
    let nine = |day| (day * DAY + 9 * HOUR, 2 * HOUR, 5.2);
    days.into_iter().map(nine).collect()
}

fn works_on(day: &i64) -> bool {
    day % 7 < 5
}

/// The policy, and why it wanted more than there was, each time with the second.
struct Told {
    policy: State,
    whys: Vec<(i64, Reason)>,
    stored_every: Option<i64>,
}

impl Policy for Told {
    fn want(&mut self, seen: &Observation<'_>) -> Want {
        let second = seen.now.as_millis() / 1000;
        if self.stored_every.is_some_and(|every| second % every < 5) {
            let stored = serde_json::to_string(&self.policy).unwrap();
            self.policy = serde_json::from_str(&stored).unwrap();
        }
        let want = self.policy.want(seen);
        if want.amount > seen.allocation {
            self.whys.push((second, want.reason.clone()));
        }
        want
    }
}

struct Lived {
    bill: Bill,
    course: Course,
    whys: Vec<(i64, Reason)>,
    state: State,
}

impl Lived {
    /// What was held at this second.
    fn held(&self, second: i64) -> f64 {
        let until = self.course.partition_point(|(at, _)| *at <= second * 1000);
        self.course[until - 1].1
    }

    /// The days on which more was wanted for a peak to come.
    fn days_ahead(&self) -> Vec<i64> {
        let ahead = |why: &Reason| matches!(why, Reason::PeakAhead { .. });
        let days = self.whys.iter().filter(|(_, why)| ahead(why));
        let mut days: Vec<i64> = days.map(|(second, _)| second / DAY).collect();
        days.dedup();
        days
    }
}

fn setup<'a>(demand: &Demand, resource: Resource, settings: &'a ResourceSettings) -> Setup<'a> {
    let max = match resource {
        Resource::Cpu => 8.0,
        Resource::Memory => 16.0 * 1024.0,
    };
    let grid = Grid::coarse(resource, max);
    Setup {
        resource,
        grid,
        tick: Duration::from_secs(5),
        start: grid.start(resource, demand),
        settings,
    }
}

fn live_with(resource: Resource, demand: &Demand, predict: bool, stored: Option<i64>) -> Lived {
    let mut told = Told {
        policy: State::new(PolicyKind::Adaptive),
        whys: Vec::new(),
        stored_every: stored,
    };
    let settings = ResourceSettings { predict, ..RULE };
    let course = simulate(demand, setup(demand, resource, &settings), &mut told);
    Lived {
        bill: Bill::of(demand, &course, Prices::of(resource)),
        course,
        whys: told.whys,
        state: told.policy,
    }
}

fn live(resource: Resource, demand: &Demand) -> Lived {
    live_with(resource, demand, true, None)
}

fn live_without(resource: Resource, demand: &Demand) -> Lived {
    live_with(resource, demand, false, None)
}

#[test]
fn from_the_fourth_day_on_the_cores_are_there_before_the_peak_and_weekends_stay_quiet() {
    let demand = demand(14, 0.5, &at_nine((0..14).filter(works_on)));
    let (with, without) = (
        live(Resource::Cpu, &demand),
        live_without(Resource::Cpu, &demand),
    );
    assert_eq!(with.days_ahead(), [3, 4, 7, 8, 9, 10, 11]);
    for day in (3..14).filter(works_on) {
        let nine = day * DAY + 9 * HOUR;
        assert_eq!(with.held(nine), 6.0, "on day {day}");
        assert_eq!(with.held(nine - 120), 1.0, "on day {day}");
        assert_eq!(without.held(nine), 1.0);
    }
    let why = with.whys.iter().find(|(second, _)| *second / DAY == 3);
    let Some((_, Reason::PeakAhead { expected, at })) = why else {
        panic!("{why:?}");
    };
    assert_eq!(at, "09:00");
    assert_eq!(*expected, Resource::Cpu.amount(5.2));
    // Seven of ten peaks are foreseen.
    assert!(with.bill.unmet < without.bill.unmet * 0.35);
    assert!(with.bill.changes < without.bill.changes);
    assert!(with.bill.cost < without.bill.cost);
}

#[test]
fn memory_is_there_before_the_peak_as_well_and_goes_back_if_none_comes() {
    let spells: Vec<_> = (0..10)
        .filter(|day| *day != 8)
        .map(|day| (day * DAY + 9 * HOUR, 2 * HOUR, 9000.0))
        .collect();
    let demand = demand(10, 2000.0, &spells);
    let (with, without) = (
        live(Resource::Memory, &demand),
        live_without(Resource::Memory, &demand),
    );
    assert!(with.bill.unmet < without.bill.unmet * 0.7);
    assert!(with.bill.cost < without.bill.cost);
    let nine = 8 * DAY + 9 * HOUR;
    assert!(with.held(nine) >= 9512.0);
    assert_eq!(with.held(nine + 300), with.held(nine - 300));
}

#[test]
fn a_backup_on_sundays_is_ready_for_on_sundays() {
    let spells: Vec<_> = (0..6)
        .map(|week| ((week * 7 + 6) * DAY + 3 * HOUR, HOUR, 5.2))
        .collect();
    let lived = live(Resource::Cpu, &demand(6 * 7, 0.5, &spells));
    assert_eq!(lived.days_ahead(), [27, 34, 41]);
}

/// Numbers that look drawn by chance, always the same.
fn chance(seed: u64) -> impl FnMut(i64) -> i64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        i64::try_from(state % u64::try_from(below).unwrap()).unwrap()
    }
}

#[test]
fn without_a_pattern_nothing_is_foreseen_and_nothing_is_paid() {
    for seed in 1..=5 {
        let mut chance = chance(seed);
        let mut spells = Vec::new();
        let mut at = 0;
        loop {
            at += 1800 + chance(5 * HOUR);
            let (seconds, level) = (600 + chance(HOUR), 2.0 + chance(50) as f64 / 10.0);
            if at + seconds >= 21 * DAY {
                break;
            }
            spells.push((at, seconds, level));
            at += seconds;
        }
        let demand = demand(21, 0.5, &spells);
        let (with, without) = (
            live(Resource::Cpu, &demand),
            live_without(Resource::Cpu, &demand),
        );
        assert!(with.bill.cost <= without.bill.cost * 1.01, "seed {seed}");
    }
}

#[test]
fn a_peak_that_moves_is_given_up_after_two_days_and_learned_where_it_is_now() {
    let mut spells = at_nine(0..10);
    spells.extend(
        at_nine(10..20)
            .into_iter()
            .map(|(at, s, l)| (at + 2 * HOUR, s, l)),
    );
    let lived = live(Resource::Cpu, &demand(20, 0.5, &spells));
    let at = |hour: i64| -> Vec<i64> {
        let near = |(second, _): &&(i64, Reason)| (second % DAY - hour * HOUR).abs() < 600;
        let ahead = lived
            .whys
            .iter()
            .filter(|(_, why)| matches!(why, Reason::PeakAhead { .. }));
        ahead.filter(near).map(|(second, _)| second / DAY).collect()
    };
    let last = at(9).last().copied().unwrap();
    assert!((10..=11).contains(&last), "{:?}", at(9));
    assert_eq!(at(11).last(), Some(&19));
}

#[test]
fn a_peak_that_stays_away_costs_little_and_is_foreseen_again_when_it_is_back() {
    let spells = at_nine((0..7).chain(14..24));
    let lived = live(Resource::Cpu, &demand(24, 0.5, &spells));
    let without = live_without(Resource::Cpu, &demand(24, 0.5, &spells));
    let missed: Vec<_> = lived
        .days_ahead()
        .into_iter()
        .filter(|day| (7..14).contains(day))
        .collect();
    assert!(missed.len() <= 2, "{missed:?}");
    assert!(lived.bill.cost < without.bill.cost);
    assert!(lived.days_ahead().iter().any(|day| *day > 16));
}

#[test]
fn what_comes_at_another_time_each_day_is_not_followed_where_waiting_for_it_costs_more() {
    let mut chance = chance(7);
    let spells: Vec<_> = at_nine(0..21)
        .into_iter()
        .map(|(at, s, l)| (at + chance(1000) - 500, s, l))
        .collect();
    let demand = demand(21, 0.5, &spells);
    let (with, without) = (
        live(Resource::Cpu, &demand),
        live_without(Resource::Cpu, &demand),
    );
    // It is tried once, and was not worth it.
    assert!(with.days_ahead().len() <= 2, "{:?}", with.days_ahead());
    assert!(with.bill.cost <= without.bill.cost * 1.002);
}

#[test]
fn what_was_learned_survives_restarts() {
    let demand = demand(10, 0.5, &at_nine(0..10));
    let stored = live_with(Resource::Cpu, &demand, true, Some(4 * HOUR));
    assert_eq!(
        stored.days_ahead(),
        live(Resource::Cpu, &demand).days_ahead()
    );
}

#[test]
fn what_is_stored_is_small_and_another_version_is_learned_anew() {
    let mut chance = chance(3);
    let mut spells = Vec::new();
    let mut at = 0;
    while at < 14 * DAY - HOUR {
        at += 700 + chance(900);
        spells.push((at, 400, 2.0 + chance(600) as f64 / 100.0));
        at += 400;
    }
    let mut lived = live(Resource::Cpu, &demand(14, 0.5, &spells));
    let State::Adaptive(adaptive) = &mut lived.state else {
        panic!()
    };
    let profile = std::mem::take(&mut adaptive.profile);
    assert_eq!(profile.peaks.len(), MOST_PEAKS, "a restless VM");
    let stored = serde_json::to_string(&profile).unwrap();
    assert!(stored.len() < 1100, "{} bytes: {stored}", stored.len());
    let restored: Profile = serde_json::from_str(&stored).unwrap();
    assert_eq!(serde_json::to_string(&restored).unwrap(), stored);
    let other = stored.replace("\"version\":1", "\"version\":2");
    for other in [
        other.as_str(),
        "{}",
        "7",
        "{\"version\":1,\"peaks\":[[1,2],7]}",
    ] {
        assert!(serde_json::from_str::<Profile>(other).unwrap().is_empty());
    }
}

#[test]
fn a_clock_that_was_ahead_when_a_peak_was_noted_does_not_keep_it_from_being_foreseen() {
    let nine = 9 * HOUR;
    for noted_at_minute in [0, i64::MAX / 60_000] {
        let peak = json!([nine, 0, 5.2, 10.0, 9, 0, 127, 0, noted_at_minute]);
        let mut profile = Profile::from(json!({"version": 1, "peaks": [peak]}));
        let mut look = |second: i64| {
            profile.look(&Look {
                now: Moment::from_millis((70 * DAY + second) * 1000),
                second: u32::try_from(second).unwrap(),
                resource: Resource::Cpu,
                used: 0.5,
                booked: 0.53,
                wish: 1.0,
                min: 1.0,
                max: 8.0,
                grain: 1.0,
            })
        };
        assert_eq!(look(nine - 60), None);
        let ahead = look(nine - 20).map(|ahead| ahead.amount);
        assert_eq!(ahead, Some(6.0), "noted at minute {noted_at_minute}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever was learned, and of whatever limits.
    #[test]
    fn never_less_than_without_and_never_beyond_the_limits(
        resource in prop_oneof![Just(Resource::Cpu), Just(Resource::Memory)],
        peaks in proptest::collection::vec((0..DAY, 0..250_i64, 0.0..1e5_f64, -100.0..100.0_f64, any::<u8>(), any::<u8>()), 0..20),
        looks in proptest::collection::vec((1..300_i64, 0.0..1.2_f64, 0.1..16.0_f64), 1..300),
    ) {
        let unit = if resource == Resource::Cpu { 1.0 } else { 1024.0 };
        let peaks: Vec<Value> = peaks.iter().map(|(at, spread, level, gain, came, away)| {
            json!([at, spread, level, gain, 9, 0, came, away, 0])
        }).collect();
        let mut profile = Profile::from(json!({"version": 1, "peaks": peaks}));
        let mut second = 30 * DAY;
        for (after, used, max) in looks {
            second += after;
            let max = max * unit;
            let seen = Look {
                now: Moment::from_millis(second * 1000),
                second: u32::try_from(second % (7 * DAY)).unwrap(),
                resource,
                used: used * max,
                booked: used * max,
                wish: used * max,
                min: 0.1 * unit,
                max,
                grain: 0.1 * unit,
            };
            if let Some(ahead) = profile.look(&seen) {
                prop_assert!(ahead.amount >= seen.min && ahead.amount <= seen.max, "{ahead:?}");
            }
            prop_assert!(profile.stands_until(&seen) >= seen.now);
        }
    }
}

/// Whether a rise is open after seconds in which so many cores were used of two.
fn rises(used: &[f64]) -> bool {
    let mut profile = Profile::default();
    for (second, used) in (0..).zip(used) {
        profile.look(&Look {
            now: Moment::from_millis(i64::from(second) * 1000),
            second,
            resource: Resource::Cpu,
            used: *used,
            booked: with_reserve(Resource::Cpu, *used),
            wish: 2.0,
            min: 1.0,
            max: 8.0,
            grain: 1.0,
        });
    }
    profile.rise.is_some()
}

#[test]
fn a_burst_of_a_second_is_no_rise_and_does_not_hide_the_one_after_it() {
    assert!(!rises(&[0.3, 0.3, 0.3, 0.3]));
    assert!(!rises(&[0.3, 2.0, 0.3, 0.3, 0.3]));
    assert!(rises(&[0.3, 2.0, 2.0, 2.0, 2.0]));
    assert!(rises(&[0.3, 2.0, 0.3, 0.3, 2.0, 2.0, 2.0]));
    assert!(!rises(&[0.3, 2.0, 0.3, 0.3, 2.0, 0.3, 0.3, 0.3]));
}
