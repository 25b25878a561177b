//! The whole cluster at a glance: every node with its agent, every VM that an agent has changed, and what is amiss.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::domain::{Moment, NodeName, VmId, sanitize};
use crate::observe::Pause;
use crate::pve::{Members, VmList};

use super::facts::{LastChange, VmFacts};
use super::files::{FilesError, SharedFiles, VMS};
use super::pause;
use super::report::AgentReport;

/// The cluster as one node sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overview {
    /// When it was looked at.
    pub at: Moment,
    /// The order to change nothing anywhere, if there is one.
    pub pause: Option<Pause>,
    /// Every node that is in the cluster or has an agent's report.
    pub nodes: Vec<NodeOverview>,
    /// Every VM of which the agents share facts.
    pub vms: Vec<VmOverview>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeOverview {
    /// Its name.
    pub node: NodeName,
    /// Whether its pmxcfs is reached.
    pub online: bool,
    /// What its agent said last.
    pub agent: Option<AgentReport>,
    /// What is amiss, a few words each; empty if nothing is.
    pub attention: Vec<String>,
}

/// One VM.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VmOverview {
    /// Its number.
    pub vmid: VmId,
    /// The node whose directory holds its configuration; `None` if it exists no more.
    pub node: Option<NodeName>,
    /// The node whose agent may change it.
    pub owner: Option<NodeName>,
    /// The last change that was seen to take effect, of either resource.
    pub changed: Option<LastChange>,
    /// What is amiss, a few words each; empty if nothing is.
    pub attention: Vec<String>,
}

impl Overview {
    /// Looks at what the agents share. Blocks.
    ///
    /// # Errors
    /// The shared files could not be read.
    pub fn read(
        files: &impl SharedFiles,
        members: &Members,
        list: &VmList,
        now: Moment,
    ) -> Result<Self, FilesError> {
        let reports = AgentReport::read_all(files)?.into_iter().collect();
        let mut vms = Vec::new();
        for name in files.list(VMS)? {
            if let Some(Ok(vm)) = name.strip_suffix(".json").map(str::parse::<VmId>) {
                vms.extend(vm_overview(files, list, vm));
            }
        }
        Ok(Self {
            at: now,
            pause: pause::for_cluster(files)?,
            nodes: nodes(members, &reports, now),
            vms,
        })
    }

    /// Whether nothing is amiss anywhere.
    pub fn is_well(&self) -> bool {
        let nodes = self.nodes.iter().map(|node| &node.attention);
        let mut all = nodes.chain(self.vms.iter().map(|vm| &vm.attention));
        all.all(Vec::is_empty)
    }
}

/// One VM; `None` if its facts went away meanwhile.
fn vm_overview(files: &impl SharedFiles, list: &VmList, vm: VmId) -> Option<VmOverview> {
    let node = list.get(vm).map(|guest| guest.node.clone());
    let mut attention = Vec::new();
    let facts = match VmFacts::read(files, vm) {
        Ok(facts) => Some(facts?),
        Err(why) => {
            attention.push(why.to_string());
            None
        }
    };
    let owner = facts.as_ref().map(|facts| facts.owner.clone());
    match (&node, &owner) {
        (None, _) => attention.push("exists no more; its facts are cleared away".to_owned()),
        (Some(node), Some(owner)) if node != owner => {
            attention.push(format!("not taken over from {owner} yet"));
        }
        _ => {}
    }
    if facts.as_ref().is_some_and(|facts| facts.releasing) {
        attention.push("is being released".to_owned());
    }
    let changes = facts.map(|facts| facts.changes).unwrap_or_default();
    Some(VmOverview {
        vmid: vm,
        node,
        owner,
        changed: changes.into_values().max_by_key(|change| change.at),
        attention,
    })
}

fn nodes(
    members: &Members,
    reports: &BTreeMap<NodeName, Option<AgentReport>>,
    now: Moment,
) -> Vec<NodeOverview> {
    let of = |node: &NodeName| reports.get(node).and_then(Option::as_ref);
    // The node that asks is what the others are compared with.
    let here = of(&members.nodename);
    let mut names: BTreeSet<&NodeName> = members.nodes.keys().chain(reports.keys()).collect();
    names.insert(&members.nodename);
    let look = |node: &NodeName| {
        let online = match members.nodes.get(node) {
            Some(member) => member.online == 1,
            None => *node == members.nodename,
        };
        let agent = of(node);
        let mut attention = Vec::new();
        if !online {
            attention.push("node is offline".to_owned());
        }
        match agent {
            None if reports.contains_key(node) => {
                attention.push("report cannot be understood".to_owned());
            }
            None => attention.push("no agent".to_owned()),
            Some(agent) => amiss(agent, here, now, &mut attention),
        }
        NodeOverview {
            node: node.clone(),
            online,
            agent: agent.cloned(),
            attention,
        }
    };
    names.into_iter().map(look).collect()
}

/// What is amiss with one agent.
fn amiss(agent: &AgentReport, here: Option<&AgentReport>, now: Moment, found: &mut Vec<String>) {
    if !agent.running {
        found.push("agent was stopped".to_owned());
    } else if !agent.is_recent(now) {
        found.push("agent is silent".to_owned());
    }
    if let Some(here) = here {
        if agent.agent != here.agent {
            found.push(format!("other version than {}", sanitize(&here.agent, 20)));
        }
        if agent.config != here.config {
            found.push("configured otherwise".to_owned());
        }
    }
    if let Some(by) = &agent.paused {
        found.push(format!("paused by {by}"));
    }
    found.extend(agent.problem.clone());
}
