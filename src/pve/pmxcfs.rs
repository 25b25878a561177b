//! The cluster file system at /etc/pve and its manners: is it there, may it be changed, how to read a file that is
//! being replaced, how to replace one.
//!
//! No file in it is held open, and nothing here locks.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::statfs::{FUSE_SUPER_MAGIC, statfs};

use super::Layout;
use super::vmlist::Members;
use crate::domain::{NodeName, VmId};
use crate::host::ReadError;
use crate::host::file::{FILE_MAX, read_bytes, read_text};

/// How often a configuration file that seems to be gone is looked for before it counts as gone.
///
/// PVE replaces a file by rename; while another process has it open, libfuse needs two renames, with a gap in between
/// (libfuse 2: lib/fuse.c: hide_node). Recorded: up to five immediate retries were not enough for a busy writer.
const CONFIG_TRIES: u32 = 10;

/// The pause between these looks. All of them together take 18 ms, many times the longest gap of two renames.
const CONFIG_PAUSE: Duration = Duration::from_millis(2);

/// A failure of the cluster file system.
#[derive(Debug, thiserror::Error)]
pub enum PmxcfsError {
    /// It is not mounted: what is under the path is the root disk, or nothing.
    #[error("{} is not the cluster file system ({why}); is the service pve-cluster running?", path.display())]
    NotMounted {
        /// Where it should be.
        path: PathBuf,
        /// How that was seen.
        why: String,
    },
    /// A file in it could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file is too large for it: 1 MiB at most.
    #[error("{} would have {size} bytes; the cluster file system takes {FILE_MAX} at most", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: usize,
    },
    /// The path does not lie in it.
    #[error("{} is not a path in the cluster file system", path.display())]
    Outside {
        /// The path.
        path: PathBuf,
    },
    /// The write was refused.
    #[error("cannot write {}: {error}{}", path.display(), hint(error))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// What a refused write most likely means (pmxcfs: dcdb.c, memdb.c).
fn hint(error: &io::Error) -> &'static str {
    use nix::errno::Errno;
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EACCES | Errno::EPERM) => "; the cluster has no quorum",
        Some(Errno::EBUSY) => "; the cluster is busy, try again later",
        Some(Errno::EIO) => "; pmxcfs cannot write its database, see the journal of pve-cluster",
        _ => "",
    }
}

/// Checks that /etc/pve is there. On the machine's own tree it must be a FUSE mount, since writes to the empty mount
/// point would land on the root disk and keep pmxcfs from starting. Under another root it is enough
/// that `.version` can be read.
///
/// # Errors
/// [`PmxcfsError::NotMounted`].
pub fn check_mounted(layout: &Layout) -> Result<(), PmxcfsError> {
    let path = layout.pve();
    let why = if layout.is_system() {
        match statfs(&path) {
            Ok(stat) if stat.filesystem_type() == FUSE_SUPER_MAGIC => None,
            Ok(_) => Some("no FUSE mount".to_owned()),
            Err(errno) => Some(errno.desc().to_owned()),
        }
    } else {
        let version = read_bytes(&layout.version());
        version.err().map(|error| error.to_string())
    };
    why.map_or(Ok(()), |why| Err(PmxcfsError::NotMounted { path, why }))
}

/// Whether the cluster file system accepts changes.
///
/// PVE's own test is the owner's write bit of the link `local`, which goes away without quorum (Cluster.pm:
/// check_cfs_quorum; recorded in 60-noquorum-fs.txt). `access(2)` tells root nothing. A cluster also says it in
/// `.members`; both must agree that there is quorum.
///
/// # Errors
/// When it is not mounted or does not answer: quorum is then unknown.
pub fn quorate(layout: &Layout) -> Result<bool, PmxcfsError> {
    check_mounted(layout)?;
    let path = layout.pve_local();
    let local = match fs::symlink_metadata(&path) {
        Ok(local) => local,
        Err(error) => return Err(ReadError::Io { path, error }.into()),
    };
    let members = Members::read(layout)?;
    let denied = members.cluster.is_some_and(|cluster| cluster.quorate == 0);
    Ok(local.mode() & 0o200 != 0 && !denied)
}

/// Reads the configuration of `vm` under `node`; `None` when it is not there.
///
/// A file that is being replaced can be absent for an instant, so absence counts only when it lasts (about 20 ms), and
/// only while the file system is mounted. Blocks meanwhile: not for an async worker.
///
/// # Errors
/// When the file cannot be read, or /etc/pve is not mounted.
pub fn read_vm_config(
    layout: &Layout,
    node: &NodeName,
    vm: VmId,
) -> Result<Option<String>, PmxcfsError> {
    read_settled(layout, &layout.vm_config(node, vm))
}

