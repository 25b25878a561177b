//! What waits for one channel, and what is sent next: deduplication, gathering, digests, rate limit, back-off.
//!
//! Pure: the time comes in as an argument, nothing is sent or written here.

mod health;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::batch::{Batch, Item};
use super::channel::Answer;
use super::settings::Route;
use super::spool::{Dropped, Left};
use super::topic::{Meaning, problems, recovery};
use crate::record::{Event, Severity};
use health::Health;

/// The most events that wait for one channel. An event is at most some kilobytes, so a channel that is down for days
/// costs a few megabytes.
pub(super) const QUEUE: usize = 500;
/// The most meanings that are remembered for deduplication.
const MEANINGS: usize = 2_000;
/// The most problems whose end is waited for.
pub(super) const PROBLEMS: usize = 2_000;
/// More waiting events than this go out together as one digest.
const SINGLY: usize = 3;
/// Messages that may go out in a row before the hourly rate counts.
const BURST: f64 = 5.0;
/// How often a message that the other side will not have is offered before it is given up.
const REJECTIONS: u32 = 5;

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// Nothing waits.
    Idle,
    /// Nothing before this moment.
    At(Instant),
    /// Send this and [`Lane::settle`] the answer.
    Send(Batch),
}

/// What an answer changed.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Settled {
    /// Events that are dealt with.
    pub(super) done: Vec<u64>,
    /// A change in the channel's health.
    pub(super) news: Option<News>,
}

/// A change in a channel's health.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum News {
    /// It fails, and why. Said once.
    Failing(String),
    /// It works again, after so long.
    Works(Duration),
    /// It would not have these many events, which are lost, and why.
    GaveUp(usize, String),
}

/// How often a channel may be used, and what it is told.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rules {
    pub(super) route: Route,
    pub(super) max_per_hour: u32,
    pub(super) gather: Duration,
    pub(super) repeat_after: Duration,
}

/// A channel's figures, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Messages that the other side accepted.
    pub sent: u64,
    /// Events that wait.
    pub waiting: usize,
    /// Events left out since the same had just been told.
    pub repeated: u64,
    /// Events that were lost: too many waited, or the other side would not have them.
    pub lost: u64,
    /// Why the last attempt failed; `None` while the channel works.
    pub failing: Option<String>,
}

/// When something was told, how often it happened again since, and the problems that it began.
struct Told {
    at: Instant,
    more: u32,
    problems: Vec<String>,
}

/// The waiting events of one channel.
pub(super) struct Lane {
    rules: Rules,
    /// The least severe first, of those the oldest: the order in which they are dropped.
    waiting: BTreeMap<(Severity, u64), Item>,
    queued: HashMap<Meaning, (Severity, u64)>,
    dropped: Dropped,
    told: HashMap<Meaning, Told>,
    open: BTreeSet<String>,
    gathered: Instant,
    tokens: f64,
    counted: Instant,
    outgoing: Option<Batch>,
    health: Health,
    hurry: bool,
    counts: Counts,
}

impl Lane {
    pub(super) fn new(rules: Rules, now: Instant, random: fastrand::Rng) -> Self {
        Self {
            rules,
            waiting: BTreeMap::new(),
            queued: HashMap::new(),
            dropped: Dropped::new(),
            told: HashMap::new(),
            open: BTreeSet::new(),
            gathered: now,
            tokens: BURST,
            counted: now,
            outgoing: None,
            health: Health::new(now, random),
            hurry: false,
            counts: Counts::default(),
        }
    }

    /// Takes over what an earlier run of the agent left.
    pub(super) fn resume(&mut self, left: Left) {
        self.dropped = left.dropped;
        if !left.begun.is_empty() {
            let dropped = std::mem::take(&mut self.dropped);
            self.outgoing = Some(Batch::new(left.begun, dropped, true));
        }
        for item in left.waiting {
            self.enqueue(Meaning::of(&item.event), item);
        }
        self.open = left.open;
    }

    /// How many events from `severity` on were dropped without anybody having been told how many.
    pub(super) fn dropped(&self, severity: Severity) -> Dropped {
        let outgoing = self.outgoing.iter().flat_map(|batch| &batch.dropped);
        let mut dropped = Dropped::new();
        for (of, count) in outgoing.chain(&self.dropped) {
            if *of >= severity {
                *dropped.entry(*of).or_default() += count;
            }
        }
        dropped
    }

    /// New rules for the same channel after a reload. A failing channel is tried again at once.
    pub(super) fn change(&mut self, rules: Rules, now: Instant) {
        self.rules = rules;
        self.health.try_now(now);
    }

    /// From now on nothing waits for more to happen: the agent is stopping.
    pub(super) fn hurry(&mut self) {
        self.hurry = true;
    }

    /// Whether `event` is to be told here. The end of a problem is told wherever its beginning was.
    pub(super) fn takes(&self, event: &Event) -> bool {
        recovery(event).is_some_and(|what| self.has_told(what)) || self.rules.route.takes(event)
    }

    /// Whether the beginning of this problem was told here, and its end not yet.
    pub(super) fn has_told(&self, what: &str) -> bool {
        self.open.contains(what)
    }

    /// The channel's figures.
    pub(super) fn counts(&self) -> Counts {
        let outgoing = self.outgoing.as_ref().map_or(0, |batch| batch.items.len());
        Counts {
            waiting: self.waiting.len() + outgoing,
            ..self.counts.clone()
        }
    }

