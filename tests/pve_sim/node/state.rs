//! The node's state and its step: time passes, VMs and their guests move, files follow.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tokio::task::AbortHandle;

use super::ballooning::{self, Participant};
use super::clock::unix_millis;
use super::cpu::{Claim, share_out};
use super::files;
use super::host::{Host, VERSION, arcstats, cpuinfo};
use super::layout::Layout;
use super::machine::{Config, MIB};
use super::pmxcfs::{self, Registry};
use super::real::RealVm;
use super::scenario::{MonitorState, Scenario};
use super::vm::{Habits, Vm};
use crate::vmconf::VmConfig;

/// How long the node has been up when the simulation begins, in seconds.
const UP_ALREADY: f64 = 100_000.0;
/// The first process id that is handed out.
const FIRST_PID: u32 = 20_000;
/// Room for the thread ids of one VM.
const PIDS_PER_VM: u32 = 1000;

/// The node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) layout: Layout,
    pub(crate) scenario: Scenario,
    pub(crate) habits: BTreeMap<u32, Habits>,
    pub(crate) vms: BTreeMap<u32, Vm>,
    /// VMs that are a real QEMU.
    pub(crate) real: BTreeMap<u32, RealVm>,
    pub(crate) quorate: bool,
    pub(crate) writable: bool,
    pub(crate) commands: u64,
    sockets: BTreeMap<u32, AbortHandle>,
    pub(crate) registry: Registry,
    pub(crate) host: Host,
    began: Instant,
    began_unix_s: u64,
    pub(crate) at: f64,
    ballooned_at: f64,
    next_pid: u32,
}

impl Node {
    /// Builds the node: configuration files where there are none yet, VMs that run from the start.
    pub(crate) fn new(layout: Layout, scenario: Scenario) -> Result<Self> {
        let mut node = Self {
            habits: BTreeMap::new(),
            vms: BTreeMap::new(),
            real: BTreeMap::new(),
            quorate: true,
            writable: true,
            commands: 0,
            sockets: BTreeMap::new(),
            registry: Registry::default(),
            host: Host {
                uptime_s: UP_ALREADY,
                own_s: UP_ALREADY * scenario.node.base_cpu,
                ..Host::default()
            },
            began: Instant::now(),
            began_unix_s: unix_millis() / 1000,
            at: 0.0,
            ballooned_at: 0.0,
            next_pid: FIRST_PID,
            layout,
            scenario,
        };
        node.write_configs()?;
        node.layout
            .replace("proc/cpuinfo", &cpuinfo(&node.scenario.node))?;
        node.layout.replace("proc/version", VERSION)?;
        for (id, spec) in node.scenario.vms.clone() {
            let habits = Habits {
                load: spec.load,
                guest: spec.guest,
            };
            node.habits.insert(id, habits);
            if spec.running {
                node.start(id, spec.uptime_s)?;
                if let Some(vm) = node.vms.get_mut(&id) {
                    vm.monitor = spec.monitor;
                    vm.machine.running = !spec.paused;
                }
            }
        }
        node.write_members()?;
        Ok(node)
    }

    fn write_configs(&self) -> Result<()> {
        let own = self.scenario.vms.iter();
        let own = own.filter_map(|(id, spec)| {
            let dir = self.layout.configs();
            spec.config.as_ref().map(|text| (dir, *id, text))
        });
        let others = self.scenario.elsewhere.iter().flat_map(|(node, vms)| {
            let dir = self
                .layout
                .path(&format!("etc/pve/nodes/{node}/qemu-server"));
            vms.iter().map(move |(id, text)| (dir.clone(), *id, text))
        });
        for (dir, id, text) in own.chain(others) {
            let file = dir.join(format!("{id}.conf"));
            if !file.exists() {
                fs::create_dir_all(&dir)?;
                self.layout.replace_at(&file, text)?;
            }
        }
        Ok(())
    }

    /// Seconds since the simulation began.
    pub(crate) fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// A running VM.
    pub(crate) fn vm_mut(&mut self, id: u32) -> Option<&mut Vm> {
        self.vms.get_mut(&id)
    }

    /// The active part of a VM's configuration file.
    pub(crate) fn config(&self, id: u32) -> Result<Config> {
        let file = self.layout.configs().join(format!("{id}.conf"));
        let text = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
        Ok(VmConfig::parse(id, &text).0.active)
    }

