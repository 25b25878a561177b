//! Carries out changes: VMs in parallel, bounded; one change per VM at a time; the real value read back after each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep};

use crate::cluster::{self, Baseline, Mounted, VmFacts, pause};
use crate::decide::Change;
use crate::domain::{Amount, Lever, Moment, NodeName, Reading, VmId};
use crate::pve::{Cause, Layout, Qm, VmConfig, pmxcfs};

use super::guest::{self, Guest, LOOK_AGAIN};
use super::judge::{Ran, judge};
use super::{Done, Outcome, levers};

/// So many VMs are changed at a time: `qm` loads about 100 MB of Perl and a second of CPU each.
const AT_A_TIME: usize = 4;
/// A balloon that was asked to move may still be moving for so long, and its guest's statistics lag by 2 s more.
const BALLOON_MOVES: Duration = Duration::from_secs(60);

/// What the executor tells of its work.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// A VM's settings were taken down for `release`; the agent owns them from now on.
    TakenOver {
        /// Which VM.
        vm: VmId,
        /// The settings as they were.
        baseline: Box<Baseline>,
    },
    /// A change came to its end.
    Done(Box<Done>),
}

/// Carries out changes on this node.
#[derive(Debug, Clone)]
pub struct Executor {
    layout: Layout,
    node: NodeName,
    qm: Qm,
    files: Mounted,
    slots: Arc<Semaphore>,
    /// When each balloon was last asked to move.
    balloons: Arc<Mutex<HashMap<VmId, Instant>>>,
}

impl Executor {
    /// An executor for the VMs of `node`.
    pub fn new(layout: Layout, node: NodeName, qm: Qm) -> Self {
        let files = Mounted::new(layout.clone());
        Self {
            layout,
            node,
            qm,
            files,
            slots: Arc::new(Semaphore::new(AT_A_TIME)),
            balloons: Arc::default(),
        }
    }

    /// Carries out the changes of one VM, one after the other, and reports each.
    pub async fn carry_out(&self, changes: Vec<Change>, reports: mpsc::UnboundedSender<Report>) {
        // The semaphore is never closed, and without a slot nothing must start.
        let Ok(_slot) = self.slots.acquire().await else {
            return;
        };
        for change in changes {
            let started = Instant::now();
            let (outcome, now) = self.attempt(&change, &reports).await;
            let done = Done {
                change,
                outcome,
                now,
                at: Moment::now(),
                took: started.elapsed(),
            };
            // Nobody listens any more only when the daemon is about to end.
            let _ = reports.send(Report::Done(Box::new(done)));
        }
    }

    async fn attempt(
        &self,
        change: &Change,
        reports: &mpsc::UnboundedSender<Report>,
    ) -> (Outcome, Reading<Amount>) {
        let config = match self.prepare(change, reports).await {
            Ok(config) => config,
            Err(why) => {
                return (
                    Outcome::Withheld(why),
                    levers::read(&self.layout, change.vm, change.lever).await,
                );
            }
        };
        if let Err(why) = self.agree(change, &config).await {
            return (
                Outcome::Refused(why),
                levers::read(&self.layout, change.vm, change.lever).await,
            );
        }
        let before = guest::before(&self.layout, change, self.balloon_moved(change)).await;
        let ran = match self
            .qm
            .set(change.vm, &levers::options(change, &config))
            .await
        {
            Ok(_) => Ran::Returned,
            Err(error) => match error.cause {
                Cause::TimedOut | Cause::Killed(_) => Ran::CutOff(error.to_string()),
                // Expected: it moved, was locked, or quorum was lost after the last look.
                Cause::NotOnThisNode | Cause::Locked(_) | Cause::NoQuorum => {
                    Ran::Declined(error.cause.to_string())
                }
                _ => Ran::Failed(error.to_string()),
            },
        };
        let seen = self.settle(change).await;
        let option = levers::option_name(change.lever);
        let pending = match self.config(change.vm).await {
            Ok(after) => {
                after.pending.iter().any(|p| p == option)
                    && !config.pending.iter().any(|p| p == option)
            }
            Err(_) => false,
        };
        let guest = self.await_guest(change, &seen, before).await;
        let mut outcome = judge(change, &ran, &seen, &guest, pending);
        if pending {
            self.revert(change.vm, option, &mut outcome).await;
        }
        (outcome, seen)
    }

    /// Whether the VM's balloon may have moved of late; notes it if `change` is about to move it.
    fn balloon_moved(&self, change: &Change) -> bool {
        // A panic elsewhere leaves the times as they were.
        let mut balloons = self.balloons.lock().unwrap_or_else(PoisonError::into_inner);
        balloons.retain(|_, asked| asked.elapsed() < BALLOON_MOVES);
        if change.lever == Lever::Balloon {
            balloons.insert(change.vm, Instant::now());
        }
        balloons.contains_key(&change.vm)
    }

