//! The parts of /etc/pve that pmxcfs makes up: `.vmlist`, `.version`, `.members`, `.rrd`, and the mode bits that tell
//! whether it can be written. VM configurations are plain files; changes are noticed by looking.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::layout::Layout;

/// What distinguishes one state of a file from the next without reading it.
type Stamp = (u64, i64, i64, u64);

/// The VM configurations of all nodes, as last seen.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    known: BTreeMap<u32, Entry>,
    version: u64,
    counter: u64,
}

#[derive(Debug)]
struct Entry {
    node: String,
    stamp: Stamp,
    version: u64,
}

impl Registry {
    /// Looks at the configuration files. True if `.vmlist` has to be written again.
    pub(crate) fn look(&mut self, layout: &Layout) -> bool {
        let found = configurations(&layout.path("etc/pve/nodes"));
        let mut changed = self.known.len() != found.len();
        let old = std::mem::take(&mut self.known);
        for (vm, (node, stamp)) in found {
            let before = old.get(&vm).filter(|entry| entry.node == node);
            let version = match before.filter(|entry| entry.stamp == stamp) {
                Some(entry) => entry.version,
                None => {
                    self.counter += 1;
                    self.counter
                }
            };
            changed |= before.is_none_or(|entry| entry.version != version);
            self.known.insert(
                vm,
                Entry {
                    node,
                    stamp,
                    version,
                },
            );
        }
        changed |= old.keys().any(|vm| !self.known.contains_key(vm));
        // The first look is news in any case, also of a node without VMs.
        changed |= self.version == 0;
        self.version += u64::from(changed);
        changed
    }

    /// The text of `.vmlist`.
    pub(crate) fn vmlist(&self) -> String {
        let ids: Vec<String> = self
            .known
            .iter()
            .map(|(vm, entry)| {
                format!(
                    "\"{vm}\": {{ \"node\": \"{}\", \"type\": \"qemu\", \"version\": {} }}",
                    entry.node, entry.version
                )
            })
            .collect();
        if ids.is_empty() {
            return format!("{{\n\"version\": {}\n\n}}\n", self.version);
        }
        format!(
            "{{\n\"version\": {},\n\"ids\": {{\n{}}}\n\n}}\n",
            self.version,
            ids.join(",\n")
        )
    }

    /// The text of `.version`, cut to the counters of what the simulator has.
    pub(crate) fn version(&self, node: &str, started_unix_s: u64) -> String {
        format!(
            "{{\n\"starttime\": {started_unix_s},\n\"clinfo\": 0,\n\"vmlist\": {},\n\"corosync.conf\": 1,\n\
             \"storage.cfg\": 1,\n\"datacenter.cfg\": 1,\n\"kvstore\": {{\n\"{node}\": {{\n\"tasklist\": 1}}\n}}\n}}\n",
            self.version
        )
    }

    /// VMIDs whose configuration is on `node`.
    pub(crate) fn of_node<'a>(&'a self, node: &'a str) -> impl Iterator<Item = u32> + 'a {
        self.known
            .iter()
            .filter(move |(_, entry)| entry.node == node)
            .map(|(vm, _)| *vm)
    }
}

fn configurations(nodes: &Path) -> BTreeMap<u32, (String, Stamp)> {
    let mut found = BTreeMap::new();
    for node in entries(nodes) {
        let name = file_name(&node);
        for file in entries(&node.join("qemu-server")) {
            let id = file_name(&file);
            let id = id.strip_suffix(".conf").and_then(|id| id.parse().ok());
            // A file that goes away while we look is seen the next time.
            if let (Some(vm), Ok(meta)) = (id, file.metadata()) {
                let stamp = (meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.len());
                found.insert(vm, (name.clone(), stamp));
            }
        }
    }
    found
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .map(|list| list.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The text of `.members`: short on a standalone node, with the quorum and the `others`, each online or not, in a cluster.
pub(crate) fn members(
    node: &str,
    cluster: Option<&str>,
    others: &BTreeMap<&String, bool>,
    quorate: bool,
) -> String {
    let Some(cluster) = cluster else {
        return format!("{{\n\"nodename\": \"{node}\",\n\"version\": 0\n}}\n");
    };
    let nodes: Vec<(&str, bool)> = std::iter::once((node, true))
        .chain(others.iter().map(|(name, online)| (name.as_str(), *online)))
        .collect();
    let list: Vec<String> = nodes
        .iter()
        .enumerate()
        .map(|(at, (name, online))| {
            let online = u8::from(*online && (quorate || *name == node));
            format!(
                "  \"{name}\": {{ \"id\": {}, \"online\": {online}, \"ip\": \"10.0.0.{}\"}}",
                at + 1,
                at + 1
            )
        })
        .collect();
    format!(
        "{{\n\"nodename\": \"{node}\",\n\"version\": 3,\n\"cluster\": {{ \"name\": \"{cluster}\", \"version\": 3, \
         \"nodes\": {}, \"quorate\": {} }},\n\"nodelist\": {{\n{}\n  }}\n}}\n",
        nodes.len(),
        u8::from(quorate),
        list.join(",\n")
    )
}

/// Sets the mode bits of everything under `dir` as pmxcfs shows them: without a quorum nothing is writable.
///
/// The bits bind a process without the capability to override them, which is how tests run the agent and the
/// commands; pmxcfs refuses root too.
pub(crate) fn set_writable(dir: &Path, writable: bool) -> Result<()> {
    let (for_dirs, for_files) = if writable {
        (0o755, 0o640)
    } else {
        (0o555, 0o440)
    };
    for path in entries(dir) {
        let meta = path.symlink_metadata()?;
        if meta.is_dir() {
            set_writable(&path, writable)?;
        } else if meta.is_file() {
            fs::set_permissions(&path, fs::Permissions::from_mode(for_files))?;
        }
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(for_dirs))?;
    Ok(())
}