    /// Starts QEMU for a VM that does not run, `age` seconds after its guest's boot.
    pub(crate) fn start(&mut self, id: u32, age: f64) -> Result<()> {
        if self.vms.contains_key(&id) || self.real.contains_key(&id) {
            bail!("VM {id} already running");
        }
        let config = self.config(id)?;
        let spec = self
            .scenario
            .vms
            .get(&id)
            .and_then(|spec| spec.real.as_ref());
        if let Some(spec) = spec {
            let at = (self.scenario.node.cpus, UP_ALREADY + self.now(), age);
            let vm = RealVm::start(&self.layout, id, &config, spec, at)?;
            self.real.insert(id, vm);
            return Ok(());
        }
        let habits = self.habits.entry(id).or_default().clone();
        let pid = self.next_pid;
        self.next_pid += PIDS_PER_VM;
        let now = self.now();
        let cpus = self.scenario.node.cpus;
        let vm = Vm::start(id, &config, &habits, (pid, cpus), (now, age))?;
        files::appear(&self.layout, &vm, &config)?;
        files::refresh(&self.layout, &vm, -UP_ALREADY)?;
        self.vms.insert(id, vm);
        Ok(())
    }

    /// QEMU is gone.
    pub(crate) fn stop(&mut self, id: u32) {
        if let Some(handle) = self.sockets.remove(&id) {
            handle.abort();
        }
        if let Some(vm) = self.vms.remove(&id) {
            files::vanish(&self.layout, &vm);
        }
        if let Some(vm) = self.real.remove(&id) {
            vm.stop(&self.layout);
        }
    }

    /// All of it, when the node goes down.
    pub(crate) fn shut_down(&mut self) {
        let running = self.vms.keys().chain(self.real.keys());
        for id in running.copied().collect::<Vec<_>>() {
            self.stop(id);
        }
    }

    /// Closes sockets that should not be and names those that are missing.
    pub(crate) fn socket_changes(&mut self) -> Vec<(u32, PathBuf)> {
        let mut missing = Vec::new();
        for (id, vm) in &self.vms {
            let path = self.layout.runtime(*id, "qmp");
            let refuses = vm.monitor == MonitorState::Refuses;
            match self.sockets.get(id) {
                // The file stays behind, so that connecting is refused.
                Some(_) if refuses => {
                    if let Some(handle) = self.sockets.remove(id) {
                        handle.abort();
                    }
                }
                None if !refuses => missing.push((*id, path)),
                _ => {}
            }
        }
        missing
    }

    /// Remembers the task that serves a socket.
    pub(crate) fn keep_socket(&mut self, id: u32, handle: AbortHandle) {
        self.sockets.insert(id, handle);
    }

    /// One step.
    pub(crate) fn tick(&mut self) -> Result<()> {
        let now = self.now();
        let dt = now - self.at;
        self.at = now;
        self.obey_control()?;
        self.move_vms(now, dt);
        self.end_those_that_quit();
        let pvestatd_runs = !self.scenario.node.shares_etc_pve;
        if pvestatd_runs && now - self.ballooned_at >= self.scenario.ballooning.every_s {
            self.ballooned_at = now;
            self.balloon();
            self.write_rrd()?;
        }
        self.write()
    }

    fn move_vms(&mut self, now: f64, dt: f64) {
        let unix_s = unix_millis() / 1000;
        for vm in self.vms.values_mut() {
            vm.quota = files::quota(&self.layout, vm.id).unwrap_or(vm.quota);
        }
        let claims: Vec<Claim> = self.vms.values().map(|vm| vm.claim(now)).collect();
        let node = &self.scenario.node;
        let shares = share_out(f64::from(node.cpus) - node.base_cpu, &claims);
        for (vm, (claim, used)) in self.vms.values_mut().zip(claims.iter().zip(&shares)) {
            vm.advance(now, dt, *claim, *used);
            vm.guest.report(&mut vm.machine, now, unix_s);
        }
        let used: f64 = shares.iter().sum();
        let used = used + self.real.values().map(|vm| vm.cpu_used).sum::<f64>();
        let wanted: f64 = claims
            .iter()
            .map(|claim| claim.runnable.min(claim.limit.unwrap_or(f64::INFINITY)))
            .sum();
        let modelled: u64 = self.vms.values().map(|vm| vm.resident() / 1024).sum();
        let real: u64 = self.real.values().map(|vm| vm.resident / 1024).sum();
        self.host.vm_kib = modelled + real;
        self.host.advance(node, used, wanted, dt);
    }

    fn end_those_that_quit(&mut self) {
        let quitting = self.vms.values().filter(|vm| vm.quitting);
        for id in quitting.map(|vm| vm.id).collect::<Vec<_>>() {
            self.stop(id);
        }
    }

