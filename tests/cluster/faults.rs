//! What may happen to a cluster while its agents work.

use proptest::prelude::*;

use crate::cluster_fs::Change;
use crate::world::{Move, NODES, World, config};

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A live migration begins; it may fail and leave the VM where it was.
    Migrate {
        vm: u8,
        to: u8,
        fails: bool,
    },
    /// A node dies, with or without its last writes; HA moves its VMs.
    NodeDies {
        node: u8,
        abruptly: bool,
    },
    NodeReturns {
        node: u8,
    },
    /// A node is cut off; after a minute its watchdog fences it.
    Partition {
        node: u8,
        abruptly: bool,
    },
    Heal {
        node: u8,
    },
    /// The agent's process is killed after so many more operations on shared files.
    AgentDies {
        node: u8,
        after: u8,
        loses_disk: bool,
    },
    /// The agent does not run for a while, as if stopped by a signal.
    AgentStalls {
        node: u8,
        seconds: u8,
    },
    /// Writes to /etc/pve hang while the group synchronises.
    Freeze {
        node: u8,
        seconds: u8,
    },
    /// A backup locks the VM for a while.
    Backup {
        vm: u8,
        seconds: u8,
    },
    /// An admin writes the configuration by hand.
    Edit {
        vm: u8,
    },
    Pause,
    Resume,
    /// HA is in this state with the VM.
    Ha {
        vm: u8,
        state: u8,
    },
    Load {
        vm: u8,
        tenths: u8,
    },
    Destroy {
        vm: u8,
    },
    Create {
        node: u8,
    },
    /// A clock jumps.
    Clock {
        node: u8,
        minutes: i16,
    },
}

pub(crate) const HA_STATES: [&str; 7] = [
    "started", "error", "fence", "recovery", "migrate", "relocate", "freeze",
];

/// A fault and how long after the one before it happens, in seconds.
pub(crate) type Step = (u8, Fault);

/// Any schedule of `length` faults, moves the most frequent.
pub(crate) fn schedule(length: usize) -> impl Strategy<Value = Vec<Step>> {
    let node = 0u8..3;
    let vm = 0u8..16;
    let fault = prop_oneof![
        12 => (vm.clone(), node.clone(), prop::bool::weighted(0.2)).prop_map(|(vm, to, fails)| Fault::Migrate { vm, to, fails }),
        2 => (node.clone(), any::<bool>()).prop_map(|(node, abruptly)| Fault::NodeDies { node, abruptly }),
        4 => node.clone().prop_map(|node| Fault::NodeReturns { node }),
        3 => (node.clone(), any::<bool>()).prop_map(|(node, abruptly)| Fault::Partition { node, abruptly }),
        4 => node.clone().prop_map(|node| Fault::Heal { node }),
        5 => (node.clone(), 1u8..120, prop::bool::weighted(0.1))
            .prop_map(|(node, after, loses_disk)| Fault::AgentDies { node, after, loses_disk }),
        2 => (node.clone(), 5u8..120).prop_map(|(node, seconds)| Fault::AgentStalls { node, seconds }),
        3 => (node.clone(), 1u8..40).prop_map(|(node, seconds)| Fault::Freeze { node, seconds }),
        4 => (vm.clone(), 5u8..60).prop_map(|(vm, seconds)| Fault::Backup { vm, seconds }),
        4 => vm.clone().prop_map(|vm| Fault::Edit { vm }),
        1 => Just(Fault::Pause),
        2 => Just(Fault::Resume),
        2 => (vm.clone(), 0u8..7).prop_map(|(vm, state)| Fault::Ha { vm, state }),
        14 => (vm.clone(), 2u8..75).prop_map(|(vm, tenths)| Fault::Load { vm, tenths }),
        1 => vm.prop_map(|vm| Fault::Destroy { vm }),
        1 => node.clone().prop_map(|node| Fault::Create { node }),
        2 => (node, prop_oneof![-2i16..3, -600i16..600]).prop_map(|(node, minutes)| Fault::Clock { node, minutes }),
    ];
    prop::collection::vec((1u8..25, fault), length)
}

/// Schedules of the agents' own processes, which the world does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForAgents {
    Stall { node: usize, until_ms: u64 },
    LosesDisk { node: usize },
}

