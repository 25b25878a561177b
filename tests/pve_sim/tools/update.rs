//! `qm set`: the checks, the pending section, and then either the running VM or the config itself.
//!
//! Source: `qemu-server: src/PVE/API2/Qemu.pm: $update_vm_api`; `QemuServer.pm: vmconfig_apply_pending`.

use std::collections::{BTreeMap, BTreeSet};

use super::failure::{Done, Failure};
use super::hotplug;
use super::options::Parsed;
use super::session::Session;
use super::store::{self, VmLock};
use crate::faults::Point;
use crate::vmconf::{VmConfig, schema};

/// Largest CPU weight on cgroup v2; larger values are clamped.
const MAX_CPU_WEIGHT: u64 = 10_000;

/// A change that was asked for, its words checked but not yet held against the config.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    vmid: u32,
    log_line: String,
    digest: Option<String>,
    skiplock: bool,
    force: bool,
    set: BTreeMap<String, String>,
    delete: Vec<String>,
    revert: BTreeSet<String>,
}

impl Update {
    /// Sorts out the options of `qm set` (or of the API call behind it).
    pub(crate) fn new(vmid: u32, mut parsed: Parsed) -> Done<Self> {
        let digest = parsed.take("digest").filter(|digest| !digest.is_empty());
        for internal in ["background_delay", "import-working-storage"] {
            parsed.take(internal);
        }
        let log_line = log_line(vmid, &parsed.options);
        let skiplock = parsed.take_flag("skiplock");
        let delete = parsed.take("delete").unwrap_or_default();
        let revert = parsed.take("revert").unwrap_or_default();
        let force = parsed.take_flag("force");
        let mut set = parsed.options;
        if let Some(units) = set.get_mut("cpuunits") {
            let weight = units.parse().unwrap_or(MAX_CPU_WEIGHT).min(MAX_CPU_WEIGHT);
            *units = weight.to_string();
        }
        if let Some(volume) = set.remove("cdrom") {
            set.insert("ide2".to_owned(), volume);
        }
        if set.is_empty() && delete.is_empty() && revert.is_empty() {
            return Err(Failure::Died {
                message: "no options specified".to_owned(),
                code: super::failure::EARLY,
            });
        }
        let mut update = Self {
            vmid,
            log_line,
            digest,
            skiplock,
            force,
            set,
            delete: Vec::new(),
            revert: BTreeSet::new(),
        };
        update.sort_out(&delete, &revert)?;
        Ok(update)
    }

    fn sort_out(&mut self, delete: &str, revert: &str) -> Done<()> {
        let clash = |at: &str, one: &str, other: &str, option: &str| {
            Err(Failure::parameter(
                at,
                format!("you can't use '-{one}{option}' and -{other} {option}' at the same time"),
            ))
        };
        for option in schema::split_list(revert) {
            if schema::rule(option).is_none() {
                return Err(Failure::parameter(
                    "revert",
                    format!("unknown option '{option}'"),
                ));
            }
            if self.set.contains_key(option) {
                return clash("delete", "", "revert", option);
            }
            self.revert.insert(option.to_owned());
        }
        for option in schema::split_list(delete) {
            let option = if option == "cdrom" { "ide2" } else { option };
            if self.set.contains_key(option) {
                return clash("delete", "", "delete", option);
            }
            if self.revert.contains(option) {
                return clash("revert", "delete ", "revert", option);
            }
            if schema::rule(option).is_none() {
                return Err(Failure::parameter(
                    "delete",
                    format!("unknown option '{option}'"),
                ));
            }
            self.delete.push(option.to_owned());
        }
        Ok(())
    }

    /// The checks before any lock is taken. Expands what is to be reverted.
    pub(crate) fn check(&mut self, session: &Session) -> Done<()> {
        self.load_and_check(session, false)
    }

    fn load_and_check(&mut self, session: &Session, locked: bool) -> Done<()> {
        let (config, text) = store::load(session, self.vmid)?;
        if self
            .digest
            .as_ref()
            .is_some_and(|digest| *digest != store::digest(&text))
        {
            return Err(Failure::died(
                "checksum mismatch (file change by other user?)",
            ));
        }
        if !self.skiplock {
            check_config_lock(&config)?;
        }
        for option in &self.revert {
            if let Some(value) = config.get(option) {
                self.set.insert(option.clone(), value.to_owned());
            } else if locked && config.pending.contains_key(option) {
                self.delete.push(option.clone());
            }
        }
        self.check_balloon(&config)
    }

