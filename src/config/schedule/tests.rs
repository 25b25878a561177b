use std::time::Duration;

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// Clocks go forward on 2026-03-29 from 02:00 to 03:00, and back on 2026-10-25 from 03:00 to 02:00.
fn vienna() -> Zone {
    Zone::named("Europe/Vienna").unwrap()
}

fn time(text: &str) -> TimeOfDay {
    let (hours, minutes) = text.split_once(':').unwrap();
    TimeOfDay::new(hours.parse().unwrap(), minutes.parse().unwrap()).unwrap()
}

fn window(days: &str, from: &str, to: &str) -> Window {
    let days = days.split(' ').map(|day| Days::named(day).unwrap());
    Window {
        name: "office".to_owned(),
        days: days.fold(Days::NONE, Days::and),
        from: time(from),
        to: time(to),
        sets: Overrides::default(),
    }
}

/// A time with its offset from UTC.
fn at(text: &str) -> Moment {
    let time: Timestamp = text.parse().unwrap();
    Moment::from_millis(time.as_millisecond())
}

fn open(window: &Window, text: &str) -> bool {
    window.open_until(at(text), &vienna()).is_some()
}

#[test]
fn a_window_is_open_on_its_days_from_its_begin_to_before_its_end() {
    let office = window("weekdays", "08:00", "18:00");
    // 2026-11-20 is a Friday.
    for (text, expected) in [
        ("2026-11-20T07:59:59.999+01:00", false),
        ("2026-11-20T08:00:00+01:00", true),
        ("2026-11-20T17:59:59.999+01:00", true),
        ("2026-11-20T18:00:00+01:00", false),
        ("2026-11-21T12:00:00+01:00", false),
        ("2026-11-23T12:00:00+01:00", true),
    ] {
        assert_eq!(open(&office, text), expected, "{text}");
    }
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_on_which_it_opens() {
    let backup = window("fri", "22:00", "02:00");
    for (text, expected) in [
        ("2026-11-20T01:00:00+01:00", false),
        ("2026-11-20T23:00:00+01:00", true),
        ("2026-11-21T01:59:00+01:00", true),
        ("2026-11-21T02:00:00+01:00", false),
        ("2026-11-21T23:00:00+01:00", false),
    ] {
        assert_eq!(open(&backup, text), expected, "{text}");
    }
}

#[test]
fn a_whole_day_is_written_to_24_00() {
    let sunday = window("sun", "00:00", "24:00");
    assert!(open(&sunday, "2026-11-22T00:00:00+01:00"));
    assert!(open(&sunday, "2026-11-22T23:59:59+01:00"));
    assert!(!open(&sunday, "2026-11-23T00:00:00+01:00"));
}

#[test]
fn office_hours_are_the_same_by_the_clock_before_and_after_both_changes() {
    let office = window("weekdays weekend", "08:00", "18:00");
    let every_day = [
        ("2026-03-28T08:00:00+01:00", "2026-03-28T18:00:00+01:00"),
        ("2026-03-29T08:00:00+02:00", "2026-03-29T18:00:00+02:00"),
        ("2026-10-24T08:00:00+02:00", "2026-10-24T18:00:00+02:00"),
        ("2026-10-25T08:00:00+01:00", "2026-10-25T18:00:00+01:00"),
    ];
    for (opens, closes) in every_day {
        let until = office.open_until(at(opens), &vienna());
        assert_eq!(until, Some(at(closes)));
        assert_eq!(office.open_until(at(opens) - HOUR, &vienna()), None);
    }
}

#[test]
fn a_night_is_an_hour_shorter_or_longer_where_the_clocks_are_changed() {
    let night = window("sat", "22:00", "06:00");
    let hours = |opens: &str| {
        let until = night.open_until(at(opens), &vienna()).unwrap();
        until.since(at(opens)).as_secs() / 3600
    };
    assert_eq!(hours("2026-03-21T22:00:00+01:00"), 8);
    assert_eq!(hours("2026-03-28T22:00:00+01:00"), 7);
    assert_eq!(hours("2026-10-24T22:00:00+02:00"), 9);
}

#[test]
fn a_time_that_is_twice_is_the_first_one_and_the_window_opens_once() {
    let early = window("sun", "01:30", "02:30");
    assert!(open(&early, "2026-10-25T02:29:00+02:00"));
    assert!(!open(&early, "2026-10-25T02:31:00+02:00"));
    assert!(!open(&early, "2026-10-25T02:15:00+01:00"), "not once more");
    let over = window("sun", "02:30", "04:00");
    assert!(open(&over, "2026-10-25T02:30:00+02:00"));
    assert!(open(&over, "2026-10-25T02:10:00+01:00"), "it goes on");
}

#[test]
fn a_time_that_is_not_there_is_as_much_later_as_the_clocks_are_put_forward() {
    let backup = window("sun", "02:15", "02:45");
    assert!(!open(&backup, "2026-03-29T03:14:00+02:00"));
    assert!(open(&backup, "2026-03-29T03:15:00+02:00"));
    assert!(!open(&backup, "2026-03-29T03:45:00+02:00"));
    let gone = window("sun", "02:00", "03:00");
    assert!(
        !open(&gone, "2026-03-29T03:00:00+02:00"),
        "the hour is not there"
    );
}

#[test]
fn what_holds_is_what_the_open_windows_set() {
    let schedule = vec![
        Window {
            sets: Overrides {
                cpu_min: Some(Cores::whole(4)),
                mode: Some(Mode::Observe),
                ..Overrides::default()
            },
            ..window("weekdays", "08:00", "18:00")
        },
        Window {
            name: "lunch".to_owned(),
            sets: Overrides {
                cpu_min: Some(Cores::whole(2)),
                memory_max: Some(Mib::gib(32)),
                ..Overrides::default()
            },
            ..window("weekdays", "12:00", "13:00")
        },
    ];
    let own = VmSettings {
        schedule,
        ..VmSettings::default()
    };
    let (zone, noon) = (vienna(), at("2026-11-20T12:30:00+01:00"));
    let now = own.at(noon, &zone);
    assert_eq!(now.settings.cpu.min, Cores::whole(2), "the later one");
    assert_eq!(now.settings.mode, Mode::Observe);
    assert_eq!(now.window_that_limits(Resource::Cpu, true), Some("lunch"));
    assert_eq!(now.window_that_limits(Resource::Cpu, false), None);
    assert_eq!(own.changes_at(noon, &zone), Some(noon + HOUR / 2));
    let night = own.at(noon - HOUR * 12, &zone);
    assert!(night.windows.is_empty() && matches!(night.settings, Cow::Borrowed(_)));
    let widest = own.at_its_widest();
    assert_eq!(
        (widest.cpu.min, widest.memory.max),
        (Cores::whole(1), Mib::gib(32))
    );
}

#[test]
fn the_week_goes_by_the_clock_on_the_wall_also_where_it_is_changed() {
    let zone = vienna();
    let second = |text| zone.second_of_week(at(text));
    assert_eq!(second("2026-11-16T00:00:07+01:00"), 7, "a Monday");
    let day = 86_400;
    // Nine o'clock is nine o'clock, in winter and in summer.
    assert_eq!(second("2026-11-22T09:00:00+01:00"), 6 * day + 9 * 3600);
    assert_eq!(second("2026-06-21T09:00:00+02:00"), 6 * day + 9 * 3600);
    // On the last Sunday of March the hour from two to three is left out; on that of October it comes twice.
    assert_eq!(second("2026-03-29T00:59:59Z"), 6 * day + 2 * 3600 - 1);
    assert_eq!(second("2026-03-29T01:00:00Z"), 6 * day + 3 * 3600);
    assert_eq!(
        second("2026-10-25T00:30:00Z"),
        second("2026-10-25T01:30:00Z")
    );
}

prop_compose! {
    fn any_window()(days in 1u8..128, from in 0..DAY, length in 1..DAY) -> Window {
        let to = (from + length) % DAY;
        Window {
            name: "any".to_owned(),
            days: Days(days),
            from: TimeOfDay(from),
            to: TimeOfDay(if to == 0 { DAY } else { to }),
            sets: Overrides::default(),
        }
    }
}

proptest! {
    /// Over two years, so that clocks are changed four times.
    #[test]
    fn nothing_changes_before_the_next_edge(window in any_window(), minutes in 0u64..2 * 366 * 24 * 60, share in 0.0..1.0f64) {
        let own = VmSettings {
            schedule: vec![window],
            ..VmSettings::default()
        };
        let (zone, now) = (vienna(), at("2026-01-01T00:00:00Z") + Duration::from_secs(minutes * 60));
        let edge = own.changes_at(now, &zone).unwrap();
        prop_assert!(edge > now && edge.since(now) <= HOUR * (15 * 24 + 1));
        let between = now + edge.since(now).mul_f64(share * 0.999);
        prop_assert_eq!(own.at(now, &zone), own.at(between, &zone));
    }

    #[test]
    fn a_week_without_a_change_of_clocks_is_open_where_it_says(window in any_window(), minute in 0..7 * DAY) {
        let monday = at("2026-11-16T00:00:00+01:00");
        let now = monday + Duration::from_secs(u64::from(minute) * 60);
        let zone = vienna();
        prop_assert_eq!(zone.minute_of_week(now), minute);
        let said = window.in_week().iter().any(|(opens, closes)| (*opens..*closes).contains(&minute));
        prop_assert_eq!(window.open_until(now, &zone).is_some(), said);
    }
}
