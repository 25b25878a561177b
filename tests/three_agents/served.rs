//! One pmxcfs for all mounts: who sees what, who must wait, and what was changed by whom.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use vm_autoscale::domain::Moment;

use crate::NODES;
use crate::cluster_fs::{Change, Cluster, Errno};
use crate::names::Names;

/// How long a change takes to reach the other nodes.
const DELIVERED_AFTER_MS: u64 = 20;

/// What a node's pmxcfs leaves unanswered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Hang {
    /// Nothing.
    #[default]
    None,
    /// Every request.
    All,
    /// Whoever opens the file at this path.
    Opening(String),
}

/// A change that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// The node on which it was made.
    pub(crate) node: usize,
    /// The file or directory.
    pub(crate) path: String,
}

/// Which nodes had a quorum, and answered, from a moment on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Era {
    /// In milliseconds since 1970.
    pub(crate) from_ms: u64,
    /// By node.
    pub(crate) able: [bool; NODES.len()],
}

/// pmxcfs on all nodes, shared by the mounts and the test.
#[derive(Debug)]
pub(crate) struct Served {
    state: Mutex<State>,
    /// Told when something stops hanging.
    released: Condvar,
}

/// What is behind the lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) fs: Cluster,
    pub(crate) names: [Names; NODES.len()],
    pub(crate) hidden: u32,
    accepted: Vec<Accepted>,
    eras: Vec<Era>,
    hangs: [Hang; NODES.len()],
    waiting: [usize; NODES.len()],
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(Moment::now().as_millis()).unwrap()
}

impl Default for Served {
    fn default() -> Self {
        let mut fs = Cluster::new(&NODES);
        fs.set_time(now_ms());
        let mut state = State {
            fs,
            names: Default::default(),
            hidden: 0,
            accepted: Vec::new(),
            eras: Vec::new(),
            hangs: Default::default(),
            waiting: Default::default(),
        };
        state.note_era();
        Self {
            state: Mutex::new(state),
            released: Condvar::new(),
        }
    }
}

impl Served {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that failed is told by itself; the mounts go on until they are taken away.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request to `node`, which waits while that hangs; `opens` is what it wants to open, if so.
    pub(crate) fn enter(&self, node: usize, opens: Option<u64>) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.waiting[node] += 1;
        while state.holds_up(node, opens) {
            let waited = self.released.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting[node] -= 1;
        state.fs.set_time(now_ms());
        state.fs.deliver_older(node, DELIVERED_AFTER_MS);
        state
    }

    /// Lets requests to `node` hang, or go on.
    pub(crate) fn hang(&self, node: usize, hang: Hang) {
        let mut state = self.lock();
        state.hangs[node] = hang;
        state.note_era();
        drop(state);
        self.released.notify_all();
    }

    /// Whether a request to `node` is waiting.
    pub(crate) fn is_waited_for(&self, node: usize) -> bool {
        self.lock().waiting[node] > 0
    }

    /// Changes what connects the nodes, or which are up.
    pub(crate) fn rewire(&self, change: impl FnOnce(&mut Cluster)) {
        let mut state = self.lock();
        state.fs.set_time(now_ms());
        // What is due by now has come, also where nobody has asked since.
        for node in 0..NODES.len() {
            state.fs.deliver_older(node, DELIVERED_AFTER_MS);
        }
        change(&mut state.fs);
        state.note_era();
    }

    /// When which nodes could change anything.
    pub(crate) fn eras(&self) -> Vec<Era> {
        self.lock().eras.clone()
    }

    /// Whether `node` has a quorum and answers.
    pub(crate) fn is_able(&self, node: usize) -> bool {
        self.lock().is_able(node)
    }

    /// What was changed so far, in order.
    pub(crate) fn accepted(&self) -> Vec<Accepted> {
        self.lock().accepted.clone()
    }

    /// The file at `path` as all nodes will have it.
    pub(crate) fn agreed(&self, path: &str) -> Option<String> {
        self.lock().fs.agreed().text(path)
    }

    /// The node under which the VM's configuration is, as all nodes will have it.
    pub(crate) fn owner(&self, vm: u32) -> Option<usize> {
        let tree = self.lock().fs.agreed();
        let found = tree.vms().find(|(id, _, _)| *id == vm);
        let (_, name, _) = found?;
        NODES.iter().position(|node| *node == name)
    }
}

impl State {
    fn holds_up(&self, node: usize, opens: Option<u64>) -> bool {
        match &self.hangs[node] {
            Hang::None => false,
            Hang::All => true,
            Hang::Opening(path) => {
                opens.and_then(|file| self.names[node].path(file)) == Some(path.as_str())
            }
        }
    }

    fn is_able(&self, node: usize) -> bool {
        self.fs.is_quorate(node) && self.hangs[node] == Hang::None
    }

    fn note_era(&mut self) {
        let able = std::array::from_fn(|node| self.is_able(node));
        let from_ms = now_ms();
        self.eras.push(Era { from_ms, able });
    }

    /// A change by `node`.
    pub(crate) fn change(&mut self, node: usize, change: Change) -> Result<(), Errno> {
        let path = match &change {
            Change::Create { path }
            | Change::Write { path, .. }
            | Change::Truncate { path, .. }
            | Change::Rename { to: path, .. }
            | Change::Unlink { path }
            | Change::MakeDir { path }
            | Change::RemoveDir { path }
            | Change::SetTime { path, .. }
            | Change::Expire { path, .. } => path.clone(),
        };
        let at_ms = now_ms();
        self.fs.change(node, change, at_ms / 1000)?;
        self.accepted.push(Accepted { at_ms, node, path });
        Ok(())
    }

    /// The text of a file that pmxcfs makes up.
    pub(crate) fn made_up(&self, node: usize, path: &str) -> Option<String> {
        match path {
            ".rrd" => Some(self.told_by_pvestatd(node)),
            ".clusterlog" => Some("{\n\"data\": []\n}\n".to_owned()),
            _ => self.fs.made_up(node, path),
        }
    }

    /// What the nodes that `node` reaches tell of themselves: room for any VM.
    fn told_by_pvestatd(&self, node: usize) -> String {
        let reached = (0..NODES.len()).filter(|other| self.fs.are_connected(node, *other));
        let line = |other| {
            format!(
                "pve-node-9.0/{}:86400::{}:0.50:16:0.050000:0:68719476736:17179869184:0:0:270553174016:24056369152:0:0:\
                 51539607552:0:0.00:0.00:0.00:0.00:0.00\n",
                self.fs.name(other),
                now_ms() / 1000
            )
        };
        reached.map(line).collect()
    }

    /// Where a link that pmxcfs makes up leads to.
    pub(crate) fn link(&self, node: usize, path: &str) -> Option<String> {
        let name = self.fs.name(node);
        match path {
            "local" => Some(format!("nodes/{name}")),
            "qemu-server" => Some(format!("nodes/{name}/qemu-server")),
            _ => None,
        }
    }

    /// The content of a file.
    pub(crate) fn data(&self, node: usize, path: &str) -> Option<Vec<u8>> {
        let made_up = self.made_up(node, path).map(String::into_bytes);
        made_up.or_else(|| self.fs.entry(node, path)?.data.clone())
    }
}
