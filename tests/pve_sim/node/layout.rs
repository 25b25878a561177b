//! Where things are under the root, and how files are replaced: a reader sees the old text or the new, as with files
//! that a kernel makes up.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::scenario::STATE_DIR;

/// A root directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
    node: String,
}

impl Layout {
    /// The root of the node called `node`.
    pub(crate) fn new(root: &Path, node: &str) -> Self {
        Self {
            root: root.to_owned(),
            node: node.to_owned(),
        }
    }

    /// Makes the directories and links that a node has, and the commands' links to `binary`.
    pub(crate) fn create(&self, binary: &Path) -> Result<()> {
        for dir in [
            "etc/vm-autoscale",
            "proc/pressure",
            "run/qemu-server",
            "run/vm-autoscale",
            "sys/fs/cgroup/qemu.slice",
            "usr/bin",
            "usr/sbin",
            "var/lib/vm-autoscale",
            "var/lock/qemu-server",
        ] {
            make_dir(&self.root.join(dir))?;
        }
        for dir in ["control", "tmp"] {
            make_dir(&self.state(dir))?;
        }
        relink(&self.root.join("usr/sbin/qm"), binary)?;
        relink(&self.root.join("usr/bin/pvesh"), binary)?;
        self.replace(
            "sys/fs/cgroup/cgroup.controllers",
            "cpuset cpu io memory hugetlb pids\n",
        )
    }

    /// Makes the directories and links that pmxcfs has from the start.
    pub(crate) fn create_etc_pve(&self) -> Result<()> {
        make_dir(&self.root.join("etc/pve/priv"))?;
        make_dir(&self.configs())?;
        for (link, target) in [
            ("etc/pve/local", format!("nodes/{}", self.node)),
            (
                "etc/pve/qemu-server",
                format!("nodes/{}/qemu-server", self.node),
            ),
        ] {
            relink(&self.root.join(link), Path::new(&target))?;
        }
        Ok(())
    }

    /// A path under the root.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The directory of this node's VM configurations.
    pub(crate) fn configs(&self) -> PathBuf {
        self.root
            .join("etc/pve/nodes")
            .join(&self.node)
            .join("qemu-server")
    }

    /// A path in the simulator's own directory.
    pub(crate) fn state(&self, relative: &str) -> PathBuf {
        self.root.join(STATE_DIR).join(relative)
    }

    /// A VM's control group.
    pub(crate) fn scope(&self, vm: u32) -> PathBuf {
        self.root
            .join(format!("sys/fs/cgroup/qemu.slice/{vm}.scope"))
    }

    /// A file in `/run/qemu-server`.
    pub(crate) fn runtime(&self, vm: u32, suffix: &str) -> PathBuf {
        self.root.join(format!("run/qemu-server/{vm}.{suffix}"))
    }

    /// Replaces the file at `relative` in one step.
    pub(crate) fn replace(&self, relative: &str, text: &str) -> Result<()> {
        self.replace_at(&self.root.join(relative), text)
    }

    /// Replaces the file at `path`, which is under the root, in one step.
    pub(crate) fn replace_at(&self, path: &Path, text: &str) -> Result<()> {
        let made = self.state("tmp").join("next");
        fs::write(&made, text)
            .and_then(|()| fs::rename(&made, path))
            .with_context(|| format!("replacing {}", path.display()))
    }
}

fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))
}

fn relink(link: &Path, target: &Path) -> Result<()> {
    fs::remove_file(link).ok();
    symlink(target, link).with_context(|| format!("linking {}", link.display()))
}