    /// Adds an event. Returns the numbers of those that need not be kept any longer, which can include its own.
    pub(super) fn push(&mut self, id: u64, event: Arc<Event>, now: Instant) -> Vec<u64> {
        self.follow(&event);
        let meaning = Meaning::of(&event);
        if let Some(place) = self.queued.remove(&meaning)
            && let Some(old) = self.waiting.remove(&place)
        {
            self.counts.repeated += 1;
            let more = old.more + 1;
            self.enqueue(meaning, Item { id, event, more });
            return vec![old.id];
        }
        let mut more = 0;
        if let Some(told) = self.told.get_mut(&meaning) {
            if now < told.at + self.rules.repeat_after {
                told.more += 1;
                self.counts.repeated += 1;
                return vec![id];
            }
            more = told.more;
        }
        if self.waiting.is_empty() {
            self.gathered = now + self.rules.gather;
        }
        self.enqueue(meaning, Item { id, event, more });
        if self.waiting.len() > QUEUE {
            self.drop_one()
        } else {
            Vec::new()
        }
    }

    fn enqueue(&mut self, meaning: Meaning, item: Item) {
        let place = (item.event.severity(), item.id);
        self.queued.insert(meaning, place);
        self.waiting.insert(place, item);
    }

    /// Remembers which problems were told. When one ends, its next beginning is news again.
    fn follow(&mut self, event: &Event) {
        if self.open.len() < PROBLEMS {
            self.open.extend(problems(event));
        }
        if let Some(ended) = recovery(event) {
            self.open.remove(ended);
            self.told
                .retain(|_, told| !told.problems.iter().any(|what| what == ended));
        }
    }

    fn drop_one(&mut self) -> Vec<u64> {
        let Some(((severity, id), item)) = self.waiting.pop_first() else {
            return Vec::new();
        };
        self.queued.remove(&Meaning::of(&item.event));
        let lost = 1 + item.more;
        *self.dropped.entry(severity).or_default() += lost;
        self.counts.lost += u64::from(lost);
        vec![id]
    }

    /// What to do now. After [`Next::Send`] the answer must be settled before the next call.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        let not_before = self.health.not_before();
        if now < not_before && !self.hurry {
            return match self.outgoing.is_some() || !self.waiting.is_empty() {
                true => Next::At(not_before),
                false => Next::Idle,
            };
        }
        if let Some(batch) = &self.outgoing {
            return Next::Send(batch.clone());
        }
        if self.waiting.is_empty() {
            return Next::Idle;
        }
        self.refill(now);
        if !self.hurry {
            if now < self.gathered {
                return Next::At(self.gathered);
            }
            if self.tokens < 1.0 {
                let wait = (1.0 - self.tokens) / self.per_second();
                // A millisecond more, so that rounding does not wake us a moment too early.
                return Next::At(now + Duration::from_secs_f64(wait) + Duration::from_millis(1));
            }
            self.tokens -= 1.0;
        }
        let batch = self.take(now);
        self.outgoing = Some(batch.clone());
        Next::Send(batch)
    }

    fn per_second(&self) -> f64 {
        f64::from(self.rules.max_per_hour.max(1)) / 3600.0
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second()).min(BURST);
        self.counted = now;
    }

    /// The oldest event, or everything as a digest.
    fn take(&mut self, now: Instant) -> Batch {
        let mut items: Vec<Item> = std::mem::take(&mut self.waiting).into_values().collect();
        items.sort_by_key(|item| item.id);
        if items.len() <= SINGLY && self.dropped.is_empty() {
            for item in items.split_off(1) {
                self.enqueue(Meaning::of(&item.event), item);
            }
        }
        self.told
            .retain(|_, told| now < told.at + self.rules.repeat_after);
        if self.told.len() > MEANINGS {
            // So many different things within a quarter of an hour: some may be told twice.
            self.told.clear();
        }
        for item in &items {
            let meaning = Meaning::of(&item.event);
            self.queued.remove(&meaning);
            let told = Told {
                at: now,
                more: 0,
                problems: problems(&item.event),
            };
            // What has ended meanwhile is news when it begins again.
            let over = |what: &String| !self.open.contains(what);
            if !told.problems.iter().any(over) {
                self.told.insert(meaning, told);
            }
        }
        Batch::new(items, std::mem::take(&mut self.dropped), false)
    }

    /// Takes the answer to the batch that was sent last.
    pub(super) fn settle(&mut self, answer: &Answer, now: Instant) -> Settled {
        let Some(mut batch) = self.outgoing.take() else {
            return Settled::default();
        };
        match answer {
            Answer::Delivered => {
                self.counts.sent += 1;
                self.counts.failing = None;
                Settled {
                    done: batch.ids(),
                    news: self.health.succeeded(now),
                }
            }
            Answer::Retry { why, after, unsure } => {
                batch.repeat |= unsure;
                self.outgoing = Some(batch);
                self.failed(why, *after, now, true)
            }
            Answer::Refused { why } => {
                self.outgoing = Some(batch);
                self.failed(why, None, now, false)
            }
            Answer::Rejected { why } => self.rejected(batch, why, now),
        }
    }

    fn rejected(&mut self, mut batch: Batch, why: &str, now: Instant) -> Settled {
        batch.rejections += 1;
        let settled = self.failed(why, None, now, false);
        if batch.rejections < REJECTIONS {
            self.outgoing = Some(batch);
            return settled;
        }
        let events = batch.items.len();
        self.counts.lost += events as u64;
        self.health.next_message(now);
        Settled {
            done: batch.ids(),
            news: Some(News::GaveUp(events, why.to_owned())),
        }
    }

    fn failed(
        &mut self,
        why: &str,
        after: Option<Duration>,
        now: Instant,
        passes: bool,
    ) -> Settled {
        self.counts.failing = Some(why.to_owned());
        Settled {
            done: Vec::new(),
            news: self.health.failed(why, after, now, passes),
        }
    }
}

#[cfg(test)]
mod tests;
