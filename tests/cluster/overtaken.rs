//! The story of an agent that is stopped between a change and the note of it, while its VM goes away and comes back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use vm_autoscale::act::{Done, Outcome};
use vm_autoscale::cluster::{AgentReport, Member, Note, Round, Seen, clear};
use vm_autoscale::decide::{Change, Reason};
use vm_autoscale::domain::{Amount, Lever, Moment, NodeName, Reading, Source, VmId, VmName};

use crate::agent::CPU;
use crate::cluster_fs;
use crate::handle::Handle;
use crate::world::{NODES, World, config};

const VM: u32 = 101;

/// A VM, and the agents of two nodes without the deciding.
struct Pair {
    world: RefCell<World>,
    members: [Member; 2],
    home: usize,
}

fn name(node: usize) -> NodeName {
    NODES[node].parse().unwrap()
}

fn vm() -> VmId {
    VmId::try_from(VM).unwrap()
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self {
            world: RefCell::new(World::new(1, 1)),
            members: [0, 1].map(|node| Member::new(name(node))),
            home: 0,
        };
        pair.round(0, None);
        pair
    }

    fn now(&self, node: usize) -> Moment {
        Moment::from_millis(self.world.borrow().clock_ms(node))
    }

    /// One round of one agent, ten seconds later, with a change to write down.
    fn round(&mut self, node: usize, note: Option<Note>) {
        self.world.borrow_mut().advance(10_000);
        let world = &self.world;
        let seen = Seen {
            owner: name(self.home),
            free: true,
        };
        let round = Round {
            now: self.now(node),
            at: Duration::from_millis(world.borrow().now_ms),
            quorate: true,
            vms: BTreeMap::from([(vm(), seen)]),
            notes: note.into_iter().collect(),
            report: AgentReport::new("0.1.0", self.now(node), "same".to_owned(), None),
        };
        self.members[node]
            .round(&Handle { world, node }, round)
            .unwrap();
    }

    /// A change by the agent of `node` that was seen to take effect, not written down yet.
    fn change(&mut self, node: usize, from: u32, to: u32) -> Note {
        let now = self.now(node);
        let world = &self.world;
        clear(&Handle { world, node }, &name(node), vm(), now).unwrap();
        let (from, to) = (Amount::vcpus(from), Amount::vcpus(to));
        let change = Change {
            vm: vm(),
            name: VmName::new("web"),
            lever: Lever::Vcpus,
            from,
            to,
            reason: Reason::NeedsMore { need: to },
        };
        let done = Done {
            change,
            outcome: Outcome::Applied,
            now: Reading::known(to, now, Source::Qemu),
            at: now,
            took: Duration::from_secs(1),
        };
        Note {
            done,
            learned: None,
        }
    }

    fn migrate(&mut self, to: usize) {
        let from = std::mem::replace(&mut self.home, to);
        let rename = cluster_fs::Change::Rename {
            from: config(from, VM),
            to: config(to, VM),
        };
        let mut world = self.world.borrow_mut();
        world.send(from, rename).unwrap();
        world.advance(5_000);
    }

    /// The last change as all nodes know it: by which node, to what.
    fn last(&self) -> (String, Amount) {
        let facts = self.world.borrow().agreed_facts(VM).unwrap();
        let change = &facts.changes[&CPU];
        (change.node.to_string(), change.to)
    }
}

#[test]
fn what_another_agent_did_in_the_meantime_is_not_undone_by_a_note_that_comes_late() {
    let mut pair = Pair::new();
    let late = pair.change(0, 1, 2);
    pair.migrate(1);
    pair.round(1, None);
    let younger = pair.change(1, 2, 6);
    pair.round(1, Some(younger));
    pair.migrate(0);
    pair.round(0, Some(late));
    assert_eq!(pair.last(), ("pve2".to_owned(), Amount::vcpus(6)));
    pair.round(0, None);
    let next = pair.change(0, 6, 3);
    pair.round(0, Some(next));
    assert_eq!(pair.last(), ("pve1".to_owned(), Amount::vcpus(3)));
}

#[test]
fn a_note_that_comes_late_is_written_down_where_nobody_did_anything_since() {
    let mut pair = Pair::new();
    pair.migrate(1);
    pair.round(1, None);
    let first = pair.change(1, 1, 2);
    pair.round(1, Some(first));
    pair.migrate(0);
    pair.round(0, None);
    let late = pair.change(0, 2, 4);
    pair.migrate(1);
    pair.round(1, None);
    pair.migrate(0);
    pair.round(0, Some(late));
    assert_eq!(pair.last(), ("pve1".to_owned(), Amount::vcpus(4)));
}