    /// The balloon may be as large as the memory, counting what is pending, but no larger.
    fn check_balloon(&self, config: &VmConfig) -> Done<()> {
        let truthy = |value: &&String| *value != "0";
        let new_memory = self.set.get("memory");
        let new_balloon = self.set.get("balloon");
        if new_memory.is_none() && new_balloon.is_none() {
            return Ok(());
        }
        let memory = new_memory
            .or_else(|| config.pending.get("memory"))
            .or_else(|| config.active.get("memory"));
        let memory = memory
            .and_then(|value| schema::current_memory(value))
            .unwrap_or(512);
        let pending_balloon = config.pending.get("balloon").filter(truthy);
        let balloon = new_balloon
            .or(pending_balloon)
            .or_else(|| config.active.get("balloon"));
        let balloon: u64 = balloon.and_then(|value| value.parse().ok()).unwrap_or(0);
        if balloon > memory {
            return Err(Failure::died(
                "balloon value too large (must be smaller than assigned memory)",
            ));
        }
        Ok(())
    }

    /// Carries the change out, holding the VM's lock. [`Self::check`] comes first.
    pub(crate) fn apply(mut self, session: &Session, _lock: &VmLock) -> Done<()> {
        session.reach(Point::Locked)?;
        self.load_and_check(session, true)?;
        session.print(&self.log_line);
        let modified = self.write_pending(session)?;
        let (mut config, _) = store::load(session, self.vmid)?;
        if config.cleanup_pending() {
            store::write(session, self.vmid, &config)?;
        }
        session.reach(Point::PendingWritten)?;
        if config.pending.is_empty() {
            return Ok(());
        }
        let (mut config, _) = store::load(session, self.vmid)?;
        if store::running_pid(session, self.vmid).is_some() {
            let errors = hotplug::apply_pending(session, self.vmid, &mut config, &modified)?;
            if errors.is_empty() {
                Ok(())
            } else {
                Err(Failure::parameters(errors, super::failure::DIE))
            }
        } else {
            apply_pending_cold(session, self.vmid, &mut config)
        }
    }

    /// Puts each option into the pending section, one write of the whole file for each.
    fn write_pending(&self, session: &Session) -> Done<BTreeSet<String>> {
        let mut modified = BTreeSet::new();
        for option in &self.delete {
            let (mut config, _) = store::load(session, self.vmid)?;
            if !config.active.contains_key(option) && !config.pending.contains_key(option) {
                session.warn(&format!(
                    "cannot delete '{option}' - not set in current configuration!\n"
                ));
                continue;
            }
            modified.insert(option.clone());
            config.pending.remove(option);
            if option == "tags" {
                config.active.remove(option);
            } else {
                let mut deletes = config.pending_deletes();
                deletes.insert(option.clone(), self.force);
                config.set_pending_deletes(&deletes);
            }
            store::write(session, self.vmid, &config)?;
        }
        for option in session.perl_order(self.set.keys()) {
            modified.insert(option.clone());
            let value = &self.set[option];
            let (mut config, _) = store::load(session, self.vmid)?;
            if config.pending.get(option) == Some(value) {
                continue;
            }
            let value = if option == "tags" {
                unique_tags(value)
            } else {
                value.clone()
            };
            config.pending.insert(option.clone(), value);
            config.forget_pending_delete(option);
            store::write(session, self.vmid, &config)?;
        }
        Ok(modified)
    }
}

fn log_line(vmid: u32, options: &BTreeMap<String, String>) -> String {
    let words = options.iter().map(|(name, value)| {
        let value = if name == "cipassword" {
            "<hidden>"
        } else {
            value
        };
        format!("-{name} {value}")
    });
    format!(
        "update VM {vmid}: {}\n",
        words.collect::<Vec<_>>().join(" ")
    )
}

/// Tags are kept in lower case, sorted, each once.
fn unique_tags(tags: &str) -> String {
    let tags: BTreeSet<String> = schema::split_list(tags).map(str::to_lowercase).collect();
    tags.into_iter().collect::<Vec<_>>().join(";")
}

/// Refuses while the config carries a lock.
pub(crate) fn check_config_lock(config: &VmConfig) -> Done<()> {
    match config.get("lock") {
        Some(lock) => Err(Failure::died(format!("VM is locked ({lock})"))),
        None => Ok(()),
    }
}

/// Makes everything that is pending active, which PVE does at once while the VM does not run.
pub(crate) fn apply_pending_cold(session: &Session, vmid: u32, config: &mut VmConfig) -> Done<()> {
    if config.pending.is_empty() {
        return Ok(());
    }
    for option in config.pending_deletes().keys() {
        config.active.remove(option);
    }
    config.pending.remove("delete");
    config.active.append(&mut config.pending);
    store::write(session, vmid, config)
}
