//! What waits for a channel, and what of it goes out as one message.

use std::sync::Arc;

use super::spool::Dropped;
use crate::record::Event;

/// One waiting event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    /// Its number, unique over restarts, rising.
    pub(super) id: u64,
    /// The event.
    pub(super) event: Arc<Event>,
    /// How many more with the same meaning were not told since the last one that was.
    pub(super) more: u32,
}

/// What goes out as one message. It stays the same over all attempts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Batch {
    /// The events, oldest first; at least one.
    pub(super) items: Vec<Item>,
    /// How many events were dropped unsent since this was last told.
    pub(super) dropped: Dropped,
    /// Whether an earlier attempt may have got through.
    pub(super) repeat: bool,
    /// How often the other side would not have it.
    pub(super) rejections: u32,
}

impl Batch {
    pub(super) fn new(items: Vec<Item>, dropped: Dropped, repeat: bool) -> Self {
        Self {
            items,
            dropped,
            repeat,
            rejections: 0,
        }
    }

    /// The numbers of its events.
    pub(super) fn ids(&self) -> Vec<u64> {
        self.items.iter().map(|item| item.id).collect()
    }
}
