//! The lane's promises, with the time as an argument.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::health::LONGEST_PAUSE;
use super::*;
use crate::act::Outcome;
use crate::notify::testing::{degraded, recovered, refused, shared, vcpus};
use crate::record::Severity::{Info, Notice, Warning};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn rules() -> Rules {
    Rules {
        route: Route {
            severities: BTreeSet::from([Info, Notice, Warning, Severity::Error]),
            ..Route::default()
        },
        max_per_hour: 30,
        gather: 3 * SECOND,
        repeat_after: 15 * MINUTE,
    }
}

/// A lane and its clock.
struct Story {
    lane: Lane,
    now: Instant,
    next_id: u64,
}

impl Story {
    fn new(rules: Rules) -> Self {
        let now = Instant::now();
        Self {
            lane: Lane::new(rules, now, fastrand::Rng::with_seed(7)),
            now,
            next_id: 1,
        }
    }

    fn push(&mut self, event: Event) -> Vec<u64> {
        let id = self.next_id;
        self.next_id += 1;
        self.lane.push(id, shared(event), self.now)
    }

    fn later(&mut self, span: Duration) -> &mut Self {
        self.now += span;
        self
    }

    /// What goes out now.
    fn sent(&mut self) -> Batch {
        match self.lane.next(self.now) {
            Next::Send(batch) => batch,
            other => panic!("expected something to send, got {other:?}"),
        }
    }

    fn answer(&mut self, answer: &Answer) -> Settled {
        self.lane.settle(answer, self.now)
    }

    /// Everything that goes out from now on, with every answer `Delivered`, and when.
    fn deliver_all(&mut self) -> Vec<(Duration, Batch)> {
        let start = self.now;
        let mut all = Vec::new();
        loop {
            match self.lane.next(self.now) {
                Next::Idle => return all,
                Next::At(moment) => self.now = moment,
                Next::Send(batch) => {
                    all.push((self.now - start, batch));
                    self.answer(&Answer::Delivered);
                }
            }
        }
    }
}

fn timed_out() -> Answer {
    Answer::unsure("gave no answer within 10 s")
}

#[test]
fn a_single_event_goes_out_alone_after_the_gathering_time() {
    let mut story = Story::new(rules());
    story.push(vcpus(4, Some(4), Outcome::Applied));
    let sent = story.deliver_all();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, 3 * SECOND);
    assert_eq!(sent[0].1.items.len(), 1);
}

#[test]
fn ten_thousand_events_in_a_second_become_one_digest_and_bounded_memory() {
    let mut story = Story::new(rules());
    for n in 0..10_000 {
        story.push(refused(100 + n, "no"));
        story.later(Duration::from_micros(100));
        assert!(story.lane.waiting.len() <= QUEUE);
        assert_eq!(story.lane.waiting.len(), story.lane.queued.len());
    }
    let sent = story.deliver_all();
    assert_eq!(sent.len(), 1);
    let digest = &sent[0].1;
    assert_eq!(digest.items.len(), QUEUE);
    assert_eq!(digest.dropped[&Warning] as usize + QUEUE, 10_000);
    assert_eq!(digest.items[0].event.vm.as_ref().unwrap().id.get(), 9_600);
}

#[test]
fn the_least_severe_are_dropped_first() {
    let mut story = Story::new(rules());
    story.push(degraded("quorum", "no quorum"));
    for n in 0..2_000 {
        story.push(vcpus(n + 2, Some(n + 2), Outcome::Applied));
    }
    let digest = story.later(3 * SECOND).sent();
    assert_eq!(digest.items[0].event.severity(), Warning);
    assert_eq!(digest.dropped.keys().collect::<Vec<_>>(), [&Info]);
}

#[test]
fn the_same_failure_with_other_numbers_is_told_once_and_then_counted() {
    let mut story = Story::new(rules());
    story.push(refused(101, "the guest has 3.1 cores in use"));
    assert_eq!(story.deliver_all().len(), 1);
    for n in 0..20 {
        story.later(30 * SECOND);
        let settled = story.push(refused(101, &format!("the guest has {n}.7 cores in use")));
        assert_eq!(settled, [n + 2]);
    }
    assert_eq!(story.deliver_all().len(), 0);
    story.later(10 * MINUTE);
    story.push(refused(101, "still"));
    let sent = story.deliver_all();
    assert_eq!(sent[0].1.items[0].more, 20);
}

#[test]
fn while_it_waits_an_event_is_replaced_by_its_repetition() {
    let mut story = Story::new(rules());
    story.push(refused(101, "first"));
    assert_eq!(story.push(refused(101, "second")), [1]);
    let batch = story.later(3 * SECOND).sent();
    assert_eq!(batch.ids(), [2]);
    assert_eq!(batch.items[0].more, 1);
}

