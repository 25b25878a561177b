//! The order to change nothing: of one node's admin, or for the whole cluster. It stands until it is taken back.

use std::io;
use std::path::Path;

use crate::domain::{Moment, sanitize};
use crate::observe::Pause;
use crate::record;

use super::files::{FilesError, PAUSE, SharedFiles};

/// The longest reason that is kept, in characters.
const REASON_MAX: usize = 200;

impl Pause {
    /// An order given now by `by`.
    pub fn new(by: &str, since: Moment, reason: &str, cluster: bool) -> Self {
        Self {
            by: sanitize(by, 64),
            since,
            reason: sanitize(reason, REASON_MAX),
            cluster,
        }
    }
}

/// The order that holds for the whole cluster. A file that cannot be understood is an order too: somebody gave one.
///
/// # Errors
/// It cannot be told whether there is one.
pub fn for_cluster(files: &impl SharedFiles) -> Result<Option<Pause>, FilesError> {
    let text = files.read(PAUSE)?;
    Ok(text.map(|text| Pause {
        cluster: true,
        ..understood(&text, "/etc/pve/vm-autoscale/pause")
    }))
}

/// Gives the order to the whole cluster.
///
/// # Errors
/// The shared files refused.
pub fn pause_cluster(files: &impl SharedFiles, pause: &Pause) -> Result<(), FilesError> {
    let text = serde_json::to_string(pause).map_err(|e| FilesError::Failed(e.to_string()))?;
    files.replace(PAUSE, &(text + "\n"))
}

/// Takes the order back; whether there was one.
///
/// # Errors
/// The shared files refused: it still stands.
pub fn resume_cluster(files: &impl SharedFiles) -> Result<bool, FilesError> {
    files.remove(PAUSE)
}

/// The order that holds for this node alone, kept in the file `path` on its own disk.
///
/// # Errors
/// It cannot be told whether there is one.
pub fn for_node(path: &Path) -> io::Result<Option<Pause>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(Pause {
            cluster: false,
            ..understood(&text, &path.display().to_string())
        })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Gives the order to this node.
///
/// # Errors
/// The file cannot be written.
pub fn pause_node(path: &Path, pause: &Pause) -> io::Result<()> {
    record::save(path, pause)
}

/// Takes the order back; whether there was one.
///
/// # Errors
/// The file cannot be removed: the order still stands.
pub fn resume_node(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

fn understood(text: &str, path: &str) -> Pause {
    match serde_json::from_str::<Pause>(text) {
        Ok(pause) => Pause::new(&pause.by, pause.since, &pause.reason, pause.cluster),
        Err(_) => Pause::new(&format!("the file {path}"), Moment::default(), "", false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_stays_paused_until_the_order_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pause.json");
        assert_eq!(for_node(&path).unwrap(), None);
        let order = Pause::new(
            "root@pam",
            Moment::from_millis(1_800_000_000_000),
            "maintenance\u{1b}[2J",
            false,
        );
        pause_node(&path, &order).unwrap();
        let seen = for_node(&path).unwrap().unwrap();
        assert_eq!(
            (seen.by.as_str(), seen.reason.as_str()),
            ("root@pam", "maintenance?[2J")
        );
        assert!(resume_node(&path).unwrap());
        assert!(!resume_node(&path).unwrap(), "nothing is left to take back");
        assert_eq!(for_node(&path).unwrap(), None);
    }

    #[test]
    fn a_pause_file_that_makes_no_sense_is_still_a_pause() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pause.json");
        for text in ["", "{\"by\": ", "touched by hand"] {
            std::fs::write(&path, text).unwrap();
            assert!(
                for_node(&path).unwrap().unwrap().by.contains("pause.json"),
                "{text:?}"
            );
        }
    }
}
