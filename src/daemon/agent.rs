//! The agent: what it holds between ticks, and one tick of it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::act::{Done, Executor, Outcome, Report};
use crate::cluster::{AgentReport, Note, View, digest};
use crate::decide::{self, ByHand, Change, Memory, Plan};
use crate::domain::{Moment, NodeName, Resource, VmId};
use crate::observe::{InHand, Observer, Snapshot};
use crate::pve::{Layout, Limits, Qm};
use crate::record::{AgentState, Event, EventKind, State, VmRef, Watch, left};

use super::cluster::Desk;
use super::configuration::Configuration;
use super::outlets::Outlets;
use super::store::Store;
use super::{DaemonError, Options};

/// Everything that lives from tick to tick.
pub(super) struct Agent {
    layout: Layout,
    options: Options,
    node: NodeName,
    config: Configuration,
    started: Moment,
    observer: Observer,
    memory: Memory,
    store: Store,
    executor: Executor,
    reports: (
        mpsc::UnboundedSender<Report>,
        mpsc::UnboundedReceiver<Report>,
    ),
    /// Changes that are being carried out, by VM.
    in_hand: BTreeMap<VmId, Vec<InHand>>,
    last: BTreeMap<(VmId, Resource), Done>,
    watch: Watch,
    desk: Desk,
    outlets: Outlets,
    state: Option<State>,
    state_failing: bool,
}

impl Agent {
    /// Reads the configuration and what was stored.
    pub(super) async fn new(layout: Layout, options: Options) -> Result<Self, DaemonError> {
        let config = Configuration::open(&layout, !options.dry_run).await?;
        let node = layout
            .node_name()
            .map_err(|e| DaemonError::Node(e.to_string()))?;
        let (store, memory) = Store::open(&layout);
        Ok(Self {
            observer: Observer::new(layout.clone(), node.clone()),
            executor: Executor::new(
                layout.clone(),
                node.clone(),
                Qm::new(&layout, Limits::default()),
            ),
            reports: mpsc::unbounded_channel(),
            in_hand: BTreeMap::new(),
            last: BTreeMap::new(),
            watch: Watch::default(),
            desk: Desk::new(&layout, &node),
            outlets: Outlets::new(&layout, options.dry_run),
            state: None,
            state_failing: false,
            started: Moment::now(),
            config,
            layout,
            options,
            node,
            memory,
            store,
        })
    }

    /// How often to decide.
    pub(super) fn check_interval(&self) -> Duration {
        self.config.settings.check_interval
    }

    /// The first look, and the service manager is told that the agent is ready.
    pub(super) async fn start(&mut self) {
        self.outlets
            .open(&self.config.settings.notify, &self.layout, &self.node);
        let snapshot = self.observe().await;
        let managed = snapshot
            .vms
            .values()
            .filter(|vm| vm.owner == self.node)
            .count();
        self.tell(
            None,
            EventKind::Started {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                managed,
            },
        );
        if let Some(why) = self.config.rejected.clone() {
            self.tell(None, EventKind::ConfigRejected { why });
        }
        // Not `qm set VMID --tags autoscale`: that would replace the tags which the VM has.
        let next = match managed {
            0 => {
                "nothing is changed until a VM has one of the tags under select.tags; then see `vm-autoscale status`"
            }
            _ => "what is seen and done, and why, is shown by `vm-autoscale status`",
        };
        tracing::info!("on node {}: {next}", self.node);
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }

    /// Samples the counters that rise between ticks. True if a guest is so short of memory that the next tick cannot
    /// wait.
    pub(super) async fn sample(&mut self) -> bool {
        self.observer.sample();
        self.observer
            .tight_memory()
            .await
            .iter()
            .any(decide::is_tight)
    }

    /// One tick: observe, decide, begin what was decided, and let everyone know.
    pub(super) async fn tick(&mut self) {
        let (snapshot, plan) = self.decide().await;
        self.tell_what_was_left();
        if !self.options.dry_run {
            for changes in by_vm(&plan.changes).into_values() {
                self.begin(changes);
            }
        }
        self.publish(&snapshot, &plan);
    }

    /// One decision, carried out to its end and printed.
    pub(super) async fn once(&mut self) -> Result<(), DaemonError> {
        self.observe().await;
        // CPU usage is a difference: it takes two looks.
        tokio::time::sleep(super::SAMPLE_EVERY).await;
        self.observer.sample();
        let (snapshot, plan) = self.decide().await;
        for verdict in &plan.verdicts {
            let change = plan
                .changes
                .iter()
                .find(|c| c.vm == verdict.vm && c.lever.resource() == verdict.resource);
            let what = change.map_or_else(|| "no change".to_owned(), Change::to_string);
            tracing::info!(
                "VM {} ({}) {}: {what}, {}",
                verdict.vm,
                verdict.name,
                verdict.resource,
                verdict.reason
            );
        }
        if self.options.dry_run {
            return Ok(());
        }
        for changes in by_vm(&plan.changes).into_values() {
            self.begin(changes);
        }
        self.publish(&snapshot, &plan);
        self.finish(super::STOP_WITHIN).await;
        self.store.save(&self.memory, Moment::now());
        Ok(())
    }