#[test]
fn each_size_that_a_vm_reaches_is_told() {
    let mut story = Story::new(rules());
    for to in [2, 3, 4] {
        story.push(vcpus(to, Some(to), Outcome::Applied));
    }
    let told: usize = story
        .deliver_all()
        .iter()
        .map(|(_, batch)| batch.items.len())
        .sum();
    assert_eq!(told, 3);
}

#[test]
fn the_rate_limit_holds_and_what_waited_comes_as_a_digest() {
    let mut story = Story::new(rules());
    let mut sent = Vec::new();
    for n in 0..60 {
        story.push(refused(100 + n, "no"));
        let until = story.now + MINUTE;
        while let Next::At(moment) = story.lane.next(story.now) {
            if moment > until {
                break;
            }
            story.now = moment;
            if let Next::Send(batch) = story.lane.next(story.now) {
                sent.push(batch);
                story.answer(&Answer::Delivered);
            }
        }
        story.now = until;
    }
    let events: usize = sent.iter().map(|batch| batch.items.len()).sum();
    assert!(sent.len() <= 30 + 5, "{} messages in an hour", sent.len());
    assert!(events >= 55, "{events} of 60 events told");
}

#[test]
fn a_recovery_reaches_whoever_was_told_of_the_problem_whatever_the_severities() {
    let only_warnings = Rules {
        route: Route {
            severities: BTreeSet::from([Warning]),
            ..Route::default()
        },
        ..rules()
    };
    let mut story = Story::new(only_warnings);
    let end = recovered("quorum", MINUTE);
    assert!(!story.lane.takes(&end));
    story.push(degraded("quorum", "no quorum"));
    assert!(story.lane.takes(&end));
    story.push(end.clone());
    assert!(!story.lane.takes(&end));
}

#[test]
fn a_problem_that_returns_after_its_end_is_news_at_once() {
    let mut story = Story::new(rules());
    story.push(degraded("quorum", "no quorum"));
    story.deliver_all();
    story.push(degraded("quorum", "no quorum"));
    assert_eq!(story.deliver_all().len(), 0);
    story.push(recovered("quorum", MINUTE));
    story.deliver_all();
    story.push(degraded("quorum", "no quorum"));
    assert_eq!(story.deliver_all().len(), 1);
}

