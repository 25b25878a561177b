//! What the other nodes of the cluster have: who is online (`.members`), and what each last told of itself (`.rrd`).
//!
//! pvestatd broadcasts the numbers every ten seconds, and pmxcfs forgets those that are older than five minutes (status.c:
//! rrd_entry_is_old). No process is started for them.

use std::collections::BTreeMap;

use super::Layout;
use super::vmlist::Members;
use crate::domain::{Mib, NodeName};
use crate::host::ReadError;
use crate::host::file::read_text;

/// What a node told of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Logical CPUs.
    pub cpus: u32,
    /// Memory that its kernel manages.
    pub memory_total: Mib,
    /// Memory that it could still hand out. The ZFS ARC counts as used, which is on the safe side.
    pub memory_available: Mib,
}

/// The nodes that are online besides this one, with what each told; `None` where it told nothing, or nothing that can
/// be understood. Empty on a standalone node.
///
/// # Errors
/// When one of the two files cannot be read, or `.members` is not the list.
pub fn others(layout: &Layout) -> Result<BTreeMap<NodeName, Option<Told>>, ReadError> {
    let members = Members::read(layout)?;
    let own = members.nodename;
    let online = members
        .nodes
        .into_iter()
        .filter(|(name, member)| *name != own && member.online == 1);
    let mut nodes: BTreeMap<NodeName, Option<Told>> =
        online.map(|(name, _)| (name, None)).collect();
    if nodes.is_empty() {
        return Ok(nodes);
    }
    for (name, told) in read_text(&layout.rrd())?.lines().filter_map(parse) {
        if let Some(node) = nodes.get_mut(&name) {
            *node = Some(told);
        }
    }
    Ok(nodes)
}

/// A node's line of `.rrd`. Its key is `pve-node-9.0/NAME`, before PVE 9 `pve2-node/NAME`; later versions only append
/// columns (pvestatd.pm: generate_rrd_string).
fn parse(line: &str) -> Option<(NodeName, Told)> {
    let (key, fields) = line.split_once(':')?;
    let (family, name) = key.split_once('/')?;
    if family != "pve2-node" && !family.starts_with("pve-node-") {
        return None;
    }
    let fields: Vec<&str> = fields.split(':').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let (total, used) = (number(7)?, number(8)?);
    let available = number(15).unwrap_or_else(|| total.saturating_sub(used));
    let told = Told {
        cpus: u32::try_from(number(4)?).ok()?,
        memory_total: Mib::from_bytes(total),
        memory_available: Mib::from_bytes(available.min(total)),
    };
    Some((name.parse().ok()?, told))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn cluster(members: &str, rrd: Option<&str>) -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.pve()).unwrap();
        std::fs::write(layout.members(), members).unwrap();
        if let Some(text) = rrd {
            std::fs::write(layout.rrd(), text).unwrap();
        }
        (dir, layout)
    }

    /// `pve1` as one of four, of which `pve4` is off.
    fn members() -> String {
        let node =
            |(name, online): (&str, u8)| format!(r#""{name}": {{"id": 1, "online": {online}}}"#);
        let nodes = [("pve1", 1), ("pve2", 1), ("pve3", 1), ("pve4", 0)].map(node);
        format!(
            r#"{{"nodename": "pve1", "version": 5, "cluster": {{"name": "c", "version": 3, "nodes": 4, "quorate": 1}},
            "nodelist": {{{}}}}}"#,
            nodes.join(",")
        )
    }

    fn told(cpus: u32, total: u64, available: u64) -> Option<Told> {
        Some(Told {
            cpus,
            memory_total: Mib(total),
            memory_available: Mib(available),
        })
    }

    #[test]
    fn a_recorded_line_tells_cpus_and_memory_that_is_available() {
        let recorded = include_str!("../../tests/data/recordings/samples-base/etc-pve-rrd.txt");
        let found: Vec<_> = recorded.lines().filter_map(parse).collect();
        let name: NodeName = "vm".parse().unwrap();
        let (total, available) = (25_276_063_744_u64 >> 20, 23_771_987_968_u64 >> 20);
        assert_eq!(found, [(name, told(8, total, available).unwrap())]);
    }

    #[test]
    fn only_others_that_are_online_count_and_silence_is_not_room() {
        let line = |name: &str| format!("pve-node-9.0/{name}::::::16:::{}:0\n", 64 * GIB);
        let broken = line("pve3");
        let lines: String = ["pve1", "pve4"]
            .map(|name| {
                format!(
                    "pve2-node/{name}:9::1:0.4:16:0.1:0:{}:{}:0:0\n",
                    64 * GIB,
                    GIB
                )
            })
            .concat();
        let (_dir, layout) = cluster(&members(), Some(&(lines + &broken)));
        let names: Vec<_> = others(&layout).unwrap().into_iter().collect();
        assert_eq!(
            names,
            [
                ("pve2".parse().unwrap(), None),
                ("pve3".parse().unwrap(), None)
            ]
        );
    }

    #[test]
    fn a_node_of_an_older_version_tells_what_is_used() {
        let line = format!(
            "pve2-node/pve2:9::1:0.4:16:0.1:0:{}:{}:0:0\n",
            64 * GIB,
            24 * GIB
        );
        let (_dir, layout) = cluster(&members(), Some(&line));
        let told_by = others(&layout).unwrap();
        let pve2: NodeName = "pve2".parse().unwrap();
        assert_eq!(told_by[&pve2], told(16, 64 * 1024, 40 * 1024));
    }

    #[test]
    fn a_standalone_node_has_no_others_and_needs_no_numbers() {
        let (_dir, layout) = cluster(r#"{"nodename": "pve1", "version": 0}"#, None);
        assert!(others(&layout).unwrap().is_empty());
        let (_dir, layout) = cluster(&members(), None);
        let error = others(&layout).unwrap_err().to_string();
        assert!(error.contains("etc/pve/.rrd"), "{error}");
    }
}
