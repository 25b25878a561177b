//! A VM's config file as Proxmox VE reads and writes it.
//!
//! Lines of `key: value`, then sections in brackets: what waits for a power cycle (`[PENDING]`), special ones and
//! snapshots. Unknown keys and lines that do not parse are dropped with a warning, and so are lost at the next
//! write. Source: `qemu-server: src/PVE/QemuServer.pm: parse_vm_config, write_vm_config`;
//! `pve-guest-common: src/PVE/AbstractConfig.pm: *_pending*`. This module must not touch files.

pub(crate) mod schema;

use std::collections::BTreeMap;
use std::fmt;

/// Key and value, in the order in which PVE writes them.
pub(crate) type Keys = BTreeMap<String, String>;

/// Options that wait to be deleted, each with whether that was forced.
pub(crate) type PendingDeletes = BTreeMap<String, bool>;

/// One VM's config. The description is kept, decoded, under the key `description`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VmConfig {
    /// What the running VM has, as far as PVE knows.
    pub(crate) active: Keys,
    /// What applies at the next power cycle. The key `delete` lists options to drop then.
    pub(crate) pending: Keys,
    /// `[special:NAME]` sections.
    pub(crate) special: BTreeMap<String, Keys>,
    /// Snapshots, each with its own copy of the config.
    pub(crate) snapshots: BTreeMap<String, Keys>,
}

enum Place {
    Active,
    Pending,
    Special(String),
    Snapshot(String),
    Skipped,
}

impl VmConfig {
    /// Reads a config file's text. The second value holds the warnings that PVE prints on stderr.
    pub(crate) fn parse(vmid: u32, text: &str) -> (Self, Vec<String>) {
        let mut config = Self::default();
        let mut warnings = Vec::new();
        let mut place = Place::Active;
        for line in text.split('\n').filter(|line| !line.trim().is_empty()) {
            if let Some(name) = section_name(line) {
                place = config.open_section(vmid, name, &mut warnings);
            } else if let Some(keys) = config.keys_at(&place) {
                let pending = matches!(place, Place::Pending);
                let informative = matches!(place, Place::Special(_));
                if let Err(warning) = read_line(keys, line, pending, informative) {
                    warnings.push(format!("vm {vmid} - {warning}"));
                }
            }
        }
        config.each_section(|keys| {
            if let Some(description) = keys.get_mut("description") {
                description.truncate(description.trim_end().len());
            }
        });
        (config, warnings)
    }

    fn open_section(&mut self, vmid: u32, name: &str, warnings: &mut Vec<String>) -> Place {
        let lower = name.to_ascii_lowercase();
        if lower == "pending" {
            return Place::Pending;
        }
        if let Some(special @ ("cloudinit" | "fleecing")) = lower.strip_prefix("special:") {
            self.special.entry(special.to_owned()).or_default();
            return Place::Special(special.to_owned());
        }
        if is_snapshot_name(&lower) {
            self.snapshots.entry(name.to_owned()).or_default();
            return Place::Snapshot(name.to_owned());
        }
        warnings.push(format!("vm {vmid} - skipping unknown section: '{name}'"));
        Place::Skipped
    }

    fn keys_at(&mut self, place: &Place) -> Option<&mut Keys> {
        match place {
            Place::Active => Some(&mut self.active),
            Place::Pending => Some(&mut self.pending),
            Place::Special(name) => self.special.get_mut(name),
            Place::Snapshot(name) => self.snapshots.get_mut(name),
            Place::Skipped => None,
        }
    }

    fn each_section(&mut self, mut change: impl FnMut(&mut Keys)) {
        change(&mut self.active);
        change(&mut self.pending);
        self.special
            .values_mut()
            .chain(self.snapshots.values_mut())
            .for_each(change);
    }

    /// An active value.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.active.get(key).map(String::as_str)
    }

    /// An active whole number, or none if the key is absent.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }

    /// Whether an active boolean is set.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.get(key) == Some("1")
    }

    /// Sockets, cores per socket: the topology, each at least 1.
    pub(crate) fn topology(&self) -> (u64, u64) {
        let sockets = self
            .number("sockets")
            .or_else(|| self.number("smp"))
            .unwrap_or(1)
            .max(1);
        (sockets, self.number("cores").unwrap_or(1).max(1))
    }

    /// The active memory in MiB; 512 where the config says nothing.
    pub(crate) fn memory_mib(&self) -> u64 {
        self.get("memory")
            .and_then(schema::current_memory)
            .unwrap_or(512)
    }

    /// Whether the running VM may change this live (`cpu`, `memory`, …).
    pub(crate) fn hotplugs(&self, feature: &str) -> bool {
        schema::hotplug_features(self.get("hotplug").unwrap_or("1"))
            .is_ok_and(|features| features.contains(&feature))
    }

    /// Options that wait to be deleted.
    pub(crate) fn pending_deletes(&self) -> PendingDeletes {
        let list = self
            .pending
            .get("delete")
            .map(String::as_str)
            .unwrap_or_default();
        schema::split_list(list)
            .map(|entry| match entry.strip_prefix('!') {
                Some(option) => (option.to_owned(), true),
                None => (entry.to_owned(), false),
            })
            .collect()
    }

    /// Replaces the list of options that wait to be deleted.
    pub(crate) fn set_pending_deletes(&mut self, deletes: &PendingDeletes) {
        if deletes.is_empty() {
            self.pending.remove("delete");
            return;
        }
        let entries = deletes.iter().map(|(option, force)| {
            if *force {
                format!("!{option}")
            } else {
                option.clone()
            }
        });
        self.pending
            .insert("delete".to_owned(), entries.collect::<Vec<_>>().join(","));
    }

    /// Drops one option from the list of those that wait to be deleted.
    pub(crate) fn forget_pending_delete(&mut self, option: &str) {
        let mut deletes = self.pending_deletes();
        if deletes.remove(option).is_some() {
            self.set_pending_deletes(&deletes);
        }
    }

    /// Drops pending entries that would change nothing. Returns whether there were any.
    pub(crate) fn cleanup_pending(&mut self) -> bool {
        let before = self.pending.clone();
        let active = &self.active;
        self.pending
            .retain(|option, value| option == "delete" || active.get(option) != Some(value));
        let mut deletes = self.pending_deletes();
        deletes.retain(|option, _| self.active.contains_key(option));
        self.set_pending_deletes(&deletes);
        self.pending != before
    }

    /// The values as they will be after the next power cycle: what `qm config` shows unless asked for `--current`.
    pub(crate) fn with_pending(&self) -> Keys {
        let mut keys = self.active.clone();
        keys.extend(
            self.pending
                .iter()
                .filter(|(option, _)| *option != "delete")
                .map(|(k, v)| (k.clone(), v.clone())),
        );
        for option in self.pending_deletes().keys() {
            // PVE tests the value for truth, so that a 0 survives.
            if keys.get(option).is_some_and(|value| value != "0") {
                keys.remove(option);
            }
        }
        keys
    }

    /// `smp` is the old name of `sockets`; PVE renames it when it writes, and then drops `cores`.
    fn without_smp(&self) -> Keys {
        let mut keys = self.active.clone();
        if let Some(smp) = keys.remove("smp")
            && !keys.contains_key("sockets")
        {
            keys.insert("sockets".to_owned(), smp);
            keys.remove("cores");
        }
        keys
    }
}

