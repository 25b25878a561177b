//! One look at everything: /etc/pve, the node, and every VM that opted in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::config::{FitElsewhere, Selection, Settings};
use crate::domain::{Cores, Mib, Moment, NodeName, Reading, Source, VmId};
use crate::pve::process::QemuProcess;
use crate::pve::qmp::{self, Answers};
use crate::pve::{GuestResources, Layout, Limits, Pvesh, VmConfig, ladder};
use crate::record::VmRef;

use super::files::{Files, Listed, Listing};
use super::node::{self, Node};
use super::patient::Patient;
use super::vm::{Look, Watched};
use super::{ClusterView, InHand, MemoryNeed, OtherNode, Power, Snapshot, VmView};

/// How long a tick waits for /etc/pve. It answers in milliseconds, or hangs until the cluster is in order again.
const FILES_LIMIT: Duration = Duration::from_secs(2);
/// So many monitors are asked at a time.
const MONITORS_AT_A_TIME: usize = 16;
/// `pvesh` costs a second of CPU: it is asked no more often than this, and only for what the direct way did not give.
const FALLBACK_EVERY: Duration = Duration::from_secs(30);

/// Everything that is kept between looks.
#[derive(Debug)]
pub struct Observer {
    layout: Layout,
    node: NodeName,
    began: Instant,
    /// Address bits of the node's CPUs: they bound what modules can add.
    host_bits: Option<u32>,
    files: Patient<Files, Listing>,
    /// The VMs as /etc/pve had them when it last answered.
    listed: BTreeMap<VmId, Listed>,
    /// VMs of this node that opted in.
    watched: BTreeMap<VmId, Watched>,
    host: Node,
    pvesh: Pvesh,
    fallback: Option<JoinHandle<Vec<GuestResources>>>,
    fallback_asked: Option<Instant>,
}

impl Observer {
    /// An observer on `node`.
    pub fn new(layout: Layout, node: NodeName) -> Self {
        Self {
            began: Instant::now(),
            host_bits: ladder::host_address_bits(&layout).ok(),
            files: Patient::new(Files::new(layout.clone())),
            listed: BTreeMap::new(),
            watched: BTreeMap::new(),
            host: Node::default(),
            pvesh: Pvesh::new(&layout, Limits::default()),
            fallback: None,
            fallback_asked: None,
            layout,
            node,
        }
    }

    /// Samples the counters that rise between ticks: a few microseconds a VM.
    pub fn sample(&mut self) {
        let at = self.began.elapsed();
        for (vm, watched) in &mut self.watched {
            watched.sample(&self.layout, *vm, at);
        }
    }

    /// Looks at the memory of guests that have little of it, and returns what they need.
    pub async fn tight_memory(&mut self) -> Vec<MemoryNeed> {
        let tight: Vec<VmId> = self
            .watched
            .iter()
            .filter(|(_, w)| w.is_tight())
            .map(|(vm, _)| *vm)
            .collect();
        if tight.is_empty() {
            return Vec::new();
        }
        let processes = self.processes(tight.iter());
        self.ask_monitors(&processes).await;
        let now = Moment::now();
        tight
            .iter()
            .filter_map(|vm| self.watched.get(vm)?.memory_need(now))
            .collect()
    }

    /// Forgets what is no longer true of a VM that was changed.
    pub fn changed(&mut self, vm: VmId) {
        if let Some(watched) = self.watched.get_mut(&vm) {
            watched.forget_answers();
        }
    }

    /// The VM as events name it.
    pub fn vm_ref(&self, id: VmId) -> VmRef {
        let config = self
            .listed
            .get(&id)
            .and_then(|listed| listed.config.as_ref().ok());
        VmRef {
            id,
            name: config.map(|c| c.name.clone()).unwrap_or_default(),
            tags: config.map(|c| c.tags.clone()).unwrap_or_default(),
        }
    }