    /// One round of pvestatd's auto-ballooning.
    fn balloon(&mut self) {
        let spec = &self.scenario.node;
        let total = (spec.memory_mib * MIB) as i64;
        let used = total - (self.host.memory_free_kib(spec) * 1024) as i64;
        let goal = total * self.scenario.ballooning.target_percent as i64 / 100 - used;
        let participants: Vec<Participant> = self
            .vms
            .values()
            .filter_map(|vm| participant(vm, &self.config(vm.id).ok()?))
            .collect();
        for (id, size) in ballooning::targets(goal, &participants) {
            let Some(vm) = self.vms.get_mut(&id) else {
                continue;
            };
            let ram = vm.machine.ram();
            if let Some(balloon) = &mut vm.machine.balloon {
                balloon.wanted = ram.saturating_sub(size as u64);
            }
        }
    }

    fn write(&mut self) -> Result<()> {
        let layout = &self.layout;
        for vm in self.vms.values() {
            files::refresh(layout, vm, -UP_ALREADY)?;
        }
        // One that has ended by itself is a VM that stopped.
        let up = UP_ALREADY + self.at;
        let ended =
            |(id, vm): (&u32, &mut RealVm)| vm.refresh(&self.layout, up).is_err().then_some(*id);
        for id in self.real.iter_mut().filter_map(ended).collect::<Vec<_>>() {
            if let Some(vm) = self.real.remove(&id) {
                vm.stop(&self.layout);
            }
        }
        let layout = &self.layout;
        let spec = &self.scenario.node;
        let boot = self.began_unix_s.saturating_sub(UP_ALREADY as u64);
        layout.replace("proc/stat", &self.host.stat(spec, boot))?;
        layout.replace("proc/meminfo", &self.host.meminfo(spec))?;
        layout.replace("proc/uptime", &self.host.uptime(spec))?;
        layout.replace("proc/loadavg", &self.host.loadavg())?;
        for (name, pressure) in [
            ("cpu", &self.host.cpu_pressure),
            ("memory", &self.host.memory_pressure),
            ("io", &self.host.io_pressure),
        ] {
            layout.replace(&format!("proc/pressure/{name}"), &pressure.text())?;
        }
        if let Some(text) = arcstats(spec) {
            fs::create_dir_all(layout.path("proc/spl/kstat/zfs"))?;
            layout.replace("proc/spl/kstat/zfs/arcstats", &text)?;
        }
        if !spec.shares_etc_pve && self.registry.look(layout) {
            let version = self.registry.version(&spec.name, self.began_unix_s);
            self.make_up(".version", &version)?;
            self.make_up(".vmlist", &self.registry.vmlist())?;
        }
        let truth = serde_json::to_string(&self.truth())?;
        layout.replace_at(&layout.state("truth.json"), &truth)
    }

    /// Replaces a file of /etc/pve that pmxcfs makes up, also while it cannot be written.
    pub(crate) fn make_up(&self, name: &str, text: &str) -> Result<()> {
        let dir = self.layout.path("etc/pve");
        if nix::unistd::Uid::effective().is_root() {
            return self.layout.replace_at(&dir.join(name), text);
        }
        // Anyone else is bound by the mode bits that the directory shows.
        let mode = dir.metadata()?.permissions();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
        let replaced = self.layout.replace_at(&dir.join(name), text);
        fs::set_permissions(&dir, mode)?;
        replaced
    }

    /// `.members`, and the mode bits that go with it.
    pub(crate) fn write_members(&self) -> Result<()> {
        let spec = &self.scenario.node;
        if spec.shares_etc_pve {
            return Ok(());
        }
        let silent = self.scenario.elsewhere.keys().map(|name| (name, true));
        let others = self.scenario.others.iter();
        let others: BTreeMap<&String, bool> = silent
            .chain(others.map(|(name, other)| (name, other.online)))
            .collect();
        let text = pmxcfs::members(&spec.name, spec.cluster.as_deref(), &others, self.quorate);
        self.make_up(".members", &text)?;
        pmxcfs::set_writable(&self.layout.path("etc/pve"), self.quorate && self.writable)
    }
}

/// Whether pvestatd moves this VM's balloon, and within which limits.
fn participant(vm: &Vm, config: &Config) -> Option<Participant> {
    let number = |key: &str| config.get(key).and_then(|text| text.parse::<i64>().ok());
    let balloon = vm.machine.balloon.as_ref()?;
    let min = number("balloon").filter(|mib| *mib != 0)?;
    let shares = number("shares").unwrap_or(1000);
    let migrating = config.get("lock").is_some_and(|lock| lock == "migrate");
    if shares == 0 || migrating || vm.monitor != MonitorState::Answers {
        return None;
    }
    Some(Participant {
        vm: vm.id,
        balloon: vm.machine.actual() as i64,
        min: min * MIB as i64,
        max: vm.machine.ram() as i64,
        shares,
        free: balloon.statistics.map(|told| told.free as i64),
    })
}