/// Reads a file that others may replace meanwhile; `None` when it is not there, which counts only when it lasts.
/// Blocks meanwhile: not for an async worker.
///
/// # Errors
/// When the file cannot be read, or /etc/pve is not mounted.
pub fn read_settled(layout: &Layout, path: &Path) -> Result<Option<String>, PmxcfsError> {
    let text = look_again(|| read_text(path), pause)?;
    if text.is_none() {
        check_mounted(layout)?;
    }
    Ok(text)
}

/// Reads a file of ours; `None` when it is not there. Blocks meanwhile: not for an async worker.
///
/// # Errors
/// When it is there but cannot be read.
pub fn read(path: &Path) -> Result<Option<String>, PmxcfsError> {
    match read_text(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// When this pmxcfs started, in seconds since 1970: its version counters begin anew with it (pve-facts 3.7).
///
/// # Errors
/// When `.version` cannot be read or has no start time.
pub fn start_time(layout: &Layout) -> Result<u64, PmxcfsError> {
    #[derive(serde::Deserialize)]
    struct Version {
        starttime: u64,
    }
    let path = layout.version();
    let text = read_text(&path)?;
    let version: Version = serde_json::from_str(&text)
        .map_err(|error| ReadError::content(&path, error.to_string()))?;
    Ok(version.starttime)
}

/// Reads until something is there, [`CONFIG_TRIES`] times at most.
fn look_again<T>(
    mut read: impl FnMut() -> Result<T, ReadError>,
    mut pause: impl FnMut(),
) -> Result<Option<T>, ReadError> {
    for _ in 1..CONFIG_TRIES {
        match read() {
            Err(error) if error.is_missing() => pause(),
            result => return result.map(Some),
        }
    }
    match read() {
        Err(error) if error.is_missing() => Ok(None),
        result => result.map(Some),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "file reading runs on a thread for blocking work; the pause is 2 ms"
)]
fn pause() {
    std::thread::sleep(CONFIG_PAUSE);
}

/// Puts `bytes` in place of the file at `path`, at once for every reader: writes a temporary file beside it and renames.
/// Creates the directories on the way. Every call costs at least three messages to every node: events only, not ticks.
///
/// # Errors
/// When /etc/pve is not mounted, the path lies outside, the file is larger than 1 MiB, or the write is refused
/// (no quorum). Nothing of the temporary file is left then, as far as the file system still accepts its removal.
pub fn replace(layout: &Layout, path: &Path, bytes: &[u8]) -> Result<(), PmxcfsError> {
    let inside = path.strip_prefix(layout.pve()).is_ok_and(|rest| {
        rest.file_name().is_some() && rest.components().all(|c| matches!(c, Component::Normal(_)))
    });
    let (Some(directory), true) = (path.parent(), inside) else {
        return Err(PmxcfsError::Outside {
            path: path.to_owned(),
        });
    };
    if bytes.len() as u64 > FILE_MAX {
        return Err(PmxcfsError::TooLarge {
            path: path.to_owned(),
            size: bytes.len(),
        });
    }
    check_mounted(layout)?;
    let temporary = temporary_name(path);
    let written = fs::create_dir_all(directory)
        .and_then(|()| write_new(&temporary, bytes))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        // What failed is reported, not whether the remains could be cleared away.
        let _ = fs::remove_file(&temporary);
        PmxcfsError::Write {
            path: path.to_owned(),
            error,
        }
    })
}

/// Removes the file of ours at `path`; it is no error if it is gone already.
///
/// # Errors
/// When /etc/pve is not mounted, or refuses (no quorum).
pub fn remove(layout: &Layout, path: &Path) -> Result<(), PmxcfsError> {
    check_mounted(layout)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(PmxcfsError::Write {
            path: path.to_owned(),
            error,
        }),
        _ => Ok(()),
    }
}

/// A name that no other writer uses: PVE's own form (File.pm: file_set_contents), and a number for this process's own
/// parallel writers.
fn temporary_name(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".tmp.{}.{number}", std::process::id()));
    name.into()
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let create = || OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = match create() {
        // A process of the same number was killed while it wrote; nobody else uses this name.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            create()?
        }
        result => result?,
    };
    file.write_all(bytes)
}

#[cfg(test)]
mod tests;
