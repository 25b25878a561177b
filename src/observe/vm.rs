//! One VM between ticks: its counters, what QEMU said last, and the view made of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::{Capabilities, Cores, Mib, Moment, NodeName, Percent, Reading, Source, VmId};
use crate::pve::process::{QemuProcess, VcpuThread};
use crate::pve::qmp::{Answers, MemorySize};
use crate::pve::scope::Scope;
use crate::pve::{GuestResources, Layout, Running, VmConfig, Wish, capabilities};

use super::guest::{self, Heard};
use super::meter::{Counters, CpuMeter};
use super::{Balloon, CpuSample, CpuUsage, CpuView, MemoryNeed, MemoryView, Power, VmView};

/// What is kept of a VM that this node owns.
#[derive(Debug, Default)]
pub(super) struct Watched {
    meter: CpuMeter,
    heard: Heard,
    /// CPU time of each vCPU thread at the last look, and when that was.
    threads: Option<(Duration, BTreeMap<u32, Duration>)>,
    /// The process at the last look: another one has other counters.
    pid: Option<u32>,
    /// What QEMU answered last, or why it did not.
    answers: Option<(Moment, Result<Answers, String>)>,
    /// What `pvesh` reported, where the direct way gave nothing.
    pub(super) reported: Option<(Moment, GuestResources)>,
}

/// What is the same for all VMs in one look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) layout: &'a Layout,
    /// Since the observer began, by a clock that never goes back.
    pub(super) at: Duration,
    pub(super) now: Moment,
    /// Address bits of the node's CPUs, where they are known.
    pub(super) host_bits: Option<u32>,
    /// Logical CPUs of the node.
    pub(super) host_cpus: u32,
}

/// vCPU threads of a guest that has run for less than this may not have had their turn yet.
const BOOT: Duration = Duration::from_secs(60);

impl Watched {
    /// Samples the counters that rise between ticks. A scope that is gone belongs to a VM that stopped.
    pub(super) fn sample(&mut self, layout: &Layout, vm: VmId, at: Duration) -> Option<String> {
        match Scope::new(layout, vm).cpu_stat() {
            Ok(stat) => {
                self.meter.sample(
                    at,
                    Counters {
                        used: stat.usage,
                        periods: stat.periods,
                        throttled: stat.throttled_periods,
                    },
                );
                None
            }
            Err(e) => Some(e.to_string()),
        }
    }

    /// Whether QEMU should be asked now: what is known would soon be too old to decide on, or memory is tight, so that
    /// every second counts.
    pub(super) fn is_due(&self, now: Moment, process: &QemuProcess) -> bool {
        /// Half of what a reading may be old.
        const CALM: Duration = Duration::from_secs(5);
        /// Statistics are renewed every 2 s; to look more than once between two is of little use.
        const TIGHT: Duration = Duration::from_millis(900);
        let Some((at, Ok(_))) = &self.answers else {
            return true;
        };
        let rest = if self.is_tight() { TIGHT } else { CALM };
        self.pid != Some(process.pid()) || now.since(*at) >= rest
    }

    /// Whether so little memory is available that a program could use it up between two ticks.
    pub(super) fn is_tight(&self) -> bool {
        /// What a program that takes 100 MB a second uses up in ten.
        const LITTLE: Mib = Mib::gib(1);
        let Some((
            _,
            Ok(Answers {
                guest_stats: Ok(Some(stats)),
                ..
            }),
        )) = &self.answers
        else {
            return false;
        };
        stats.available.is_some_and(|available| available < LITTLE)
    }

    /// The guest's need by what QEMU said last, if it did.
    pub(super) fn memory_need(&self, now: Moment) -> Option<MemoryNeed> {
        let (
            _,
            Ok(Answers {
                balloon: Ok(Some(balloon)),
                guest_stats: Ok(Some(stats)),
                ..
            }),
        ) = self.answers.as_ref()?
        else {
            return None;
        };
        guest::need(balloon.actual, stats, now, &mut self.heard.clone())
            .value()
            .cloned()
    }

    /// Takes in what QEMU answered.
    pub(super) fn answered(&mut self, at: Moment, answers: Result<Answers, String>) {
        // A monitor that is busy now was not a moment ago: what it said then stands until it is too old.
        let kept = matches!((&answers, &self.answers), (Err(_), Some((_, Ok(_)))));
        if !kept {
            self.answers = Some((at, answers));
        }
    }

    /// Forgets what QEMU said, after a change.
    pub(super) fn forget_answers(&mut self) {
        self.answers = None;
    }

