//! What becomes of pending options while the VM runs: applied live, left pending, or an error each.
//!
//! Source: `qemu-server: src/PVE/QemuServer.pm: vmconfig_hotplug_pending`. There is no rollback: of several options,
//! some may succeed and others fail.

use std::collections::BTreeSet;

use serde_json::json;

use super::cgroup;
use super::cpus;
use super::failure::{Done, Failure};
use super::memory;
use super::monitor::Monitor;
use super::session::Session;
use super::store;
use crate::vmconf::{VmConfig, schema};

/// Options that QEMU does not know of and that therefore apply at once.
const FAST: &[&str] = &[
    "cicustom",
    "cipassword",
    "citype",
    "ciupgrade",
    "ciuser",
    "description",
    "hookscript",
    "lock",
    "migrate_downtime",
    "migrate_speed",
    "name",
    "nameserver",
    "onboot",
    "protection",
    "searchdomain",
    "shares",
    "sshkeys",
    "startup",
    "tags",
    "vmstatestorage",
];

/// Bytes in a MiB.
const MIB: u64 = 1024 * 1024;

fn is_fast(option: &str) -> bool {
    FAST.contains(&option) || option.starts_with("ipconfig")
}

/// How one option fared.
enum Live {
    Applied,
    /// Waits for a power cycle; no message says so.
    StaysPending,
}

/// Applies what is pending of the options in `selection`. Returns the errors by option.
pub(crate) fn apply_pending(
    session: &Session,
    vmid: u32,
    config: &mut VmConfig,
    selection: &BTreeSet<String>,
) -> Done<Vec<(String, String)>> {
    apply_fast(session, vmid, config)?;
    let mut errors = Vec::new();
    let held_back = session.leaves_pending()?;
    let mut each = |config: &mut VmConfig, option: &str, change: &Change| -> Done<()> {
        if held_back {
            return Ok(());
        }
        match change.apply(session, vmid, config, option) {
            Ok(Live::Applied) => change.commit(config, option),
            Ok(Live::StaysPending) => {}
            Err(injected @ Failure::Injected(_)) => return Err(injected),
            Err(failure) => errors.push((
                option.to_owned(),
                format!("hotplug problem - {}", failure.text()),
            )),
        }
        Ok(())
    };
    for option in config
        .pending_deletes()
        .into_keys()
        .filter(|option| selection.contains(option))
    {
        each(config, &option, &Change::Delete)?;
    }
    let sets: Vec<(String, String)> = config.pending.clone().into_iter().collect();
    for (option, value) in session.perl_order(sets) {
        if option != "delete" && selection.contains(&option) {
            each(config, &option, &Change::Set(value))?;
        }
    }
    store::write(session, vmid, config)?;
    errors.sort();
    Ok(errors)
}

fn apply_fast(session: &Session, vmid: u32, config: &mut VmConfig) -> Done<()> {
    let fast: Vec<String> = config
        .pending
        .keys()
        .filter(|option| is_fast(option))
        .cloned()
        .collect();
    if fast.is_empty() {
        return Ok(());
    }
    for option in fast {
        if let Some(value) = config.pending.remove(&option) {
            config.active.insert(option, value);
        }
    }
    store::write(session, vmid, config)
}

/// What is to happen to one option.
enum Change {
    Delete,
    Set(String),
}

impl Change {
    fn apply(
        &self,
        session: &Session,
        vmid: u32,
        config: &mut VmConfig,
        option: &str,
    ) -> Done<Live> {
        match self {
            Self::Delete => delete(session, vmid, config, option),
            Self::Set(value) => set(session, vmid, config, option, value),
        }
    }

    fn commit(&self, config: &mut VmConfig, option: &str) {
        match self {
            Self::Delete => {
                config.active.remove(option);
                config.forget_pending_delete(option);
            }
            // Memory is left at what was reached, which may not be what was asked for.
            Self::Set(_) if option == "memory" => {
                config.pending.remove(option);
            }
            Self::Set(value) => {
                config.active.insert(option.to_owned(), value.clone());
                config.pending.remove(option);
            }
        }
    }
}

fn delete(session: &Session, vmid: u32, config: &mut VmConfig, option: &str) -> Done<Live> {
    match option {
        "hotplug" if config.get("hotplug").is_some_and(mentions_cpu_or_memory) => {
            return Ok(Live::StaysPending);
        }
        "hotplug" => {}
        "vcpus" if config.hotplugs("cpu") => cpus::hotplug(session, vmid, config, None)?,
        "balloon" if config.get("balloon") != Some("0") => {
            set_balloon(session, vmid, config.memory_mib())?
        }
        "memory" if config.hotplugs("memory") => memory::hotplug(session, vmid, config, 512)?,
        "cpuunits" => cgroup::set_cpu_weight(session, vmid, None)?,
        "cpulimit" => cgroup::set_cpu_limit(session, vmid, None)?,
        _ if is_fast(option) => {}
        _ => return Ok(Live::StaysPending),
    }
    Ok(Live::Applied)
}

fn set(
    session: &Session,
    vmid: u32,
    config: &mut VmConfig,
    option: &str,
    value: &str,
) -> Done<Live> {
    match option {
        "hotplug" => {
            if mentions_cpu_or_memory(value)
                || config.get("hotplug").is_some_and(mentions_cpu_or_memory)
            {
                return Ok(Live::StaysPending);
            }
        }
        "vcpus" if config.hotplugs("cpu") => {
            cpus::hotplug(session, vmid, config, value.parse().ok())?
        }
        "memory" if config.hotplugs("memory") => {
            let target = schema::current_memory(value).unwrap_or(0);
            if target == config.memory_mib() {
                config.active.insert("memory".to_owned(), value.to_owned());
            }
            memory::hotplug(session, vmid, config, target)?;
        }
        "balloon" => {
            let (before, after) = (config.get("balloon") != Some("0"), value != "0");
            if before != after {
                return Ok(Live::StaysPending);
            }
            // While pvestatd owns the balloon, the value is only the least that pvestatd leaves.
            if config.get("shares") == Some("0") {
                let mib = value
                    .parse()
                    .ok()
                    .filter(|mib| *mib > 0)
                    .unwrap_or(config.memory_mib());
                set_balloon(session, vmid, mib)?;
            }
        }
        "cpuunits" => cgroup::set_cpu_weight(session, vmid, value.parse().ok())?,
        "cpulimit" => cgroup::set_cpu_limit(session, vmid, value.parse().ok())?,
        "agent" if only_fstrim_differs(config.get("agent"), value) => {}
        _ => return Ok(Live::StaysPending),
    }
    Ok(Live::Applied)
}

fn mentions_cpu_or_memory(features: &str) -> bool {
    features.contains("cpu") || features.contains("memory")
}

fn set_balloon(session: &Session, vmid: u32, mib: u64) -> Done<()> {
    Monitor::new(session, vmid)
        .command("balloon", json!({ "value": mib * MIB }))
        .map(|_| ())
}

fn only_fstrim_differs(before: Option<&str>, after: &str) -> bool {
    let without = |value: &str| -> BTreeSet<String> {
        let parts = value
            .split(',')
            .map(|part| part.strip_prefix("enabled=").unwrap_or(part).to_owned());
        parts
            .filter(|part| !part.starts_with("fstrim_cloned_disks="))
            .collect()
    };
    without(before.unwrap_or("0")) == without(after)
}
