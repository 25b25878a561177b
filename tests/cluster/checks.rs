//! What must hold at every step, and at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use vm_autoscale::cluster::{VmFacts, facts_path};
use vm_autoscale::domain::VmId;

use crate::agent::{Agent, CPU};
use crate::world::{CORES, Changed, NODES, World, config};

/// The least time before a grow, and before a shrink, in the simulation's settings.
pub(crate) const COOL_UP: Duration = Duration::from_secs(10);
pub(crate) const COOL_DOWN: Duration = Duration::from_secs(60);
/// A tick, the slowest delivery, and the time that one change may take: until then an order may not have been heard.
const HEARD_WITHIN_MS: u64 = 5_000 + 2_000 + 3_000;
/// The last look before a change is not older than this when `qm` is called: a second of a stale attribute, two of
/// delivery, and what passes in between.
const LAST_LOOK_MS: u64 = 5_000;

impl World {
    pub(crate) fn violation(&mut self, text: String) {
        let at = self.now_ms as f64 / 1000.0;
        self.violations.push(format!("{at:.1} s: {text}"));
    }

    /// An agent that has called `qm` must have had reason to believe that it may.
    pub(crate) fn blame_hasty_calls(&mut self, node: usize, vm: u32) {
        let (now, name) = (self.now_ms, NODES[node]);
        if !self.fs.is_quorate(node) && now > self.quorum_seen_ms[node] + LAST_LOOK_MS {
            self.violation(format!(
                "{name} called qm for VM {vm} long after it had lost quorum"
            ));
        }
        let Some(guest) = self.guests.get(&vm).cloned() else {
            return;
        };
        let text = self.text(node, &config(node, vm));
        if text.is_some_and(|text| text.contains("lock:")) && now > guest.locked_ms + LAST_LOOK_MS {
            self.violation(format!(
                "{name} called qm for VM {vm} long after it was locked"
            ));
        }
        if guest.on != Some(node) && now > guest.since_ms + LAST_LOOK_MS && self.fs.is_quorate(node)
        {
            self.violation(format!(
                "{name} called qm for VM {vm} long after it had left"
            ));
        }
    }

    /// A change that took effect.
    pub(crate) fn check_change(&mut self, vm: u32, before: Option<Changed>, change: Changed) {
        let (now, name) = (self.now_ms, NODES[change.by]);
        if !self.fs.is_quorate(change.by) {
            self.violation(format!("{name} changed VM {vm} without quorum"));
        }
        if self
            .paused_since_ms
            .is_some_and(|since| now > since + HEARD_WITHIN_MS)
        {
            self.violation(format!(
                "{name} changed VM {vm} although the cluster was paused"
            ));
        }
        if let Some((state, since)) = self.ha_states.get(&vm).copied()
            && state != "started"
            && now > since + HEARD_WITHIN_MS
        {
            self.violation(format!(
                "{name} changed VM {vm} although its HA state was {state}"
            ));
        }
        let Some(before) = before else { return };
        let cool = if change.to > change.from {
            COOL_UP
        } else {
            COOL_DOWN
        };
        let passed = Duration::from_millis(change.at_ms - before.at_ms);
        let restarted = self.agent_since_ms[change.by] >= before.at_ms;
        // A clock that was set in between tells an agent a false time of its own change; two agents compare none.
        let same_agent =
            before.by == change.by && !restarted && self.clocks_set_ms[change.by] < before.at_ms;
        if passed < cool && (before.by != change.by || same_agent) {
            let first = NODES[before.by];
            self.violation(format!(
                "{name} changed VM {vm} {} ms after {first} did",
                passed.as_millis()
            ));
        }
    }

    /// The facts of a VM as all nodes will see them.
    pub(crate) fn agreed_facts(&self, vm: u32) -> Option<VmFacts> {
        let id = VmId::try_from(vm).ok()?;
        serde_json::from_str(&self.fs.agreed().text(&facts_path(id))?).ok()
    }
}

/// The last change of each VM that an agent saw take effect: by which node, at what time by its clock.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    last: BTreeMap<u32, (usize, vm_autoscale::domain::Moment)>,
    /// Changes that died with their agent before it could write them down.
    pub(crate) lost_with_their_agent: usize,
    /// Changes whose VM was with another agent before its own could write them down, since that one was stopped.
    pub(crate) overtaken: usize,
}

impl Ledger {
    /// Takes in what `agent` has seen since the last call.
    pub(crate) fn read(&mut self, agent: &Agent) {
        for (vm, verified) in &agent.verified {
            let entry = (agent.node, verified.done.at);
            if verified.overtaken {
                if self.last.get(&vm.get()) == Some(&entry) {
                    self.last.remove(&vm.get());
                    self.overtaken += 1;
                }
            } else if !verified.told {
                self.last.insert(vm.get(), entry);
            }
        }
    }

    /// The agent is dead. What is not written down is lost, and must be the last change of its VM.
    pub(crate) fn died(&mut self, agent: &Agent, world: &World) {
        self.read(agent);
        for vm in agent.verified.keys() {
            let Some((node, at)) = self.last.get(&vm.get()).copied() else {
                continue;
            };
            let written = world
                .agreed_facts(vm.get())
                .and_then(|facts| facts.changes.get(&CPU).map(|change| change.at));
            if node == agent.node && written != Some(at) {
                self.last.remove(&vm.get());
                self.lost_with_their_agent += 1;
            }
        }
    }

    /// Whether every change that is not lost is in the facts, and every VM is with its owner and has what it needs.
    pub(crate) fn check_converged(&self, world: &mut World) {
        let agreed = world.fs.agreed();
        for (vm, guest) in world.guests.clone() {
            let home = (0..NODES.len()).find(|node| agreed.get(&config(*node, vm)).is_some());
            if home != guest.on {
                world.violation(format!(
                    "VM {vm} runs on {:?}, its configuration is on {home:?}",
                    guest.on
                ));
            }
            let needed = (guest.demand.ceil() as u32).clamp(1, CORES);
            if guest.vcpus < needed {
                world.violation(format!(
                    "VM {vm} needs {needed} vCPUs and has {} in the end",
                    guest.vcpus
                ));
            }
            let Some(facts) = world.agreed_facts(vm) else {
                continue;
            };
            if home.map(|node| NODES[node]) != Some(facts.owner.as_str()) {
                world.violation(format!(
                    "the facts of VM {vm} name {} although it is on {home:?}",
                    facts.owner
                ));
            }
            let Some((node, at)) = self.last.get(&vm) else {
                continue;
            };
            let told = facts
                .changes
                .get(&CPU)
                .map(|change| (change.node.as_str(), change.at));
            if told != Some((NODES[*node], *at)) {
                world.violation(format!(
                    "the last change of VM {vm}, by {} at {at}, is not in its facts: {told:?}",
                    NODES[*node]
                ));
            }
        }
    }

    /// Whether nothing is left of VMs and writers that are gone.
    pub(crate) fn check_tidy(&self, world: &mut World) {
        let agreed = world.fs.agreed();
        for name in agreed.names("vm-autoscale/vms") {
            let vm: Option<u32> = name.strip_suffix(".json").and_then(|vm| vm.parse().ok());
            if vm.is_none_or(|vm| !world.guests.contains_key(&vm)) {
                world.violation(format!("vm-autoscale/vms/{name} is left over"));
            }
        }
        for vm in world.guests.keys().copied().collect::<Vec<_>>() {
            if self.last.contains_key(&vm) && world.agreed_facts(vm).is_none() {
                world.violation(format!("the facts of VM {vm} are gone, the VM is not"));
            }
        }
    }
}
