//! The predecessor's hosts and virtual machines.

use std::collections::BTreeSet;

use super::carry::{CACHE, Carrier, listed, percent};
use super::draft::Value;
use super::old::{Flag, Number, Words};
use super::report::{Fate, Line};
use super::{ImportError, Options};
use crate::config::section::{Section, Written};
use crate::domain::{VmId, sanitize};

/// More of them are a mistake; our own file takes no more VMs.
const HOSTS: usize = 256;
const VMS: usize = 4096;

/// More characters of a host's name are not repeated.
const NAME: usize = 60;

/// What the agent logged in with.
const SSH: [&str; 4] = ["ssh_user", "ssh_password", "ssh_key", "ssh_port"];

/// A host of the old file.
pub(super) struct Host {
    name: String,
    address: Option<String>,
}

impl Host {
    fn is(&self, node: &str) -> bool {
        let first_label = |text: &str| text.split('.').next().unwrap_or(text).to_ascii_lowercase();
        let address = self.address.as_deref();
        let here = |address: &str| matches!(address, "localhost" | "127.0.0.1" | "::1");
        let node = first_label(node);
        first_label(&self.name) == node
            || address.is_some_and(|address| here(address) || first_label(address) == node)
    }
}

/// Reads the hosts. Of what they say only their names are of use.
pub(super) fn hosts(section: Section<'_>, carrier: &mut Carrier) -> Vec<Host> {
    let mut hosts = Vec::new();
    for (index, mut section) in section.each::<u32>("N", HOSTS) {
        let name = section.value::<Words>("name");
        let address = section.value::<Words>("host");
        let ssh: Vec<_> = SSH
            .into_iter()
            .filter(|key| section.value::<Words>(key).is_some())
            .collect();
        let mut why = "the agent runs on the node itself, without SSH".to_owned();
        if !ssh.is_empty() {
            why += &format!(
                "; {} can go, and so can the key's line in authorized_keys there",
                ssh.join(", ")
            );
        }
        let old = format!("proxmox_hosts.{}", index.value);
        carrier.line(section.place().line, Fate::NotNeeded, &old, why);
        if let Some(name) = name {
            hosts.push(Host {
                name: name.value.0,
                address: address.map(|address| address.value.0),
            });
        }
        section.finish();
    }
    hosts
}

/// A virtual machine of the old file; its section is still to be read.
struct Machine<'a> {
    id: Written<VmId>,
    host: Option<String>,
    path: String,
    section: Section<'a>,
}

/// Reads the virtual machines; those of this node are selected.
pub(super) fn carry(
    section: Section<'_>,
    hosts: Vec<Host>,
    options: &Options,
    carrier: &mut Carrier,
) -> Result<(), ImportError> {
    let mut machines = Vec::new();
    for (index, mut section) in section.each::<u32>("N", VMS) {
        let id = section.value::<VmId>("vm_id");
        let host = section.value::<Words>("proxmox_host");
        match id {
            Some(id) => machines.push(Machine {
                id,
                host: host.map(|host| host.value.0),
                path: format!("virtual_machines.{}", index.value),
                section,
            }),
            None => section.fault("vm_id", "it has no VMID"),
        }
    }
    let here = here(&hosts, options)?;
    let mut selected: Vec<Written<VmId>> = Vec::new();
    let mut seen = BTreeSet::new();
    for mut machine in machines {
        let place = machine.section.place().line;
        match elsewhere(&machine, &hosts, &here) {
            Some((fate, why)) => carrier.line(place, fate, &machine.path, why),
            None if !seen.insert(machine.id.value) => {
                let why = format!(
                    "VM {} is listed twice; the first one counts",
                    machine.id.value
                );
                carrier.line(place, Fate::LeftOut, &machine.path, why);
            }
            None => {
                if this_one(&mut machine, carrier) {
                    machine.section.finish();
                    selected.push(machine.id);
                }
            }
        }
    }
    select(&selected, carrier);
    Ok(())
}

/// The names of the hosts that are this node or belong to its cluster.
fn here(hosts: &[Host], options: &Options) -> Result<BTreeSet<String>, ImportError> {
    let mut known: Vec<String> = hosts.iter().map(|host| host.name.clone()).collect();
    known.dedup();
    if let Some(asked) = options.hosts.iter().find(|asked| !known.contains(asked)) {
        return Err(ImportError::NoHost {
            asked: asked.clone(),
            known: shown(&known),
        });
    }
    if !options.hosts.is_empty() {
        return Ok(options.hosts.iter().cloned().collect());
    }
    let node = options.node.as_deref();
    let named: BTreeSet<String> = hosts
        .iter()
        .filter(|host| node.is_some_and(|node| host.is(node)))
        .map(|host| host.name.clone())
        .collect();
    match (named.is_empty(), known.as_slice()) {
        (false, _) => Ok(named),
        (true, [] | [_]) => Ok(known.into_iter().collect()),
        (true, _) => Err(ImportError::WhichHost(shown(&known))),
    }
}

