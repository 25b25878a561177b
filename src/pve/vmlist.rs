//! The two lists that pmxcfs keeps: which guest is on which node (`.vmlist`), and which nodes form the cluster
//! (`.members`). Their version counters are local to this node's pmxcfs and start again when it does
//! (pmxcfs: status.c): compare them with earlier readings of this node only, and only for "changed or not".

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Layout;
use crate::domain::{NodeName, VmId};
use crate::host::ReadError;
use crate::host::file::read_text;

/// All guests of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct VmList {
    /// Changes whenever the list does.
    pub version: u64,
    /// The guests by number. A cluster without guests has no such key.
    #[serde(rename = "ids", default)]
    pub guests: BTreeMap<VmIdKey, Guest>,
}

/// One guest of the list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Guest {
    /// The node that owns its configuration.
    pub node: NodeName,
    /// VM or container.
    #[serde(rename = "type")]
    pub kind: GuestKind,
    /// Changes with every write or move of its configuration.
    pub version: u64,
}

/// What kind of guest it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    /// A virtual machine.
    Qemu,
    /// A container.
    Lxc,
    /// Something that this program does not know.
    #[serde(other)]
    Unknown,
}

/// A VMID as a JSON key, which is always text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct VmIdKey(pub VmId);

impl TryFrom<String> for VmIdKey {
    type Error = crate::domain::InvalidId;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl VmList {
    /// Reads `etc/pve/.vmlist`.
    ///
    /// # Errors
    /// When the file cannot be read or is not the list.
    pub fn read(layout: &Layout) -> Result<Self, ReadError> {
        read_json(&layout.vmlist())
    }

    /// The entry of `vm`.
    pub fn get(&self, vm: VmId) -> Option<&Guest> {
        self.guests.get(&VmIdKey(vm))
    }

    /// The virtual machines, by number.
    pub fn vms(&self) -> impl Iterator<Item = (VmId, &Guest)> {
        self.guests
            .iter()
            .filter(|(_, guest)| guest.kind == GuestKind::Qemu)
            .map(|(id, guest)| (id.0, guest))
    }
}

/// The nodes of the cluster, as this node sees them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Members {
    /// This node's name.
    pub nodename: NodeName,
    /// The cluster; absent on a standalone node.
    #[serde(default)]
    pub cluster: Option<Cluster>,
    /// The nodes by name; empty on a standalone node.
    #[serde(default, rename = "nodelist")]
    pub nodes: BTreeMap<NodeName, Member>,
}

/// The cluster as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// 1 while this node is in a partition that may change things, else 0.
    pub quorate: u8,
}

/// One node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Member {
    /// 1 while its pmxcfs is reached, else 0.
    pub online: u8,
    /// Its address, where known.
    #[serde(default)]
    pub ip: Option<String>,
}

impl Members {
    /// Reads `etc/pve/.members`.
    ///
    /// # Errors
    /// When the file cannot be read or is not the list.
    pub fn read(layout: &Layout) -> Result<Self, ReadError> {
        read_json(&layout.members())
    }
}

/// Reads a list that pmxcfs makes up while it is read. Its text is made anew on every stat, so that a reader can see a
/// mix of two texts (pmxcfs: cfs-plug-func.c): what does not parse is read once more.
fn read_json<T: DeserializeOwned>(path: &std::path::Path) -> Result<T, ReadError> {
    let read = || -> Result<T, ReadError> {
        let text = read_text(path)?;
        serde_json::from_str(&text).map_err(|error| ReadError::content(path, error.to_string()))
    };
    match read() {
        Err(ReadError::Content { .. }) => read(),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node_with(file: &str, text: &str) -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.pve()).unwrap();
        std::fs::write(layout.pve().join(file), text).unwrap();
        (dir, layout)
    }

    #[test]
    fn a_recorded_list_says_which_node_has_which_vm() {
        let text = include_str!("../../tests/data/recordings/50-vmlist-with-other-node.txt");
        let (_dir, layout) = node_with(".vmlist", text);
        let list = VmList::read(&layout).unwrap();
        assert_eq!(list.version, 346);
        let there = list.get("201".parse().unwrap()).unwrap();
        assert_eq!((there.node.as_str(), there.version), ("pve2", 343));
        let ids: Vec<u32> = list.vms().map(|(id, _)| id.get()).collect();
        assert_eq!(ids, [101, 102, 103, 104, 201]);
    }

    #[test]
    fn a_cluster_without_guests_is_an_empty_list() {
        let (_dir, layout) = node_with(".vmlist", "{\n\"version\": 1\n}\n");
        assert!(VmList::read(&layout).unwrap().guests.is_empty());
    }

    #[test]
    fn containers_are_listed_but_are_no_vms() {
        let text = r#"{"version":3,"ids":{"100":{"node":"a","type":"lxc","version":1},
            "101":{"node":"a","type":"openvz","version":1},"102":{"node":"a","type":"qemu","version":2}}}"#;
        let (_dir, layout) = node_with(".vmlist", text);
        let list = VmList::read(&layout).unwrap();
        assert_eq!(list.guests.len(), 3);
        assert_eq!(list.vms().count(), 1);
    }

    #[test]
    fn a_list_cut_short_is_an_error_with_its_path_and_not_an_empty_list() {
        let (_dir, layout) = node_with(".vmlist", "{\"version\": 30, \"ids\": {\"102\": {\"no");
        let error = VmList::read(&layout).unwrap_err();
        assert!(error.to_string().contains("etc/pve/.vmlist"), "{error}");
        let (_dir, layout) = node_with(".vmlist", r#"{"version":1,"ids":{"12":{}}}"#);
        assert!(VmList::read(&layout).is_err());
    }

    #[test]
    fn a_standalone_node_has_no_cluster_and_a_cluster_says_whether_it_is_quorate() {
        let text = include_str!("../../tests/data/recordings/samples-base/etc-pve-members.txt");
        let (_dir, layout) = node_with(".members", text);
        let alone = Members::read(&layout).unwrap();
        assert_eq!((alone.nodename.as_str(), alone.cluster), ("vm", None));
        // The form that pmxcfs gives a cluster (status.c: cfs_create_memberlist_msg).
        let text = r#"{"nodename": "pve1", "version": 5,
            "cluster": {"name": "c", "version": 3, "nodes": 2, "quorate": 0},
            "nodelist": {"pve1": {"id": 1, "online": 1, "ip": "10.0.0.1"}, "pve2": {"id": 2, "online": 0}}}"#;
        let (_dir, layout) = node_with(".members", text);
        let members = Members::read(&layout).unwrap();
        assert_eq!(members.cluster.map(|cluster| cluster.quorate), Some(0));
        assert_eq!(members.nodes[&"pve2".parse().unwrap()].online, 0);
    }
}
