//! A node's /etc/pve: a FUSE mount, whose requests `pmxcfs` answers.
//!
//! Without `default_permissions`: agent and commands run without root's right to override modes here, and it is pmxcfs
//! that refuses root on a real node, not the kernel.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request,
    Session, TimeOrNow, WriteFlags,
};
use nix::mount::{MntFlags, umount2};

use crate::pmxcfs::{Done, OneNode, Wanted};
use crate::served::{Served, now_ms};

/// How long the kernel believes what it was told of names and attributes (libfuse 2: entry_timeout, attr_timeout).
const BELIEVED: Duration = Duration::from_secs(1);
/// Threads that answer: one request that hangs holds up no other.
const THREADS: usize = 4;
/// A mount that is taken away when it is dropped.
#[derive(Debug)]
pub(crate) struct Mount {
    at: PathBuf,
    _session: BackgroundSession,
}

impl Mount {
    /// Mounts what `node` sees at `at`.
    pub(crate) fn new(served: &Arc<Served>, node: usize, at: &Path) -> io::Result<Self> {
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("pmxcfs-model".to_owned()),
            MountOption::NoDev,
            MountOption::NoSuid,
        ];
        config.n_threads = Some(THREADS);
        let served = Arc::clone(served);
        let session = Session::new(OneNode { served, node }, at, &config)?;
        Ok(Self {
            at: at.to_owned(),
            _session: session.spawn()?,
        })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Also while somebody has a file open: it goes away with the last of them.
        umount2(&self.at, MntFlags::MNT_DETACH).ok();
    }
}

impl Filesystem for OneNode {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(reply, self.lookup(parent, name));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        attributes(reply, self.getattr(ino));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mtime_s = mtime.map(|time| match time {
            TimeOrNow::SpecificTime(time) => {
                let since = time.duration_since(UNIX_EPOCH);
                since.map_or(0, |since| since.as_secs())
            }
            TimeOrNow::Now => now_ms() / 1000,
        });
        let wanted = Wanted {
            mode,
            uid,
            gid,
            size,
            mtime_s,
        };
        attributes(reply, self.set(ino, &wanted));
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.link(ino) {
            Ok(target) => reply.data(target.as_bytes()),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        entry(reply, self.make(parent, name, FileType::Directory));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.remove(parent, name));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.remove_dir(parent, name));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        // Recorded: neither RENAME_NOREPLACE nor RENAME_EXCHANGE.
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        answer(reply, self.rename((parent, name), (new_parent, new_name)));
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.open(ino) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.read(ino) {
            Ok(data) => {
                let begin = usize::try_from(offset).unwrap_or(usize::MAX);
                let begin = begin.min(data.len());
                let end = data.len().min(begin.saturating_add(size as usize));
                reply.data(&data[begin..end]);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.write(ino, offset, data.to_vec()) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(errno) => reply.error(errno),
        }
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.close(ino);
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listing = match self.listing(ino) {
            Ok(listing) => listing,
            Err(errno) => return reply.error(errno),
        };
        let dots = [".", ".."].map(|name| (ino.0, FileType::Directory, name.to_owned()));
        let all = (1..).zip(dots.into_iter().chain(listing));
        let rest = all.skip(usize::try_from(offset).unwrap_or(usize::MAX));
        for (next, (number, kind, name)) in rest {
            if reply.add(INodeNo(number), next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.make(parent, name, FileType::RegularFile) {
            Ok(made) => reply.created(
                &BELIEVED,
                &made,
                Generation(0),
                FileHandle(0),
                FopenFlags::FOPEN_DIRECT_IO,
            ),
            Err(errno) => reply.error(errno),
        }
    }
}

fn entry(reply: ReplyEntry, found: Done<FileAttr>) {
    match found {
        Ok(found) => reply.entry(&BELIEVED, &found, Generation(0)),
        Err(errno) => reply.error(errno),
    }
}

fn attributes(reply: ReplyAttr, found: Done<FileAttr>) {
    match found {
        Ok(found) => reply.attr(&BELIEVED, &found),
        Err(errno) => reply.error(errno),
    }
}

fn answer(reply: ReplyEmpty, done: Done<()>) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}
