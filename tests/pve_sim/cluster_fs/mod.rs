//! A model of pmxcfs on several nodes: one agreed order of changes, which each node applies at its own pace.
//!
//! Pure: time and every choice come from outside. The rules are those of pve-cluster's source, as far as a user of the
//! file system can see them; what was recorded of the real one is held against this in `tests.rs`.

mod tree;

use std::collections::BTreeMap;

pub(crate) use tree::{Entry, Errno, Tree};

/// Locks that nobody refreshed for so long can be removed (CFS_LOCK_TIMEOUT).
pub(crate) const LOCK_TIMEOUT_MS: u64 = 120_000;

/// A change, as it is sent to all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Create {
        path: String,
    },
    Write {
        path: String,
        offset: usize,
        data: Vec<u8>,
    },
    Truncate {
        path: String,
        size: usize,
    },
    Rename {
        from: String,
        to: String,
    },
    Unlink {
        path: String,
    },
    MakeDir {
        path: String,
    },
    RemoveDir {
        path: String,
    },
    SetTime {
        path: String,
        mtime_s: u64,
    },
    /// The removal of a lock that was found too old; only if it is still the same.
    Expire {
        path: String,
        version: u64,
    },
}

/// A change in its place in the order.
#[derive(Debug, Clone)]
struct Message {
    change: Change,
    sender: usize,
    /// The sender's clock, in seconds: it becomes the time of what was changed.
    stamp_s: u64,
    sent_ms: u64,
}

/// One node's part.
#[derive(Debug, Clone)]
struct Node {
    name: String,
    tree: Tree,
    applied: usize,
    up: bool,
    /// It has applied changes that the others never got, and must take over their state.
    diverged: bool,
    /// Nodes reach each other within a partition.
    partition: usize,
    /// When this node saw the present version of each lock for the first time.
    locks: BTreeMap<String, (u64, u64)>,
    started_ms: u64,
}

/// pmxcfs on all nodes.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    order: Vec<Message>,
    now_ms: u64,
}

impl Cluster {
    /// A cluster of these nodes, all up and connected.
    pub(crate) fn new(names: &[&str]) -> Self {
        let node = |name: &&str| Node {
            name: (*name).to_owned(),
            tree: Tree::new(names),
            applied: 0,
            up: true,
            diverged: false,
            partition: 0,
            locks: BTreeMap::new(),
            started_ms: 0,
        };
        Self {
            nodes: names.iter().map(node).collect(),
            order: Vec::new(),
            now_ms: 0,
        }
    }

    /// Lets time pass.
    pub(crate) fn set_time(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        for node in 0..self.nodes.len() {
            self.watch_locks(node);
        }
    }

    pub(crate) fn name(&self, node: usize) -> &str {
        &self.nodes[node].name
    }

    pub(crate) fn is_up(&self, node: usize) -> bool {
        self.nodes[node].up
    }

    /// Whether `node` is in a partition of more than half of all nodes.
    pub(crate) fn is_quorate(&self, node: usize) -> bool {
        self.nodes[node].up && self.reached(node) * 2 > self.nodes.len()
    }

    fn reached(&self, node: usize) -> usize {
        let here = self.nodes[node].partition;
        self.nodes
            .iter()
            .filter(|other| other.up && other.partition == here)
            .count()
    }

