//! What a request to a node's pmxcfs finds and does (pmxcfs.c: fuse_ops; pve-facts 7.2 to 7.5).

use std::ffi::OsStr;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{Errno, FileAttr, FileType, INodeNo};

use crate::cluster_fs::{Change, Errno as Refusal};
use crate::served::{Served, State};

/// The group www-data.
const WWW_DATA: u32 = 33;
/// What pmxcfs makes up at the top.
const MADE_UP: [&str; 7] = [
    ".clusterlog",
    ".members",
    ".rrd",
    ".version",
    ".vmlist",
    "local",
    "qemu-server",
];

/// The file system as one node sees it.
#[derive(Debug)]
pub(crate) struct OneNode {
    pub(crate) served: Arc<Served>,
    pub(crate) node: usize,
}

/// What came of a request.
pub(crate) type Done<T> = Result<T, Errno>;

impl From<Refusal> for Errno {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Acces => Self::EACCES,
            Refusal::Exist => Self::EEXIST,
            Refusal::NoEnt => Self::ENOENT,
            Refusal::NotEmpty => Self::ENOTEMPTY,
            Refusal::NotDir => Self::ENOTDIR,
            Refusal::IsDir => Self::EISDIR,
            Refusal::FBig => Self::EFBIG,
        }
    }
}

