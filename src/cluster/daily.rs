//! What a day was like for the whole cluster, as the agents share it: counted once a day, by whoever holds that duty.

use std::time::Duration;

use crate::domain::{Moment, VmId};
use crate::pve::{Members, VmList};
use crate::record::Day;

use super::facts::VmFacts;
use super::files::{FilesError, SharedFiles};
use super::overview::{NodeOverview, Overview};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The most faults that are listed.
const FAULTS: usize = 20;

/// The day that ends at `now`.
///
/// # Errors
/// The shared files could not be read.
pub(super) fn day(files: &impl SharedFiles, vms: &VmList, now: Moment) -> Result<Day, FilesError> {
    let text = files
        .read(".members")?
        .ok_or_else(|| FilesError::NotMounted("/etc/pve/.members is missing".to_owned()))?;
    let members: Members = serde_json::from_str(&text)
        .map_err(|e| FilesError::Failed(format!("/etc/pve/.members: {e}")))?;
    let seen = Overview::read(files, &members, vms, now)?;
    let runs = |node: &&NodeOverview| {
        let agent = node.agent.as_ref();
        node.online && agent.is_some_and(|agent| agent.running && agent.is_recent(now))
    };
    let of_nodes = seen.nodes.iter().flat_map(|node| {
        let name = &node.node;
        node.attention
            .iter()
            .map(move |what| format!("{name}: {what}"))
    });
    let of_vms = seen.vms.iter().flat_map(|vm| {
        let id = vm.vmid;
        vm.attention
            .iter()
            .map(move |what| format!("VM {id}: {what}"))
    });
    let mut attention: Vec<String> = of_nodes.chain(of_vms).collect();
    let faults = attention.len();
    attention.truncate(FAULTS);
    let changes = seen.vms.iter().map(|vm| changes(files, vm.vmid, now));
    Ok(Day {
        nodes: seen.nodes.len(),
        agents: seen.nodes.iter().filter(runs).count(),
        vms: seen.vms.len(),
        changes: changes.sum(),
        faults,
        attention,
    })
}

/// Changes of `vm` in the last day, as far as its owner has shared them: with each change that was seen to take effect.
fn changes(files: &impl SharedFiles, vm: VmId, now: Moment) -> usize {
    let facts = VmFacts::read(files, vm).ok().flatten();
    let learned = facts.and_then(|facts| facts.learned());
    learned.map_or(0, |memory| memory.changes_since(now - DAY))
}
