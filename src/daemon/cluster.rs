//! The cluster room's place in the tick: it works where it may block, and the tick waits for it only so long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::cluster::{AgentReport, FilesError, Member, Mounted, Note, Round, Seen, View, pause};
use crate::decide::Memory;
use crate::domain::{Moment, NodeName, Reading, VmId};
use crate::observe::{Patient, Pause, Snapshot};
use crate::pve::Layout;

/// How long a tick waits for a round. A quiet one takes milliseconds; while the cluster synchronises, writes hang.
const ROUND_LIMIT: Duration = Duration::from_secs(2);
/// How long a stop waits for the last words.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(3);

type Worker = (Member, Mounted);

/// Where the daemon meets the cluster.
#[derive(Debug)]
pub(super) struct Desk {
    layout: Layout,
    worker: Patient<Worker, Result<View, FilesError>>,
    /// Changes that the worker was not told of yet.
    notes: Vec<Note>,
    /// The managed VMs as of the last round.
    vms: BTreeMap<VmId, Seen>,
    began: Instant,
}

impl Desk {
    pub(super) fn new(layout: &Layout, node: &NodeName) -> Self {
        let worker = (Member::new(node.clone()), Mounted::new(layout.clone()));
        Self {
            layout: layout.clone(),
            worker: Patient::new(worker),
            notes: Vec::new(),
            vms: BTreeMap::new(),
            began: Instant::now(),
        }
    }

    /// Keeps a change that was seen to take effect, to be written down for the other nodes.
    pub(super) fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// One round. What it finds goes into `snapshot` and `memory`; what cannot be told allows nothing.
    pub(super) async fn round(
        &mut self,
        snapshot: &mut Snapshot,
        memory: &mut Memory,
        mut report: AgentReport,
    ) -> View {
        snapshot.cluster.pause = self.pause_of_node();
        report.paused = snapshot
            .cluster
            .pause
            .as_ref()
            .map(|pause| pause.by.clone());
        let quorate = snapshot.cluster.quorate.get() == Some(true);
        let notes = match self.worker.is_idle() {
            true => std::mem::take(&mut self.notes),
            false => Vec::new(),
        };
        self.vms = Seen::all(snapshot);
        let round = Round {
            now: snapshot.at,
            at: self.began.elapsed(),
            quorate,
            vms: self.vms.clone(),
            notes,
            report,
        };
        let work = |(member, files): &mut Worker| member.round(files, round);
        let view = match self.worker.read(ROUND_LIMIT, work).await {
            Some(Ok(view)) => view,
            Some(Err(why)) => {
                snapshot.cluster.quorate = Reading::unknown(why.to_string());
                return View::default();
            }
            None => {
                let why = format!("it has not answered for {} s", ROUND_LIMIT.as_secs());
                snapshot.cluster.quorate = Reading::unknown(why);
                return View::default();
            }
        };
        view.enter(snapshot, memory);
        view
    }

    /// Tells the others that this agent stops on purpose.
    pub(super) async fn stop(&mut self, report: AgentReport) {
        if !self.worker.is_idle() {
            return;
        }
        let round = Round {
            now: Moment::now(),
            at: self.began.elapsed(),
            quorate: true,
            vms: self.vms.clone(),
            notes: std::mem::take(&mut self.notes),
            report,
        };
        let work =
            |(member, files): &mut Worker| member.stop(files, round).map(|()| View::default());
        if let Some(Err(why)) = self.worker.read(LAST_WORDS_LIMIT, work).await {
            tracing::debug!("the other nodes were not told of the stop: {why}");
        }
    }

    /// The order of this node's own admin. One that cannot be read is taken to stand.
    fn pause_of_node(&self) -> Option<Pause> {
        let path = self.layout.pause_file();
        match pause::for_node(&path) {
            Ok(pause) => pause,
            Err(e) => {
                let by = format!("{}, which cannot be read ({e})", path.display());
                Some(Pause::new(&by, Moment::default(), "", false))
            }
        }
    }
}
