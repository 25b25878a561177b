//! The shared files of the model: one order of writes, of which each node has seen a part, and an agent's hand on them.

use std::cell::RefCell;
use std::sync::Arc;

use vm_autoscale::cluster::{FilesError, SharedFiles, VmFacts, config_path, facts_path};
use vm_autoscale::domain::{Moment, NodeName, Resource, VmId};

use super::{Broken, Mutation, NODES, VM};

/// One state of everything that matters here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Tree {
    /// The node whose directory holds the VM's configuration.
    pub(crate) home: usize,
    /// Whether it carries `lock: migrate`.
    pub(crate) locked: bool,
    pub(crate) vcpus: u32,
    /// The VM's facts.
    pub(crate) facts: Option<Arc<str>>,
}

impl Tree {
    /// The VM's configuration as text.
    pub(crate) fn config(&self) -> String {
        let lock = if self.locked { "lock: migrate\n" } else { "" };
        format!(
            "cores: 8\nhotplug: disk,network,usb,cpu\nmemory: 2048\nname: model\ntags: autoscale\nvcpus: {}\n{lock}",
            self.vcpus
        )
    }
}

/// pmxcfs on all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Shared {
    /// The states after each write that not all nodes have seen yet; the last one is what all agreed on.
    states: Vec<Tree>,
    /// Which of them each node has seen.
    seen: [usize; NODES],
    pub(crate) up: [bool; NODES],
    /// The node that is cut off from the others.
    pub(crate) cut: Option<usize>,
    /// Whether /etc/pve is shown as writable: the kernel may keep that for a second.
    pub(crate) shown: [bool; NODES],
    /// Whether the next write of facts hangs; it lands when the node thaws.
    pub(crate) hangs: [bool; NODES],
    pub(crate) hanging: Option<(usize, Arc<str>)>,
    /// Whether quorum is never lost in this story.
    pub(crate) is_safe: bool,
    /// The first facts ever written: what a mutant believes them to be for good.
    first: Option<Arc<str>>,
}

impl Shared {
    pub(crate) fn new(is_safe: bool) -> Self {
        let tree = Tree {
            home: 0,
            locked: false,
            vcpus: 1,
            facts: None,
        };
        Self {
            states: vec![tree],
            seen: [0; NODES],
            up: [true; NODES],
            cut: None,
            shown: [true; NODES],
            hangs: [false; NODES],
            hanging: None,
            is_safe,
            first: None,
        }
    }

    /// What all nodes will come to.
    pub(crate) fn agreed(&self) -> &Tree {
        &self.states[self.states.len() - 1]
    }

    /// What `node` sees now.
    pub(crate) fn view(&self, node: usize) -> &Tree {
        &self.states[self.seen[node].min(self.states.len() - 1)]
    }

    /// Whether `node` is among more than half of all.
    pub(crate) fn quorate(&self, node: usize) -> bool {
        let others = (0..NODES).filter(|other| self.up[*other] && self.cut != Some(*other));
        self.up[node] && self.cut != Some(node) && others.count() * 2 > NODES
    }

    /// Whether `node` has yet to see something that can reach it.
    pub(crate) fn lags(&self, node: usize) -> bool {
        self.quorate(node) && self.seen[node] + 1 < self.states.len()
    }

    pub(crate) fn deliver(&mut self, node: usize) {
        self.seen[node] += 1;
        self.forget_seen();
    }

    /// Brings every node up to date that can be.
    pub(crate) fn deliver_all(&mut self) {
        for node in 0..NODES {
            if self.quorate(node) {
                self.seen[node] = self.states.len() - 1;
            }
            self.shown[node] = self.quorate(node);
        }
        self.forget_seen();
    }

    /// One write by `node`, which then has seen everything before it; refused without quorum.
    pub(crate) fn write(&mut self, node: usize, change: impl FnOnce(&mut Tree)) -> bool {
        if !self.quorate(node) {
            return false;
        }
        let mut tree = self.agreed().clone();
        change(&mut tree);
        self.states.push(tree);
        self.seen[node] = self.states.len() - 1;
        self.forget_seen();
        true
    }

