//! The simulation itself: time, ticks, faults in their order, and the judgement at the end.

use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use vm_autoscale::config::{Cooldown, CpuMethod, MemoryMethod, Settings};
use vm_autoscale::decide::Memory;
use vm_autoscale::domain::Moment;

use crate::agent::Agent;
use crate::checks::{COOL_DOWN, COOL_UP, Ledger};
use crate::faults::{ForAgents, Step, schedule};
use crate::world::{Fate, NODES, World};

/// An agent decides so often.
const TICK_MS: u64 = 5_000;
/// systemd starts an agent again after this time.
const RESTART_MS: u64 = 5_000;

/// A whole run: the cluster, its agents, and what they left on their disks.
struct Simulation {
    world: RefCell<World>,
    agents: [Option<Agent>; 3],
    disks: [Memory; 3],
    next_tick_ms: [u64; 3],
    ledger: Ledger,
    starts: u64,
}

/// What a run came to.
#[derive(Debug, Default, Clone, Copy)]
struct Figures {
    faults: u64,
    changes: u64,
    moves: u64,
    refused: u64,
    lost_with_their_agent: u64,
    overtaken: u64,
    writes: u64,
    allowed: u64,
}

pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    for profile in settings.profiles.values_mut() {
        profile.cooldown = Cooldown {
            up: COOL_UP,
            down: COOL_DOWN,
        };
        profile.cpu.method = CpuMethod::Vcpus;
        profile.memory.method = MemoryMethod::Off;
    }
    settings
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let world = World::new(seed, 6);
        let now = world.now_ms;
        Self {
            world: RefCell::new(world),
            agents: [None, None, None],
            disks: [Memory::default(), Memory::default(), Memory::default()],
            next_tick_ms: [now, now + 1_700, now + 3_300],
            ledger: Ledger::default(),
            starts: 0,
        }
    }

    /// Lets `seconds` pass, with every tick that is due.
    fn run_for(&mut self, seconds: u64, tick_ms: u64) {
        let until = self.world.borrow().now_ms + seconds * 1000;
        while self.world.borrow().now_ms < until {
            self.world.borrow_mut().advance((tick_ms / 5).max(1_000));
            for node in 0..NODES.len() {
                self.bury(node);
                if self.world.borrow().now_ms >= self.next_tick_ms[node] {
                    self.tick(node, tick_ms);
                }
            }
        }
    }

    /// Takes note of an agent that was killed together with its node.
    fn bury(&mut self, node: usize) {
        let dead = self.world.borrow().fate[node].dead;
        if let Some(agent) = self.agents[node].take_if(|_| dead) {
            self.ledger.died(&agent, &self.world.borrow());
            self.next_tick_ms[node] = self.world.borrow().now_ms + RESTART_MS;
        }
    }

    fn tick(&mut self, node: usize, tick_ms: u64) {
        self.next_tick_ms[node] = self.world.borrow().now_ms + tick_ms;
        if self.agents[node].is_none() && !self.start(node) {
            return;
        }
        let Some(agent) = &mut self.agents[node] else {
            return;
        };
        let alive = agent.tick(&self.world);
        self.ledger.read(agent);
        if alive {
            self.disks[node] = agent.memory.clone();
        }
        self.bury(node);
    }

    /// An agent starts where its node is up.
    fn start(&mut self, node: usize) -> bool {
        let mut world = self.world.borrow_mut();
        if !world.fs.is_up(node) {
            return false;
        }
        world.fate[node] = Fate::default();
        world.agent_since_ms[node] = world.now_ms;
        self.starts += 1;
        let now = Moment::from_millis(world.clock_ms(node));
        self.agents[node] = Some(Agent::start(
            node,
            self.disks[node].clone(),
            settings(),
            now,
        ));
        true
    }

    fn happen(&mut self, step: Step) {
        self.run_for(step.0.into(), TICK_MS);
        let for_agents = self.world.borrow_mut().happen(step.1);
        match for_agents {
            Some(ForAgents::Stall { node, until_ms }) => self.next_tick_ms[node] = until_ms,
            Some(ForAgents::LosesDisk { node }) => self.disks[node] = Memory::default(),
            None => {}
        }
    }

    fn figures(&self, faults: usize) -> Figures {
        let world = self.world.borrow();
        let hours = world.now_ms / 3_600_000 + 1;
        let nodes = NODES.len() as u64;
        Figures {
            faults: faults as u64,
            changes: world.changes,
            moves: world.completed_moves,
            refused: world.refused,
            lost_with_their_agent: self.ledger.lost_with_their_agent as u64,
            overtaken: self.ledger.overtaken as u64,
            writes: world.writes,
            // One per change and per owner; the settings of each VM once; one per start; one per node and hour; one per
            // VM that goes away; one again for each that was undone; the daily sweep.
            allowed: world.changes + world.completed_moves + u64::from(world.next_vm) - 101
                + self.starts
                + nodes * hours
                + world.destroyed
                + world.writes_undone
                + hours / 24
                + 1,
        }
    }
}

