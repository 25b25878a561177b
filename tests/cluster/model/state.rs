//! The whole of the model: one VM, the agents of its nodes, and everything that may happen.

use std::time::Duration;

use stateright::{Model, Property};
use vm_autoscale::config::{Cooldown, CpuMethod, MemoryMethod, PolicyKind, Settings};
use vm_autoscale::decide::Memory;

use super::agent::{Around, Mind, Phase};
use super::events::{Budget, Event};
use super::shared::Shared;
use super::{AGENTS, Broken, COOL, Mutation, STEP_S};

/// What shows that something happens at all.
pub(crate) const BOTH: &str = "both agents change the VM";

/// A move of the VM on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Move {
    /// Locked; its memory is being copied.
    To(usize),
    /// Its configuration is on the target, still locked.
    Arrived,
}

/// Who changed the VM last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Changed {
    by: usize,
    at: u8,
}

#[derive(Debug, Clone, PartialEq, Hash)]
pub(crate) struct State {
    left: Budget,
    now: u8,
    shared: Shared,
    agents: [Phase; AGENTS],
    /// What each agent remembers on its node's disk, as of its last tick or change.
    disks: [std::sync::Arc<Mind>; AGENTS],
    /// Where the VM's QEMU runs, and with how many vCPUs.
    qemu: Option<(usize, u32)>,
    moving: Option<Move>,
    last: Option<Changed>,
    /// Both agents have changed the VM.
    pub(crate) both: bool,
    pub(crate) broken: Option<Broken>,
}

/// The model, with the bounds of a story.
pub(crate) struct Ownership {
    budget: Budget,
    mutation: Mutation,
    settings: Settings,
}

impl Ownership {
    pub(crate) fn new(budget: Budget, mutation: Mutation) -> Self {
        let mut settings = Settings::default();
        let cool = Duration::from_secs(u64::from(COOL) * STEP_S);
        for profile in settings.profiles.values_mut() {
            profile.policy = PolicyKind::Threshold;
            profile.cooldown = Cooldown {
                up: cool,
                down: cool,
            };
            profile.cpu.method = CpuMethod::Vcpus;
            profile.memory.method = MemoryMethod::Off;
        }
        Self {
            budget,
            mutation,
            settings,
        }
    }

    fn agent_steps(&self, state: &mut State, node: usize) {
        let running = state
            .qemu
            .filter(|(on, _)| *on == node)
            .map(|(_, vcpus)| vcpus);
        let mut around = Around {
            node,
            now: state.now,
            settings: &self.settings,
            mutation: self.mutation,
            shared: &mut state.shared,
            running,
        };
        let phase = std::mem::replace(&mut state.agents[node], Phase::Off);
        let (phase, broken) = phase.step(&mut around);
        if let Phase::Idle { mind, .. } | Phase::Decided { mind, .. } = &phase {
            state.disks[node] = mind.clone();
        }
        state.agents[node] = phase;
        state.broken = state.broken.or(broken);
    }
}

impl State {
    /// Where PVE can work on the VM now.
    fn workable(&self) -> Option<usize> {
        let tree = self.shared.agreed();
        let free = self.moving.is_none() && !tree.locked;
        Some(tree.home).filter(|home| free && self.shared.quorate(*home))
    }

    /// `qm set` holds the VM's lock on its node while it runs, as a migration does: the two exclude each other. It reads the
    /// configuration, writes it, and asks QEMU (pve-facts 2).
    fn qm(&mut self, node: usize) {
        let Phase::Calling { mind, from, to } = self.agents[node].clone() else {
            return;
        };
        let (seen, agreed) = (self.shared.view(node), self.shared.agreed());
        let here = seen.home == node && agreed.home == node && !seen.locked && !agreed.locked;
        let runs = self.qemu.is_some_and(|(on, _)| on == node);
        let moved = here && runs && self.shared.write(node, |tree| tree.vcpus = to);
        if moved {
            self.qemu = Some((node, to));
            self.changed(node);
        }
        let at = self.now;
        self.agents[node] = Phase::Called {
            mind,
            from,
            to,
            moved,
            at,
        };
    }

