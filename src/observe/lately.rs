//! Counters as they were at the looks of the last seconds.

use std::collections::VecDeque;
use std::time::Duration;

/// Counters, each with when it was read, oldest first.
#[derive(Debug, Clone)]
pub(super) struct Lately<T> {
    span: Duration,
    looks: VecDeque<(Duration, T)>,
}

impl<T: Copy> Lately<T> {
    /// Those of at least `span`, if there are so many.
    pub(super) fn of(span: Duration) -> Self {
        Self {
            span,
            looks: VecDeque::new(),
        }
    }

    /// Adds what was read at `at`, by a clock that never goes back, and forgets what is older than it must be.
    pub(super) fn push(&mut self, at: Duration, counters: T) {
        self.looks.push_back((at, counters));
        let is_old = |(then, _): &(Duration, T)| at.saturating_sub(*then) >= self.span;
        while self.looks.get(1).is_some_and(is_old) {
            self.looks.pop_front();
        }
    }

    /// Begins anew with what was read at `at`.
    pub(super) fn restart(&mut self, at: Duration, counters: T) {
        self.looks.clear();
        self.push(at, counters);
    }

    /// The oldest that is kept.
    pub(super) fn first(&self) -> Option<T> {
        self.looks.front().map(|(_, counters)| *counters)
    }
}