    /// Writes facts, and tells which rule that breaks.
    pub(crate) fn write_facts(
        &mut self,
        node: usize,
        text: &Arc<str>,
    ) -> Result<Option<Broken>, FilesError> {
        if !self.write(node, |tree| tree.facts = Some(text.clone())) {
            return Err(FilesError::NoQuorum);
        }
        self.first.get_or_insert_with(|| text.clone());
        let kept = facts(text).is_some_and(|facts| facts.baseline.vcpus == Some(1));
        Ok((!kept).then_some(Broken::Baseline))
    }

    /// States that everyone has left behind are of no more use.
    fn forget_seen(&mut self) {
        for node in 0..NODES {
            if !self.up[node] {
                self.seen[node] = self.states.len() - 1;
            }
        }
        let oldest = self.seen.iter().copied().min().unwrap_or(0);
        self.states.drain(..oldest);
        for seen in &mut self.seen {
            *seen -= oldest;
        }
    }
}

fn facts(text: &str) -> Option<VmFacts> {
    serde_json::from_str(text).ok()
}

/// The vCPUs that the last change led to. They only ever grow in the model, so that the number tells its place.
fn last_change(text: &str) -> Option<u32> {
    let facts = facts(text)?;
    Some(facts.changes.get(&Resource::Cpu)?.to.value() as u32)
}

/// What an operation on shared files answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    Text(Option<Arc<str>>),
    /// Facts, and the last change that was to be read in them.
    Facts(Option<Arc<str>>, Option<u32>),
    Bool(bool),
    Done,
    NoQuorum,
    Hangs,
}

/// An agent's hand on the shared files, which can do one thing at a time.
///
/// The agent's code is run from the beginning of a call for each single step of it: what was answered before is answered
/// again, one operation more is really done, and the next one is where the call waits for its next step. So that
/// everything else can happen between any two operations, and the code is the real one.
pub(crate) struct Hand<'s> {
    pub(crate) node: usize,
    mutation: Mutation,
    now: RefCell<Now<'s>>,
}

struct Now<'s> {
    shared: &'s mut Shared,
    answers: Vec<Answer>,
    /// How many answers were given in this run.
    given: usize,
    acted: bool,
    waits: bool,
    broken: Option<Broken>,
}

impl Now<'_> {
    /// The last change that this call was to read in the facts.
    fn was_to_read(&self) -> Option<u32> {
        let mut read = self.answers.iter().filter_map(|answer| match answer {
            Answer::Facts(_, last) => *last,
            _ => None,
        });
        read.next_back()
    }
}

/// What a step came to.
pub(crate) struct Stepped {
    pub(crate) answers: Vec<Answer>,
    /// The call has not come to its end: what it returned means nothing.
    pub(crate) waits: bool,
    pub(crate) broken: Option<Broken>,
}

impl<'s> Hand<'s> {
    pub(crate) fn new(
        shared: &'s mut Shared,
        node: usize,
        answers: Vec<Answer>,
        mutation: Mutation,
    ) -> Self {
        let now = Now {
            shared,
            answers,
            given: 0,
            acted: false,
            waits: false,
            broken: None,
        };
        Self {
            node,
            mutation,
            now: RefCell::new(now),
        }
    }

    pub(crate) fn end(self) -> Stepped {
        let now = self.now.into_inner();
        Stepped {
            answers: now.answers,
            waits: now.waits,
            broken: now.broken,
        }
    }

