//! Events that a command leaves for the daemon, which alone writes the history and speaks to the notifiers.

use std::fs;
use std::io;
use std::path::Path;

use super::event::Event;
use super::files::save;

/// More than these are not taken in one go.
const AT_A_TIME: usize = 100;

/// Leaves `event` in the directory `dir`, under its VM's number, in place of an earlier one.
///
/// # Errors
/// It cannot be written.
pub fn leave(dir: &Path, event: &Event) -> io::Result<()> {
    let name = event.vm.as_ref().map_or(0, |vm| vm.id.get());
    save(&dir.join(format!("{name}.json")), event)
}

/// Takes what was left in `dir`. What cannot be read or understood is removed as well: it would not get better.
pub fn take(dir: &Path) -> Vec<Event> {
    // No command has left anything, mostly not even the directory.
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let paths = paths.filter(|path| path.extension().is_some_and(|e| e == "json"));
    let mut events = Vec::new();
    for path in paths.take(AT_A_TIME) {
        let event = fs::read(&path).ok();
        let event = event.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        // Told again and again otherwise.
        if fs::remove_file(&path).is_ok() {
            events.extend(event);
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Moment, VmName};
    use crate::record::{EventKind, VmRef};

    #[test]
    fn what_was_left_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join("left");
        assert_eq!(take(&left), []);
        let event = Event {
            at: Moment::from_millis(1_800_000_000_000),
            node: "pve1".parse().unwrap(),
            vm: Some(VmRef {
                id: 101.try_into().unwrap(),
                name: VmName::new("web"),
                tags: Vec::new(),
            }),
            kind: EventKind::Released {
                what: "vcpus 2".to_owned(),
            },
        };
        leave(&left, &event).unwrap();
        fs::write(left.join("102.json"), "{").unwrap();
        assert_eq!(take(&left), [event]);
        assert_eq!(take(&left), []);
    }
}
