//! The shared files as they really are: /etc/pve.

use std::fs;
use std::io;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

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
        kind(error)
            .unwrap_or_else(|| FilesError::Failed(format!("{}: {error}", self.at(path).display())))
    }

    /// Sets both times, as PVE does (utime 0, at): asked for one alone, libfuse 2 does nothing and reports success.
    fn utime(&self, path: &str, at: TimeSpec) -> Result<(), Errno> {
        utimensat(
            AT_FDCWD,
            &self.at(path),
            &TimeSpec::new(0, 0),
            &at,
            UtimensatFlags::FollowSymlink,
        )
    }
}

/// The refusals that have a meaning of their own (pve-facts 7.7).
fn kind(error: &io::Error) -> Option<FilesError> {
    match Errno::from_raw(error.raw_os_error()?) {
        Errno::EACCES | Errno::EPERM | Errno::EROFS => Some(FilesError::NoQuorum),
        Errno::EBUSY => Some(FilesError::Busy),
        Errno::ENOTCONN => Some(FilesError::NotMounted(
            "/etc/pve: pmxcfs has gone away".to_owned(),
        )),
        _ => None,
    }
}

impl From<PmxcfsError> for FilesError {
    fn from(error: PmxcfsError) -> Self {
        match &error {
            PmxcfsError::NotMounted { .. } => Self::NotMounted(error.to_string()),
            PmxcfsError::Write { error: io, .. } => {
                kind(io).unwrap_or_else(|| Self::Failed(error.to_string()))
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl SharedFiles for Mounted {
    fn read(&self, path: &str) -> Result<Option<String>, FilesError> {
        Ok(pmxcfs::read(&self.at(path))?)
    }

    fn read_settled(&self, path: &str) -> Result<Option<String>, FilesError> {
        Ok(pmxcfs::read_settled(&self.layout, &self.at(path))?)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, FilesError> {
        let entries = match fs::read_dir(self.at(directory)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(self.refused(directory, &e)),
        };
        // A name that is no UTF-8 is none of ours.
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    fn replace(&self, path: &str, text: &str) -> Result<(), FilesError> {
        Ok(pmxcfs::replace(
            &self.layout,
            &self.at(path),
            text.as_bytes(),
        )?)
    }

    fn remove(&self, path: &str) -> Result<bool, FilesError> {
        pmxcfs::check_mounted(&self.layout)?;
        found(fs::remove_file(self.at(path))).map_err(|e| self.refused(path, &e))
    }

    fn make_dir(&self, path: &str) -> Result<bool, FilesError> {
        pmxcfs::check_mounted(&self.layout)?;
        let full = self.at(path);
        let made = match fs::create_dir(&full) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => full
                .parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| fs::create_dir(&full)),
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
        match self.utime(path, TimeSpec::new(at.as_millis() / 1000, 0)) {
            Ok(()) => Ok(true),
            // Another node is the holder, there is no quorum, or the directory is gone: in each case this node must not
            // believe that it holds the lock.
            Err(Errno::EACCES | Errno::EPERM | Errno::ENOENT) => Ok(false),
            Err(errno) => Err(self.refused(path, &errno.into())),
        }
    }

    fn ask_to_expire(&self, path: &str) {
        // In a cluster the call itself always fails with EACCES, and yet is heard (pve-facts 7.6).
        let _ = self.utime(path, TimeSpec::new(0, 0));
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
