//! Whether a channel works, and when it is tried again after a failure.

use std::time::Duration;

use tokio::time::Instant;

use super::News;

/// The first pause after a failure; it doubles with each one.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause that we choose, and the longest that a server may ask for.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 60);
/// Failures in a row after which a channel counts as failing: with the pauses above, about 35 s.
const PATIENCE: u32 = 4;

/// How a channel has done lately.
pub(super) struct Health {
    failures: u32,
    failing_since: Option<Instant>,
    reported: bool,
    not_before: Instant,
    random: fastrand::Rng,
}

impl Health {
    pub(super) fn new(now: Instant, random: fastrand::Rng) -> Self {
        Self {
            failures: 0,
            failing_since: None,
            reported: false,
            not_before: now,
            random,
        }
    }

    /// The moment before which nothing is to be sent.
    pub(super) fn not_before(&self) -> Instant {
        self.not_before
    }

    /// The channel has new settings: it is tried at once.
    pub(super) fn try_now(&mut self, now: Instant) {
        self.not_before = now;
    }

    /// The other side will not have this message. The next one may well be acceptable: its pause starts anew.
    pub(super) fn next_message(&mut self, now: Instant) {
        self.failures = 0;
        self.not_before = now + FIRST_PAUSE;
    }

    /// An attempt got through. News, if its failing was told.
    pub(super) fn succeeded(&mut self, now: Instant) -> Option<News> {
        self.failures = 0;
        self.not_before = now;
        let since = self.failing_since.take();
        let reported = std::mem::replace(&mut self.reported, false);
        since
            .filter(|_| reported)
            .map(|since| News::Works(now.saturating_duration_since(since)))
    }

    /// An attempt failed for `why`, and the server asks to be left alone for `after`. What `passes` by itself becomes
    /// news only when it has lasted.
    pub(super) fn failed(
        &mut self,
        why: &str,
        after: Option<Duration>,
        now: Instant,
        passes: bool,
    ) -> Option<News> {
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now);
        let doubled = FIRST_PAUSE.saturating_mul(1 << (self.failures - 1).min(10));
        let asked = after.unwrap_or_default();
        // Jitter, so that the nodes of a cluster do not return to a server that comes up at the same moment.
        let jitter = 0.8 + 0.4 * self.random.f64();
        let pause = doubled.min(LONGEST_PAUSE).mul_f64(jitter);
        self.not_before = now + pause.max(asked.min(LONGEST_PAUSE));
        if self.reported || (passes && self.failures < PATIENCE) {
            return None;
        }
        self.reported = true;
        Some(News::Failing(why.to_owned()))
    }
}