    /// What must hold directly before a change is read once more: ours, unlocked, quorate, not paused, and its settings
    /// remembered.
    async fn prepare(
        &self,
        change: &Change,
        reports: &mpsc::UnboundedSender<Report>,
    ) -> Result<VmConfig, String> {
        let (files, layout, node, vm) = (
            self.files.clone(),
            self.layout.clone(),
            self.node.clone(),
            change.vm,
        );
        let clearance = blocking(move || {
            if let Ok(None) = pause::for_node(&layout.pause_file()) {
                return cluster::clear(&files, &node, vm, Moment::now()).map_err(|e| e.to_string());
            }
            Err("this node was paused".to_owned())
        })
        .await?;
        if let Some(baseline) = clearance.taken_over {
            let _ = reports.send(Report::TakenOver {
                vm,
                baseline: Box::new(baseline),
            });
        }
        Ok(clearance.config)
    }

    /// The VM's configuration as it is now, provided that it is still under this node and may be changed.
    async fn config(&self, vm: VmId) -> Result<VmConfig, String> {
        let (layout, node) = (self.layout.clone(), self.node.clone());
        blocking(move || {
            if !pmxcfs::quorate(&layout).map_err(|e| e.to_string())? {
                return Err("the cluster has no quorum".to_owned());
            }
            match pmxcfs::read_vm_config(&layout, &node, vm) {
                Ok(Some(text)) => Ok(VmConfig::parse(&text)),
                Ok(None) => Err(format!("its configuration is no longer under node {node}")),
                Err(e) => Err(e.to_string()),
            }
        })
        .await
    }

    /// Reads the value until it is what was asked for, or patience ends.
    async fn settle(&self, change: &Change) -> Reading<Amount> {
        let deadline = Instant::now() + levers::patience(change.lever);
        loop {
            let seen = levers::read(&self.layout, change.vm, change.lever).await;
            let settled = levers::reached(change, &seen);
            if settled || Instant::now() >= deadline {
                return seen;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until the guest uses what QEMU has, or patience ends.
    async fn await_guest(
        &self,
        change: &Change,
        seen: &Reading<Amount>,
        before: Option<crate::domain::Mib>,
    ) -> Guest {
        if !levers::reached(change, seen) {
            return Guest::Follows;
        }
        let deadline = Instant::now() + guest::PATIENCE;
        loop {
            let guest = guest::follows(&self.layout, change, before).await;
            if guest == Guest::Follows || Instant::now() >= deadline {
                return guest;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Sees to it that configuration and QEMU agree on what is to be changed, since PVE counts from the configuration.
    ///
    /// A guest that gave a vCPU back late leaves one too many in the configuration; setting what QEMU has changes
    /// nothing but that (recorded in 22-vcpus-1-after-divergence.txt). With modules the same call would remove another.
    async fn agree(&self, change: &Change, config: &VmConfig) -> Result<(), String> {
        let read = || levers::read(&self.layout, change.vm, change.lever);
        match change.lever {
            Lever::Vcpus => match read().await {
                Reading::Known {
                    value: Amount::Cpu(has),
                    ..
                } if has.floor() < config.plugged_vcpus() => {
                    let vcpus = [("vcpus", has.floor().to_string())];
                    let set = self.qm.set(change.vm, &vcpus).await;
                    set.map(|_| ()).map_err(|e| e.to_string())
                }
                _ => Ok(()),
            },
            Lever::Dimm => match read().await {
                Reading::Known {
                    value: Amount::Memory(has),
                    ..
                } if has != config.memory => Err(format!(
                    "the configuration says {}, QEMU has {has}: PVE would count wrong",
                    config.memory
                )),
                Reading::Known { .. } => Ok(()),
                Reading::Unknown(why) => Err(why),
            },
            Lever::Cpulimit | Lever::Balloon => Ok(()),
        }
    }

    /// Takes what somebody else set by hand into the VM's baseline, so that a release does not undo it.
    pub async fn adopt(&self, vm: VmId, lever: Lever) -> Result<(), String> {
        let config = self.config(vm).await?;
        let files = self.files.clone();
        blocking(move || {
            let facts = VmFacts::read(&files, vm).map_err(|e| e.to_string())?;
            let Some(mut facts) = facts.filter(|facts| facts.can_be_of(&config)) else {
                return Ok(());
            };
            facts.baseline.adopt(lever, &config);
            facts.write(&files, vm).map_err(|e| e.to_string())
        })
        .await
    }

    /// Takes back a value that would only take effect at the next power cycle: it was not asked for then.
    async fn revert(&self, vm: VmId, option: &str, outcome: &mut Outcome) {
        let note = match self.qm.revert(vm, option).await {
            Ok(_) => "; taken back".to_owned(),
            Err(e) => format!("; it could not be taken back ({e}): qm set {vm} --revert {option}"),
        };
        match outcome {
            Outcome::Pending(why)
            | Outcome::Partial(why)
            | Outcome::Refused(why)
            | Outcome::Unknown(why) => {
                *why += &note;
            }
            Outcome::Applied | Outcome::Withheld(_) => {}
        }
    }
}

/// How long a look at /etc/pve may take before a change is given up.
const FILES_LIMIT: Duration = Duration::from_secs(5);

/// Runs `work` where it may block, for a limited time.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::time::timeout(FILES_LIMIT, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err("reading /etc/pve failed".to_owned()),
        Err(_) => Err(format!(
            "/etc/pve did not answer within {} s",
            FILES_LIMIT.as_secs()
        )),
    }
}
