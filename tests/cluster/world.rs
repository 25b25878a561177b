//! Everything outside the agents: the shared files, the VMs and their QEMU, the clocks, and what really happened.

use std::collections::BTreeMap;

use crate::agent::Running;
use crate::cluster_fs::{Change, Cluster};

pub(crate) const NODES: [&str; 3] = ["pve1", "pve2", "pve3"];
/// Changes reach every connected node within this time.
const SLOWEST_DELIVERY_MS: u64 = 2_000;
/// The most vCPUs of every VM.
pub(crate) const CORES: u32 = 8;

/// Pseudo-random numbers (SplitMix64): small, and the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A live migration or a failover on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// Locked on the source; memory is copied until the time given, then it succeeds or fails.
    Copying {
        to: usize,
        until_ms: u64,
        fails: bool,
    },
    /// The configuration is on the target and still locked.
    Arrived { at: usize, until_ms: u64 },
    /// Its node is dead; HA moves it at the time given.
    Recovering { to: usize, until_ms: u64 },
}

/// A VM and its QEMU.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    /// Where it runs.
    pub(crate) on: Option<usize>,
    /// vCPUs that QEMU runs.
    pub(crate) vcpus: u32,
    /// When QEMU started there.
    pub(crate) since_ms: u64,
    /// Cores that its load would use.
    pub(crate) demand: f64,
    pub(crate) moving: Option<Move>,
    /// When a lock was set last.
    pub(crate) locked_ms: u64,
    pub(crate) last_change: Option<Changed>,
}

/// A change that really happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Changed {
    pub(crate) at_ms: u64,
    pub(crate) by: usize,
    pub(crate) from: u32,
    pub(crate) to: u32,
}

/// What ends an agent's process at a random instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Fate {
    /// After so many more operations on shared files it is dead.
    pub(crate) operations_left: Option<u32>,
    pub(crate) dead: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) fs: Cluster,
    pub(crate) guests: BTreeMap<u32, Guest>,
    pub(crate) now_ms: u64,
    /// What each node's clock shows beyond the true time.
    pub(crate) skew_ms: [i64; 3],
    pub(crate) dice: Dice,
    pub(crate) fate: [Fate; 3],
    /// Until when writes of a node hang.
    pub(crate) frozen_until_ms: [u64; 3],
    /// Writes that hung and take effect when the node thaws.
    pub(crate) hanging: Vec<(usize, Change)>,
    /// When a node was last seen to have quorum.
    pub(crate) quorum_seen_ms: [u64; 3],
    pub(crate) paused_since_ms: Option<u64>,
    /// Since when a node is cut off.
    pub(crate) cut_off_ms: [Option<u64>; 3],
    /// What HA does with a VM, and since when.
    pub(crate) ha_states: BTreeMap<u32, (&'static str, u64)>,
    pub(crate) destroyed: u64,
    /// Writes to the agents' files that succeeded and were lost when their node was cut off.
    pub(crate) writes_undone: u64,
    /// When a node's clock was set.
    pub(crate) clocks_set_ms: [u64; 3],
    /// When a node's agent started last.
    pub(crate) agent_since_ms: [u64; 3],
    pub(crate) next_vm: u32,
    /// Writes of agents to their own directory.
    pub(crate) writes: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) changes: u64,
    /// Times that `qm` refused, since things had changed between the last look and the call.
    pub(crate) refused: u64,
    pub(crate) completed_moves: u64,
}

impl World {
    pub(crate) fn new(seed: u64, vms: u32) -> Self {
        let mut world = Self {
            fs: Cluster::new(&NODES),
            guests: BTreeMap::new(),
            now_ms: 1_000_000,
            skew_ms: [0; 3],
            dice: Dice(seed),
            fate: [Fate::default(); 3],
            frozen_until_ms: [0; 3],
            hanging: Vec::new(),
            quorum_seen_ms: [0; 3],
            paused_since_ms: None,
            cut_off_ms: [None; 3],
            ha_states: BTreeMap::new(),
            destroyed: 0,
            writes_undone: 0,
            clocks_set_ms: [0; 3],
            agent_since_ms: [0; 3],
            next_vm: 101,
            writes: 0,
            violations: Vec::new(),
            changes: 0,
            refused: 0,
            completed_moves: 0,
        };
        world.fs.set_time(world.now_ms);
        for n in 0..vms {
            world.create_vm(n as usize % NODES.len());
        }
        world
    }

    pub(crate) fn create_vm(&mut self, node: usize) {
        let vm = self.next_vm;
        self.next_vm += 1;
        let vcpus = 1 + self.dice.below(3) as u32;
        let demand = self.dice.below(60) as f64 / 10.0;
        let text = format!(
            "cores: {CORES}\nhotplug: disk,network,usb,cpu\nmemory: 2048\nname: vm{vm}\ntags: autoscale\nvcpus: {vcpus}\n"
        );
        if self.put(node, &config(node, vm), &text) {
            let guest = Guest {
                on: Some(node),
                vcpus,
                since_ms: self.now_ms,
                demand,
                moving: None,
                locked_ms: 0,
                last_change: None,
            };
            self.guests.insert(vm, guest);
        }
    }

