//! What /etc/pve says of the VMs: who owns them and how they are configured, read again only where it changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::{Moment, NodeName, Reading, Source, VmId};
use crate::pve::{Layout, VmConfig, pmxcfs, vmlist::VmList};

use super::OtherNode;
use super::others::Others;

/// Everything that /etc/pve told in one look.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    /// Whether it accepts writes, or why that is unknown.
    pub(super) quorate: Result<bool, String>,
    /// All VMs of the cluster, or why they are unknown.
    pub(super) vms: Result<BTreeMap<VmId, Listed>, String>,
    /// The other nodes that are online; none where nobody asks for them.
    pub(super) others: Reading<Vec<OtherNode>>,
}

/// One VM, as its configuration file has it.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) owner: NodeName,
    /// The configuration, or why it could not be read.
    pub(super) config: Result<Arc<VmConfig>, String>,
}

/// Reads /etc/pve and keeps what has not changed.
#[derive(Debug)]
pub(super) struct Files {
    layout: Layout,
    /// When this pmxcfs started: its counters are its own.
    started: Option<u64>,
    /// Configurations by the version that `.vmlist` gave them.
    known: BTreeMap<VmId, (NodeName, u64, Arc<VmConfig>)>,
    others: Others,
}

impl Files {
    pub(super) fn new(layout: Layout) -> Self {
        Self {
            layout,
            started: None,
            known: BTreeMap::new(),
            others: Others::default(),
        }
    }

    /// One look, at other nodes only if they matter. Blocks while /etc/pve does.
    pub(super) fn look(&mut self, others_matter: bool) -> Listing {
        Listing {
            others: if others_matter {
                self.others.look(&self.layout)
            } else {
                Reading::known(Vec::new(), Moment::now(), Source::ConfigFile)
            },
            quorate: pmxcfs::quorate(&self.layout).map_err(|e| e.to_string()),
            vms: self.vms(),
        }
    }

    fn vms(&mut self) -> Result<BTreeMap<VmId, Listed>, String> {
        let started = pmxcfs::start_time(&self.layout).map_err(|e| e.to_string())?;
        if self.started != Some(started) {
            self.known.clear();
            self.started = Some(started);
        }
        let list = VmList::read(&self.layout).map_err(|e| e.to_string())?;
        let vms: BTreeMap<VmId, Listed> = list
            .vms()
            .map(|(vm, guest)| {
                let config = self.config(vm, &guest.node, guest.version);
                (
                    vm,
                    Listed {
                        owner: guest.node.clone(),
                        config,
                    },
                )
            })
            .collect();
        self.known.retain(|vm, _| vms.contains_key(vm));
        Ok(vms)
    }

    fn config(
        &mut self,
        vm: VmId,
        owner: &NodeName,
        version: u64,
    ) -> Result<Arc<VmConfig>, String> {
        if let Some((node, known, config)) = self.known.get(&vm)
            && node == owner
            && *known == version
        {
            return Ok(Arc::clone(config));
        }
        match pmxcfs::read_vm_config(&self.layout, owner, vm) {
            Ok(Some(text)) => {
                let config = Arc::new(VmConfig::parse(&text));
                self.known
                    .insert(vm, (owner.clone(), version, Arc::clone(&config)));
                Ok(config)
            }
            // It moved or went away between the list and this look; the next list will say.
            Ok(None) => Err(format!(
                "its configuration is not under node {owner} any more"
            )),
            Err(e) => Err(e.to_string()),
        }
    }
}
