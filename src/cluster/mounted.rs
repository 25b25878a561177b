//! The shared files as they really are: /etc/pve.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;

use super::files::{FilesError, SharedFiles};
use crate::domain::Moment;
use crate::pve::{Layout, PmxcfsError, pmxcfs};

/// /etc/pve under a layout's root.
#[derive(Debug, Clone)]
pub struct Mounted {
    layout: Layout,
}

impl Mounted {
    /// The shared files of `layout`.
    pub fn new(layout: Layout) -> Self {
        Self { layout }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.layout.pve().join(path)
    }

    /// What a failed change of `path` means.
    fn refused(&self, path: &str, error: &io::Error) -> FilesError {
        kind(error).unwrap_or_else(|| FilesError::Failed(format!("{}: {error}", self.at(path).display())))
    }

    fn utime(&self, path: &str, at: SystemTime) -> io::Result<()> {
        File::open(self.at(path))?.set_modified(at)
    }
}

/// The refusals that have a meaning of their own (pve-facts 7.7).
fn kind(error: &io::Error) -> Option<FilesError> {
    match Errno::from_raw(error.raw_os_error()?) {
        Errno::EACCES | Errno::EPERM | Errno::EROFS => Some(FilesError::NoQuorum),
        Errno::EBUSY => Some(FilesError::Busy),
        Errno::ENOTCONN => Some(FilesError::NotMounted("/etc/pve: pmxcfs has gone away".to_owned())),
        _ => None,
    }
}

impl From<PmxcfsError> for FilesError {
    fn from(error: PmxcfsError) -> Self {
        match &error {
            PmxcfsError::NotMounted { .. } => Self::NotMounted(error.to_string()),
            PmxcfsError::Write { error: io, .. } => kind(io).unwrap_or_else(|| Self::Failed(error.to_string())),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl SharedFiles for Mounted {
    fn read(&self, path: &str) -> Result<Option<String>, FilesError> {
        Ok(pmxcfs::read(&self.at(path))?)
    }

    fn read_settled(&self, path: &str) -> Result<Option<String>, FilesError> {
        let text = pmxcfs::read_settled(&self.layout, &self.at(path))?;
        Ok(text)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, FilesError> {
        let entries = match fs::read_dir(self.at(directory)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.refused(directory, &e)),
        };
        // A name that is no UTF-8 is none of ours.
        let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    fn replace(&self, path: &str, text: &str) -> Result<(), FilesError> {
        Ok(pmxcfs::replace(&self.layout, &self.at(path), text.as_bytes())?)
    }

    fn remove(&self, path: &str) -> Result<bool, FilesError> {
        pmxcfs::check_mounted(&self.layout)?;
        found(fs::remove_file(self.at(path))).map_err(|e| self.refused(path, &e))
    }

    fn make_dir(&self, path: &str) -> Result<bool, FilesError> {
        pmxcfs::check_mounted(&self.layout)?;
        let full = self.at(path);
        let made = match fs::create_dir(&full) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                full.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::create_dir(&full))
            }
            made => made,
        };
        match made {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(self.refused(path, &e)),
        }
    }

    fn remove_dir(&self, path: &str) -> Result<bool, FilesError> {
        pmxcfs::check_mounted(&self.layout)?;
        found(fs::remove_dir(self.at(path))).map_err(|e| self.refused(path, &e))
    }

    fn touch(&self, path: &str, at: Moment) -> Result<bool, FilesError> {
        // Whole seconds are all that pmxcfs keeps.
        let at = Duration::from_secs(u64::try_from(at.as_millis() / 1000).unwrap_or(0));
        match self.utime(path, SystemTime::UNIX_EPOCH + at) {
            Ok(()) => Ok(true),
            // Another node is the holder (EACCES), or the directory is gone. Without quorum it is EACCES as well: either
            // way this node must not believe that it holds the lock.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => match kind(&e) {
                Some(FilesError::NoQuorum) => Ok(false),
                _ => Err(self.refused(path, &e)),
            },
        }
    }

    fn ask_to_expire(&self, path: &str) {
        // In a cluster the call itself always fails with EACCES, and yet is heard (pve-facts 7.6).
        let _ = self.utime(path, SystemTime::UNIX_EPOCH);
    }

    fn quorate(&self) -> Result<bool, FilesError> {
        Ok(pmxcfs::quorate(&self.layout)?)
    }
}

/// Whether something was there to remove.
fn found(removed: io::Result<()>) -> io::Result<bool> {
    match removed {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}