    /// Looks at everything. `in_hand` are the changes that are being carried out.
    pub async fn snapshot(
        &mut self,
        settings: &Settings,
        in_hand: &BTreeMap<VmId, Vec<InHand>>,
    ) -> Snapshot {
        let others_matter = settings.host.fit_elsewhere != FitElsewhere::Off;
        let (quorate, others) = self.look_at_files(others_matter).await;
        let chosen = self.chosen(settings);
        let own: BTreeMap<VmId, Arc<VmConfig>> = chosen
            .iter()
            .filter(|(_, listed)| listed.owner == self.node)
            .filter_map(|(vm, listed)| Some((*vm, Arc::clone(listed.config.as_ref().ok()?))))
            .collect();
        self.watched.retain(|vm, _| own.contains_key(vm));
        let processes = self.processes(own.keys());
        self.ask_monitors(&processes).await;
        self.take_fallback().await;
        let now = Moment::now();
        let at = self.began.elapsed();
        let unselected = node::unselected(&self.layout, &self.node, &self.listed, &chosen, now);
        let host = self.host.look(&self.layout, at, now, unselected);
        let look = Look {
            layout: &self.layout,
            at,
            now,
            host_bits: self.host_bits,
            host_cpus: host.cpus.floor(),
        };
        let mut vms = BTreeMap::new();
        for (vm, listed) in &chosen {
            let mut view = match (&listed.config, own.get(vm), processes.get(vm)) {
                (Ok(_), Some(config), Some(Ok(process))) => {
                    self.watched.entry(*vm).or_default().view(
                        look,
                        *vm,
                        &listed.owner,
                        config,
                        process.as_ref(),
                        most(settings, *vm, config),
                    )
                }
                (Ok(config), _, Some(Err(why))) => unknown_power(*vm, listed, config, why.clone()),
                (Ok(config), _, _) => unknown_power(
                    *vm,
                    listed,
                    config,
                    format!("runs on node {}", listed.owner),
                ),
                (Err(why), _, _) => VmView {
                    unreadable: Some(why.clone()),
                    power: Power::Unknown(why.clone()),
                    ..VmView::from_config(*vm, &listed.owner, &VmConfig::default())
                },
            };
            view.in_hand = in_hand.get(vm).cloned().unwrap_or_default();
            vms.insert(*vm, view);
        }
        self.start_fallback(&vms);
        Snapshot {
            at: now,
            node: self.node.clone(),
            cluster: ClusterView {
                quorate,
                pause: None,
                others,
            },
            host,
            vms,
        }
    }

    /// Whether /etc/pve accepts writes, and the other nodes; brings the list of VMs up to date on the way.
    async fn look_at_files(
        &mut self,
        others_matter: bool,
    ) -> (Reading<bool>, Reading<Vec<OtherNode>>) {
        let look = move |files: &mut Files| files.look(others_matter);
        let Some(listing) = self.files.read(FILES_LIMIT, look).await else {
            let why = format!("it has not answered for {} s", FILES_LIMIT.as_secs());
            return (Reading::unknown(why.clone()), Reading::unknown(why));
        };
        let quorate = match listing.vms {
            Err(why) => Err(why),
            Ok(vms) => {
                self.listed = vms;
                listing.quorate
            }
        };
        let quorate = match quorate {
            Ok(quorate) => Reading::known(quorate, Moment::now(), Source::ConfigFile),
            Err(why) => Reading::Unknown(why),
        };
        (quorate, listing.others)
    }

    /// The VMs that the settings select, wherever they are.
    fn chosen(&self, settings: &Settings) -> BTreeMap<VmId, Listed> {
        let selected = |vm: VmId, listed: &Listed| {
            let tags = listed
                .config
                .as_ref()
                .map(|c| c.tags.as_slice())
                .unwrap_or_default();
            settings.of(vm, tags) != Selection::No
        };
        self.listed
            .iter()
            .filter(|(vm, listed)| selected(**vm, listed))
            .map(|(vm, l)| (*vm, l.clone()))
            .collect()
    }