    fn changed(&mut self, by: usize) {
        if let Some(last) = self.last.filter(|last| last.by != by) {
            self.both = true;
            if self.now - last.at < COOL {
                self.broken = self.broken.or(Some(Broken::TwoAgents));
            }
        }
        if self.shared.agreed().facts.is_none() {
            self.broken = self.broken.or(Some(Broken::Baseline));
        }
        self.last = Some(Changed { by, at: self.now });
    }

    fn hand_over(&mut self) {
        let Some(Move::To(to)) = self.moving else {
            return;
        };
        let from = self.shared.agreed().home;
        if self.shared.write(from, |tree| tree.home = to) {
            self.qemu = self.qemu.map(|(_, vcpus)| (to, vcpus));
            self.moving = Some(Move::Arrived);
        }
    }

    fn unlock(&mut self) {
        let home = self.shared.agreed().home;
        if self.shared.write(home, |tree| tree.locked = false) {
            self.moving = None;
        }
    }

    fn dies(&mut self, node: usize) {
        self.left.deaths -= 1;
        self.shared.up[node] = false;
        self.shared.cut = self.shared.cut.filter(|cut| *cut != node);
        self.shared.hangs[node] = false;
        self.shared.hanging = self.shared.hanging.take().filter(|(of, _)| *of != node);
        self.shared.deliver_all();
        self.agents[node] = Phase::Off;
        if self.qemu.is_some_and(|(on, _)| on == node) {
            (self.qemu, self.moving) = (None, None);
        }
    }

    /// The configuration goes to another node without its lock, and the VM is started there with what it says.
    fn recovers(&mut self, to: usize) {
        let moved = self.shared.write(to, |tree| {
            tree.home = to;
            tree.locked = false;
        });
        if moved {
            self.qemu = Some((to, self.shared.agreed().vcpus));
        }
    }

    fn lands(&mut self) {
        if let Some((node, text)) = self.shared.hanging.take() {
            // It may undo what was written since, for a minute at most: then the owner puts it right.
            let _ = self.shared.write_facts(node, &text);
        }
    }
}