    /// Sends a change by `node`; whether it took effect.
    pub(crate) fn send(
        &mut self,
        node: usize,
        change: Change,
    ) -> Result<(), crate::cluster_fs::Errno> {
        let stamp = self.clock_ms(node) / 1000;
        self.fs
            .change(node, change, u64::try_from(stamp).unwrap_or(0))
    }

    /// Replaces a file as PVE does: temporary file and rename.
    pub(crate) fn put(&mut self, node: usize, path: &str, text: &str) -> bool {
        let temporary = format!("{path}.tmp.{}", self.dice.below(1_000_000));
        let steps = [
            Change::Create {
                path: temporary.clone(),
            },
            Change::Write {
                path: temporary.clone(),
                offset: 0,
                data: text.as_bytes().to_vec(),
            },
            Change::Rename {
                from: temporary.clone(),
                to: path.to_owned(),
            },
        ];
        let done = steps.into_iter().all(|step| self.send(node, step).is_ok());
        if !done {
            let _ = self.send(node, Change::Unlink { path: temporary });
        }
        done
    }

    pub(crate) fn text(&self, node: usize, path: &str) -> Option<String> {
        let data = self.fs.entry(node, path)?.data.clone()?;
        String::from_utf8(data).ok()
    }

    /// The QEMU of a VM, where it runs on `node`.
    pub(crate) fn running(&self, node: usize, vm: u32) -> Option<Running> {
        let guest = self
            .guests
            .get(&vm)
            .filter(|guest| guest.on == Some(node))?;
        Some(Running {
            vcpus: guest.vcpus,
            uses: guest.demand.min(f64::from(guest.vcpus)),
        })
    }

    /// What the wall clock of `node` shows.
    pub(crate) fn clock_ms(&self, node: usize) -> i64 {
        1_800_000_000_000 + self.now_ms as i64 + self.skew_ms[node]
    }

    pub(crate) fn is_frozen(&self, node: usize) -> bool {
        self.now_ms < self.frozen_until_ms[node]
    }

    /// Lets time pass, and whatever is on its way go on.
    pub(crate) fn advance(&mut self, ms: u64) {
        self.now_ms += ms;
        self.fs.set_time(self.now_ms);
        for node in 0..NODES.len() {
            self.fs.deliver_older(node, SLOWEST_DELIVERY_MS);
            if self.fs.is_quorate(node) {
                self.quorum_seen_ms[node] = self.now_ms;
            }
        }
        self.fence();
        self.thaw();
        self.go_on_moving();
    }

    /// Something may happen between any two operations of an agent.
    pub(crate) fn meanwhile(&mut self, node: usize) {
        let fate = &mut self.fate[node];
        if let Some(left) = &mut fate.operations_left {
            *left = left.saturating_sub(1);
            fate.dead |= *left == 0;
        }
        if self.dice.chance(40) {
            let (other, count) = (self.dice.below(3) as usize, 1 + self.dice.below(4) as usize);
            self.fs.deliver(other, count);
        }
        if self.dice.chance(5) {
            let ms = self.dice.below(400);
            self.advance(ms);
        }
    }

    /// Writes that hung go through now, or fail for lack of quorum.
    fn thaw(&mut self) {
        let (now, hanging) = (self.now_ms, std::mem::take(&mut self.hanging));
        for (node, change) in hanging {
            if now < self.frozen_until_ms[node] {
                self.hanging.push((node, change));
            } else if self.fs.is_up(node) {
                let _ = self.send(node, change);
            }
        }
    }

    fn go_on_moving(&mut self) {
        let due: Vec<(u32, Move)> = self
            .guests
            .iter()
            .filter_map(|(vm, guest)| Some((*vm, guest.moving?)))
            .collect();
        for (vm, step) in due {
            let next = match step {
                Move::Copying {
                    to,
                    until_ms,
                    fails,
                } if self.now_ms >= until_ms => self.hand_over(vm, to, fails),
                Move::Arrived { at, until_ms } if self.now_ms >= until_ms => {
                    self.unlock(vm, at, step)
                }
                Move::Recovering { to, until_ms } if self.now_ms >= until_ms => {
                    self.recover(vm, to, step)
                }
                going_on => Some(going_on),
            };
            if let Some(guest) = self.guests.get_mut(&vm) {
                guest.moving = next;
            }
        }
    }

