//! What a restart must not lose: important events that some channel has not delivered, and problems whose beginning
//! was told.
//!
//! One file, to which a line is added for each thing that happens; it is rewritten when most of it is history. A line
//! is in the kernel's hands when the call returns, so it survives the death of the process at any instant. There is no
//! `fsync`: what a power cut takes with it are the last seconds, together with the VMs.

mod live;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::Item;
use crate::domain::Moment;
use crate::record::{Event, Severity};
use live::{Line, Live, encode};

/// The file's name.
const FILE: &str = "notify.jsonl";
/// A file below this size is not worth rewriting.
const LARGE: u64 = 1 << 20;
/// Numbers for each millisecond: an event's number is the time of its birth, so that it is unique over restarts even
/// where the file was lost.
const PER_MILLISECOND: u64 = 1_000;

/// Events that were dropped unsent, by severity.
pub(super) type Dropped = BTreeMap<Severity, u32>;

/// What a channel has dealt with.
pub(super) struct Dealt<'a> {
    pub(super) channel: &'a str,
    /// The events that it need not tell any more.
    pub(super) ids: Vec<u64>,
    /// The important ones that it dropped, of which it has not told yet.
    pub(super) dropped: Dropped,
}

/// What a channel finds of an earlier run.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Left {
    /// The events of the message that was being sent.
    pub(super) begun: Vec<Item>,
    /// Events that wait.
    pub(super) waiting: Vec<Item>,
    /// Problems whose beginning was told.
    pub(super) open: BTreeSet<String>,
    /// Events that were dropped, and nobody was told how many.
    pub(super) dropped: Dropped,
}

/// The file and what is live in it.
pub(super) struct Spool {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    fresh_size: u64,
    live: Live,
    next: u64,
    complained: bool,
}

impl Spool {
    /// Reads what is there and begins a fresh file with it. Never fails: without a file, events live in memory only,
    /// and the journal says so.
    pub(super) fn open(dir: &Path) -> Self {
        let path = dir.join(FILE);
        let (live, damaged) = match fs::read(&path) {
            Ok(bytes) => Live::parse(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Live::default(), false),
            Err(error) => {
                tracing::warn!(
                    "{} cannot be read: {error}; what it held is not told",
                    path.display()
                );
                (Live::default(), true)
            }
        };
        if damaged {
            set_aside(&path);
        }
        let next = live.events.last_key_value().map_or(0, |(id, _)| id + 1);
        let mut spool = Self {
            path,
            file: None,
            size: 0,
            fresh_size: 0,
            live,
            next,
            complained: false,
        };
        spool.rewrite();
        spool
    }

    /// A number for an event that happened at `at`.
    pub(super) fn number(&mut self, at: Moment) -> u64 {
        let born = at
            .as_millis()
            .unsigned_abs()
            .saturating_mul(PER_MILLISECOND);
        let id = self.next.max(born);
        self.next = id + 1;
        id
    }

    /// What an earlier run left for `channel`.
    pub(super) fn left(&self, channel: &str) -> Left {
        let begun: BTreeSet<u64> = self
            .live
            .trying
            .get(channel)
            .into_iter()
            .flatten()
            .copied()
            .collect();
        let mut left = Left {
            open: self.live.open.get(channel).cloned().unwrap_or_default(),
            dropped: self.live.dropped.get(channel).cloned().unwrap_or_default(),
            ..Left::default()
        };
        for (&id, (channels, event)) in &self.live.events {
            if !channels.contains(channel) {
                continue;
            }
            let event = Arc::clone(event);
            let item = Item { id, event, more: 0 };
            match begun.contains(&id) {
                true => left.begun.push(item),
                false => left.waiting.push(item),
            }
        }
        left
    }

