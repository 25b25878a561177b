//! Where everything is. Every system path hangs off one root, so that tests, the demo and a rescue system can run the
//! whole agent against another tree.

use std::io;
use std::path::{Path, PathBuf};

use crate::domain::{NodeName, VmId};

/// The paths that the agent uses, under one root (`/` on a real node).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

/// The node's own name could not be told.
#[derive(Debug, thiserror::Error)]
pub enum NodeNameError {
    /// `etc/pve/local` is not a readable link: /etc/pve is not mounted.
    #[error("cannot tell this node's name from the link {}: {error}; is the service pve-cluster running?", path.display())]
    NoLink {
        /// The link.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The link does not have the form `nodes/NAME`.
    #[error("cannot tell this node's name: the link {} points to {target:?}, not to nodes/NAME", path.display())]
    BadTarget {
        /// The link.
        path: PathBuf,
        /// Where it points.
        target: PathBuf,
    },
}

impl Layout {
    /// The layout under `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether this is the machine's own tree.
    pub fn is_system(&self) -> bool {
        self.root == Path::new("/")
    }

    fn at(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The agent's own configuration directory.
    pub fn config_dir(&self) -> PathBuf {
        self.at("etc/vm-autoscale")
    }

    /// The file that the admin writes.
    pub fn config_file(&self) -> PathBuf {
        self.at("etc/vm-autoscale/config.yaml")
    }

    /// The cluster file system.
    pub fn pve(&self) -> PathBuf {
        self.at("etc/pve")
    }

    /// The link to this node's directory.
    pub fn pve_local(&self) -> PathBuf {
        self.at("etc/pve/local")
    }

    /// The list of all guests of the cluster.
    pub fn vmlist(&self) -> PathBuf {
        self.at("etc/pve/.vmlist")
    }

    /// The list of the cluster's nodes.
    pub fn members(&self) -> PathBuf {
        self.at("etc/pve/.members")
    }

    /// What pvestatd of each node last told.
    pub fn rrd(&self) -> PathBuf {
        self.at("etc/pve/.rrd")
    }

    /// The change counters of the cluster file system.
    pub fn version(&self) -> PathBuf {
        self.at("etc/pve/.version")
    }

    /// The agents' shared directory in the cluster file system.
    pub fn shared_dir(&self) -> PathBuf {
        self.at("etc/pve/vm-autoscale")
    }

    /// The same for secrets: readable by root only, on every node.
    pub fn shared_secrets_dir(&self) -> PathBuf {
        self.at("etc/pve/priv/vm-autoscale")
    }

    /// The directory of `node` in the cluster file system.
    pub fn node_dir(&self, node: &NodeName) -> PathBuf {
        self.at("etc/pve/nodes").join(node.as_str())
    }

    /// The configuration of `vm` while `node` owns it.
    pub fn vm_config(&self, node: &NodeName, vm: VmId) -> PathBuf {
        self.node_dir(node)
            .join("qemu-server")
            .join(format!("{vm}.conf"))
    }

    /// The kernel's process file system.
    pub fn proc(&self) -> PathBuf {
        self.at("proc")
    }

    /// The control group of `vm`, a systemd scope in `qemu.slice` (QemuServer.pm: vm_start_nolock).
    pub fn scope(&self, vm: VmId) -> PathBuf {
        self.at("sys/fs/cgroup/qemu.slice")
            .join(format!("{vm}.scope"))
    }

    /// The file that holds the number of the VM's QEMU process.
    pub fn pid_file(&self, vm: VmId) -> PathBuf {
        self.at("run/qemu-server").join(format!("{vm}.pid"))
    }

    /// The socket of the VM's QEMU monitor.
    pub fn qmp_socket(&self, vm: VmId) -> PathBuf {
        self.at("run/qemu-server").join(format!("{vm}.qmp"))
    }

    /// What the agent keeps while it runs.
    pub fn run_dir(&self) -> PathBuf {
        self.at("run/vm-autoscale")
    }

    /// What the daemon knows now; the commands read it.
    pub fn state_file(&self) -> PathBuf {
        self.at("run/vm-autoscale/state.json")
    }

    /// What the agent keeps for good.
    pub fn data_dir(&self) -> PathBuf {
        self.at("var/lib/vm-autoscale")
    }

    /// Events that commands leave for the daemon.
    pub fn left_events_dir(&self) -> PathBuf {
        self.data_dir().join("left")
    }

    /// The order to change nothing on this node, while there is one. On disk, since it survives a reboot.
    pub fn pause_file(&self) -> PathBuf {
        self.at("var/lib/vm-autoscale/pause.json")
    }

    /// The cluster's settings that were last good, for when they cannot be read or are faulty.
    pub fn last_good_config(&self) -> PathBuf {
        self.at("var/lib/vm-autoscale/cluster-config.json")
    }

    /// The directory of lock files.
    pub fn lock_dir(&self) -> PathBuf {
        self.at("var/lock")
    }

    /// The command that changes a VM.
    pub fn qm(&self) -> PathBuf {
        self.at("usr/sbin/qm")
    }

    /// The command that asks the API.
    pub fn pvesh(&self) -> PathBuf {
        self.at("usr/bin/pvesh")
    }

    /// This node's name: the target of the link `etc/pve/local`, which is `nodes/NAME` (pmxcfs.c: create_symlinks).
    ///
    /// # Errors
    /// When the link cannot be read, or does not lead to a node's directory.
    pub fn node_name(&self) -> Result<NodeName, NodeNameError> {
        let path = self.pve_local();
        let target = match path.read_link() {
            Ok(target) => target,
            Err(error) => return Err(NodeNameError::NoLink { path, error }),
        };
        let name = target
            .strip_prefix("nodes")
            .ok()
            .and_then(Path::to_str)
            .and_then(|name| name.parse().ok());
        name.ok_or(NodeNameError::BadTarget { path, target })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_path_hangs_off_the_root() {
        let vm: VmId = "101".parse().unwrap();
        let node: NodeName = "pve1".parse().unwrap();
        let real = Layout::new("/");
        assert!(real.is_system());
        assert_eq!(
            real.vm_config(&node, vm),
            Path::new("/etc/pve/nodes/pve1/qemu-server/101.conf")
        );
        assert_eq!(
            real.scope(vm),
            Path::new("/sys/fs/cgroup/qemu.slice/101.scope")
        );
        let other = Layout::new("/tmp/node");
        assert!(!other.is_system());
        assert_eq!(
            other.qmp_socket(vm),
            Path::new("/tmp/node/run/qemu-server/101.qmp")
        );
        assert_eq!(other.qm(), Path::new("/tmp/node/usr/sbin/qm"));
    }

    #[test]
    fn the_nodes_name_is_where_the_link_points() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.pve()).unwrap();
        let missing = layout.node_name().unwrap_err().to_string();
        assert!(missing.contains("pve-cluster"), "{missing}");
        symlink("nodes/pve1", layout.pve_local()).unwrap();
        assert_eq!(layout.node_name().unwrap().as_str(), "pve1");
    }

    #[test]
    fn a_link_that_leads_elsewhere_names_no_node() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.pve()).unwrap();
        for target in ["nodes/../../etc", "/etc", "nodes", "nodes/a/b"] {
            symlink(target, layout.pve_local()).unwrap();
            assert!(layout.node_name().is_err(), "{target}");
            std::fs::remove_file(layout.pve_local()).unwrap();
        }
    }
}