impl World {
    /// Makes it happen. What concerns the agents' processes is returned.
    pub(crate) fn happen(&mut self, fault: Fault) -> Option<ForAgents> {
        let now = self.now_ms;
        match fault {
            Fault::Migrate { vm, to, fails } => self.migrate(vm, to.into(), fails),
            Fault::NodeDies { node, abruptly } => self.kill_node(node.into(), abruptly),
            Fault::NodeReturns { node } => self.return_node(node.into()),
            Fault::Partition { node, abruptly } => self.partition(node.into(), abruptly),
            Fault::Heal { node } => self.heal(node.into()),
            Fault::AgentDies {
                node,
                after,
                loses_disk,
            } => {
                self.fate[usize::from(node)].operations_left = Some(after.into());
                return loses_disk.then_some(ForAgents::LosesDisk { node: node.into() });
            }
            Fault::AgentStalls { node, seconds } => {
                let until_ms = now + u64::from(seconds) * 1000;
                return Some(ForAgents::Stall {
                    node: node.into(),
                    until_ms,
                });
            }
            Fault::Freeze { node, seconds } => {
                self.frozen_until_ms[usize::from(node)] = now + u64::from(seconds) * 1000
            }
            Fault::Backup { vm, seconds } => self.backup(vm, u64::from(seconds) * 1000),
            Fault::Edit { vm } => self.edit(vm),
            Fault::Pause => self.pause(),
            Fault::Resume => self.resume(),
            Fault::Ha { vm, state } => self.ha(vm, state.into()),
            Fault::Load { vm, tenths } => {
                if let Some(guest) = self.pick(vm).and_then(|id| self.guests.get_mut(&id)) {
                    guest.demand = f64::from(tenths) / 10.0;
                }
            }
            Fault::Destroy { vm } => self.destroy(vm),
            Fault::Create { node } => self.create_vm(node.into()),
            Fault::Clock { node, minutes } => {
                self.skew_ms[usize::from(node)] = i64::from(minutes) * 60_000;
                self.clocks_set_ms[usize::from(node)] = now;
            }
        }
        None
    }

    /// The VM that a small number stands for.
    fn pick(&self, vm: u8) -> Option<u32> {
        let count = self.guests.len().max(1);
        self.guests.keys().nth(usize::from(vm) % count).copied()
    }

    /// The VM and its node, where that node's PVE can work on it now.
    fn workable(&self, vm: u8) -> Option<(u32, usize, String)> {
        let id = self.pick(vm)?;
        let node = self.guests.get(&id)?.on?;
        let usable = self.fs.is_quorate(node) && !self.is_frozen(node);
        let text = self
            .text(node, &config(node, id))
            .filter(|text| usable && !text.contains("lock:"))?;
        Some((id, node, text))
    }

    fn migrate(&mut self, vm: u8, to: usize, fails: bool) {
        let Some((id, from, text)) = self.workable(vm) else {
            return;
        };
        if from == to
            || !self.fs.are_connected(from, to)
            || self.guests.get(&id).is_none_or(|g| g.moving.is_some())
        {
            return;
        }
        if self.put(from, &config(from, id), &format!("{text}lock: migrate\n")) {
            let (now, takes) = (self.now_ms, 2_000 + self.dice.below(20_000));
            if let Some(guest) = self.guests.get_mut(&id) {
                guest.locked_ms = now;
                guest.moving = Some(Move::Copying {
                    to,
                    until_ms: now + takes,
                    fails,
                });
            }
        }
    }

    pub(crate) fn kill_node(&mut self, node: usize, abruptly: bool) {
        if !self.fs.is_up(node) {
            return;
        }
        if abruptly {
            self.writes_undone += self.fs.cut_off_abruptly(node, node + 1) as u64;
        }
        self.fs.set_up(node, false);
        self.hanging.retain(|(of, _)| *of != node);
        self.frozen_until_ms[node] = 0;
        self.fate[node].dead = true;
        let now = self.now_ms;
        let to: Vec<usize> = (0..NODES.len()).filter(|other| *other != node).collect();
        for guest in self
            .guests
            .values_mut()
            .filter(|guest| guest.on == Some(node))
        {
            // A minute until it is fenced, two until its lock has expired (pve-facts 8.3).
            let until_ms = now + 60_000 + self.dice.below(120_000);
            let to = to[self.dice.below(2) as usize];
            (guest.on, guest.moving) = (None, Some(Move::Recovering { to, until_ms }));
        }
    }

    pub(crate) fn return_node(&mut self, node: usize) {
        if self.fs.is_up(node) {
            return;
        }
        self.fs.set_partition(node, 0);
        self.fs.set_up(node, true);
        self.frozen_until_ms[node] = 0;
    }

    fn partition(&mut self, node: usize, abruptly: bool) {
        if !self.fs.is_up(node) {
            return;
        }
        if abruptly {
            self.writes_undone += self.fs.cut_off_abruptly(node, node + 1) as u64;
        } else {
            self.fs.set_partition(node, node + 1);
        }
        self.cut_off_ms[node] = Some(self.now_ms);
    }

