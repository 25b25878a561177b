//! The lines of the spool's file, and what they add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Dropped;
use crate::notify::lane::PROBLEMS;
use crate::notify::topic::{problems, recovery};
use crate::record::Event;

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// An event, and the channels that are to deliver it.
    Told {
        id: u64,
        channels: BTreeSet<String>,
        event: Arc<Event>,
    },
    /// A channel begins to send these events as one message.
    Trying { channel: String, ids: Vec<u64> },
    /// A channel has dealt with these events.
    Done { channel: String, ids: Vec<u64> },
    /// A channel was told of the beginning of this problem, and the event is not here any more.
    Open { channel: String, what: String },
    /// So many events were dropped since a channel last told how many.
    Dropped { channel: String, counts: Dropped },
}

/// What the lines add up to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Live {
    pub(super) events: BTreeMap<u64, (BTreeSet<String>, Arc<Event>)>,
    pub(super) trying: BTreeMap<String, Vec<u64>>,
    pub(super) open: BTreeMap<String, BTreeSet<String>>,
    pub(super) dropped: BTreeMap<String, Dropped>,
}

impl Live {
    /// What the lines add up to, and whether some of them could not be read. A last line without its end is none of
    /// these: the process died while writing it, before the event counted as told.
    pub(super) fn parse(bytes: &[u8]) -> (Self, bool) {
        let mut live = Self::default();
        let mut damaged = false;
        let whole = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |end| end + 1);
        for line in bytes[..whole]
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            match serde_json::from_slice(line) {
                Ok(line) => live.apply(line),
                Err(_) => damaged = true,
            }
        }
        (live, damaged)
    }

    pub(super) fn apply(&mut self, line: Line) {
        match line {
            Line::Told {
                id,
                channels,
                event,
            } => {
                for channel in &channels {
                    let open = self.open.entry(channel.clone()).or_default();
                    if open.len() < PROBLEMS {
                        open.extend(problems(&event));
                    }
                    if let Some(ended) = recovery(&event) {
                        open.remove(ended);
                    }
                }
                self.events.insert(id, (channels, event));
            }
            Line::Trying { channel, ids } => {
                self.trying.insert(channel, ids);
            }
            Line::Done { channel, ids } => {
                for id in ids {
                    if let Some((channels, _)) = self.events.get_mut(&id) {
                        channels.remove(&channel);
                        if channels.is_empty() {
                            self.events.remove(&id);
                        }
                    }
                    if let Some(trying) = self.trying.get_mut(&channel) {
                        trying.retain(|&one| one != id);
                    }
                }
            }
            Line::Open { channel, what } => {
                self.open.entry(channel).or_default().insert(what);
            }
            Line::Dropped { channel, counts } => {
                self.dropped.insert(channel, counts);
            }
        }
    }

    fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        let events = self
            .events
            .iter()
            .map(|(&id, (channels, event))| Line::Told {
                id,
                channels: channels.clone(),
                event: Arc::clone(event),
            });
        let trying = self.trying.iter().filter(|(_, ids)| !ids.is_empty());
        let trying = trying.map(|(channel, ids)| Line::Trying {
            channel: channel.clone(),
            ids: ids.clone(),
        });
        let open = self.open.iter().flat_map(|(channel, open)| {
            open.iter().map(|what| Line::Open {
                channel: channel.clone(),
                what: what.clone(),
            })
        });
        let dropped = self.dropped.iter().filter(|(_, counts)| !counts.is_empty());
        let dropped = dropped.map(|(channel, counts)| Line::Dropped {
            channel: channel.clone(),
            counts: counts.clone(),
        });
        events.chain(trying).chain(open).chain(dropped)
    }

    /// Writes a new file beside the old one and puts it in its place.
    pub(super) fn write(&self, path: &Path) -> io::Result<(File, u64)> {
        let temporary = path.with_extension("new");
        let mut bytes = Vec::new();
        for line in self.lines() {
            bytes.extend(encode(&line));
        }
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            // What happened on the node is nobody else's business.
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&bytes)?;
        fs::rename(&temporary, path)?;
        Ok((file, bytes.len() as u64))
    }
}

pub(super) fn encode(line: &Line) -> Vec<u8> {
    // Cannot fail: the types have string keys only and no serializer of their own that fails.
    let mut bytes = serde_json::to_vec(line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