    /// The VM as it is now.
    pub(super) fn view(
        &mut self,
        look: Look<'_>,
        vm: VmId,
        owner: &NodeName,
        config: &Arc<VmConfig>,
        process: Option<&QemuProcess>,
        most: (Cores, Mib),
    ) -> VmView {
        let mut view = VmView::from_config(vm, owner, config);
        let Some(process) = process else {
            *self = Self::default();
            return view;
        };
        if self.pid.replace(process.pid()) != Some(process.pid()) {
            let answers = self.answers.take();
            *self = Self {
                pid: self.pid,
                answers,
                ..Self::default()
            };
        }
        let scope_error = self.sample(look.layout, vm, look.at);
        view.power = self.power();
        view.uptime = match process.uptime() {
            Ok(uptime) => Reading::known(uptime, look.now, Source::Proc),
            Err(e) => Reading::unknown(e.to_string()),
        };
        self.fill_cpu(look, vm, process, scope_error, &mut view.cpu);
        if view.uptime.get().is_none_or(|uptime| uptime < BOOT) {
            view.cpu.idle = 0;
        }
        self.fill_memory(look, vm, config, &mut view.memory);
        view.can = self.can(look, config, view.cpu.vcpus.get(), most);
        view
    }

    fn can(
        &self,
        look: Look<'_>,
        config: &VmConfig,
        vcpus: Option<u32>,
        most: (Cores, Mib),
    ) -> Capabilities {
        let answers = self.answers().map(|(_, answers)| answers);
        let running = Running {
            answers: answers
                .as_ref()
                .map(|answers| *answers)
                .map_err(String::as_str),
            vcpus,
            now: look.now,
            host_bits: look.host_bits,
        };
        let wish = Wish {
            cpu: most.0,
            memory: most.1,
            host_cpus: look.host_cpus,
        };
        capabilities(config, Some(running), wish)
    }

    fn power(&self) -> Power {
        match self.answers().map(|(_, answers)| &answers.status) {
            Ok(Ok(status)) if !status.running => Power::Suspended(status.word.clone()),
            _ => Power::Running,
        }
    }

    /// What QEMU answered last, or why nothing is known.
    fn answers(&self) -> Result<(Moment, &Answers), String> {
        match &self.answers {
            Some((at, Ok(answers))) => Ok((*at, answers)),
            Some((_, Err(why))) => Err(why.clone()),
            None => Err("QEMU was not asked yet".to_owned()),
        }
    }

    fn fill_cpu(
        &mut self,
        look: Look<'_>,
        vm: VmId,
        process: &QemuProcess,
        scope_error: Option<String>,
        cpu: &mut CpuView,
    ) {
        let threads = process.vcpu_threads().unwrap_or_default();
        cpu.idle = threads
            .iter()
            .filter(|thread| thread.time.is_zero())
            .count() as u32;
        cpu.vcpus = match (threads.len() as u32, self.answers()) {
            // QEMU names its vCPU threads; counting them needs no question to its monitor.
            (n @ 1.., _) => Reading::known(n, look.now, Source::Proc),
            (0, Ok((at, answers))) => match &answers.vcpus {
                Ok(vcpus) => Reading::known(vcpus.len() as u32, at, Source::Qemu),
                Err(why) => Reading::unknown(why),
            },
            (0, Err(why)) => Reading::unknown(why),
        };
        cpu.limit = match Scope::new(look.layout, vm).cpu_limit() {
            Ok(limit) => Reading::known(limit, look.now, Source::Cgroup),
            Err(e) => Reading::unknown(e.to_string()),
        };
        let last = self.threads.as_ref().map_or(look.at, |(then, _)| *then);
        let since = look.at.saturating_sub(last);
        let busiest = self.busiest(look.at, &threads);
        cpu.usage = match self.meter.read_out() {
            Some(usage) => Reading::known(
                CpuUsage {
                    busiest_vcpu: busiest,
                    ..usage
                },
                look.now,
                Source::Cgroup,
            ),
            None => self.reported_cpu(
                since,
                scope_error.unwrap_or_else(|| "its CPU was measured once only".to_owned()),
            ),
        };
    }

    /// The busiest vCPU thread's share of a core since the last look.
    fn busiest(&mut self, at: Duration, threads: &[VcpuThread]) -> Option<Percent> {
        let now: BTreeMap<u32, Duration> = threads.iter().map(|t| (t.index, t.time)).collect();
        let (then, before) = self.threads.replace((at, now.clone()))?;
        let span = at.saturating_sub(then).as_secs_f64();
        let used = |(index, time): (&u32, &Duration)| {
            Some(time.saturating_sub(*before.get(index)?).as_secs_f64())
        };
        let most = now
            .iter()
            .filter_map(used)
            .fold(None, |most: Option<f64>, used| {
                Some(most.map_or(used, |m| m.max(used)))
            });
        most.filter(|_| span > 0.0)
            .map(|most| Percent::from_fraction(most / span))
    }