    /// Forgets what waits for channels that no longer exist. Returns how many events nobody will deliver.
    pub(super) fn keep_only(&mut self, channels: &BTreeSet<String>) -> usize {
        let before = self.live.events.len();
        self.live.events.retain(|_, (waiting, _)| {
            waiting.retain(|channel| channels.contains(channel));
            !waiting.is_empty()
        });
        self.live
            .trying
            .retain(|channel, _| channels.contains(channel));
        self.live
            .open
            .retain(|channel, _| channels.contains(channel));
        self.live
            .dropped
            .retain(|channel, _| channels.contains(channel));
        self.rewrite();
        before - self.live.events.len()
    }

    /// An event is to be delivered by `channels`.
    pub(super) fn told(&mut self, id: u64, event: &Arc<Event>, channels: BTreeSet<String>) {
        let event = Arc::clone(event);
        self.add(vec![Line::Told {
            id,
            channels,
            event,
        }]);
    }

    /// `channel` begins to send these events.
    pub(super) fn trying(&mut self, channel: &str, ids: Vec<u64>) {
        let ids = self.kept(channel, ids);
        if !ids.is_empty() && self.live.trying.get(channel) != Some(&ids) {
            let channel = channel.to_owned();
            self.add(vec![Line::Trying { channel, ids }]);
        }
    }

    /// Each of these channels has dealt with some events. All of it is written at once: what was dropped is counted
    /// from the moment on in which it is no longer kept.
    pub(super) fn done(&mut self, dealt: Vec<Dealt<'_>>) {
        let mut lines = Vec::new();
        for Dealt {
            channel,
            ids,
            dropped: counts,
        } in dealt
        {
            let ids = self.kept(channel, ids);
            let channel = channel.to_owned();
            let known = self.live.dropped.get(&channel);
            if known.map_or(!counts.is_empty(), |known| *known != counts) {
                let channel = channel.clone();
                lines.push(Line::Dropped { channel, counts });
            }
            if !ids.is_empty() {
                lines.push(Line::Done { channel, ids });
            }
        }
        if !lines.is_empty() {
            self.add(lines);
        }
    }

    /// Those of `ids` that are in the file for `channel`.
    fn kept(&self, channel: &str, mut ids: Vec<u64>) -> Vec<u64> {
        ids.retain(|id| {
            let kept = self.live.events.get(id);
            kept.is_some_and(|(channels, _)| channels.contains(channel))
        });
        ids
    }

    /// Adds lines with one write.
    fn add(&mut self, lines: Vec<Line>) {
        let bytes: Vec<u8> = lines.iter().flat_map(encode).collect();
        for line in lines {
            self.live.apply(line);
        }
        let Some(file) = &mut self.file else {
            return self.rewrite();
        };
        match file.write_all(&bytes) {
            Ok(()) => self.size += bytes.len() as u64,
            Err(error) => {
                // Half a line may be in the file: the next rewrite leaves it out.
                self.file = None;
                self.complain(&error);
            }
        }
        if self.size > LARGE.max(2 * self.fresh_size) {
            self.rewrite();
        }
    }

    /// Replaces the file by what is live, in one step.
    fn rewrite(&mut self) {
        match self.live.write(&self.path) {
            Ok((file, size)) => {
                self.file = Some(file);
                self.size = size;
                self.fresh_size = size;
                self.complained = false;
            }
            Err(error) => self.complain(&error),
        }
    }

    /// Says once that the file does not work.
    fn complain(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            tracing::warn!(
                "{} cannot be written: {error}; notifications that are not yet sent would be lost in a restart",
                self.path.display()
            );
        }
    }
}

/// Keeps a damaged file for whoever wants to look at it.
fn set_aside(path: &Path) {
    let aside = path.with_extension("damaged");
    match fs::rename(path, &aside) {
        Ok(()) => tracing::warn!(
            "{} was damaged: it is kept as {}, and what could be read of it is told",
            path.display(),
            aside.display()
        ),
        Err(error) => tracing::warn!("{} is damaged: {error}", path.display()),
    }
}

#[cfg(test)]
mod tests;