/// Runs one schedule to its end. An error tells every rule that was broken.
fn run(steps: &[Step], seed: u64) -> Result<Figures, String> {
    let mut simulation = Simulation::new(seed);
    for step in steps {
        simulation.happen(*step);
        let world = simulation.world.borrow();
        if !world.violations.is_empty() {
            return Err(world.violations.join("\n"));
        }
    }
    // HA needs up to three minutes to recover what is dead, a clock may have to catch up with a cool-down.
    simulation.world.borrow_mut().all_well();
    simulation.run_for(200, TICK_MS);
    simulation.world.borrow_mut().all_well();
    simulation.run_for(300, TICK_MS);
    simulation
        .ledger
        .check_converged(&mut simulation.world.borrow_mut());
    simulation.run_for(26 * 3600, 600_000);
    simulation
        .ledger
        .check_tidy(&mut simulation.world.borrow_mut());
    let figures = simulation.figures(steps.len());
    let mut world = simulation.world.borrow_mut();
    if figures.writes > figures.allowed {
        world.violation(format!(
            "{} writes where {} are allowed",
            figures.writes, figures.allowed
        ));
    }
    if world.violations.is_empty() {
        Ok(figures)
    } else {
        Err(world.violations.join("\n"))
    }
}

/// How many runs, and how many faults in each: 1,000 in all, unless PVE_FAULTS asks for more.
const FAULTS_A_RUN: usize = 50;

#[test]
fn no_two_agents_change_a_vm_within_its_cool_down_whatever_happens() {
    let faults: u32 = std::env::var("PVE_FAULTS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_000);
    let seed: u64 = std::env::var("PVE_SEED")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(20_261_124);
    let shrink: u32 = std::env::var("PVE_SHRINK")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(500);
    let cases = faults.div_ceil(FAULTS_A_RUN as u32);
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: shrink,
        ..Config::default()
    };
    let total = RefCell::new(Figures::default());
    let mut runner = TestRunner::new(config);
    let result = runner.run(&(schedule(FAULTS_A_RUN), any::<u64>()), |(steps, seed)| {
        let figures =
            run(&steps, seed).map_err(|why| TestCaseError::fail(format!("seed {seed}\n{why}")))?;
        let mut total = total.borrow_mut();
        total.faults += figures.faults;
        total.changes += figures.changes;
        total.moves += figures.moves;
        total.refused += figures.refused;
        total.lost_with_their_agent += figures.lost_with_their_agent;
        total.overtaken += figures.overtaken;
        total.writes += figures.writes;
        total.allowed += figures.allowed;
        Ok(())
    });
    println!("PVE_SEED={seed}: {cases} runs, {:?}", total.borrow());
    if let Err(why) = result {
        panic!("{why}");
    }
}
