//! What the other nodes could take, asked no more often than they tell it.

use std::time::{Duration, Instant};

use crate::domain::{Cores, Moment, Reading, Source};
use crate::pve::{Layout, nodes};

use super::OtherNode;

/// pvestatd tells anew every ten seconds (pvestatd.pm: run).
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// The other nodes as they were last read.
#[derive(Debug, Default)]
pub(super) struct Others {
    read: Option<(Instant, Reading<Vec<OtherNode>>)>,
}

impl Others {
    /// The other nodes that are online. Blocks while /etc/pve does.
    pub(super) fn look(&mut self, layout: &Layout) -> Reading<Vec<OtherNode>> {
        match &self.read {
            Some((at, others)) if at.elapsed() < TOLD_EVERY => others.clone(),
            _ => {
                let others = read(layout);
                self.read = Some((Instant::now(), others.clone()));
                others
            }
        }
    }
}

fn read(layout: &Layout) -> Reading<Vec<OtherNode>> {
    let nodes = match nodes::others(layout) {
        Ok(nodes) => nodes,
        Err(e) => return Reading::unknown(e.to_string()),
    };
    let silent = nodes.iter().find(|(_, told)| told.is_none());
    let silent = silent.map(|(name, _)| name.clone());
    let that_tell = nodes.into_iter().filter_map(|(name, told)| {
        let told = told?;
        Some(OtherNode {
            name,
            cpus: Cores::whole(told.cpus),
            memory_total: told.memory_total,
            memory_available: told.memory_available,
        })
    });
    let others: Vec<OtherNode> = that_tell.collect();
    match silent {
        Some(name) if others.is_empty() => {
            Reading::unknown(format!("node {name} is online but told nothing of itself"))
        }
        _ => Reading::known(others, Moment::now(), Source::Pvestatd),
    }
}