impl OneNode {
    fn enter(&self) -> MutexGuard<'_, State> {
        self.served.enter(self.node, None)
    }

    fn path(&self, state: &State, file: INodeNo) -> Done<String> {
        let path = state.names[self.node].path(file.0);
        path.map(str::to_owned).ok_or(Errno::ENOENT)
    }

    fn below(&self, state: &State, directory: INodeNo, name: &OsStr) -> Done<String> {
        let name = name.to_str().ok_or(Errno::EINVAL)?;
        let path = state.names[self.node].below(directory.0, name);
        path.ok_or(Errno::ENOENT)
    }

    fn attributes(&self, state: &mut State, path: &str) -> Done<FileAttr> {
        let (kind, perm, size, mtime_s) = self.look(state, path)?;
        // The write bits tell whether there is a quorum (pmxcfs.c: cfs_fuse_getattr).
        let writable = state.fs.is_quorate(self.node);
        let perm = if writable { perm } else { perm & !0o222 };
        let time = UNIX_EPOCH + Duration::from_secs(mtime_s);
        Ok(FileAttr {
            ino: INodeNo(state.names[self.node].number(path)),
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm,
            nlink: if kind == FileType::Directory { 2 } else { 1 },
            uid: 0,
            gid: WWW_DATA,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    /// Kind, mode with a quorum, size and time of what is at `path`.
    fn look(&self, state: &State, path: &str) -> Done<(FileType, u16, u64, u64)> {
        if path.is_empty() {
            return Ok((FileType::Directory, 0o755, 0, 0));
        }
        if let Some(target) = state.link(self.node, path) {
            return Ok((FileType::Symlink, 0o755, target.len() as u64, 0));
        }
        if let Some(text) = state.made_up(self.node, path) {
            return Ok((FileType::RegularFile, 0o440, text.len() as u64, 0));
        }
        let entry = state.fs.entry(self.node, path).ok_or(Errno::ENOENT)?;
        let private = path.split('/').any(|part| part == "priv");
        Ok(match &entry.data {
            None => {
                let mode = if private { 0o700 } else { 0o755 };
                (FileType::Directory, mode, 0, entry.mtime_s)
            }
            Some(data) => {
                let mode = if private { 0o600 } else { 0o640 };
                let size = data.len() as u64;
                (FileType::RegularFile, mode, size, entry.mtime_s)
            }
        })
    }

    /// What a process of this node has open does not go away under it: libfuse 2 gives it another name first, and for
    /// every node the old name is free in between (lib/fuse.c: hide_node).
    fn hide_if_open(&self, state: &mut State, path: &str) -> Done<bool> {
        if !state.names[self.node].is_open(path) {
            return Ok(false);
        }
        state.hidden += 1;
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let hidden = format!(
            "{directory}/.fuse_hidden{:08x}{:08x}",
            self.node, state.hidden
        );
        self.rename_now(state, path, hidden.trim_start_matches('/'))?;
        Ok(true)
    }

    fn rename_now(&self, state: &mut State, from: &str, to: &str) -> Done<()> {
        let change = Change::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        state.change(self.node, change)?;
        state.names[self.node].moved(from, to);
        Ok(())
    }

    fn unlink_now(&self, state: &mut State, path: &str) -> Done<()> {
        let change = Change::Unlink {
            path: path.to_owned(),
        };
        state.change(self.node, change)?;
        state.names[self.node].gone(path);
        Ok(())
    }

    /// Attributes of `name` in a directory.
    pub(crate) fn lookup(&self, directory: INodeNo, name: &OsStr) -> Done<FileAttr> {
        let mut state = self.enter();
        let path = self.below(&state, directory, name)?;
        self.attributes(&mut state, &path)
    }

    /// Attributes of a file.
    pub(crate) fn getattr(&self, file: INodeNo) -> Done<FileAttr> {
        let mut state = self.enter();
        let path = self.path(&state, file)?;
        self.attributes(&mut state, &path)
    }

    /// Where a link leads to.
    pub(crate) fn link(&self, file: INodeNo) -> Done<String> {
        let state = self.enter();
        let path = self.path(&state, file)?;
        state.link(self.node, &path).ok_or(Errno::EINVAL)
    }

    /// A new directory, or a new file that is open.
    pub(crate) fn make(&self, directory: INodeNo, name: &OsStr, kind: FileType) -> Done<FileAttr> {
        let mut state = self.enter();
        let path = self.below(&state, directory, name)?;
        let change = match kind {
            FileType::Directory => Change::MakeDir { path: path.clone() },
            _ => Change::Create { path: path.clone() },
        };
        state.change(self.node, change)?;
        let made = self.attributes(&mut state, &path)?;
        if kind != FileType::Directory {
            state.names[self.node].opened(made.ino.0);
        }
        Ok(made)
    }

    /// A file goes away.
    pub(crate) fn remove(&self, directory: INodeNo, name: &OsStr) -> Done<()> {
        let mut state = self.enter();
        let path = self.below(&state, directory, name)?;
        match self.hide_if_open(&mut state, &path)? {
            true => Ok(()),
            false => self.unlink_now(&mut state, &path),
        }
    }

    /// An empty directory goes away.
    pub(crate) fn remove_dir(&self, directory: INodeNo, name: &OsStr) -> Done<()> {
        let mut state = self.enter();
        let path = self.below(&state, directory, name)?;
        state.change(self.node, Change::RemoveDir { path: path.clone() })?;
        state.names[self.node].gone(&path);
        Ok(())
    }

    /// A file or empty directory takes another place.
    pub(crate) fn rename(&self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr)) -> Done<()> {
        let mut state = self.enter();
        let from = self.below(&state, from.0, from.1)?;
        let to = self.below(&state, to.0, to.1)?;
        self.hide_if_open(&mut state, &to)?;
        self.rename_now(&mut state, &from, &to)
    }

    /// A file is opened.
    pub(crate) fn open(&self, file: INodeNo) -> Done<()> {
        let mut state = self.served.enter(self.node, Some(file.0));
        let path = self.path(&state, file)?;
        self.look(&state, &path)?;
        state.names[self.node].opened(file.0);
        Ok(())
    }

    /// All that is in a file.
    pub(crate) fn read(&self, file: INodeNo) -> Done<Vec<u8>> {
        let state = self.enter();
        let path = self.path(&state, file)?;
        state.data(self.node, &path).ok_or(Errno::ENOENT)
    }

    /// A part of a file is written.
    pub(crate) fn write(&self, file: INodeNo, offset: u64, data: Vec<u8>) -> Done<()> {
        let mut state = self.enter();
        let path = self.path(&state, file)?;
        let offset = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
        Ok(state.change(self.node, Change::Write { path, offset, data })?)
    }

    /// A process closes a file; one that was hidden goes away with the last of them.
    pub(crate) fn close(&self, file: INodeNo) {
        let mut state = self.enter();
        if state.names[self.node].closed(file.0)
            && let Ok(path) = self.path(&state, file)
            && path.contains(".fuse_hidden")
        {
            // Without a quorum it stays behind, as on a real node.
            self.unlink_now(&mut state, &path).ok();
        }
    }

    /// Mode, owner, size or time of a file are set.
    pub(crate) fn set(&self, file: INodeNo, wanted: &Wanted) -> Done<FileAttr> {
        let mut state = self.enter();
        let path = self.path(&state, file)?;
        let private = path.split('/').any(|part| part == "priv");
        let mode = if private { 0o600 } else { 0o640 };
        let refused = wanted.mode.is_some_and(|bits| bits & 0o7777 != mode)
            || wanted.uid.is_some_and(|uid| uid != 0)
            || wanted.gid.is_some_and(|gid| gid != WWW_DATA);
        if refused {
            return Err(Errno::EPERM);
        }
        if let Some(size) = wanted.size {
            let size = usize::try_from(size).map_err(|_| Errno::EFBIG)?;
            let change = Change::Truncate {
                path: path.clone(),
                size,
            };
            state.change(self.node, change)?;
        }
        if let Some(mtime_s) = wanted.mtime_s {
            let change = Change::SetTime {
                path: path.clone(),
                mtime_s,
            };
            state.change(self.node, change)?;
        }
        self.attributes(&mut state, &path)
    }

    /// What is in a directory: number, kind and name.
    pub(crate) fn listing(&self, directory: INodeNo) -> Done<Vec<(u64, FileType, String)>> {
        let mut state = self.enter();
        let path = self.path(&state, directory)?;
        let mut names = state.fs.names(self.node, &path);
        if path.is_empty() {
            names.extend(MADE_UP.map(str::to_owned));
        }
        let mut listing = Vec::new();
        for name in names {
            let Some(path) = state.names[self.node].below(directory.0, &name) else {
                continue;
            };
            let (kind, ..) = self.look(&state, &path)?;
            listing.push((state.names[self.node].number(&path), kind, name));
        }
        Ok(listing)
    }
}

/// What a `setattr` asks for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) mtime_s: Option<u64>,
}
