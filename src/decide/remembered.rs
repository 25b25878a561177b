//! What is remembered of one resource of one VM: its policy, readings in a row, the last changes.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Caps, PolicyKind};
use crate::domain::Moment;

use super::policy;

/// For so long after the node had no room, who was refused is granted only when there is clearly room.
const REFUSED: Duration = Duration::from_secs(5 * 60);

/// So many changes are counted: no cap is higher.
const MOST_CHANGES: usize = 96;
pub(super) const MINUTE_MS: i64 = 60_000;

/// What is remembered of one resource of one VM.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ResourceMemory {
    /// The policy's own state.
    pub(super) policy: Option<policy::State>,
    /// What another algorithm has learned that a window of the schedule, or the admin, has replaced for now.
    #[serde(default)]
    parked: Option<policy::State>,
    /// Readings by which less would have been enough for what is to be expected.
    #[serde(default)]
    pub(super) low: InARow,
    /// Readings by which less would have been enough for now.
    #[serde(default)]
    pub(super) calm: InARow,
    /// When the node had no room for a growth, if it has had none since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<Moment>,
    /// The last change in either direction that moved anything.
    #[serde(default)]
    pub(super) last_change: Option<Moment>,
    /// The minutes since 1970 of the changes in the last 24 hours, oldest first: [`MOST_CHANGES`] at most.
    #[serde(default)]
    pub(super) changes: VecDeque<i64>,
}

/// Readings in a row that say the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct InARow {
    /// How many there were.
    pub(super) readings: u32,
    /// When the last of them was made. Memory is not read anew for each tick.
    last: Option<Moment>,
}

impl InARow {
    /// Counts a reading that was made at `read`; `None` is one that does not say the same, or none at all.
    pub(super) fn count(&mut self, read: Option<Moment>) {
        if read.is_none() {
            self.readings = 0;
        } else if read != self.last {
            self.readings = self.readings.saturating_add(1);
        }
        self.last = read;
    }
}

/// There were as many changes as there may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Capped {
    pub(super) most: u32,
    pub(super) per: &'static str,
    pub(super) until: Moment,
}

impl ResourceMemory {
    /// Whether the node had no room a moment ago.
    pub(super) fn was_refused(&self, now: Moment) -> bool {
        self.refused.is_some_and(|at| now.since(at) < REFUSED)
    }

    /// Nothing is known of it now: the next reading is the first one of its row.
    pub(super) fn begin_rows(&mut self) {
        (self.low, self.calm) = (InARow::default(), InARow::default());
    }

    pub(super) fn forget_policies(&mut self) {
        (self.policy, self.parked) = (None, None);
    }

    /// The policy's state, made anew if there is none of this algorithm yet.
    pub(super) fn policy(&mut self, kind: PolicyKind) -> &mut policy::State {
        let is_it = |state: &policy::State| state.kind() == kind;
        if !self.policy.as_ref().is_some_and(is_it) {
            std::mem::swap(&mut self.policy, &mut self.parked);
            if !self.policy.as_ref().is_some_and(is_it) {
                self.policy = Some(policy::State::new(kind));
            }
        }
        // The match above leaves a state in every case.
        self.policy.get_or_insert_with(|| policy::State::new(kind))
    }

    pub(super) fn count_change(&mut self, at: Moment) {
        self.changes.push_back(at.as_millis() / MINUTE_MS);
        while self.changes.len() > MOST_CHANGES {
            self.changes.pop_front();
        }
    }

    /// The cap that leaves room for fewer than `wanted` more changes at `now`, if one does, and when it has room again.
    pub(super) fn capped(&self, caps: &Caps, wanted: u32, now: Moment) -> Option<Capped> {
        let minute = now.as_millis() / MINUTE_MS;
        let caps = [(caps.per_hour, 60, "hour"), (caps.per_day, 24 * 60, "day")];
        let full = caps.into_iter().filter_map(|(most, span, per)| {
            let most = most?;
            // What a clock that was wrong has stamped in the future counts from now on at most.
            let ages = self.changes.iter().map(|at| (minute - at).max(0));
            let mut recent: Vec<i64> = ages.filter(|age| *age < span).collect();
            recent.sort_unstable();
            let room = most as usize;
            let may_be = room.saturating_sub(wanted as usize);
            if recent.len() <= may_be {
                return None;
            }
            // So many must be over: the one after the youngest that may stay.
            let age = recent.get(may_be).copied().unwrap_or(0);
            let minutes = u64::try_from(span - age).unwrap_or(0);
            let until = now + Duration::from_secs(minutes * 60);
            Some(Capped { most, per, until })
        });
        full.max_by_key(|capped| capped.until)
    }

    /// When the cool-down `span` after the last change ends, if it has not at `now`.
    pub(super) fn cools_until(&self, span: Duration, now: Moment) -> Option<Moment> {
        // A change "from the future" was stamped by a clock that was wrong: it counts from now on at most.
        let until = self.last_change?.min(now) + span;
        (until > now).then_some(until)
    }
}