    pub(crate) fn heal(&mut self, node: usize) {
        if self.fs.is_up(node) {
            self.fs.set_partition(node, 0);
        }
        self.cut_off_ms[node] = None;
    }

    /// A node without quorum for a minute is reset by its watchdog.
    pub(crate) fn fence(&mut self) {
        for node in 0..NODES.len() {
            let cut_off = self.cut_off_ms[node].is_some_and(|since| self.now_ms > since + 60_000);
            if cut_off && !self.fs.is_quorate(node) {
                self.cut_off_ms[node] = None;
                self.kill_node(node, false);
            }
        }
    }

    fn backup(&mut self, vm: u8, ms: u64) {
        let Some((id, node, text)) = self.workable(vm) else {
            return;
        };
        let free = self
            .guests
            .get(&id)
            .is_some_and(|guest| guest.moving.is_none());
        if free && self.put(node, &config(node, id), &format!("{text}lock: backup\n")) {
            let now = self.now_ms;
            if let Some(guest) = self.guests.get_mut(&id) {
                guest.locked_ms = now;
                guest.moving = Some(Move::Arrived {
                    at: node,
                    until_ms: now + ms,
                });
            }
        }
    }

    fn edit(&mut self, vm: u8) {
        let Some((id, node, text)) = self.workable(vm) else {
            return;
        };
        let number = self.dice.below(1000);
        let kept: String = text
            .lines()
            .filter(|line| !line.starts_with("name:"))
            .map(|line| format!("{line}\n"))
            .collect();
        self.put(
            node,
            &config(node, id),
            &format!("{kept}name: edited{number}\n"),
        );
    }

    fn any_quorate(&self) -> Option<usize> {
        (0..NODES.len()).find(|node| self.fs.is_quorate(*node) && !self.is_frozen(*node))
    }

    fn pause(&mut self) {
        let Some(node) = self.any_quorate() else {
            return;
        };
        let _ = self.send(
            node,
            Change::MakeDir {
                path: "vm-autoscale".into(),
            },
        );
        let text =
            r#"{"by":"root@pam","since":"2027-01-15T08:00:00Z","reason":"test","cluster":true}"#;
        if self.put(node, "vm-autoscale/pause", text) {
            self.paused_since_ms.get_or_insert(self.now_ms);
        }
    }

    pub(crate) fn resume(&mut self) {
        let Some(node) = self.any_quorate() else {
            return;
        };
        if self
            .send(
                node,
                Change::Unlink {
                    path: "vm-autoscale/pause".into(),
                },
            )
            .is_ok()
        {
            self.paused_since_ms = None;
        }
    }

    pub(crate) fn ha(&mut self, vm: u8, state: usize) {
        let (Some(id), Some(node)) = (self.pick(vm), self.any_quorate()) else {
            return;
        };
        self.ha_states
            .insert(id, (HA_STATES[state % HA_STATES.len()], self.now_ms));
        let resources: String = self
            .ha_states
            .keys()
            .map(|id| format!("vm: {id}\n\tstate started\n\n"))
            .collect();
        let states: Vec<String> = self
            .ha_states
            .iter()
            .map(|(id, (state, _))| format!(r#""vm:{id}":{{"node":"pve1","state":"{state}"}}"#))
            .collect();
        self.put(node, "ha/resources.cfg", &resources);
        self.put(
            node,
            "ha/manager_status",
            &format!(r#"{{"service_status":{{{}}}}}"#, states.join(",")),
        );
    }

    fn destroy(&mut self, vm: u8) {
        let Some((id, node, _)) = self.workable(vm) else {
            return;
        };
        let free = self
            .guests
            .get(&id)
            .is_some_and(|guest| guest.moving.is_none());
        if free
            && self.guests.len() > 2
            && self
                .send(
                    node,
                    Change::Unlink {
                        path: config(node, id),
                    },
                )
                .is_ok()
        {
            self.guests.remove(&id);
            self.destroyed += 1;
        }
    }

    /// Ends every fault: what is broken is repaired, what is on its way comes to its end.
    pub(crate) fn all_well(&mut self) {
        for node in 0..NODES.len() {
            self.return_node(node);
            self.heal(node);
            self.frozen_until_ms[node] = 0;
            self.fate[node].operations_left = None;
        }
        self.resume();
        let with_ha: Vec<u32> = self.ha_states.keys().copied().collect();
        for id in with_ha {
            let at = self.guests.keys().position(|vm| *vm == id);
            match at.and_then(|at| u8::try_from(at).ok()) {
                Some(at) => self.ha(at, 0),
                None => {
                    self.ha_states.remove(&id);
                }
            }
        }
    }
}
