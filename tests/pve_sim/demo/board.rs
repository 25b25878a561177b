//! What the demo shows: read from the agent's state file and log, and from the node's truth, four times a second.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::Result;
use vm_autoscale::act::Done;
use vm_autoscale::domain::{Amount, Moment, Reading, VmId};
use vm_autoscale::record::{ResourceState, State};

use super::stage::Stage;
use crate::commands::Started;
use crate::node::scenario::STATE_DIR;
use crate::node::truth::{Truth, VmTruth};

/// Everything on the screen.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// The node as it really is.
    pub(crate) truth: Truth,
    /// The VMs by number.
    pub(crate) rows: BTreeMap<u32, Row>,
    /// The agent's log: seconds since the start, and the sentence.
    pub(crate) events: Vec<(f64, String)>,
    /// What the summary adds up.
    pub(crate) sums: Sums,
    began: Option<Moment>,
    seen: BTreeSet<(VmId, Moment, String)>,
}

/// One VM.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) name: String,
    /// CPU in cores.
    pub(crate) cpu: Gauge,
    /// Memory in MiB.
    pub(crate) memory: Gauge,
    /// The last change, in words.
    pub(crate) last: String,
}

/// Need, allocation and ceiling of one resource.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gauge {
    /// What it needs, as the agent knows it.
    pub(crate) need: Option<f64>,
    /// What it has, as the agent read it back.
    pub(crate) has: Option<f64>,
    /// The most it could have.
    pub(crate) most: f64,
}

/// Sums over the whole run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sums {
    /// Looks at the node.
    pub(crate) looks: f64,
    /// Outcomes of changes by their word.
    pub(crate) outcomes: BTreeMap<&'static str, usize>,
    /// CPU: allocated, wanted, and each VM's own peak.
    pub(crate) cpu: Use,
    /// Memory, the same.
    pub(crate) memory: Use,
    /// Commands that were started, by name.
    pub(crate) commands: BTreeMap<String, usize>,
    /// CPU time of the agent without its commands, in seconds.
    pub(crate) agent_cpu_s: f64,
}

/// Sums of one resource.
#[derive(Debug, Clone, Default)]
pub(crate) struct Use {
    /// Allocated, summed over looks.
    pub(crate) allocated: f64,
    /// Wanted, summed over looks.
    pub(crate) wanted: f64,
    /// Each VM's highest demand.
    pub(crate) peaks: BTreeMap<u32, f64>,
}

impl Use {
    fn add(&mut self, vm: u32, allocated: f64, wanted: f64) {
        self.allocated += allocated;
        self.wanted += wanted;
        let peak = self.peaks.entry(vm).or_default();
        *peak = peak.max(wanted);
    }
}

impl Board {
    /// Looks at everything again.
    pub(crate) fn look(&mut self, stage: &Stage) -> Result<()> {
        let truth = stage.path(STATE_DIR).join("truth.json");
        // Neither file is there in the first moments.
        let Ok(text) = fs::read_to_string(truth) else {
            return Ok(());
        };
        self.truth = serde_json::from_str(&text)?;
        self.began
            .get_or_insert(Moment::from_millis(self.truth.at_ms.cast_signed()));
        self.sums.looks += 1.0;
        for (id, vm) in &self.truth.vms {
            let row = self.rows.entry(*id).or_default();
            row.name.clone_from(&vm.name);
            row.cpu.most = f64::from(vm.vcpus_max);
            row.memory.most = vm.memory_mib as f64;
            self.sums.cpu.add(*id, allocated_cpu(vm), vm.cpu_wanted);
            let memory = vm.balloon_mib as f64;
            self.sums.memory.add(*id, memory, memory - vm.available_mib);
        }
        if let Ok(state) = State::read(&stage.path("run/vm-autoscale/state.json")) {
            self.take_in(&state);
        }
        self.read_log(stage);
        self.count_processes(stage);
        Ok(())
    }

    fn take_in(&mut self, state: &State) {
        for vm in &state.vms {
            let row = self.rows.entry(vm.vmid.get()).or_default();
            fill(&mut row.cpu, &vm.cpu);
            fill(&mut row.memory, &vm.memory);
            let both = [&vm.cpu.last, &vm.memory.last];
            let done: Vec<&Done> = both.into_iter().flatten().collect();
            for done in &done {
                let key = (done.change.vm, done.at, done.change.lever.to_string());
                if self.seen.insert(key) {
                    *self.sums.outcomes.entry(done.outcome.word()).or_default() += 1;
                }
            }
            if let Some(done) = done.into_iter().max_by_key(|done| done.at) {
                row.last = done.to_string();
            }
        }
    }

    fn read_log(&mut self, stage: &Stage) {
        let log = fs::read_to_string(stage.path(STATE_DIR).join("agent.log")).unwrap_or_default();
        let Some(began) = self.began else { return };
        let lines = log.lines().skip(self.events.len());
        for line in lines {
            let (at, sentence) = line.split_once(' ').unwrap_or(("", line));
            let at: Option<Moment> = serde_json::from_value(at.into()).ok();
            let seconds = at.map_or(0.0, |at| at.since(began).as_secs_f64());
            let sentence = sentence.trim_start();
            let sentence = sentence.strip_prefix("INFO ").unwrap_or(sentence);
            self.events.push((seconds, sentence.to_owned()));
        }
    }

    fn count_processes(&mut self, stage: &Stage) {
        let log = stage.path(STATE_DIR).join("commands.log");
        let log = fs::read_to_string(log).unwrap_or_default();
        self.sums.commands.clear();
        for started in log
            .lines()
            .filter_map(|line| serde_json::from_str::<Started>(line).ok())
        {
            let name = started.argv.into_iter().next().unwrap_or_default();
            *self.sums.commands.entry(name).or_default() += 1;
        }
        if let Some(seconds) = stage.agent_pid().and_then(cpu_time) {
            self.sums.agent_cpu_s = seconds;
        }
    }

    /// Seconds since the first look.
    pub(crate) fn age(&self) -> f64 {
        let now = Moment::from_millis(self.truth.at_ms.cast_signed());
        self.began
            .map_or(0.0, |began| now.since(began).as_secs_f64())
    }
}

/// CPU that the VM may use, in cores.
fn allocated_cpu(vm: &VmTruth) -> f64 {
    let vcpus = f64::from(vm.vcpus);
    vm.cpu_limit.map_or(vcpus, |limit| limit.min(vcpus))
}

fn fill(gauge: &mut Gauge, state: &ResourceState) {
    let number = |reading: &Reading<Amount>| reading.value().map(|amount| amount.value());
    gauge.need = number(&state.need);
    gauge.has = number(&state.allocation);
}

/// CPU time of a process of this machine, in seconds, without that of its children.
fn cpu_time(pid: u32) -> Option<f64> {
    let stat = procfs::process::Process::new(pid.cast_signed())
        .ok()?
        .stat()
        .ok()?;
    let ticks = procfs::ticks_per_second() as f64;
    Some((stat.utime + stat.stime) as f64 / ticks)
}
