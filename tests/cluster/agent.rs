//! One agent: its tick as the daemon does it, over models of what it reads and of `qm`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use vm_autoscale::act::{Done, Outcome};
use vm_autoscale::cluster::{AgentReport, Member, Note, Round, Seen, SharedFiles, clear};
use vm_autoscale::config::Settings;
use vm_autoscale::decide::{self, Change, Memory};
use vm_autoscale::domain::{
    Amount, Capabilities, Capability, Cores, Mib, Moment, NodeName, Reading, Resource, Source, VmId,
};
use vm_autoscale::observe::{
    Balloon, ClusterView, CpuSample, CpuUsage, CpuView, HostView, MemoryView, Power, Snapshot,
    Unselected, VmView,
};
use vm_autoscale::pve::VmConfig;
use vm_autoscale::record::Day;

use crate::handle::Handle;
use crate::world::{NODES, World};

/// A change that this agent saw take effect.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verified {
    pub(crate) done: Done,
    /// Whether the agent has had a round since in which it could write it down.
    pub(crate) told: bool,
    /// Whether the VM had gone, and was taken over, before the agent's next round: it was stopped for that long.
    pub(crate) overtaken: bool,
}

/// The agent of one node. Dropping it is a crash.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) node: usize,
    name: NodeName,
    member: Member,
    pub(crate) memory: Memory,
    started: Moment,
    notes: Vec<Note>,
    /// What it did and saw, by VM.
    pub(crate) verified: BTreeMap<VmId, Verified>,
    pub(crate) settings: Settings,
    /// The days that it told of.
    pub(crate) days: Vec<Day>,
}

impl Agent {
    /// Starts with what was stored on the node's own disk.
    pub(crate) fn start(node: usize, stored: Memory, settings: Settings, now: Moment) -> Self {
        let name: NodeName = NODES[node].parse().unwrap();
        Self {
            node,
            member: Member::new(name.clone()),
            name,
            memory: stored,
            started: now,
            notes: Vec::new(),
            verified: BTreeMap::new(),
            settings,
            days: Vec::new(),
        }
    }

    /// One tick. Returns false when the process was killed in the middle of it.
    pub(crate) fn tick(&mut self, world: &RefCell<World>) -> bool {
        let files = Handle {
            world,
            node: self.node,
        };
        let Some(mut snapshot) = self.observe(world, &files) else {
            return !world.borrow().fate[self.node].dead;
        };
        let quorate = snapshot.cluster.quorate.get() == Some(true);
        let round = Round {
            now: snapshot.at,
            at: Duration::from_millis(world.borrow().now_ms),
            quorate,
            vms: Seen::all(&snapshot),
            notes: std::mem::take(&mut self.notes),
            report: AgentReport::new("0.1.0", self.started, "same".to_owned(), None),
        };
        for (vm, verified) in self.verified.iter_mut().filter(|(_, v)| !v.told && quorate) {
            let facts = world.borrow().agreed_facts(vm.get());
            verified.overtaken |= facts.is_some_and(|facts| facts.owner != self.name);
        }
        let view = self.member.round(&files, round);
        if world.borrow().fate[self.node].dead {
            return false;
        }
        // What cannot be told allows nothing.
        let Ok(view) = view else { return true };
        self.days.extend(view.day.clone());
        view.enter(&mut snapshot, &mut self.memory);
        for verified in self.verified.values_mut() {
            verified.told |= quorate && !world.borrow().is_frozen(self.node);
        }
        let plan = decide::plan(&snapshot, &mut self.memory, &self.settings, snapshot.at);
        for change in plan.changes {
            if !self.carry_out(world, &files, change) {
                return false;
            }
        }
        true
    }

    fn carry_out(&mut self, world: &RefCell<World>, files: &Handle<'_>, change: Change) -> bool {
        let now = Moment::from_millis(world.borrow().clock_ms(self.node));
        let cleared = clear(files, &self.name, change.vm, now);
        if world.borrow().fate[self.node].dead {
            return false;
        }
        let outcome = match cleared {
            Err(why) => Outcome::Withheld(why.to_string()),
            Ok(_) => {
                let Amount::Cpu(to) = change.to else {
                    unreachable!("only CPU is scaled here")
                };
                // `qm` is a process of its own: it comes to its end even when the agent dies.
                match world
                    .borrow_mut()
                    .qm_set_vcpus(self.node, change.vm.get(), to.ceil())
                {
                    Ok(()) => Outcome::Applied,
                    Err(why) => Outcome::Withheld(why),
                }
            }
        };
        let dies_now = world.borrow_mut().dice.chance(1);
        world.borrow_mut().fate[self.node].dead |=
            dies_now && world.borrow().fate[self.node].operations_left.is_some();
        if world.borrow().fate[self.node].dead {
            return false;
        }
        let at = Moment::from_millis(world.borrow().clock_ms(self.node));
        let now = Reading::known(change.to, at, Source::Qemu);
        let done = Done {
            change,
            outcome,
            now,
            at,
            took: Duration::from_secs(1),
        };
        self.memory.note(&done);
        if done.outcome.moved() {
            let vm = done.change.vm;
            self.notes.push(Note {
                done: done.clone(),
                learned: self.memory.of_vm(vm).cloned(),
            });
            self.verified.insert(
                vm,
                Verified {
                    done,
                    told: false,
                    overtaken: false,
                },
            );
        }
        true
    }

