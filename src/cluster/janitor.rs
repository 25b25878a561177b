//! Clears away the facts of VMs that exist no more. Those of a VM that merely moved are never touched.
//!
//! Each node's agent removes what it owned last. What one agent does for all, once a day, goes to the one that holds the
//! duty's lock: to clear up after dead nodes, and to count what the day was like.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{Moment, NodeName, VmId};
use crate::pve::VmList;
use crate::record::Day;

use super::daily;
use super::facts::VmFacts;
use super::files::{FilesError, NODES, SHARED, SharedFiles, VMS, facts_path, report_path};
use super::lock::Lock;
use super::report::AgentReport;

/// How often the list of facts is compared with the list of VMs. A VM counts as gone when two looks in a row did not
/// find it: a configuration can be absent from the list for an instant while it is replaced (pve-facts 7.4).
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// How often one agent clears up after dead nodes.
const SWEEP_EVERY: Duration = Duration::from_secs(24 * 3600);

/// When the last sweep was, for all agents: `/etc/pve/vm-autoscale/sweep.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Swept {
    at: Moment,
    by: NodeName,
}

/// What this agent knows of VMs that seem to be gone.
#[derive(Debug, Clone)]
pub(super) struct Janitor {
    looked: Option<Duration>,
    missing: BTreeSet<VmId>,
    /// What writers that were cut off left behind.
    litter: BTreeSet<String>,
    lock: Lock,
}

impl Default for Janitor {
    fn default() -> Self {
        Self {
            looked: None,
            missing: BTreeSet::new(),
            litter: BTreeSet::new(),
            lock: Lock::new("sweep"),
        }
    }
}

/// The time in its two forms: since the process began, and by the wall clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) at: Duration,
    pub(super) now: Moment,
}

/// What one look did.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// The VMs whose facts went away.
    pub(super) removed: Vec<VmId>,
    /// What the day was like, where this agent had to count it.
    pub(super) day: Option<Result<Day, FilesError>>,
}

impl Janitor {
    /// Looks, if it is time to, and removes what is certainly of no more use.
    pub(super) fn look(
        &mut self,
        files: &impl SharedFiles,
        node: &NodeName,
        clock: Clock,
    ) -> Result<Looked, FilesError> {
        if self
            .looked
            .is_some_and(|looked| clock.at.saturating_sub(looked) < LOOK_EVERY)
        {
            return Ok(Looked::default());
        }
        let (missing, litter) = (missing(files)?, litter(files)?);
        self.looked = Some(clock.at);
        let leftover = Leftover {
            vms: missing.intersection(&self.missing).copied().collect(),
            litter: litter.intersection(&self.litter).cloned().collect(),
        };
        (self.missing, self.litter) = (missing, litter);
        let removed = remove(files, &leftover.vms, |owner| owner == node)?;
        let mut looked = Looked { removed, day: None };
        if is_due(&last_sweep(files)?, clock.now) {
            let swept = self.sweep(files, node, clock, &leftover)?;
            looked.removed.extend(swept.removed);
            looked.day = swept.day;
        }
        Ok(looked)
    }

    /// Does the day's duties, if no other agent is at it.
    fn sweep(
        &mut self,
        files: &impl SharedFiles,
        node: &NodeName,
        clock: Clock,
        leftover: &Leftover,
    ) -> Result<Looked, FilesError> {
        if !self.lock.try_take(files, clock.at)? {
            return Ok(Looked::default());
        }
        let swept = sweep_alone(files, node, clock, leftover);
        self.lock.give_back(files, clock.at);
        swept
    }
}

/// What two looks in a row found to be of no more use.
#[derive(Debug)]
struct Leftover {
    vms: BTreeSet<VmId>,
    litter: BTreeSet<String>,
}