    /// The end of phase 2 of a live migration: the source renames the configuration, or gives up.
    fn hand_over(&mut self, vm: u32, to: usize, fails: bool) -> Option<Move> {
        let from = self.guests.get(&vm)?.on?;
        if !self.fs.is_up(from) {
            return None;
        }
        if self.is_frozen(from) {
            let until_ms = self.frozen_until_ms[from];
            return Some(Move::Copying {
                to,
                until_ms,
                fails,
            });
        }
        let reaches = self.fs.are_connected(from, to) && self.fs.is_up(to);
        let moved = !fails && reaches && {
            let rename = Change::Rename {
                from: config(from, vm),
                to: config(to, vm),
            };
            self.send(from, rename).is_ok()
        };
        let now = self.now_ms;
        if !moved {
            return self.unlock(
                vm,
                from,
                Move::Arrived {
                    at: from,
                    until_ms: now,
                },
            );
        }
        if let Some(guest) = self.guests.get_mut(&vm) {
            (guest.on, guest.since_ms) = (Some(to), now);
        }
        self.completed_moves += 1;
        Some(Move::Arrived {
            at: to,
            until_ms: now + 500 + self.dice.below(3_000),
        })
    }

    fn unlock(&mut self, vm: u32, node: usize, again: Move) -> Option<Move> {
        let path = config(node, vm);
        let Some(text) = self.text(node, &path) else {
            return self.fs.is_up(node).then_some(again);
        };
        let open: String = text
            .lines()
            .filter(|line| !line.starts_with("lock:"))
            .map(|line| format!("{line}\n"))
            .collect();
        if self.put(node, &path, &open) {
            None
        } else {
            Some(again)
        }
    }

    /// HA takes the VM of a dead node: another one renames its configuration, without a leftover lock, and starts it.
    fn recover(&mut self, vm: u32, to: usize, again: Move) -> Option<Move> {
        let agreed = self.fs.agreed();
        let from = (0..NODES.len()).find(|node| agreed.get(&config(*node, vm)).is_some())?;
        if from == to || !self.fs.is_quorate(to) {
            return Some(again);
        }
        let rename = Change::Rename {
            from: config(from, vm),
            to: config(to, vm),
        };
        if self.send(to, rename).is_err() {
            return Some(again);
        }
        let text = self.text(to, &config(to, vm)).unwrap_or_default();
        let now = self.now_ms;
        if let Some(guest) = self.guests.get_mut(&vm) {
            (guest.on, guest.since_ms) = (Some(to), now);
            guest.vcpus = vcpus_of(&text);
        }
        self.completed_moves += 1;
        self.unlock(
            vm,
            to,
            Move::Arrived {
                at: to,
                until_ms: now,
            },
        )
    }

    /// What `qm set VMID --vcpus N` does on `node`, called by its agent (qemu-server: the configuration is locked, read,
    /// checked and written with the new value first; then QEMU is asked; pve-facts 2).
    pub(crate) fn qm_set_vcpus(&mut self, node: usize, vm: u32, vcpus: u32) -> Result<(), String> {
        self.blame_hasty_calls(node, vm);
        // Perl starts (recorded: 0.5 s and more): whatever happens now, the agent cannot see any more.
        let starts = 300 + self.dice.below(1_200);
        self.advance(starts);
        let path = config(node, vm);
        let Some(text) = self.text(node, &path) else {
            return self.refuse("no configuration here");
        };
        if text.contains("lock:") {
            return self.refuse("locked");
        }
        let lines = text.lines().filter(|line| !line.starts_with("vcpus:"));
        let new: String = lines
            .map(|line| format!("{line}\n"))
            .chain([format!("vcpus: {vcpus}\n")])
            .collect();
        if self.is_frozen(node) || !self.put(node, &path, &new) {
            return self.refuse("cannot be written");
        }
        let now = self.now_ms;
        let Some(guest) = self
            .guests
            .get_mut(&vm)
            .filter(|guest| guest.on == Some(node))
        else {
            return self.refuse("not running here");
        };
        let change = Changed {
            at_ms: now,
            by: node,
            from: guest.vcpus,
            to: vcpus,
        };
        guest.vcpus = vcpus;
        let before = guest.last_change.replace(change);
        self.changes += 1;
        self.check_change(vm, before, change);
        let took = 1_000 + self.dice.below(1_500);
        self.advance(took);
        Ok(())
    }

    fn refuse(&mut self, why: &str) -> Result<(), String> {
        self.refused += 1;
        Err(why.to_owned())
    }
}

/// Where a VM's configuration is while `node` owns it.
pub(crate) fn config(node: usize, vm: u32) -> String {
    format!("nodes/{}/qemu-server/{vm}.conf", NODES[node])
}

pub(crate) fn vcpus_of(config: &str) -> u32 {
    config
        .lines()
        .find_map(|line| line.strip_prefix("vcpus: ")?.parse().ok())
        .unwrap_or(CORES)
}
