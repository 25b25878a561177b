//! Stories of a VM that is busy from nine to ten each day, by the clock of Vienna.

use super::*;
use crate::config::Zone;
use crate::domain::Moment;

const HOUR: u32 = 3600;
const DAY: u32 = 24 * HOUR;

/// A VM with 1 of 8 cores, in a node that goes by the time of Vienna.
fn story() -> Story {
    let mut calm = vm(101);
    calm.cpu.vcpus = Reading::known(1, NOW, Source::Qemu);
    let mut story = Story::of([calm]);
    story.settings.zone = Zone::named("Europe/Vienna").unwrap();
    story
}

/// The second of the day.
fn clock(story: &Story) -> u32 {
    story.settings.zone.second_of_week(story.snapshot.at) % DAY
}

/// Lives until the clock shows `until`; the changes of CPU on the way, each with the second of the day.
fn live(story: &mut Story, until: u32) -> Vec<(u32, Change)> {
    let mut changes = Vec::new();
    loop {
        let now = clock(story);
        // Near nine each tick counts; else a look a minute is enough.
        let near = (8 * HOUR + 3000..9 * HOUR + 600).contains(&now);
        let demand = if (9 * HOUR..10 * HOUR).contains(&now) {
            5.2
        } else {
            0.5
        };
        let has = story.vm(101).cpu.vcpus.get().unwrap();
        story.vm(101).cpu.usage = cpu_usage(f64::min(demand, has.into()));
        let wait = if near {
            Duration::ZERO
        } else {
            Duration::from_secs(55)
        };
        story.snapshot = later(story.snapshot.clone(), wait);
        let at = clock(story);
        let plan = story.step();
        let cpu = plan.changes.into_iter().filter(|c| c.lever == Lever::Vcpus);
        changes.extend(cpu.map(|change| (at, change)));
        // A tick at the most beyond.
        if clock(story).wrapping_sub(until) < 60 {
            return changes;
        }
    }
}

/// Lives through so many days, to eight in the morning.
fn days(story: &mut Story, count: u32) {
    live(story, 8 * HOUR);
    for _ in 0..count {
        live(story, 12 * HOUR);
        live(story, 8 * HOUR);
    }
}

/// The fixture's time is a Friday: it lives through it and five more days, to Thursday morning.
const LEARNED: u32 = 5;

#[test]
fn vcpus_are_there_a_moment_before_nine_and_the_reason_says_why() {
    let mut story = story();
    days(&mut story, LEARNED);
    let changes = live(&mut story, 9 * HOUR - 3);
    let [(at, change)] = changes.as_slice() else {
        panic!("{changes:?}");
    };
    assert!((9 * HOUR - 60..9 * HOUR - 20).contains(at), "{at}");
    assert_eq!(change.to, Amount::Cpu(Cores::whole(6)));
    let why = change.reason.to_string();
    assert_eq!(why, "usually needs 5.2 cores from about 09:00");
    let peaks = &story.tick().verdicts[0].peaks;
    let told: Vec<String> = peaks.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["5.2 cores from about 09:00, mon tue wed fri sat sun: made ready for"]
    );
    // While it waits for the peak, that is why it has more than it needs.
    assert!(matches!(
        story.reason(101, Resource::Cpu),
        Reason::PeakAhead { .. }
    ));
    let busy = live(&mut story, 9 * HOUR + 1800);
    assert!(
        busy.is_empty(),
        "no more is needed, and nothing is given back: {busy:?}"
    );
}

#[test]
fn where_it_is_switched_off_nothing_is_given_before_nine() {
    let mut story = story();
    story
        .settings
        .profiles
        .get_mut("default")
        .unwrap()
        .cpu
        .rule
        .predict = false;
    days(&mut story, LEARNED);
    assert!(live(&mut story, 9 * HOUR - 3).is_empty());
    assert!(story.tick().verdicts[0].peaks.is_empty());
    // It has learned all the same.
    story
        .settings
        .profiles
        .get_mut("default")
        .unwrap()
        .cpu
        .rule
        .predict = true;
    live(&mut story, 8 * HOUR);
    assert_eq!(live(&mut story, 9 * HOUR - 3).len(), 1);
}

#[test]
fn no_peak_leads_beyond_the_maximum_or_against_the_mode() {
    let mut story = story();
    days(&mut story, LEARNED);
    let own = story.settings.profiles.get_mut("default").unwrap();
    own.cpu.max = Cores::whole(4);
    (own.schedule, own.mode) = (Vec::new(), Mode::Recommend);
    assert!(live(&mut story, 9 * HOUR - 3).is_empty());
    let plan = story.tick();
    assert_eq!(
        plan.verdicts[0].recommended,
        Some(Amount::Cpu(Cores::whole(4)))
    );
}

#[test]
fn the_next_node_knows_the_peak() {
    let mut story = story();
    days(&mut story, LEARNED);
    let id = 101.try_into().unwrap();
    let packed = story.memory.of_vm(id).unwrap().packed();
    let now = story.snapshot.at;
    story.memory = Memory::default();
    story
        .memory
        .take_over(id, packed.and_then(VmMemory::unpacked), now, now);
    let changes = live(&mut story, 9 * HOUR - 3);
    assert!(
        matches!(changes[0].1.reason, Reason::PeakAhead { .. }),
        "{changes:?}"
    );
}

#[test]
fn nine_stays_nine_where_the_clocks_are_changed() {
    let mut story = story();
    // Sunday, 2027-03-28: the hour from two to three is left out.
    let wednesday: jiff::Timestamp = "2027-03-17T07:00:00Z".parse().unwrap();
    let until = Moment::from_millis(wednesday.as_millisecond());
    story.snapshot = later(story.snapshot.clone(), until.since(NOW));
    days(&mut story, 11);
    let monday = story.settings.zone.second_of_week(story.snapshot.at) / DAY;
    assert_eq!(monday, 0, "the day after");
    let changes = live(&mut story, 9 * HOUR - 3);
    assert!(
        matches!(changes[0].1.reason, Reason::PeakAhead { .. }),
        "{changes:?}"
    );
}
