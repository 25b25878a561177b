//! The values of single options. Every function says what it expected when it cannot read what it got.

use std::collections::BTreeSet;

use super::{AddressBits, Hotplug, Hugepages};
use crate::domain::{Cores, Mib, sanitize};

/// What `hotplug` means when absent, and what `hotplug: 1` stands for: neither vCPUs nor memory
/// (QemuServer.pm: parse_hotplug_features).
pub(super) const HOTPLUG_DEFAULT: [Hotplug; 3] = [Hotplug::Network, Hotplug::Disk, Hotplug::Usb];

/// An integer as PVE accepts it: digits only, no sign.
fn integer(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A count of at least 1: `cores`, `sockets`, `smp`, `vcpus`.
pub(super) fn count(text: &str) -> Result<u32, &'static str> {
    integer(text)
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| *n >= 1)
        .ok_or("expected a whole number from 1")
}

/// `balloon`: mebibytes, 0 allowed.
pub(super) fn mib(text: &str) -> Result<Mib, &'static str> {
    integer(text)
        .map(Mib)
        .ok_or("expected a whole number of MiB")
}

/// `memory`: mebibytes, bare or as `current=`; 16 at least (Memory.pm: $memory_fmt).
pub(super) fn memory(text: &str) -> Result<Mib, &'static str> {
    let number = text.strip_prefix("current=").unwrap_or(text);
    integer(number)
        .filter(|n| *n >= 16)
        .map(Mib)
        .ok_or("expected a whole number of MiB, 16 at least, bare or as current=")
}

/// `shares`: 0 to 50000.
pub(super) fn shares(text: &str) -> Result<u32, &'static str> {
    integer(text)
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| *n <= 50_000)
        .ok_or("expected a whole number from 0 to 50000")
}

/// `cpulimit`: 0 to 128 cores with decimals; 0 is no limit.
pub(super) fn cpulimit(text: &str) -> Result<Option<Cores>, &'static str> {
    let decimal = text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_digit());
    let cores = decimal
        .then(|| text.parse::<f64>().ok())
        .flatten()
        .filter(|n| (0.0..=128.0).contains(n))
        .ok_or("expected a number of cores from 0 to 128")?;
    Ok((cores > 0.0).then(|| Cores::from_f64(cores)))
}

/// A yes or no in any of the forms that PVE accepts (QemuServer.pm: check_type).
pub(super) fn boolean(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Ok(true),
        "0" | "off" | "no" | "false" => Ok(false),
        _ => Err("expected 1 or 0"),
    }
}

/// The members of a list with any separator that PVE accepts (ParseUtils: split_list).
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| matches!(c, ',' | ';' | '\0') || c.is_whitespace())
        .filter(|item| !item.is_empty())
}

/// `hotplug`: a list of features, `0` for none, `1` for the default.
pub(super) fn hotplug(text: &str) -> Result<BTreeSet<Hotplug>, &'static str> {
    match text {
        "0" => return Ok(BTreeSet::new()),
        "1" => return Ok(HOTPLUG_DEFAULT.into()),
        _ => {}
    }
    list(text)
        .map(|feature| match feature {
            "network" => Ok(Hotplug::Network),
            "disk" => Ok(Hotplug::Disk),
            "cpu" => Ok(Hotplug::Cpu),
            "memory" => Ok(Hotplug::Memory),
            "usb" => Ok(Hotplug::Usb),
            "cloudinit" => Ok(Hotplug::CloudInit),
            _ => {
                Err("expected a list of network, disk, cpu, memory, usb and cloudinit, or 0, or 1")
            }
        })
        .collect()
}

/// `hugepages`.
pub(super) fn hugepages(text: &str) -> Result<Hugepages, &'static str> {
    match text {
        "any" => Ok(Hugepages::Any),
        "2" => Ok(Hugepages::Mib2),
        "1024" => Ok(Hugepages::Gib1),
        _ => Err("expected any, 2 or 1024"),
    }
}

/// A single word: `ostype`, `lock`. Unknown words are kept: an unknown lock is a lock.
pub(super) fn word(text: &str) -> Result<String, &'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if (1..=40).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("expected one word")
    }
}

/// The type in `machine`, which may stand first and bare, or anywhere as `type=`.
pub(super) fn machine(text: &str) -> Result<String, &'static str> {
    default_property(text, "type")
        .map(|machine| sanitize(machine, 60))
        .ok_or("expected a machine type")
}

/// `cpu`: `phys-bits` decides, or else whether the model is the node's own (Memory.pm: get_max_mem).
pub(super) fn address_bits(text: &str) -> Result<AddressBits, &'static str> {
    let named = |key: &str| {
        let pairs = text.split(',').filter_map(|part| part.split_once('='));
        pairs
            .filter(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim())
            .next_back()
    };
    match named("phys-bits") {
        Some("host") => Ok(AddressBits::Host),
        Some(bits) => integer(bits)
            .and_then(|bits| u32::try_from(bits).ok())
            .filter(|bits| (8..=64).contains(bits))
            .map(AddressBits::Exactly)
            .ok_or("expected phys-bits to be host, or a number from 8 to 64"),
        None => Ok(match default_property(text, "cputype") {
            Some("host" | "max") => AddressBits::Host,
            _ => AddressBits::Common,
        }),
    }
}

/// The uuid in `smbios1`, in lower case; none where there is no well-formed one.
pub(super) fn uuid(text: &str) -> Option<String> {
    let mut pairs = text.split(',').filter_map(|part| part.split_once('='));
    let (_, uuid) = pairs.find(|(name, _)| name.trim() == "uuid")?;
    let uuid = uuid.trim();
    let well_formed = uuid.len() == 36 && uuid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    well_formed.then(|| uuid.to_ascii_lowercase())
}

/// Whether `agent` is enabled: `1`, `enabled=1`, with or without further properties.
pub(super) fn agent(text: &str) -> Result<bool, &'static str> {
    boolean(default_property(text, "enabled").ok_or("expected 1 or 0")?)
}

/// The value of the property `key` in `a,b=c`, where the first part without a `=` belongs to `key`.
fn default_property<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.split(',').find_map(|part| match part.split_once('=') {
        Some((name, value)) => (name.trim() == key).then_some(value.trim()),
        None => Some(part.trim()),
    })
}

/// `tags`: each once, in lower case, sorted. A tag is `[a-z0-9_][a-z0-9_+.-]*` in any case (JSONSchema.pm: PVE_TAG_RE).
pub(in crate::pve) fn tags(text: &str) -> Result<Vec<String>, &'static str> {
    let first = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let further = |b: u8| first(b) || matches!(b, b'-' | b'+' | b'.');
    let tags: Option<BTreeSet<String>> = list(text)
        .map(|tag| {
            let well_formed = tag.bytes().next().is_some_and(first) && tag.bytes().all(further);
            well_formed.then(|| tag.to_ascii_lowercase())
        })
        .collect();
    Ok(tags.ok_or("expected a list of tags")?.into_iter().collect())
}
