//! What happened, kept on the node: one JSON object a line, so that a cut-off write costs its own line and no more.
//!
//! `history` reads it, and so does `jq`. Two files of bounded size: the older one is dropped when the newer is full.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Event;

/// Some 20,000 events; both files together take twice that.
const FULL: u64 = 8 << 20;

/// The history, open for writing.
#[derive(Debug)]
pub struct History {
    directory: PathBuf,
    /// Whether the last write failed, so that it is said once.
    failing: bool,
}

impl History {
    /// The history in `directory`, which is made when the first event comes.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            failing: false,
        }
    }

    /// Adds an event. A disk that is full costs the history, nothing else: it is said once in the journal.
    pub fn add(&mut self, event: &Event) {
        match self.append(event) {
            Ok(()) => self.failing = false,
            Err(e) if !self.failing => {
                self.failing = true;
                tracing::warn!(
                    "cannot write {}: {e}; `history` will have a gap",
                    newer(&self.directory).display()
                );
            }
            Err(_) => {}
        }
    }

    fn append(&self, event: &Event) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let path = newer(&self.directory);
        if fs::metadata(&path).is_ok_and(|file| file.len() >= FULL) {
            fs::rename(&path, older(&self.directory))?;
        }
        let mut line = serde_json::to_vec(event).map_err(io::Error::other)?;
        line.push(b'\n');
        // One write, so that a line is there whole or, after a crash, as the torn end of the file.
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o640)
            .open(path)?
            .write_all(&line)
    }
}

/// The events kept in `directory`, oldest first, and how many lines could not be understood.
///
/// # Errors
/// A file is there but cannot be read. None at all is an empty history.
pub fn read(directory: &Path) -> io::Result<(Vec<Event>, usize)> {
    let (mut events, mut damaged) = (Vec::new(), 0);
    for path in [older(directory), newer(directory)] {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        for line in BufReader::new(file).split(b'\n') {
            match serde_json::from_slice(&line?) {
                Ok(event) => events.push(event),
                Err(_) => damaged += 1,
            }
        }
    }
    Ok((events, damaged))
}

fn newer(directory: &Path) -> PathBuf {
    directory.join("history.jsonl")
}

fn older(directory: &Path) -> PathBuf {
    directory.join("history.1.jsonl")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Moment;
    use crate::record::EventKind;

    fn event(n: i64) -> Event {
        Event {
            at: Moment::from_millis(n),
            node: "pve1".parse().unwrap(),
            vm: None,
            kind: EventKind::Stopped {
                why: "SIGTERM".into(),
            },
        }
    }

    #[test]
    fn events_come_back_in_order_and_a_torn_line_costs_itself_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::new(dir.path());
        history.add(&event(1));
        let mut file = OpenOptions::new()
            .append(true)
            .open(newer(dir.path()))
            .unwrap();
        file.write_all(b"{\"at\":\"1970-01-\n").unwrap();
        history.add(&event(2));
        assert_eq!(read(dir.path()).unwrap(), (vec![event(1), event(2)], 1));
    }

    #[test]
    fn a_full_file_makes_room_and_the_one_before_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::new(dir.path());
        history.add(&event(1));
        OpenOptions::new()
            .write(true)
            .open(newer(dir.path()))
            .unwrap()
            .set_len(FULL)
            .unwrap();
        history.add(&event(2));
        let (events, _) = read(dir.path()).unwrap();
        assert_eq!(events, [event(1), event(2)]);
        assert!(fs::metadata(newer(dir.path())).unwrap().len() < 1000);
    }
}
