//! One agent's view of the shared files: every operation is a step of the simulation.

use std::cell::RefCell;

use vm_autoscale::cluster::{FilesError, SharedFiles};
use vm_autoscale::domain::Moment;

use crate::cluster_fs::{Change, Errno};
use crate::world::World;

/// A look that finds nothing is repeated so often, as the real one does.
const LOOKS: u32 = 10;

/// The shared files as `node` sees them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handle<'w> {
    pub(crate) world: &'w RefCell<World>,
    pub(crate) node: usize,
}

impl Handle<'_> {
    /// Nothing more is done by a process that is dead.
    fn step(&self) -> Result<(), FilesError> {
        let mut world = self.world.borrow_mut();
        world.meanwhile(self.node);
        if world.fate[self.node].dead {
            return Err(FilesError::Failed("killed".to_owned()));
        }
        if !world.fs.is_up(self.node) {
            return Err(FilesError::NotMounted("/etc/pve is not mounted".to_owned()));
        }
        Ok(())
    }

    fn change(&self, change: Change) -> Result<(), Refused> {
        self.step().map_err(Refused::Files)?;
        let mut world = self.world.borrow_mut();
        if world.is_frozen(self.node) {
            // The caller gives up; the call itself cannot be taken back.
            world.hanging.push((self.node, change));
            return Err(Refused::Files(FilesError::Failed(
                "/etc/pve did not answer in time".to_owned(),
            )));
        }
        world.send(self.node, change).map_err(Refused::Errno)
    }

    fn with_parents(&self, path: &str) -> Result<(), FilesError> {
        let ends = path.match_indices('/').map(|(at, _)| at);
        for end in ends {
            let directory = &path[..end];
            let there = self.world.borrow().fs.entry(self.node, directory).is_some();
            if !there {
                self.make_dir(directory)?;
            }
        }
        Ok(())
    }

    fn count(&self, path: &str) {
        // What a writer that was cut off left behind is a matter of the fault, not of the agents' habits.
        if path.starts_with("vm-autoscale/") && path.ends_with(".json") {
            self.world.borrow_mut().writes += 1;
        }
    }
}

enum Refused {
    Errno(Errno),
    Files(FilesError),
}

impl From<Refused> for FilesError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Errno(Errno::Acces) => Self::NoQuorum,
            Refused::Errno(errno) => Self::Failed(format!("{errno:?}")),
            Refused::Files(error) => error,
        }
    }
}

fn unless(refused: Result<(), Refused>, errno: Errno) -> Result<bool, FilesError> {
    match refused {
        Ok(()) => Ok(true),
        Err(Refused::Errno(why)) if why == errno => Ok(false),
        Err(other) => Err(other.into()),
    }
}

impl SharedFiles for Handle<'_> {
    fn read(&self, path: &str) -> Result<Option<String>, FilesError> {
        self.step()?;
        let world = self.world.borrow();
        Ok(world
            .fs
            .made_up(self.node, path)
            .or_else(|| world.text(self.node, path)))
    }

    fn read_settled(&self, path: &str) -> Result<Option<String>, FilesError> {
        for _ in 1..LOOKS {
            if let Some(text) = self.read(path)? {
                return Ok(Some(text));
            }
        }
        self.read(path)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, FilesError> {
        self.step()?;
        Ok(self.world.borrow().fs.names(self.node, directory))
    }

    fn replace(&self, path: &str, text: &str) -> Result<(), FilesError> {
        self.with_parents(path)?;
        let number = self.world.borrow_mut().dice.below(1_000_000);
        let temporary = format!("{path}.tmp.{number}");
        self.change(Change::Create {
            path: temporary.clone(),
        })?;
        self.change(Change::Write {
            path: temporary.clone(),
            offset: 0,
            data: text.as_bytes().to_vec(),
        })?;
        // Somebody on this node has the file open: libfuse hides it first, and for everyone it is gone in between.
        let is_open = self.world.borrow_mut().dice.chance(10);
        if is_open && self.world.borrow().fs.entry(self.node, path).is_some() {
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            let hidden = format!("{directory}/.fuse_hidden{number:08x}");
            self.change(Change::Rename {
                from: path.to_owned(),
                to: hidden.clone(),
            })?;
            self.change(Change::Rename {
                from: temporary,
                to: path.to_owned(),
            })?;
            self.change(Change::Unlink { path: hidden })?;
        } else {
            self.change(Change::Rename {
                from: temporary,
                to: path.to_owned(),
            })?;
        }
        self.count(path);
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<bool, FilesError> {
        let removed = unless(
            self.change(Change::Unlink {
                path: path.to_owned(),
            }),
            Errno::NoEnt,
        )?;
        self.count(path);
        Ok(removed)
    }

    fn make_dir(&self, path: &str) -> Result<bool, FilesError> {
        unless(
            self.change(Change::MakeDir {
                path: path.to_owned(),
            }),
            Errno::Exist,
        )
    }

    fn remove_dir(&self, path: &str) -> Result<bool, FilesError> {
        unless(
            self.change(Change::RemoveDir {
                path: path.to_owned(),
            }),
            Errno::NoEnt,
        )
    }

    fn touch(&self, path: &str, at: Moment) -> Result<bool, FilesError> {
        let mtime_s = u64::try_from(at.as_millis() / 1000).unwrap_or(0);
        match self.change(Change::SetTime {
            path: path.to_owned(),
            mtime_s,
        }) {
            Ok(()) => Ok(true),
            Err(Refused::Errno(Errno::Acces | Errno::NoEnt)) => Ok(false),
            Err(other) => Err(other.into()),
        }
    }

    fn ask_to_expire(&self, path: &str) {
        let _ = self.change(Change::SetTime {
            path: path.to_owned(),
            mtime_s: 0,
        });
    }

    fn quorate(&self) -> Result<bool, FilesError> {
        self.step()?;
        let world = self.world.borrow();
        // The kernel keeps the mode bits of `local` for a second (attr_timeout).
        let seen_ago = world.now_ms.saturating_sub(world.quorum_seen_ms[self.node]);
        Ok(world.fs.is_quorate(self.node) || (seen_ago < 1_000 && world.fs.is_up(self.node)))
    }
}