impl Model for Ownership {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        let minds = std::array::from_fn(|node| Mind::start(node, Memory::default()));
        let agents = minds.clone().map(|mind| Phase::Idle { mind, ticked: None });
        vec![State {
            left: self.budget,
            now: 0,
            shared: Shared::new(self.budget.cuts + self.budget.deaths == 0),
            agents,
            disks: minds,
            qemu: Some((0, 1)),
            moving: None,
            last: None,
            both: false,
            broken: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Event>) {
        let (left, shared) = (state.left, &state.shared);
        if state.broken.is_some() {
            return;
        }
        if left.time > 0 && !state.agents.iter().any(Phase::is_quick) {
            actions.push(Event::TimePasses);
        }
        for (node, phase) in state.agents.iter().enumerate() {
            match phase {
                Phase::Off if shared.up[node] => actions.push(Event::AgentStarts(node)),
                Phase::Calling { .. } => actions.push(Event::Qm(node)),
                phase if phase.has_step(state.now) => actions.push(Event::Agent(node)),
                _ => {}
            }
            if left.crashes > 0 && *phase != Phase::Off {
                actions.push(Event::AgentDies(node));
            }
            if shared.lags(node) {
                actions.push(Event::Arrives(node));
            }
            if shared.up[node] && shared.shown[node] != shared.quorate(node) {
                actions.push(Event::Shows(node));
            }
            if left.cuts > 0 && shared.cut.is_none() && shared.up.iter().all(|up| *up) {
                actions.push(Event::CutOff(node));
            }
            if left.deaths > 0 && shared.up.iter().all(|up| *up) {
                actions.push(Event::Dies(node));
            }
            if !shared.up[node] {
                actions.push(Event::Returns(node));
            }
            let recovers = state.qemu.is_none() && shared.quorate(node);
            if recovers && !shared.up[shared.agreed().home] {
                actions.push(Event::Recovers(node));
            }
            if left.late > 0 && shared.hanging.is_none() && !shared.hangs[node] {
                actions.push(Event::Hangs(node));
            }
        }
        if shared.cut.is_some() {
            actions.push(Event::Heals);
        }
        if shared.hanging.is_some() {
            actions.push(Event::Lands);
        }
        if left.moves > 0 && state.workable().is_some() && state.qemu.is_some() {
            actions.push(Event::MigrationBegins);
        }
        let home = shared.agreed().home;
        match state.moving {
            Some(Move::To(to)) if shared.quorate(home) => {
                actions.push(Event::MigrationFails);
                if shared.quorate(to) {
                    actions.push(Event::MigrationHandsOver);
                }
            }
            Some(Move::Arrived) if shared.quorate(home) => actions.push(Event::MigrationEnds),
            _ => {}
        }
    }

    fn next_state(&self, last: &State, event: Event) -> Option<State> {
        let mut state = last.clone();
        match event {
            Event::TimePasses => {
                state.left.time -= 1;
                state.now += 1;
                state.shared.deliver_all();
            }
            Event::Agent(node) => self.agent_steps(&mut state, node),
            Event::Qm(node) => state.qm(node),
            Event::AgentDies(node) => {
                state.left.crashes -= 1;
                state.agents[node] = Phase::Off;
            }
            Event::AgentStarts(node) => {
                let mind = Mind::start(node, state.disks[node].memory.clone());
                state.agents[node] = Phase::Idle { mind, ticked: None };
            }
            Event::Arrives(node) => state.shared.deliver(node),
            Event::Shows(node) => state.shared.shown[node] = state.shared.quorate(node),
            Event::MigrationBegins => {
                let home = state.workable()?;
                state.left.moves -= 1;
                state.moving = Some(Move::To(1 - home));
                state.shared.write(home, |tree| tree.locked = true);
            }
            Event::MigrationFails | Event::MigrationEnds => state.unlock(),
            Event::MigrationHandsOver => state.hand_over(),
            Event::CutOff(node) => {
                state.left.cuts -= 1;
                state.shared.cut = Some(node);
            }
            Event::Heals => state.shared.cut = None,
            Event::Dies(node) => state.dies(node),
            Event::Returns(node) => {
                state.shared.up[node] = true;
                state.shared.deliver_all();
            }
            Event::Recovers(node) => state.recovers(node),
            Event::Hangs(node) => {
                state.left.late -= 1;
                state.shared.hangs[node] = true;
            }
            Event::Lands => state.lands(),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(Broken::TwoAgents.rule(), |_, s: &State| {
                s.broken != Some(Broken::TwoAgents)
            }),
            Property::always(Broken::WithoutQuorum.rule(), |_, s: &State| {
                s.broken != Some(Broken::WithoutQuorum)
            }),
            Property::always(Broken::UnderLock.rule(), |_, s: &State| {
                s.broken != Some(Broken::UnderLock)
            }),
            Property::always(Broken::WrongNode.rule(), |_, s: &State| {
                s.broken != Some(Broken::WrongNode)
            }),
            Property::always(Broken::Baseline.rule(), |_, s: &State| {
                s.broken != Some(Broken::Baseline)
            }),
            Property::always(Broken::Forgotten.rule(), |_, s: &State| {
                s.broken != Some(Broken::Forgotten)
            }),
        ];
        if self.mutation == Mutation::None {
            // Not for lack of anything happening.
            properties.push(Property::sometimes(BOTH, |_, s: &State| s.both));
        }
        properties
    }
}