    /// What the real observer would read.
    fn observe(&self, world: &RefCell<World>, files: &Handle<'_>) -> Option<Snapshot> {
        let quorate = files.quorate().ok()?;
        let list = files.read(".vmlist").ok()??;
        let list: vm_autoscale::pve::VmList = serde_json::from_str(&list).ok()?;
        let now = Moment::from_millis(world.borrow().clock_ms(self.node));
        let mut vms = BTreeMap::new();
        for (vm, guest) in list.vms() {
            let path = vm_autoscale::cluster::config_path(&guest.node, vm);
            let Ok(Some(text)) = files.read(&path) else {
                continue;
            };
            let running = world.borrow().running(self.node, vm.get());
            let config = VmConfig::parse(&text);
            vms.insert(vm, view(running, vm, &guest.node, &config, now));
        }
        Some(snapshot(&self.name, quorate, vms, now))
    }
}

/// What a node with room for everyone shows.
pub(crate) fn snapshot(
    node: &NodeName,
    quorate: bool,
    vms: BTreeMap<VmId, VmView>,
    now: Moment,
) -> Snapshot {
    Snapshot {
        at: now,
        node: node.clone(),
        cluster: ClusterView {
            quorate: Reading::known(quorate, now, Source::ConfigFile),
            pause: None,
            others: Reading::known(Vec::new(), now, Source::ConfigFile),
        },
        host: HostView {
            cpus: Cores::whole(64),
            cpu_used: Reading::known(Cores::whole(4), now, Source::Proc),
            memory_total: Mib::gib(64),
            memory_available: Reading::known(Mib::gib(48), now, Source::Proc),
            unselected: Reading::known(Unselected::default(), now, Source::ConfigFile),
        },
        vms,
    }
}

/// A VM's QEMU on the node that looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Running {
    pub(crate) vcpus: u32,
    /// Cores that it uses.
    pub(crate) uses: f64,
}

/// A VM as the observer shows it: `guest` if it runs here.
pub(crate) fn view(
    guest: Option<Running>,
    vm: VmId,
    owner: &NodeName,
    config: &VmConfig,
    now: Moment,
) -> VmView {
    let known = |cores: f64| {
        let mean = Cores::from_f64(cores);
        let second = CpuSample {
            span: Duration::from_secs(1),
            mean,
        };
        let usage = CpuUsage {
            mean,
            samples: vec![second; 5],
            throttled: None,
            busiest_vcpu: None,
        };
        Reading::known(usage, now, Source::Cgroup)
    };
    let unknown = "not here";
    VmView {
        id: vm,
        name: config.name.clone(),
        owner: owner.clone(),
        tags: config.tags.clone(),
        power: if guest.is_some() {
            Power::Running
        } else {
            Power::Stopped
        },
        template: false,
        lock: config.lock.clone(),
        uptime: Reading::unknown(unknown),
        unreadable: None,
        can: Capabilities {
            vcpus: Capability::Now {
                least: Amount::vcpus(1),
                most: Amount::vcpus(config.max_vcpus()),
                shrinks: true,
            },
            ..Capabilities::none("not part of the model")
        },
        cpu: CpuView {
            ceiling: config.max_vcpus(),
            configured: config.plugged_vcpus(),
            vcpus: guest.map_or(Reading::unknown(unknown), |g| {
                Reading::known(g.vcpus, now, Source::Qemu)
            }),
            idle: 0,
            limit: Reading::known(None, now, Source::Cgroup),
            usage: guest.map_or(Reading::unknown(unknown), |g| known(g.uses)),
        },
        memory: MemoryView {
            configured: config.memory,
            ceiling: Reading::unknown(unknown),
            balloon: Balloon {
                device: false,
                configured: None,
                shares: None,
                actual: Reading::unknown(unknown),
            },
            resident: Reading::unknown(unknown),
            pinned: false,
            need: Reading::unknown(unknown),
        },
        in_hand: Vec::new(),
        pending: Vec::new(),
        hold: None,
        fails_over: false,
    }
}

/// The allocation of CPU that facts tell of.
pub(crate) const CPU: Resource = Resource::Cpu;