    async fn observe(&mut self) -> Snapshot {
        let settings = &self.config.settings;
        self.observer.snapshot(settings, &self.in_hand).await
    }

    async fn decide(&mut self) -> (Snapshot, Plan) {
        let mut snapshot = self.observe().await;
        // A dry run looks on beside the daemon, which speaks for this node.
        if !self.options.dry_run {
            let report = self.own_report();
            let view = self
                .desk
                .round(&mut snapshot, &mut self.memory, report)
                .await;
            self.tell_of_cluster(view);
        }
        if snapshot.cluster.pause.is_none() {
            snapshot.cluster.pause.clone_from(&self.config.hold);
        }
        let plan = decide::plan(
            &snapshot,
            &mut self.memory,
            &self.config.settings,
            snapshot.at,
        );
        (snapshot, plan)
    }

    /// What this agent tells the other nodes of itself.
    fn own_report(&self) -> AgentReport {
        let version = env!("CARGO_PKG_VERSION");
        let config = digest(&self.config.settings);
        AgentReport::new(
            version,
            self.started,
            config,
            self.config.rejected.as_deref(),
        )
    }

    /// Logs what the other nodes' VMs mean for this one.
    fn tell_of_cluster(&mut self, view: View) {
        for arrival in view.arrivals.iter().filter(|a| a.from != self.node) {
            tracing::info!(
                VMID = arrival.vm.get(),
                "VM {}: taken over from node {}; cool-downs begin anew",
                arrival.vm,
                arrival.from
            );
        }
        for vm in view.replaced {
            tracing::info!(
                VMID = vm.get(),
                "VM {vm}: this is another VM than the one that had its number; what was known of that one was removed"
            );
        }
        for vm in view.cleared {
            tracing::info!(
                VMID = vm.get(),
                "VM {vm} exists no more; its shared facts were removed"
            );
        }
        if let Some(day) = view.day {
            self.tell(None, EventKind::Daily(day));
        }
        if let Some(why) = view.problem {
            tracing::debug!("housekeeping in /etc/pve: {why}");
        }
    }

    /// Tells what commands did meanwhile.
    fn tell_what_was_left(&mut self) {
        if !self.options.dry_run {
            for event in left::take(&self.layout.left_events_dir()) {
                self.outlets.tell(&event);
            }
        }
    }

    /// Starts the changes of one VM.
    fn begin(&mut self, changes: Vec<Change>) {
        let Some(first) = changes.first() else { return };
        let in_hand = changes.iter().map(|change| InHand {
            lever: change.lever,
            from: change.from,
            to: change.to,
        });
        self.in_hand.entry(first.vm).or_default().extend(in_hand);
        let (executor, reports) = (self.executor.clone(), self.reports.0.clone());
        tokio::spawn(async move { executor.carry_out(changes, reports).await });
    }

    /// Waits for the next report of a change. Never ends while nothing is in hand.
    pub(super) async fn next_report(&mut self) -> Option<Report> {
        self.reports.1.recv().await
    }

    /// Takes in what became of a change.
    pub(super) fn take(&mut self, report: Report) {
        match report {
            Report::TakenOver { vm, baseline } => {
                self.tell(
                    Some(vm),
                    EventKind::TakenOver {
                        what: baseline.to_string(),
                    },
                );
            }
            Report::Done(done) => self.done(*done),
        }
    }

    fn done(&mut self, done: Done) {
        let (vm, lever) = (done.change.vm, done.change.lever);
        if let Some(in_hand) = self.in_hand.get_mut(&vm) {
            in_hand.retain(|change| change.lever != lever);
            if in_hand.is_empty() {
                self.in_hand.remove(&vm);
            }
        }
        self.observer.changed(vm);
        let rest = self.memory.note(&done);
        self.store.save(&self.memory, done.at);
        if done.outcome.moved() {
            let learned = self.memory.of_vm(vm).cloned();
            let done = done.clone();
            self.desk.note(Note { done, learned });
        }
        if let Outcome::Withheld(why) = &done.outcome {
            // Expected while VMs move, are locked or paused: the next tick's verdict tells it.
            tracing::debug!("VM {vm}: {} was withheld: {why}", done.change);
            return;
        }
        if let Some(state) = &mut self.state {
            state.note(&done);
            self.write_state();
        }
        self.last.insert((vm, lever.resource()), done.clone());
        let why = done.outcome.to_string();
        self.tell(Some(vm), EventKind::Changed(Box::new(done)));
        if let Some(until) = rest {
            self.tell(Some(vm), EventKind::BreakerOpened { lever, until, why });
        }
    }