/// The duties themselves, under the lock.
fn sweep_alone(
    files: &impl SharedFiles,
    node: &NodeName,
    clock: Clock,
    leftover: &Leftover,
) -> Result<Looked, FilesError> {
    // Another agent may have swept between the look and the lock.
    let before = last_sweep(files)?;
    if !is_due(&before, clock.now) {
        return Ok(Looked::default());
    }
    let reports: BTreeMap<NodeName, Option<AgentReport>> =
        AgentReport::read_all(files)?.into_iter().collect();
    let nodes = files.list("nodes")?;
    let is_node = |name: &NodeName| nodes.iter().any(|node| node == name.as_str());
    let lives = |owner: &NodeName| {
        let report = reports.get(owner).and_then(Option::as_ref);
        is_node(owner) && report.is_some_and(|report| report.running && report.is_recent(clock.now))
    };
    let removed = remove(files, &leftover.vms, |owner| !lives(owner))?;
    for left in reports.keys().filter(|name| !is_node(name)) {
        files.remove(&report_path(left))?;
    }
    for path in &leftover.litter {
        files.remove(path)?;
    }
    let text = serde_json::to_string(&Swept {
        at: clock.now,
        by: node.clone(),
    });
    files.replace(
        &marker(),
        &text.map_err(|e| FilesError::Failed(e.to_string()))?,
    )?;
    // Told at most once: what is lost with an agent that dies here comes again tomorrow. Agents that were just installed
    // have no day behind them.
    let day = before.map(|_| vms(files).and_then(|vms| daily::day(files, &vms, clock.now)));
    Ok(Looked { removed, day })
}

/// Temporary files of writers, and what libfuse hides of a file that was open when it was replaced. A writer needs its
/// own for milliseconds, so one that two looks find belongs to nobody.
fn litter(files: &impl SharedFiles) -> Result<BTreeSet<String>, FilesError> {
    let mut found = BTreeSet::new();
    for directory in [SHARED, VMS, NODES] {
        let names = files
            .list(directory)?
            .into_iter()
            .filter(|name| name.contains(".tmp.") || name.starts_with(".fuse_hidden"));
        found.extend(names.map(|name| format!("{directory}/{name}")));
    }
    Ok(found)
}

fn marker() -> String {
    format!("{SHARED}/sweep.json")
}

fn last_sweep(files: &impl SharedFiles) -> Result<Option<Swept>, FilesError> {
    let text = files.read_settled(&marker())?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Whether the last sweep is a day ago. One "in the future" was stamped by a wrong clock and does not count.
fn is_due(last: &Option<Swept>, now: Moment) -> bool {
    last.as_ref()
        .is_none_or(|swept| swept.at > now + SWEEP_EVERY || now.since(swept.at) >= SWEEP_EVERY)
}

/// VMs that have facts but no configuration on any node.
fn missing(files: &impl SharedFiles) -> Result<BTreeSet<VmId>, FilesError> {
    let vms = vms(files)?;
    let with_facts = files.list(VMS)?;
    let ids = with_facts
        .iter()
        .filter_map(|name| name.strip_suffix(".json")?.parse().ok());
    Ok(ids.filter(|vm| vms.get(*vm).is_none()).collect())
}

/// The list that pmxcfs itself keeps: one state of the whole tree, in which a VM that moves is always somewhere.
fn vms(files: &impl SharedFiles) -> Result<VmList, FilesError> {
    let text = files
        .read(".vmlist")?
        .ok_or_else(|| FilesError::NotMounted("/etc/pve/.vmlist is missing".to_owned()))?;
    serde_json::from_str(&text).map_err(|e| FilesError::Failed(format!("/etc/pve/.vmlist: {e}")))
}

/// Removes the facts of those VMs of `gone` whose last owner `chosen` accepts.
fn remove(
    files: &impl SharedFiles,
    gone: &BTreeSet<VmId>,
    chosen: impl Fn(&NodeName) -> bool,
) -> Result<Vec<VmId>, FilesError> {
    let mut removed = Vec::new();
    for vm in gone {
        let Ok(Some(facts)) = VmFacts::read(files, *vm) else {
            continue;
        };
        if chosen(&facts.owner) && vms(files)?.get(*vm).is_none() {
            files.remove(&facts_path(*vm))?;
            removed.push(*vm);
        }
    }
    Ok(removed)
}