#[test]
fn a_failed_message_is_retried_unchanged_with_growing_pauses() {
    let mut story = Story::new(rules());
    story.push(refused(101, "no"));
    let first = story.later(3 * SECOND).sent();
    let mut pauses = Vec::new();
    for _ in 0..12 {
        story.answer(&Answer::retry("cannot be reached"));
        story.push(refused(200, "another"));
        let Next::At(moment) = story.lane.next(story.now) else {
            panic!("a pause is due");
        };
        pauses.push((moment - story.now).as_secs());
        story.now = moment;
        assert_eq!(story.sent().ids(), first.ids());
    }
    assert!((4..=6).contains(&pauses[0]), "{pauses:?}");
    assert!(pauses[0] < pauses[2] && pauses[2] < pauses[5], "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= 36 * 60), "{pauses:?}");
}

#[test]
fn a_server_that_asks_for_patience_gets_it_within_reason() {
    let mut story = Story::new(rules());
    story.push(refused(101, "no"));
    let asks = |seconds| Answer::Retry {
        why: "answered 429".to_owned(),
        after: Some(Duration::from_secs(seconds)),
        unsure: false,
    };
    story.later(3 * SECOND).sent();
    story.answer(&asks(120));
    assert_eq!(
        story.lane.next(story.now),
        Next::At(story.now + 120 * SECOND)
    );
    story.later(120 * SECOND).sent();
    story.answer(&asks(1_000_000));
    let Next::At(moment) = story.lane.next(story.now) else {
        panic!("a pause is due");
    };
    assert!(moment <= story.now + LONGEST_PAUSE);
}

#[test]
fn only_an_attempt_that_may_have_arrived_makes_a_repeat() {
    let mut story = Story::new(rules());
    story.push(refused(101, "no"));
    story.later(3 * SECOND).sent();
    story.answer(&Answer::retry("connection refused"));
    assert!(!story.later(MINUTE).sent().repeat);
    story.answer(&timed_out());
    assert!(story.later(MINUTE).sent().repeat);
    story.answer(&Answer::retry("connection refused"));
    assert!(story.later(MINUTE).sent().repeat);
}

#[test]
fn a_failing_channel_is_reported_once_and_once_more_when_it_works() {
    let mut story = Story::new(rules());
    story.push(refused(101, "no"));
    story.later(3 * SECOND).sent();
    let start = story.now;
    let mut news = Vec::new();
    for _ in 0..8 {
        news.extend(story.answer(&Answer::retry("cannot be reached")).news);
        story.later(Duration::from_secs(3600)).sent();
    }
    assert_eq!(news, [News::Failing("cannot be reached".to_owned())]);
    assert_eq!(
        story.lane.counts().failing.as_deref(),
        Some("cannot be reached")
    );
    let settled = story.answer(&Answer::Delivered);
    assert_eq!(settled.news, Some(News::Works(story.now - start)));
    assert_eq!(settled.done, [1]);
    assert_eq!(story.lane.counts().failing, None);
}

#[test]
fn a_wrong_token_is_reported_at_once_and_nothing_is_lost() {
    let mut story = Story::new(rules());
    story.push(refused(101, "no"));
    story.later(3 * SECOND).sent();
    let settled = story.answer(&Answer::refused("answered 401"));
    assert_eq!(settled.news, Some(News::Failing("answered 401".to_owned())));
    for _ in 0..100 {
        story.later(Duration::from_secs(3600)).sent();
        assert_eq!(
            story.answer(&Answer::refused("answered 401")),
            Settled::default()
        );
    }
    assert_eq!(story.lane.counts().waiting, 1);
    assert_eq!(story.lane.counts().lost, 0);
}

#[test]
fn a_message_that_nobody_will_have_does_not_block_the_next() {
    let mut story = Story::new(rules());
    let too_large = Answer::Rejected {
        why: "answered 413".to_owned(),
    };
    story.push(refused(101, "no"));
    for _ in 0..REJECTIONS - 1 {
        story.later(Duration::from_secs(3600)).sent();
        assert!(story.answer(&too_large).done.is_empty());
    }
    story.push(refused(102, "no"));
    story.later(Duration::from_secs(3600)).sent();
    let settled = story.answer(&too_large);
    assert_eq!(settled.done, [1]);
    assert_eq!(
        settled.news,
        Some(News::GaveUp(1, "answered 413".to_owned()))
    );
    assert_eq!(story.later(MINUTE).sent().ids(), [2]);
}

#[test]
fn when_the_agent_stops_nothing_waits_for_more() {
    let mut story = Story::new(Rules {
        max_per_hour: 1,
        ..rules()
    });
    for n in 0..5 {
        story.push(refused(100 + n, "no"));
    }
    story.lane.hurry();
    assert_eq!(story.sent().items.len(), 5);
}

#[test]
fn an_earlier_run_is_continued_with_its_message_marked_as_a_repeat() {
    let item = |id, vm| Item {
        id,
        event: shared(refused(vm, "no")),
        more: 0,
    };
    let mut story = Story::new(rules());
    let open = BTreeSet::from(["quorum".to_owned()]);
    story.lane.resume(Left {
        begun: vec![item(3, 101), item(4, 102)],
        waiting: vec![item(9, 103)],
        open,
        dropped: Dropped::from([(Warning, 7)]),
    });
    assert_eq!(story.lane.dropped(Warning)[&Warning], 7);
    assert!(story.lane.takes(&recovered("quorum", MINUTE)));
    let sent = story.deliver_all();
    assert_eq!(sent[0].1.ids(), [3, 4]);
    assert!(sent[0].1.repeat);
    assert_eq!(sent[0].1.dropped[&Warning], 7);
    assert!(story.lane.dropped(Info).is_empty(), "told by now");
    assert_eq!(sent[1].1.ids(), [9]);
    assert!(!sent[1].1.repeat);
}

/// Whatever happens in whatever order: no event is both kept and reported as done, and every number comes back once.
#[test]
fn every_event_is_accounted_for_exactly_once() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut story = Story::new(rules());
        let mut done = Vec::new();
        for _ in 0..300 {
            match random.u32(0..10) {
                0..6 => {
                    let vm = 100 + random.u32(0..40);
                    done.extend(story.push(refused(vm, "no")));
                }
                6 => {
                    story.later(SECOND * random.u32(0..900));
                }
                _ => {
                    if let Next::Send(_) = story.lane.next(story.now) {
                        let answer = match random.u32(0..4) {
                            0 => Answer::Delivered,
                            1 => timed_out(),
                            2 => Answer::refused("answered 401"),
                            _ => Answer::Rejected {
                                why: "answered 400".to_owned(),
                            },
                        };
                        done.extend(story.answer(&answer).done);
                    }
                }
            }
        }
        story.lane.change(rules(), story.now);
        while let Next::Send(_) | Next::At(_) = story.lane.next(story.now) {
            done.extend(story.answer(&Answer::Delivered).done);
            story.later(Duration::from_secs(3600));
        }
        done.sort_unstable();
        let all: Vec<u64> = (1..story.next_id).collect();
        assert_eq!(done, all, "seed {seed}");
    }
}