fn shown(names: &[String]) -> Vec<String> {
    names.iter().map(|name| sanitize(name, NAME)).collect()
}

/// Why the machine is not one of this node's, if so.
fn elsewhere(
    machine: &Machine<'_>,
    hosts: &[Host],
    here: &BTreeSet<String>,
) -> Option<(Fate, String)> {
    let id = machine.id.value;
    let Some(host) = &machine.host else {
        let why = format!(
            "VM {id} has no proxmox_host, so the old agent never scaled it; select.vms is the place to add it"
        );
        return Some((Fate::LeftOut, why));
    };
    if here.contains(host) {
        return None;
    }
    let name = sanitize(host, NAME);
    if hosts.iter().any(|known| known.name == *host) {
        let why = format!(
            "VM {id} is one of {name:?}: run this command there, or, if both are nodes of one cluster, add --host for each"
        );
        return Some((Fate::OtherHost, why));
    }
    let why =
        format!("VM {id}: proxmox_hosts has no host {name:?}, so the old agent never scaled it");
    Some((Fate::LeftOut, why))
}

/// One machine of this node. Gives whether it is to be managed.
fn this_one(machine: &mut Machine<'_>, carrier: &mut Carrier) -> bool {
    let (id, section) = (machine.id.value, &mut machine.section);
    let mut on = |key| section.value::<Flag>(key).is_some_and(|flag| flag.value.0);
    let [enabled, cpu, ram] = ["scaling_enabled", "cpu_scaling", "ram_scaling"].map(&mut on);
    let mut thresholds = section.section("thresholds");
    let mut limits = section.section("scaling_limits");
    if !enabled {
        let why = format!("VM {id}: scaling_enabled is not true, so it is not selected");
        carrier.line(machine.id.place.line, Fate::Carried, &machine.path, why);
        return false;
    }
    let owner = format!("vms.{id}");
    carrier.draft.note(owner.clone(), &machine.path);
    let from = (Some(machine.id.place.line), machine.path.clone());
    let line = |key: &str, text: &str, old: &str, why: Option<&str>| Value {
        key: format!("{owner}.{key}"),
        text: text.to_owned(),
        from: (from.0, format!("{}{old}", from.1)),
        fate: Fate::Carried,
        why: why.map(str::to_owned),
        shown: true,
        secret: None,
    };
    carrier.draft.add(line("profile", "imported", "", None));
    for (scaled, old, new) in [
        (cpu, ".cpu_scaling", "cpu.method"),
        (ram, ".ram_scaling", "memory.method"),
    ] {
        if !scaled {
            carrier
                .draft
                .add(line(new, "off", old, Some("it was not true")));
        }
    }
    own_thresholds(&mut thresholds, &owner, carrier);
    thresholds.finish();
    carrier.limits(&mut limits, &owner);
    limits.finish();
    true
}

/// The flat form wins over the nested one, as it did there.
fn own_thresholds(section: &mut Section<'_>, owner: &str, carrier: &mut Carrier) {
    for (resource, flat, new, why) in [
        (
            "cpu",
            [("high", "cpu_high"), ("low", "cpu_low")],
            "cpu",
            None,
        ),
        (
            "ram",
            [("high", "ram_high"), ("low", "ram_low")],
            "memory",
            Some(CACHE),
        ),
    ] {
        let mut nested = section.section(resource);
        for (key, flat) in flat {
            let flat = section.value::<Number>(flat);
            let nested = nested.value::<Number>(key);
            if let (Some(flat), Some(nested)) = (&flat, &nested) {
                let why = format!("{} counts", flat.path);
                carrier.line(nested.place.line, Fate::LeftOut, &nested.path, why);
            }
            let new = format!("{owner}.{new}.{key}");
            carrier.value(flat.or(nested).as_ref(), &new, percent, why);
        }
        nested.finish();
    }
}

fn select(vms: &[Written<VmId>], carrier: &mut Carrier) {
    let value = |key: &str, text: String, from: &str| Value {
        key: key.to_owned(),
        text,
        from: (None, from.to_owned()),
        fate: Fate::Carried,
        why: None,
        shown: false,
        secret: None,
    };
    carrier
        .draft
        .add(value("select.tags", "[autoscale]".to_owned(), ""));
    if !vms.is_empty() {
        let ids = listed(vms, |id| id.value.to_string());
        carrier.draft.add(value("select.vms", ids, ""));
    }
    for id in vms {
        carrier.lines.push(Line {
            line: Some(id.place.line),
            fate: Fate::Carried,
            old: id.path.clone(),
            new: Some("select.vms".to_owned()),
            value: Some(id.value.to_string()),
            why: None,
        });
    }
}
