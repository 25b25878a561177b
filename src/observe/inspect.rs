//! One VM looked at from close, once, for the commands: what its levers can do, and what would unlock more.

use std::time::Duration;

use serde::Serialize;

use crate::config::{MemoryMethod, VmSettings};
use crate::domain::{Capabilities, Mib, Moment, NodeName, Setting, VmId, VmName};
use crate::host::CpuTimes;
use crate::pve::process::QemuProcess;
use crate::pve::qmp::{self, Answers};
use crate::pve::{
    Ladder, Layout, Running, VmConfig, Wish, capabilities, capability, ladder, pmxcfs,
};

use super::guest::{self, Heard};

/// A monitor that serves another client is asked again so often.
const TRIES: u32 = 10;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(200);

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// Which VM.
    pub vmid: VmId,
    /// Its name.
    pub name: VmName,
    /// Whether it runs on this node.
    pub running: bool,
    /// What its levers can do now.
    #[serde(flatten)]
    pub can: Capabilities,
    /// What to set so that a power cycle lets the levers do more.
    pub unlock: Vec<Setting>,
    /// Options that wait for a power cycle already.
    pub pending: Vec<String>,
    /// What the guest needs now at least, where it tells.
    #[serde(skip)]
    pub need: Option<Mib>,
    /// Its configuration.
    #[serde(skip)]
    pub config: VmConfig,
}

/// Looks at `vm` on `node`, which `own` tells how much it may have.
///
/// # Errors
/// A sentence for a person: the VM has no configuration here, or it cannot be read.
pub async fn inspect(
    layout: &Layout,
    node: &NodeName,
    vm: VmId,
    own: &VmSettings,
) -> Result<Inspection, String> {
    let config = config(layout, node, vm).await?;
    let process = QemuProcess::find(layout, vm).map_err(|e| e.to_string())?;
    let threads = process.as_ref().map(QemuProcess::vcpu_threads);
    let vcpus = threads
        .and_then(Result::ok)
        .map(|threads| threads.len() as u32);
    let answers = match &process {
        Some(_) => Some(ask(layout, vm).await),
        None => None,
    };
    let now = Moment::now();
    let host_bits = ladder::host_address_bits(layout).ok();
    let host_cpus = CpuTimes::read(&layout.proc()).map_or(1, |times| times.cpus().floor());
    let running = answers.as_ref().map(|answers| Running {
        answers: answers.as_ref().map_err(String::as_str),
        vcpus: vcpus.filter(|n| *n > 0).or_else(|| {
            let vcpus = answers.as_ref().ok()?.vcpus.as_ref().ok()?;
            Some(vcpus.len() as u32)
        }),
        now,
        host_bits,
    });
    let wish = Wish {
        cpu: own.cpu.max,
        memory: own.memory.max,
        host_cpus,
    };
    Ok(Inspection {
        vmid: vm,
        name: config.name.clone(),
        running: process.is_some(),
        can: capabilities(&config, running, wish),
        unlock: unlock(&config, host_bits, wish, own.memory.method),
        pending: config.pending.clone(),
        need: answers
            .and_then(Result::ok)
            .and_then(|answers| need(answers, now)),
        config,
    })
}

fn unlock(config: &VmConfig, bits: Option<u32>, wish: Wish, method: MemoryMethod) -> Vec<Setting> {
    let mut set = capability::all_settings(config, &Ladder::of(config, bits), wish);
    if matches!(method, MemoryMethod::Balloon | MemoryMethod::Auto) {
        set.extend(capability::balloon_settings(config));
    }
    set
}

/// The VM's configuration under `node`.
async fn config(layout: &Layout, node: &NodeName, vm: VmId) -> Result<VmConfig, String> {
    let (layout, node) = (layout.clone(), node.clone());
    let read =
        tokio::task::spawn_blocking(move || match pmxcfs::read_vm_config(&layout, &node, vm) {
            Ok(Some(text)) => Ok(VmConfig::parse(&text)),
            Ok(None) => Err(format!("VM {vm} has no configuration on node {node}")),
            Err(e) => Err(e.to_string()),
        });
    let config = read.await.map_err(|e| e.to_string())??;
    match config.problems.first() {
        None => Ok(config),
        Some(problem) => Err(format!(
            "the configuration of VM {vm} cannot be understood: {problem}"
        )),
    }
}

async fn ask(layout: &Layout, vm: VmId) -> Result<Answers, String> {
    let mut tries = 1;
    loop {
        match qmp::ask(&layout.qmp_socket(vm), qmp::BORROW).await {
            Ok(answers) => return Ok(answers),
            Err(e) if tries >= TRIES => return Err(e.to_string()),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn need(answers: Answers, now: Moment) -> Option<Mib> {
    let (balloon, stats) = (answers.balloon.ok()??, answers.guest_stats.ok()??);
    let need = guest::need(balloon.actual, &stats, now, &mut Heard::default());
    need.value().map(|need| need.need)
}