impl fmt::Display for VmConfig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_keys(out, &self.without_smp(), false)?;
        if !self.pending.is_empty() {
            write!(out, "\n[PENDING]\n")?;
            write_keys(out, &self.pending, true)?;
        }
        for (name, keys) in &self.special {
            write!(out, "\n[special:{name}]\n")?;
            write_keys(out, keys, false)?;
        }
        for (name, keys) in &self.snapshots {
            write!(out, "\n[{name}]\n")?;
            write_keys(out, keys, false)?;
        }
        Ok(())
    }
}

fn write_keys(out: &mut fmt::Formatter<'_>, keys: &Keys, pending: bool) -> fmt::Result {
    match keys.get("description").map(String::as_str) {
        Some("") if pending => writeln!(out, "#")?,
        Some(description) => description
            .lines()
            .try_for_each(|line| writeln!(out, "#{}", encode_text(line)))?,
        None => {}
    }
    keys.iter()
        .filter(|(key, _)| *key != "description")
        .try_for_each(|(key, value)| writeln!(out, "{key}: {value}"))
}

fn section_name(line: &str) -> Option<&str> {
    let name = line.strip_prefix('[')?.trim_end().strip_suffix(']')?;
    (!name.contains(']')).then_some(name)
}

fn is_snapshot_name(lower: &str) -> bool {
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    lower.len() >= 2
        && lower.starts_with(|c: char| c.is_ascii_lowercase())
        && lower.chars().all(rest)
}

fn read_line(keys: &mut Keys, line: &str, pending: bool, informative: bool) -> Result<(), String> {
    let unparsable = || format!("unable to parse config: {line}");
    if let Some(comment) = line.strip_prefix('#') {
        let description = keys.entry("description".to_owned()).or_default();
        description.push_str(&decode_text(comment));
        description.push('\n');
        return Ok(());
    }
    let (key, value) = line.split_once(':').ok_or_else(unparsable)?;
    if !is_key(key) {
        return Err(unparsable());
    }
    let value = value_after_colon(value).ok_or_else(unparsable)?;
    match key {
        "description" => keys
            .entry(key.to_owned())
            .or_default()
            .push_str(&decode_text(value)),
        "delete" if !pending => {
            return Err("property 'delete' is only allowed in [PENDING]".to_owned());
        }
        "delete" | "args" | "snapstate" => {
            keys.insert(key.to_owned(), value.to_owned());
        }
        // What special sections hold is for information and read without checks.
        _ if informative => {
            keys.insert(key.to_owned(), value.to_owned());
        }
        _ => {
            let stored = schema::store_form(key, value)
                .map_err(|why| format!("unable to parse value of '{key}' - {why}"))?;
            let key = if key == "cdrom" { "ide2" } else { key };
            keys.insert(key.to_owned(), stored);
        }
    }
    Ok(())
}

/// `[a-z][a-z_-]*[0-9]*`
fn is_key(key: &str) -> bool {
    let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
    let inner = |c: char| c.is_ascii_lowercase() || matches!(c, '_' | '-');
    stem.starts_with(|c: char| c.is_ascii_lowercase()) && stem.chars().all(inner)
}

/// The value is trimmed, but a value of nothing but blanks is one blank: `boot: ` is written back as `boot:  `.
fn value_after_colon(rest: &str) -> Option<&str> {
    let trimmed = rest.trim();
    if trimmed.is_empty() {
        rest.char_indices().last().map(|(start, _)| &rest[start..])
    } else {
        Some(trimmed)
    }
}

/// Control characters, `:`, `%` and everything beyond ASCII become `%XX`.
pub(crate) fn encode_text(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'%' | b':' | 0..=0x1f | 0x7f..=0xff => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push(char::from(byte)),
        }
    }
    encoded
}

fn decode_text(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