    fn processes<'a>(
        &self,
        vms: impl Iterator<Item = &'a VmId>,
    ) -> BTreeMap<VmId, Result<Option<QemuProcess>, String>> {
        vms.map(|vm| {
            (
                *vm,
                QemuProcess::find(&self.layout, *vm).map_err(|e| e.to_string()),
            )
        })
        .collect()
    }

    /// Asks the monitors that are due, all at once but for a bound.
    async fn ask_monitors(
        &mut self,
        processes: &BTreeMap<VmId, Result<Option<QemuProcess>, String>>,
    ) {
        let now = Moment::now();
        let slots = Arc::new(Semaphore::new(MONITORS_AT_A_TIME));
        let mut asked: JoinSet<(VmId, Result<Answers, String>)> = JoinSet::new();
        for (vm, process) in processes {
            let Ok(Some(process)) = process else { continue };
            if !self.watched.entry(*vm).or_default().is_due(now, process) {
                continue;
            }
            let (vm, socket, slots) = (*vm, self.layout.qmp_socket(*vm), Arc::clone(&slots));
            asked.spawn(async move {
                let _slot = slots.acquire().await;
                (
                    vm,
                    qmp::ask(&socket, qmp::BORROW)
                        .await
                        .map_err(|e| e.to_string()),
                )
            });
        }
        while let Some(result) = asked.join_next().await {
            let Ok((vm, answers)) = result else { continue };
            if let Some(watched) = self.watched.get_mut(&vm) {
                watched.answered(Moment::now(), answers);
            }
        }
    }

    /// Starts `pvesh` in the background if a VM that runs gave nothing by the direct way.
    fn start_fallback(&mut self, vms: &BTreeMap<VmId, VmView>) {
        let blind = |vm: &VmView| {
            let blind = vm.cpu.usage.value().is_none() || vm.memory.need.value().is_none();
            // In its first seconds there is nothing to measure yet.
            let started = vm
                .uptime
                .get()
                .is_some_and(|uptime| uptime > FALLBACK_EVERY);
            vm.owner == self.node && vm.power == Power::Running && blind && started
        };
        let rested = self
            .fallback_asked
            .is_none_or(|at| at.elapsed() >= FALLBACK_EVERY);
        let watched_for_long = self.began.elapsed() >= FALLBACK_EVERY;
        if self.fallback.is_none() && rested && watched_for_long && vms.values().any(blind) {
            let pvesh = self.pvesh.clone();
            self.fallback_asked = Some(Instant::now());
            self.fallback = Some(tokio::spawn(async move {
                pvesh.cluster_resources().await.unwrap_or_else(|e| {
                    tracing::debug!("{e}");
                    Vec::new()
                })
            }));
        }
    }

    /// Takes in what `pvesh` reported, once it has.
    async fn take_fallback(&mut self) {
        let Some(asked) = self.fallback.take_if(|asked| asked.is_finished()) else {
            return;
        };
        let at = Moment::now();
        for guest in asked.await.unwrap_or_default() {
            if let Some(watched) = self.watched.get_mut(&guest.vmid) {
                watched.reported = Some((at, guest));
            }
        }
    }
}

/// The most that the admin lets a VM have; nothing where its settings cannot be used.
fn most(settings: &Settings, vm: VmId, config: &VmConfig) -> (Cores, Mib) {
    match settings.of(vm, &config.tags) {
        Selection::Managed(own) => {
            let widest = own.at_its_widest();
            (widest.cpu.max, widest.memory.max)
        }
        Selection::No | Selection::Unusable(_) => (Cores::ZERO, Mib::ZERO),
    }
}

/// A VM of which only the configuration is known.
fn unknown_power(vm: VmId, listed: &Listed, config: &VmConfig, why: String) -> VmView {
    VmView {
        power: Power::Unknown(why),
        ..VmView::from_config(vm, &listed.owner, config)
    }
}