    /// Writes the state, and tells what is new.
    fn publish(&mut self, snapshot: &Snapshot, plan: &Plan) {
        for change in &plan.by_hand {
            self.adopt(change);
        }
        for event in self.watch.look(snapshot, plan, &self.config.settings) {
            self.outlets.tell(&event);
        }
        if self.options.dry_run {
            for change in &plan.changes {
                tracing::info!(
                    "VM {} ({}): would change {change}, {}",
                    change.vm,
                    change.name,
                    change.reason
                );
            }
            return;
        }
        let agent = AgentState {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.started,
            check_interval: self.config.settings.check_interval,
            config_rejected: self.config.rejected.clone(),
        };
        let last = |vm, resource| self.last.get(&(vm, resource)).cloned();
        self.state = Some(State::new(agent, snapshot, plan, last));
        self.write_state();
        self.store.save_now_and_then(&self.memory, snapshot.at);
        self.outlets.healthy();
        let managed = plan.verdicts.len() / 2;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(&format!(
            "watching {managed} VMs"
        ))]);
    }

    /// Respects what somebody else changed.
    fn adopt(&mut self, change: &ByHand) {
        let ByHand {
            vm,
            lever,
            from,
            to,
        } = *change;
        let what = format!("{lever} was changed by hand, {from} → {to}, which is the new baseline");
        self.tell(Some(vm), EventKind::TakenOver { what });
        if self.options.dry_run {
            return;
        }
        let executor = self.executor.clone();
        tokio::spawn(async move {
            if let Err(why) = executor.adopt(vm, lever).await {
                tracing::warn!(
                    "VM {vm}: `release` would undo what was set by hand ({lever}): {why}"
                );
            }
        });
    }

    fn write_state(&mut self) {
        let Some(state) = &self.state else { return };
        let path = self.layout.state_file();
        match state.write(&path) {
            Ok(()) => self.state_failing = false,
            Err(e) if !self.state_failing => {
                self.state_failing = true;
                tracing::warn!(
                    "cannot write {}: {e}; `status` shows old values",
                    path.display()
                );
            }
            Err(_) => {}
        }
    }

    /// Reloads if another node's admin changed the cluster's settings.
    pub(super) async fn follow_cluster(&mut self) {
        if self.config.has_changed().await {
            self.reload();
        }
    }

    /// Reads the configuration again. A faulty one changes nothing.
    pub(super) fn reload(&mut self) {
        let reloaded = self.config.reload();
        self.outlets.reload(&self.config.settings.notify);
        self.tell(
            None,
            match reloaded {
                Ok(()) => EventKind::ConfigLoaded {
                    what: self.config.origin(),
                },
                Err(why) => EventKind::ConfigRejected { why },
            },
        );
    }

    /// Waits for the changes in hand, then stores what was learned.
    pub(super) async fn stop(&mut self, why: &str, within: Duration) {
        self.finish(within).await;
        self.store.save(&self.memory, Moment::now());
        if !self.options.dry_run {
            let report = self.own_report();
            self.desk.stop(report).await;
        }
        self.tell(
            None,
            EventKind::Stopped {
                why: why.to_owned(),
            },
        );
        self.outlets.close().await;
    }

    /// Takes reports until nothing is in hand, or time is up.
    async fn finish(&mut self, within: Duration) {
        let all = async {
            while !self.in_hand.is_empty() {
                let Some(report) = self.reports.1.recv().await else {
                    return;
                };
                self.take(report);
            }
        };
        if tokio::time::timeout(within, all).await.is_err() {
            let vms: Vec<String> = self.in_hand.keys().map(VmId::to_string).collect();
            tracing::warn!(
                "stopped while changes of VM {} had not ended; they are read back at the next start",
                vms.join(", ")
            );
        }
    }

    /// Records an event about a VM, or about the agent.
    fn tell(&mut self, vm: Option<VmId>, kind: EventKind) {
        let vm = vm.map(|id| self.vm_ref(id));
        self.outlets.tell(&Event {
            at: Moment::now(),
            node: self.node.clone(),
            vm,
            kind,
        });
    }

    fn vm_ref(&self, id: VmId) -> VmRef {
        self.observer.vm_ref(id)
    }
}

/// The changes by VM, in their order.
fn by_vm(changes: &[Change]) -> BTreeMap<VmId, Vec<Change>> {
    let mut all: BTreeMap<VmId, Vec<Change>> = BTreeMap::new();
    for change in changes {
        all.entry(change.vm).or_default().push(change.clone());
    }
    all
}
