//! One state of the file system, and what a change makes of it (pve-cluster: memdb.c).

use std::collections::BTreeMap;

use super::Change;

/// The largest file (memdb.h: MEMDB_MAX_FILE_SIZE).
const FILE_MAX: usize = 1024 * 1024;
const LOCKS: &str = "priv/lock/";

/// Why a change is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errno {
    Acces,
    Exist,
    NoEnt,
    NotEmpty,
    NotDir,
    IsDir,
    FBig,
}

/// A file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `None` for a directory.
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) mtime_s: u64,
    /// The node that changed it last.
    pub(crate) writer: usize,
    /// The number of its last change.
    pub(crate) version: u64,
}

impl Entry {
    fn directory(writer: usize, mtime_s: u64, version: u64) -> Self {
        Self {
            data: None,
            mtime_s,
            writer,
            version,
        }
    }
}

/// All files and directories by their path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tree {
    entries: BTreeMap<String, Entry>,
}

/// Whether `path` is a directory with the meaning of a lock.
pub(crate) fn is_lock(path: &str) -> bool {
    path.strip_prefix(LOCKS)
        .is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// The VM whose configuration `path` is (memdb.c: path_contain_vm_config).
fn vm_of(path: &str) -> Option<(u32, &str)> {
    let (node, file) = path.strip_prefix("nodes/")?.split_once("/qemu-server/")?;
    Some((file.strip_suffix(".conf")?.parse().ok()?, node))
}

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

impl Tree {
    /// What every cluster has.
    pub(crate) fn new(nodes: &[&str]) -> Self {
        let mut tree = Self::default();
        let mut dirs: Vec<String> = ["priv", "priv/lock", "nodes", "ha"]
            .map(str::to_owned)
            .to_vec();
        for node in nodes {
            dirs.extend([format!("nodes/{node}"), format!("nodes/{node}/qemu-server")]);
        }
        for dir in dirs {
            tree.entries.insert(dir, Entry::directory(0, 0, 0));
        }
        tree
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// A file as text.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let data = self.get(path)?.data.as_ref()?;
        Some(String::from_utf8_lossy(data).into_owned())
    }

    pub(crate) fn names(&self, directory: &str) -> Vec<String> {
        let prefix = if directory.is_empty() {
            String::new()
        } else {
            format!("{directory}/")
        };
        let below = self
            .entries
            .range(prefix.clone()..)
            .take_while(|(path, _)| path.starts_with(&prefix));
        let names = below.filter_map(|(path, _)| path.strip_prefix(&prefix));
        names
            .filter(|name| !name.is_empty() && !name.contains('/'))
            .map(str::to_owned)
            .collect()
    }

    /// The lock directories.
    pub(crate) fn locks(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.entries
            .range(LOCKS.to_owned()..)
            .take_while(|(path, _)| path.starts_with(LOCKS))
            .filter(|(path, e)| is_lock(path) && e.data.is_none())
    }

    /// VMs with their node and the version of their configuration.
    pub(crate) fn vms(&self) -> impl Iterator<Item = (u32, &str, u64)> {
        self.entries.iter().filter_map(|(path, entry)| {
            let (vm, node) = vm_of(path)?;
            Some((vm, node, entry.version))
        })
    }

    /// Applies a change sent by `writer` at `stamp_s` by its clock.
    pub(crate) fn apply(
        &mut self,
        change: &Change,
        writer: usize,
        stamp_s: u64,
        version: u64,
    ) -> Result<(), Errno> {
        match change {
            Change::Create { path } => {
                self.may_appear(path, None)?;
                let entry = Entry {
                    data: Some(Vec::new()),
                    mtime_s: stamp_s,
                    writer,
                    version,
                };
                self.entries.insert(path.clone(), entry);
                Ok(())
            }
            Change::Write { path, offset, data } => {
                self.edit(path, writer, stamp_s, version, |file| {
                    let end = offset + data.len();
                    if end > FILE_MAX {
                        return Err(Errno::FBig);
                    }
                    file.resize(file.len().max(end), 0);
                    file[*offset..end].copy_from_slice(data);
                    Ok(())
                })
            }
            Change::Truncate { path, size } => self.edit(path, writer, stamp_s, version, |file| {
                if *size > FILE_MAX {
                    return Err(Errno::FBig);
                }
                file.resize(*size, 0);
                Ok(())
            }),
            Change::Rename { from, to } => self.rename(from, to, (writer, stamp_s, version)),
            Change::Unlink { path } => match self.entries.get(path) {
                Some(entry) if entry.data.is_some() => {
                    self.entries.remove(path);
                    Ok(())
                }
                Some(_) => Err(Errno::IsDir),
                None => Err(Errno::NoEnt),
            },
            Change::MakeDir { path } => {
                self.may_appear(path, None)?;
                self.entries
                    .insert(path.clone(), Entry::directory(writer, stamp_s, version));
                Ok(())
            }
            Change::RemoveDir { path } => self.remove_dir(path),
            Change::SetTime { path, mtime_s } => {
                let entry = self.entries.get_mut(path).ok_or(Errno::NoEnt)?;
                // Only the node that holds a lock keeps it, and time does not run back (memdb.c: memdb_mtime).
                if is_lock(path) && (entry.writer != writer || *mtime_s < entry.mtime_s) {
                    return Err(Errno::Acces);
                }
                (entry.mtime_s, entry.writer, entry.version) = (*mtime_s, writer, version);
                Ok(())
            }
            Change::Expire { path, version } => match self.entries.get(path) {
                Some(entry) if entry.version == *version => self.remove_dir(path),
                _ => Err(Errno::NoEnt),
            },
        }
    }

    /// Whether something new may appear at `path`. A VM has one configuration in the whole cluster.
    fn may_appear(&self, path: &str, moving: Option<u32>) -> Result<(), Errno> {
        if self.entries.contains_key(path) {
            return Err(Errno::Exist);
        }
        self.parent_is_there(path)?;
        match vm_of(path) {
            Some((vm, _)) if moving != Some(vm) && self.vms().any(|(other, _, _)| other == vm) => {
                Err(Errno::Exist)
            }
            _ => Ok(()),
        }
    }

    fn parent_is_there(&self, path: &str) -> Result<(), Errno> {
        match parent(path).map(|parent| self.entries.get(parent)) {
            None => Ok(()),
            Some(None) => Err(Errno::NoEnt),
            Some(Some(entry)) if entry.data.is_some() => Err(Errno::NotDir),
            Some(Some(_)) => Ok(()),
        }
    }

    fn edit(
        &mut self,
        path: &str,
        writer: usize,
        stamp_s: u64,
        version: u64,
        edit: impl FnOnce(&mut Vec<u8>) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let entry = self.entries.get_mut(path).ok_or(Errno::NoEnt)?;
        edit(entry.data.as_mut().ok_or(Errno::IsDir)?)?;
        (entry.mtime_s, entry.writer, entry.version) = (stamp_s, writer, version);
        Ok(())
    }

    fn rename(
        &mut self,
        from: &str,
        to: &str,
        (writer, stamp_s, version): (usize, u64, u64),
    ) -> Result<(), Errno> {
        let entry = self.entries.get(from).cloned().ok_or(Errno::NoEnt)?;
        if entry.data.is_none() && (is_lock(from) || !self.names(from).is_empty()) {
            return Err(if is_lock(from) {
                Errno::Acces
            } else {
                Errno::NotEmpty
            });
        }
        if from == to {
            return Ok(());
        }
        self.parent_is_there(to)?;
        match (self.entries.get(to), &entry.data) {
            (Some(target), Some(_)) if target.data.is_none() => return Err(Errno::IsDir),
            (Some(target), None) if target.data.is_some() => return Err(Errno::NotDir),
            (Some(_), None) if !self.names(to).is_empty() => return Err(Errno::NotEmpty),
            (Some(_), _) => {}
            (None, _) => self.may_appear(to, vm_of(from).map(|(vm, _)| vm))?,
        }
        self.entries.remove(from);
        self.entries.insert(
            to.to_owned(),
            Entry {
                mtime_s: stamp_s,
                writer,
                version,
                ..entry
            },
        );
        Ok(())
    }

    fn remove_dir(&mut self, path: &str) -> Result<(), Errno> {
        match self.entries.get(path) {
            None => Err(Errno::NoEnt),
            Some(entry) if entry.data.is_some() => Err(Errno::NotDir),
            Some(_) if !self.names(path).is_empty() => Err(Errno::NotEmpty),
            Some(_) => {
                self.entries.remove(path);
                Ok(())
            }
        }
    }
}