    /// Whether `a` and `b` reach each other.
    pub(crate) fn are_connected(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.nodes[a], &self.nodes[b]);
        a.up && b.up && a.partition == b.partition
    }

    /// Puts `node` into a partition.
    pub(crate) fn set_partition(&mut self, node: usize, partition: usize) {
        self.nodes[node].partition = partition;
        self.resync();
    }

    /// Cuts `node` off at once, before the others got its last changes: it saw them succeed, and nobody else will ever
    /// see them (corosync delivers in agreed order, not only what all have received). Returns how many renames are lost:
    /// each is a file that was replaced.
    pub(crate) fn cut_off_abruptly(&mut self, node: usize, partition: usize) -> usize {
        let mut lost = 0;
        let others = (0..self.nodes.len())
            .filter(|other| *other != node && self.are_connected(node, *other));
        if let Some(known) = others.map(|other| self.nodes[other].applied).max() {
            let renames = |message: &&Message| matches!(message.change, Change::Rename { .. });
            lost = self.order[known.min(self.order.len())..]
                .iter()
                .filter(renames)
                .count();
            self.order.truncate(known);
            self.nodes[node].diverged = self.nodes[node].applied > known;
        }
        self.set_partition(node, partition);
        lost
    }

    /// pmxcfs on `node` goes down or comes up; it then knows what the quorate ones know.
    pub(crate) fn set_up(&mut self, node: usize, up: bool) {
        self.nodes[node].up = up;
        self.nodes[node].started_ms = self.now_ms;
        self.nodes[node].locks.clear();
        self.resync();
    }

    /// Whoever (re)joins the quorate partition is brought to its state at once (dfsm: state transfer).
    fn resync(&mut self) {
        let quorate: Vec<usize> = (0..self.nodes.len())
            .filter(|node| self.is_quorate(*node))
            .collect();
        for node in &quorate {
            if !self.nodes[*node].diverged {
                self.apply_up_to(*node, self.order.len());
            }
        }
        let Some(leader) = quorate
            .iter()
            .find(|node| !self.nodes[**node].diverged)
            .copied()
        else {
            return;
        };
        for node in quorate {
            if self.nodes[node].diverged {
                self.nodes[node].tree = self.nodes[leader].tree.clone();
                self.nodes[node].applied = self.order.len();
                self.nodes[node].diverged = false;
            }
        }
    }

    /// Lets `node` apply up to `count` more changes; one that is cut off gets none.
    pub(crate) fn deliver(&mut self, node: usize, count: usize) {
        if self.is_quorate(node) {
            self.apply_up_to(
                node,
                (self.nodes[node].applied + count).min(self.order.len()),
            );
        }
    }

    /// Lets `node` apply what is at least `delay_ms` old.
    pub(crate) fn deliver_older(&mut self, node: usize, delay_ms: u64) {
        let (now, applied) = (self.now_ms, self.nodes[node].applied.min(self.order.len()));
        let ripe = self.order[applied..]
            .iter()
            .take_while(|message| message.sent_ms + delay_ms <= now)
            .count();
        self.deliver(node, ripe);
    }

    fn apply_up_to(&mut self, node: usize, end: usize) {
        while self.nodes[node].applied < end {
            let message = self.order[self.nodes[node].applied].clone();
            // The result is the same on every node; only the sender looks at it.
            let _ = self.apply_next(node, &message);
        }
    }

    fn apply_next(&mut self, node: usize, message: &Message) -> Result<(), Errno> {
        let version = self.nodes[node].applied as u64 + 1;
        let state = &mut self.nodes[node];
        state.applied += 1;
        let result = state
            .tree
            .apply(&message.change, message.sender, message.stamp_s, version);
        self.watch_locks(node);
        result
    }

    /// Notes since when each lock is as it is now, by this node's own clock.
    fn watch_locks(&mut self, node: usize) {
        let now = self.now_ms;
        let state = &mut self.nodes[node];
        let present: Vec<(String, u64)> = state
            .tree
            .locks()
            .map(|(path, entry)| (path.clone(), entry.version))
            .collect();
        state
            .locks
            .retain(|path, _| present.iter().any(|(p, _)| p == path));
        for (path, version) in present {
            let seen = state.locks.entry(path).or_insert((version, now));
            if seen.0 != version {
                *seen = (version, now);
            }
        }
    }

    /// Sends a change by `node`, whose clock says `stamp_s`, and returns what came of it, as the system call does: after
    /// the change was applied on this node.
    pub(crate) fn change(
        &mut self,
        node: usize,
        change: Change,
        stamp_s: u64,
    ) -> Result<(), Errno> {
        if !self.is_quorate(node) {
            return Err(Errno::Acces);
        }
        if let Change::SetTime { path, mtime_s: 0 } = &change
            && tree::is_lock(path)
        {
            self.ask_to_expire(node, path.clone());
            return Err(Errno::Acces);
        }
        let message = Message {
            change,
            sender: node,
            stamp_s,
            sent_ms: self.now_ms,
        };
        self.apply_up_to(node, self.order.len());
        self.order.push(message.clone());
        self.apply_next(node, &message)
    }

    /// The node with the lowest number in the partition looks at its own timer (dcdb.c: dcdb_deliver).
    fn ask_to_expire(&mut self, node: usize, path: String) {
        let judge = (0..self.nodes.len())
            .find(|other| self.are_connected(node, *other))
            .unwrap_or(node);
        let Some((version, since)) = self.nodes[judge].locks.get(&path).copied() else {
            return;
        };
        if self.now_ms.saturating_sub(since) > LOCK_TIMEOUT_MS {
            let expire = Change::Expire { path, version };
            let message = Message {
                change: expire,
                sender: judge,
                stamp_s: 0,
                sent_ms: self.now_ms,
            };
            self.apply_up_to(judge, self.order.len());
            self.order.push(message.clone());
            let _ = self.apply_next(judge, &message);
        }
    }

    /// What `node` sees at `path`.
    pub(crate) fn entry(&self, node: usize, path: &str) -> Option<&Entry> {
        self.nodes[node].tree.get(path)
    }

    /// The names in a directory, as `node` sees it.
    pub(crate) fn names(&self, node: usize, directory: &str) -> Vec<String> {
        self.nodes[node].tree.names(directory)
    }

    /// The whole state that all nodes will come to.
    pub(crate) fn agreed(&self) -> Tree {
        let sound = self.nodes.iter().filter(|node| !node.diverged);
        let mut latest = sound
            .max_by_key(|node| node.applied)
            .map(|n| (n.applied, n.tree.clone()));
        if let Some((applied, tree)) = &mut latest {
            for (at, message) in self.order.iter().enumerate().skip(*applied) {
                let _ = tree.apply(
                    &message.change,
                    message.sender,
                    message.stamp_s,
                    at as u64 + 1,
                );
            }
        }
        latest.map(|(_, tree)| tree).unwrap_or_default()
    }

    /// A file that pmxcfs makes up, as `node` sees it.
    pub(crate) fn made_up(&self, node: usize, name: &str) -> Option<String> {
        let state = &self.nodes[node];
        match name {
            ".vmlist" => Some(vmlist(&state.tree)),
            ".version" => Some(format!(
                "{{\n\"starttime\": {},\n\"vmlist\": {}\n}}\n",
                state.started_ms / 1000,
                state.applied
            )),
            ".members" => Some(self.members(node)),
            _ => None,
        }
    }

    fn members(&self, node: usize) -> String {
        let quorate = u8::from(self.is_quorate(node));
        let list: Vec<String> = (0..self.nodes.len())
            .map(|other| {
                let online = u8::from(self.are_connected(node, other));
                format!(
                    "\"{}\": {{ \"id\": {}, \"online\": {online}, \"ip\": \"10.0.0.{}\"}}",
                    self.name(other),
                    other + 1,
                    other + 1
                )
            })
            .collect();
        format!(
            "{{\n\"nodename\": \"{}\",\n\"version\": {},\n\"cluster\": {{ \"name\": \"sim\", \"version\": 3, \"nodes\": {}, \
             \"quorate\": {quorate} }},\n\"nodelist\": {{\n{}\n}}\n}}\n",
            self.name(node),
            self.reached(node),
            self.nodes.len(),
            list.join(",\n")
        )
    }
}

/// The list of guests (status.c: cfs_create_vmlist_msg).
fn vmlist(tree: &Tree) -> String {
    let ids: Vec<String> = tree
        .vms()
        .map(|(vm, node, version)| {
            format!(
                "\"{vm}\": {{ \"node\": \"{node}\", \"type\": \"qemu\", \"version\": {version} }}"
            )
        })
        .collect();
    if ids.is_empty() {
        return "{\n\"version\": 1\n}\n".to_owned();
    }
    format!(
        "{{\n\"version\": {},\n\"ids\": {{\n{}}}\n\n}}\n",
        ids.len(),
        ids.join(",\n")
    )
}

#[cfg(test)]
mod tests;