    /// What `pvesh` reported, as what was used in the time `since` the last look.
    fn reported_cpu(&self, since: Duration, why: String) -> Reading<CpuUsage> {
        let reported = self
            .reported
            .as_ref()
            .and_then(|(at, guest)| Some((*at, guest.cpu_used()?)));
        match reported {
            Some((at, cores)) => {
                let mean = Cores::from_f64(cores);
                let usage = CpuUsage {
                    mean,
                    samples: vec![CpuSample { span: since, mean }],
                    throttled: None,
                    busiest_vcpu: None,
                };
                Reading::known(usage, at, Source::Pvesh)
            }
            None => Reading::Unknown(why),
        }
    }

    fn fill_memory(
        &mut self,
        look: Look<'_>,
        vm: VmId,
        config: &VmConfig,
        memory: &mut MemoryView,
    ) {
        memory.resident = match Scope::new(look.layout, vm).memory() {
            Ok(memory) => Reading::known(memory.occupied(config), look.now, Source::Cgroup),
            Err(e) => Reading::unknown(e.to_string()),
        };
        let (at, answers) = match self.answers() {
            Ok((at, answers)) => (at, answers.clone()),
            Err(why) => {
                memory.ceiling = Reading::unknown(why.clone());
                memory.balloon.actual = Reading::unknown(why.clone());
                memory.need = self.reported_memory(&memory.resident, why);
                return;
            }
        };
        let known = |answer: Result<Mib, String>| match answer {
            Ok(size) => Reading::known(size, at, Source::Qemu),
            Err(why) => Reading::Unknown(why),
        };
        let balloon = answers
            .balloon
            .and_then(|b| b.ok_or_else(|| "there is no balloon device".to_owned()));
        let stats = answers
            .guest_stats
            .and_then(|s| s.ok_or_else(|| "there is no balloon device".to_owned()));
        memory.ceiling = known(answers.memory.map(MemorySize::total));
        memory.balloon.actual = known(balloon.clone().map(|b| b.actual));
        memory.need = match (balloon, stats) {
            (Ok(balloon), Ok(stats)) => {
                match guest::need(balloon.actual, &stats, look.now, &mut self.heard) {
                    Reading::Unknown(why) => self.reported_memory(&memory.resident, why),
                    known => known,
                }
            }
            (_, Err(why)) | (Err(why), _) => self.reported_memory(&memory.resident, why),
        };
    }

    fn reported_memory(&self, resident: &Reading<Mib>, why: String) -> Reading<MemoryNeed> {
        let reported = self
            .reported
            .as_ref()
            .and_then(|(at, guest)| Some((*at, guest.memory_used()?)));
        match reported {
            Some((at, bytes)) => guest::seen_from_outside(
                &Reading::known(Mib::from_bytes(bytes), at, Source::Pvesh),
                why,
            ),
            None => guest::seen_from_outside(resident, why),
        }
    }
}

impl VmView {
    /// What the configuration file says; everything measured is still unknown.
    pub(super) fn from_config(vm: VmId, owner: &NodeName, config: &VmConfig) -> Self {
        let unknown = "the VM does not run";
        Self {
            id: vm,
            name: config.name.clone(),
            owner: owner.clone(),
            tags: config.tags.clone(),
            power: Power::Stopped,
            template: config.template,
            lock: config.lock.clone(),
            uptime: Reading::unknown(unknown),
            unreadable: config.problems.first().cloned(),
            can: Capabilities::none(unknown),
            cpu: CpuView {
                ceiling: config.max_vcpus(),
                configured: config.plugged_vcpus(),
                vcpus: Reading::unknown(unknown),
                idle: 0,
                limit: Reading::unknown(unknown),
                usage: Reading::unknown(unknown),
            },
            memory: MemoryView {
                configured: config.memory,
                ceiling: Reading::unknown(unknown),
                balloon: Balloon {
                    device: config.has_balloon(),
                    configured: config.balloon,
                    shares: config.shares,
                    actual: Reading::unknown(unknown),
                },
                resident: Reading::unknown(unknown),
                pinned: config.is_pinned(),
                need: Reading::unknown(unknown),
            },
            in_hand: Vec::new(),
            pending: config.pending.clone(),
            hold: None,
            fails_over: false,
        }
    }
}
