//! Stories of what one agent does for all, once a day.

use std::cell::RefCell;

use vm_autoscale::cluster::SharedFiles;
use vm_autoscale::decide::Memory;
use vm_autoscale::domain::Moment;
use vm_autoscale::record::Day;

use crate::agent::Agent;
use crate::handle::Handle;
use crate::simulation::settings;
use crate::world::{Fate, NODES, World};

const MINUTE_MS: u64 = 60_000;
const HOUR: u64 = 60;

/// Three agents that look once a minute, which is often enough for what happens once a day.
struct Days {
    world: RefCell<World>,
    agents: Vec<Agent>,
    /// Who told of which day, after how many minutes.
    told: Vec<(u64, usize, Day)>,
    minutes: u64,
}

impl Days {
    fn new() -> Self {
        let world = World::new(1, 3);
        let now = Moment::from_millis(world.clock_ms(0));
        let start = |node| Agent::start(node, Memory::default(), settings(), now);
        Self {
            world: RefCell::new(world),
            agents: (0..NODES.len()).map(start).collect(),
            told: Vec::new(),
            minutes: 0,
        }
    }

    /// The last time that the duty was done was so long ago.
    fn since_last(self, minutes: u64) -> Self {
        let files = Handle {
            world: &self.world,
            node: 0,
        };
        let now = self.world.borrow().clock_ms(0);
        let at = Moment::from_millis(now - (minutes * MINUTE_MS) as i64);
        let mark = serde_json::json!({"at": at, "by": "pve1"}).to_string();
        files.replace("vm-autoscale/sweep.json", &mark).unwrap();
        self
    }

    /// Lets time pass until `minute`. Each hour the VMs have another load.
    fn until(&mut self, minute: u64) {
        while self.minutes < minute {
            self.minutes += 1;
            self.world.borrow_mut().advance(MINUTE_MS);
            if self.minutes.is_multiple_of(HOUR) {
                let demand = if (self.minutes / HOUR).is_multiple_of(2) {
                    0.4
                } else {
                    4.0
                };
                for guest in self.world.borrow_mut().guests.values_mut() {
                    guest.demand = demand;
                }
            }
            for agent in &mut self.agents {
                if !self.world.borrow().fate[agent.node].dead {
                    agent.tick(&self.world);
                }
                let days = std::mem::take(&mut agent.days);
                let told = days.into_iter().map(|day| (self.minutes, agent.node, day));
                self.told.extend(told);
            }
        }
    }
}

#[test]
fn one_agent_tells_all_what_the_day_was_like_and_the_first_day_has_none_behind_it() {
    let mut days = Days::new();
    days.until(23 * HOUR);
    assert_eq!(days.told, []);
    while days.told.is_empty() && days.minutes < 25 * HOUR {
        days.until(days.minutes + 1);
    }
    let changes = days.world.borrow().changes as usize;
    days.until(25 * HOUR);
    let [(_, _, day)] = &days.told[..] else {
        panic!("one of three tells: {:?}", days.told);
    };
    assert_eq!((day.nodes, day.agents, day.vms), (3, 3, 3));
    assert_eq!((day.faults, &day.attention), (0, &Vec::new()));
    // What was changed in this very minute is not written down yet.
    assert!(
        (changes - 3..=changes).contains(&day.changes) && day.changes > 30,
        "{} of {changes} changes",
        day.changes
    );
    days.until(49 * HOUR + HOUR / 2);
    assert_eq!(days.told.len(), 2, "and once more a day later");
}

#[test]
fn an_agent_that_is_silent_for_hours_is_told_of_by_another_one() {
    let mut days = Days::new();
    days.until(20 * HOUR);
    days.world.borrow_mut().fate[2].dead = true;
    days.until(25 * HOUR);
    let [(_, by, day)] = &days.told[..] else {
        panic!("one of two tells: {:?}", days.told);
    };
    assert_ne!(*by, 2);
    assert_eq!((day.nodes, day.agents, day.faults), (3, 2, 1));
    assert_eq!(day.attention, ["pve3: agent is silent"]);
}

#[test]
fn whenever_the_one_whose_turn_it_is_dies_another_one_takes_over_and_none_tells_twice() {
    let almost_a_day = || Days::new().since_last(24 * HOUR - 15);
    let mut turn = almost_a_day();
    turn.until(HOUR);
    let (minute, node, _) = turn.told.remove(0);
    let (mut taken_over, mut lost) = (0, 0);
    // Further operations than the duty has.
    for operations in 1..60 {
        let mut days = almost_a_day();
        days.until(minute - 1);
        days.world.borrow_mut().fate[node] = Fate {
            operations_left: Some(operations),
            dead: false,
        };
        // The lock of a dead agent expires after two minutes, and the others look every ten.
        days.until(minute + 25);
        assert!(days.told.len() <= 1, "after {operations}: {:?}", days.told);
        match days.told.first() {
            Some((_, by, _)) if *by == node => {}
            Some(_) => taken_over += 1,
            None => lost += 1,
        }
    }
    assert!(taken_over > 5, "taken over {taken_over} times");
    // Between the mark that the day was done and the telling there are only looks.
    assert!(
        lost < taken_over * 2,
        "lost {lost}, taken over {taken_over}"
    );
}