    fn step(&self, act: impl FnOnce(&mut Now<'_>) -> Answer) -> Result<Answer, FilesError> {
        let mut now = self.now.borrow_mut();
        if now.given == now.answers.len() {
            if now.acted {
                now.waits = true;
                return Err(FilesError::Failed("waits for its next step".to_owned()));
            }
            now.acted = true;
            let answer = act(&mut now);
            now.answers.push(answer);
        }
        now.given += 1;
        match now.answers[now.given - 1].clone() {
            Answer::NoQuorum => Err(FilesError::NoQuorum),
            Answer::Hangs => Err(FilesError::Failed("no answer in time".to_owned())),
            answer => Ok(answer),
        }
    }

    fn read_facts(&self, now: &Now<'_>) -> Option<Arc<str>> {
        let text = now.shared.view(self.node).facts.clone()?;
        match self.mutation {
            Mutation::IgnoresFacts => None,
            Mutation::WritesFromMemory => now.shared.first.clone(),
            _ => Some(text),
        }
    }
}

/// The name of a node.
pub(crate) fn name(node: usize) -> NodeName {
    format!("pve{}", node + 1).parse().unwrap()
}

/// The VM's number.
pub(crate) fn vm() -> VmId {
    VmId::try_from(VM).unwrap()
}

fn text(answer: Answer) -> Option<String> {
    match answer {
        Answer::Text(text) | Answer::Facts(text, _) => text.map(|text| text.to_string()),
        _ => None,
    }
}

/// Only the VM's configuration, its facts and the quorum are modelled. There is no HA and no pause, nothing to clear away,
/// and reports go nowhere.
impl SharedFiles for Hand<'_> {
    fn read(&self, path: &str) -> Result<Option<String>, FilesError> {
        match path {
            ".vmlist" => Ok(Some("{\"version\": 1}".to_owned())),
            "vm-autoscale/sweep.json" => Ok(Some(format!(
                "{{\"at\":\"{}\",\"by\":\"pve1\"}}",
                super::time(0)
            ))),
            _ if path == facts_path(vm()) => {
                let answer = self.step(|now| {
                    let there = now.shared.view(self.node).facts.as_deref();
                    Answer::Facts(self.read_facts(now), there.and_then(last_change))
                });
                answer.map(text)
            }
            _ if path == config_path(&name(self.node), vm()) => {
                let answer = self.step(|now| {
                    let tree = now.shared.view(self.node);
                    let mut tree = tree.clone();
                    tree.locked &= self.mutation != Mutation::IgnoresLock;
                    let here = tree.home == self.node;
                    Answer::Text(here.then(|| tree.config().into()))
                });
                answer.map(text)
            }
            _ => Ok(None),
        }
    }

    fn read_settled(&self, path: &str) -> Result<Option<String>, FilesError> {
        self.read(path)
    }

    fn list(&self, _: &str) -> Result<Vec<String>, FilesError> {
        Ok(Vec::new())
    }

    fn replace(&self, path: &str, text: &str) -> Result<(), FilesError> {
        if path != facts_path(vm()) {
            return Ok(());
        }
        let answer = self.step(|now| {
            let unwritten = now.shared.view(self.node).facts.is_none();
            if self.mutation == Mutation::KeepsNoBaseline && unwritten {
                return Answer::Done;
            }
            if std::mem::take(&mut now.shared.hangs[self.node]) {
                now.shared.hanging = Some((self.node, text.into()));
                return Answer::Hangs;
            }
            match now.shared.write_facts(self.node, &text.into()) {
                Ok(broken) => {
                    let forgotten = last_change(text) < now.was_to_read();
                    let forgotten = forgotten.then_some(Broken::Forgotten);
                    now.broken = now.broken.or(broken).or(forgotten);
                    Answer::Done
                }
                Err(_) => Answer::NoQuorum,
            }
        });
        answer.map(|_| ())
    }

    fn remove(&self, _: &str) -> Result<bool, FilesError> {
        Ok(false)
    }

    fn make_dir(&self, _: &str) -> Result<bool, FilesError> {
        Ok(false)
    }

    fn remove_dir(&self, _: &str) -> Result<bool, FilesError> {
        Ok(false)
    }

    fn touch(&self, _: &str, _: Moment) -> Result<bool, FilesError> {
        Ok(false)
    }

    fn ask_to_expire(&self, _: &str) {}

    fn quorate(&self) -> Result<bool, FilesError> {
        // Where quorum is never lost, asking for it is no step.
        if self.now.borrow().shared.is_safe {
            return Ok(true);
        }
        let answer = self.step(|now| {
            Answer::Bool(now.shared.shown[self.node] || self.mutation == Mutation::IgnoresQuorum)
        })?;
        Ok(answer == Answer::Bool(true))
    }
}
