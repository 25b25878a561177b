//! What Proxmox VE's high availability says of a VM: whether it looks after it, and what it is doing to it now.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::domain::{VmId, sanitize};

use super::files::{FilesError, SharedFiles};

/// Which VMs are looked after, and in which states they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaStatus {
    managed: BTreeSet<VmId>,
    states: Result<BTreeMap<VmId, String>, Unclear>,
}

/// The manager's status cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unclear;

/// `ha/manager_status`, as far as it matters here (pve-ha-manager: Manager.pm: flush_master_status; pve-facts 8.1).
#[derive(Deserialize)]
struct ManagerStatus {
    #[serde(default)]
    service_status: BTreeMap<String, Service>,
}

#[derive(Deserialize)]
struct Service {
    state: String,
}

impl Default for HaStatus {
    fn default() -> Self {
        Self {
            managed: BTreeSet::new(),
            states: Ok(BTreeMap::new()),
        }
    }
}

impl HaStatus {
    /// Reads `ha/resources.cfg` and `ha/manager_status`. Without HA there are neither.
    ///
    /// # Errors
    /// A file is there but could not be read.
    pub fn read(files: &impl SharedFiles) -> Result<Self, FilesError> {
        let managed = files
            .read("ha/resources.cfg")?
            .map_or_else(BTreeSet::new, |text| managed(&text));
        if managed.is_empty() {
            return Ok(Self::default());
        }
        let states = match files.read("ha/manager_status")? {
            Some(text) => states(&text),
            None => Ok(BTreeMap::new()),
        };
        Ok(Self { managed, states })
    }

    /// Whether HA restarts the VM elsewhere when its node dies.
    pub fn manages(&self, vm: VmId) -> bool {
        self.managed.contains(&vm)
    }

    /// Why the VM must be left alone now: PVE's word for its state, unless that is the state of calm.
    ///
    /// Only `started` is calm. All else (`migrate`, `relocate`, `error`, `fence`, `recovery`, `freeze`, `request_stop`, …
    /// and what a later version may invent) means that HA is about to do something with the VM, or waits for an admin.
    /// Moves by the balancer show as `migrate` and `relocate` as well.
    pub fn hands_off(&self, vm: VmId) -> Option<String> {
        if !self.manages(vm) {
            return None;
        }
        match &self.states {
            Err(Unclear) => Some("unknown".to_owned()),
            Ok(states) => states.get(&vm).filter(|state| *state != "started").cloned(),
        }
    }
}

/// The VMs with a section of their own that is not set to `ignored` (pve-ha-manager: Config.pm: vm_is_ha_managed).
fn managed(text: &str) -> BTreeSet<VmId> {
    let mut managed = BTreeSet::new();
    let mut section = None;
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            let mut words = line.split_whitespace();
            if let (Some(vm), Some("state"), Some("ignored")) =
                (section, words.next(), words.next())
            {
                managed.remove(&vm);
            }
        } else if let Some((kind, id)) = line.split_once(':') {
            section = if kind == "vm" {
                id.trim().parse().ok()
            } else {
                None
            };
            managed.extend(section);
        }
    }
    managed
}

fn states(text: &str) -> Result<BTreeMap<VmId, String>, Unclear> {
    let status: ManagerStatus = serde_json::from_str(text).map_err(|_| Unclear)?;
    let state_of = |(id, service): (String, Service)| {
        Some((
            id.strip_prefix("vm:")?.parse().ok()?,
            sanitize(&service.state, 32),
        ))
    };
    Ok(status
        .service_status
        .into_iter()
        .filter_map(state_of)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(id: u32) -> VmId {
        VmId::try_from(id).unwrap()
    }

    fn status(manager: &str) -> HaStatus {
        let resources = "vm: 101\n\tstate started\n\nvm: 102\n\tcomment x\n\tstate ignored\n\nct: 103\n\tstate started\n";
        HaStatus {
            managed: managed(resources),
            states: states(manager),
        }
    }

    #[test]
    fn the_recorded_resources_name_the_vms_that_ha_manages() {
        let recorded = include_str!("../../tests/data/recordings/52-ha-resources.cfg");
        assert_eq!(managed(recorded), BTreeSet::from([vm(103)]));
        let ours = status("{}");
        assert!(ours.manages(vm(101)));
        assert!(
            !ours.manages(vm(102)),
            "ignored means that HA leaves it alone"
        );
        assert!(!ours.manages(vm(103)), "a container is no VM");
    }

    #[test]
    fn only_the_state_of_calm_allows_a_change() {
        for state in [
            "error",
            "fence",
            "recovery",
            "migrate",
            "relocate",
            "freeze",
            "request_stop",
            "something new",
        ] {
            let text = format!(
                r#"{{"service_status":{{"vm:101":{{"node":"a","state":"{state}","uid":"x"}}}}}}"#
            );
            assert_eq!(status(&text).hands_off(vm(101)).as_deref(), Some(state));
        }
        let calm =
            status(r#"{"service_status":{"vm:101":{"node":"a","state":"started"}},"timestamp":1}"#);
        assert_eq!(calm.hands_off(vm(101)), None);
        assert_eq!(
            status("{}").hands_off(vm(101)),
            None,
            "queued: no manager has seen it yet"
        );
    }

    #[test]
    fn a_status_that_makes_no_sense_holds_the_vms_of_ha_and_no_others() {
        let torn = status("{\"service_status\": {\"vm:1");
        assert_eq!(torn.hands_off(vm(101)).as_deref(), Some("unknown"));
        assert_eq!(torn.hands_off(vm(102)), None);
    }
}
