//! One running VM: its QEMU, its guest, its load and its control group's counters, moved together.

use anyhow::Result;

use super::cpu::{Claim, CpuStat, Pressure};
use super::files::Quota;
use super::guest::{Guest, Reaction};
use super::load::Demand;
use super::machine::{Config, MIB, Machine};
use super::scenario::{GuestSpec, Load, MonitorState};

/// CPU that QEMU's own threads use while the guest runs, in cores.
const EMULATOR_CPU: f64 = 0.01;
/// Memory that QEMU itself uses, in MiB; the recorded one had 170 MiB more than its guest.
const EMULATOR_MIB: f64 = 170.0;

/// What a VM does apart from its configuration; it outlives a power cycle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Habits {
    /// Its load.
    pub(crate) load: Load,
    /// Its guest's behaviour.
    pub(crate) guest: GuestSpec,
}

/// A VM with a QEMU process.
#[derive(Debug)]
pub(crate) struct Vm {
    /// VMID.
    pub(crate) id: u32,
    /// Process id.
    pub(crate) pid: u32,
    /// When it started, in the node's seconds.
    pub(crate) started: f64,
    /// Its name in the active configuration.
    pub(crate) name: String,
    /// QEMU.
    pub(crate) machine: Machine,
    /// The guest.
    pub(crate) guest: Guest,
    /// What the guest wants.
    pub(crate) demand: Demand,
    /// Since when, in the node's seconds.
    pub(crate) demand_since: f64,
    /// How QEMU answers.
    pub(crate) monitor: MonitorState,
    /// Events that a connected monitor has not been told yet.
    pub(crate) events: Vec<serde_json::Value>,
    /// Whether QEMU was told to quit.
    pub(crate) quitting: bool,
    /// Quota and weight of the control group, as last read.
    pub(crate) quota: Quota,
    /// CPU counters of the control group.
    pub(crate) cpu_stat: CpuStat,
    /// CPU pressure of the control group.
    pub(crate) cpu_pressure: Pressure,
    /// Memory pressure.
    pub(crate) memory_pressure: Pressure,
    /// I/O pressure.
    pub(crate) io_pressure: Pressure,
    /// CPU used in the last step, in cores.
    pub(crate) cpu_used: f64,
    /// CPU wanted in the last step, in cores.
    pub(crate) cpu_wanted: f64,
    /// Core-seconds that were wanted and not had.
    pub(crate) cpu_short_core_s: f64,
    /// Seconds in which more than a twentieth of the wanted CPU was not had.
    pub(crate) cpu_short_s: f64,
    /// CPU time of QEMU's own threads, in seconds.
    pub(crate) emulator_s: f64,
}

impl Vm {
    /// Starts QEMU from `config`, with the guest `age` seconds after its boot.
    pub(crate) fn start(
        id: u32,
        config: &Config,
        habits: &Habits,
        (pid, host_cpus): (u32, u32),
        (now, age): (f64, f64),
    ) -> Result<Self> {
        let mut machine = Machine::start(config, pid, host_cpus)?;
        let demand = Demand::new(&habits.load)?;
        let guest = Guest::settled(habits.guest.clone(), &mut machine, &demand);
        Ok(Self {
            id,
            pid,
            started: now - age,
            name: config
                .get("name")
                .cloned()
                .unwrap_or_else(|| format!("VM {id}")),
            machine,
            guest,
            demand,
            demand_since: now,
            monitor: MonitorState::Answers,
            events: Vec::new(),
            quitting: false,
            quota: Quota::default(),
            cpu_stat: CpuStat::default(),
            cpu_pressure: Pressure::default(),
            memory_pressure: Pressure::default(),
            io_pressure: Pressure::default(),
            cpu_used: 0.0,
            cpu_wanted: 0.0,
            cpu_short_core_s: 0.0,
            cpu_short_s: 0.0,
            emulator_s: 0.0,
        })
    }

    /// What its guest would use with all the CPUs of the world, in cores.
    fn wanted_cpu(&self, now: f64) -> f64 {
        let cpu = self.demand.cpu(now - self.demand_since);
        let cpu = self
            .demand
            .threads
            .map_or(cpu, |threads| cpu.min(f64::from(threads)));
        // A paused guest wants nothing; a struck service wants less.
        match (self.machine.running, self.guest.down_until) {
            (false, _) => 0.0,
            (true, Some(until)) if now < until => cpu * 0.3,
            (true, _) => cpu,
        }
    }

    /// What it asks of the node.
    pub(crate) fn claim(&self, now: f64) -> Claim {
        let vcpus = f64::from(self.machine.online_vcpus());
        let own = if self.machine.running {
            EMULATOR_CPU
        } else {
            0.0
        };
        Claim {
            runnable: self.wanted_cpu(now).min(vcpus) + own,
            limit: self.quota.limit,
            weight: self.quota.weight,
        }
    }

    /// Lets `dt` seconds pass, in which it made this claim and had `used` cores.
    pub(crate) fn advance(&mut self, now: f64, dt: f64, claim: Claim, used: f64) {
        let age = now - self.demand_since;
        for reaction in self
            .guest
            .advance(&mut self.machine, &self.demand, (now, dt, age))
        {
            self.events.push(event(&reaction));
        }
        self.cpu_wanted = self.wanted_cpu(now);
        self.cpu_stat.advance(claim, used, self.quota.period, dt);
        let own = used.min(EMULATOR_CPU);
        self.emulator_s += own * dt;
        self.cpu_used = used - own;
        self.spread(dt);
        let missing = (self.cpu_wanted - self.cpu_used).max(0.0);
        self.cpu_short_core_s += missing * dt;
        if missing > self.cpu_wanted * 0.05 && missing > 0.02 {
            self.cpu_short_s += dt;
        }
        let held_back = (claim.runnable - used).max(0.0) / claim.runnable.max(1e-9);
        self.cpu_pressure.advance(held_back, held_back, dt);
        // The scope has no memory or I/O limit, so the host sees no stall of either kind.
        self.memory_pressure.advance(0.0, 0.0, dt);
        self.io_pressure.advance(0.0, 0.0, dt);
    }

    /// Gives the CPU time of `dt` seconds to the vCPU threads: evenly, or to as many as the load has threads.
    fn spread(&mut self, dt: f64) {
        let threads = self.demand.threads.unwrap_or(u32::MAX) as usize;
        let busy = threads.min(self.machine.online_vcpus() as usize).max(1);
        let each = self.cpu_used / busy as f64 * dt;
        let online = self.machine.vcpus.iter_mut().filter(|vcpu| vcpu.online);
        for vcpu in online.take(busy) {
            vcpu.used_s += each;
        }
    }

    /// Memory that its control group is charged for, in bytes: huge pages are not in it.
    pub(crate) fn charged(&self) -> u64 {
        let guest = if self.machine.hugepages {
            0.0
        } else {
            self.guest.memory(&self.machine).resident
        };
        ((guest + EMULATOR_MIB) * MIB as f64) as u64 / 4096 * 4096
    }

    /// Memory that it takes from the node, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let huge = if self.machine.hugepages {
            self.machine.ram()
        } else {
            0
        };
        self.charged() + huge
    }
}

/// The QMP event that tells of `reaction`.
fn event(reaction: &Reaction) -> serde_json::Value {
    let (name, device) = match reaction {
        Reaction::Released(device) => ("DEVICE_DELETED", device),
        Reaction::Refused(device) => ("DEVICE_UNPLUG_GUEST_ERROR", device),
    };
    serde_json::json!({
        "event": name,
        "data": {"device": device, "path": format!("/machine/peripheral/{device}")},
    })
}
