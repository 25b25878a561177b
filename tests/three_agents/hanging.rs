//! A pmxcfs that does not answer: whoever asks it for something waits, and cannot even be killed.

use crate::served::{Hang, now_ms};
use crate::stage::{COOLDOWN_MS, SETTINGS_FILE, Stage, busy};
use crate::support::eventually;

/// How long the agent waits for /etc/pve in each tick, at its longest: to observe, and for its round.
const TICK_WAITS_MS: u64 = 4_000;

#[test]
fn an_agent_whose_etc_pve_hangs_goes_on_deciding_to_do_nothing() {
    let vms = [101, 102, 103].map(|id| vec![busy(id, 3.0)]);
    let Some(stage) = Stage::with(vms) else {
        return;
    };
    stage.start_all();
    for (node, vm) in [101, 102, 103].into_iter().enumerate() {
        eventually("each agent grows its VM", || stage.vcpus(node, vm) > 1);
    }
    eventually("and would grow it more", || {
        stage.why(2, 103).contains("cooling down")
    });

    stage.served.hang(2, Hang::All);
    let hung = now_ms();
    stage.set_load(0, 101, 10.0);
    stage.set_load(2, 103, 10.0);
    let no_answer = "has not answered for";
    eventually("it says so", || stage.log(2).contains(no_answer));
    let mut decided = stage.decided_at_ms(2);
    for _ in 0..3 {
        eventually("it decides again", || stage.decided_at_ms(2) > decided);
        let next = stage.decided_at_ms(2);
        let later = next - decided;
        assert!(later < 2 * TICK_WAITS_MS, "after {later} ms");
        decided = next;
    }
    eventually("the others go on", || stage.vcpus(0, 101) >= 10);
    let had = stage.vcpus(2, 103);
    eventually("it looks on for longer than it would have waited", || {
        stage.decided_at_ms(2) > hung + 2 * COOLDOWN_MS
    });
    let why = stage.why(2, 103);
    assert!(why.contains(no_answer), "{why}");
    let sets = stage.sets(103);
    // One that was begun before waits inside `qm`.
    assert!(sets.iter().all(|set| set.at_ms <= hung + 500), "{sets:?}");
    assert_eq!(stage.log(2).matches(no_answer).count(), 1);

    stage.served.hang(2, Hang::None);
    eventually("it goes on", || stage.vcpus(2, 103) > had);
    eventually("all see the same", || stage.is_in_order());
    assert_eq!(stage.log(2).matches(no_answer).count(), 1);
}

#[test]
fn an_agent_that_cannot_read_the_settings_of_the_cluster_changes_nothing_until_it_can() {
    let Some(stage) = Stage::with([vec![busy(101, 3.0)], vec![], vec![]]) else {
        return;
    };
    // Only this one file, as when a process on the node holds it up.
    stage
        .served
        .hang(0, Hang::Opening(SETTINGS_FILE.to_owned()));
    stage.start_all();
    eventually("it holds back", || stage.why(0, 101).contains("paused by"));
    let begun = stage.decided_at_ms(0);
    eventually("it goes on looking", || {
        stage.decided_at_ms(0) > begun + 3_000
    });
    assert!(
        stage.why(0, 101).contains(SETTINGS_FILE),
        "{}",
        stage.why(0, 101)
    );
    assert_eq!(stage.sets(101), []);

    stage.served.hang(0, Hang::None);
    eventually("it reads them and grows the VM", || {
        stage.vcpus(0, 101) >= 3
    });
    assert!(stage.log(0).contains("config.yaml"));
}

#[test]
fn a_look_at_the_settings_that_hangs_holds_up_nothing_else() {
    let Some(stage) = Stage::with([vec![busy(101, 3.0)], vec![], vec![]]) else {
        return;
    };
    stage.start_all();
    eventually("its VM grows", || stage.vcpus(0, 101) > 1);
    stage
        .served
        .hang(0, Hang::Opening(SETTINGS_FILE.to_owned()));
    // It looks every 30 s.
    eventually("it looks at the file", || stage.served.is_waited_for(0));
    let had = stage.vcpus(0, 101);
    stage.set_load(0, 101, 12.0);
    eventually("its VM grows on", || stage.vcpus(0, 101) > had);
    let between = stage.decided_at_ms(0);
    eventually("it decides as often", || stage.decided_at_ms(0) > between);
    assert!(stage.served.is_waited_for(0));

    stage.change_settings(|text| text.replace("max: 16", "max: 12"));
    let before = stage.log(0);
    stage.served.hang(0, Hang::None);
    eventually("it takes the new settings", || {
        let log = stage.log(0);
        log[before.len()..].contains(SETTINGS_FILE)
    });
}
