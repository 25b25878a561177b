//! Which keys a VM's config may hold, and how Proxmox VE 9 reads and checks their values.
//!
//! Source: `qemu-server: src/PVE/QemuServer.pm: $confdesc, check_type`, `pve-common: src/PVE/JSONSchema.pm: check_prop`.
//! Two checks exist, and they differ: reading a config file only knows types (`store_form`), a command line is
//! also held against limits, enumerations and formats (`check_argument`).

/// How PVE stores a value of this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Stored as `1` or `0`, a number in JSON.
    Boolean,
    /// Digits only in a file, a number in JSON.
    Integer,
    /// Digits and one point, kept as it was written, a string in JSON.
    Number,
    /// Anything on one line.
    Text,
}

/// A further rule that a command-line value must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Any,
    Choice(&'static [&'static str]),
    HotplugFeatures,
    Memory,
    Tags,
    DnsName,
}

/// One key's rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyRule {
    /// How it is stored.
    pub(crate) kind: Kind,
    minimum: Option<i64>,
    maximum: Option<i64>,
    format: Format,
}

const fn plain(kind: Kind) -> KeyRule {
    KeyRule {
        kind,
        minimum: None,
        maximum: None,
        format: Format::Any,
    }
}

const fn within(kind: Kind, minimum: i64, maximum: Option<i64>) -> KeyRule {
    KeyRule {
        kind,
        minimum: Some(minimum),
        maximum,
        format: Format::Any,
    }
}

const fn text(format: Format) -> KeyRule {
    KeyRule {
        kind: Kind::Text,
        minimum: None,
        maximum: None,
        format,
    }
}

const LOCKS: &[&str] = &[
    "backup",
    "clone",
    "create",
    "migrate",
    "rollback",
    "snapshot",
    "snapshot-delete",
    "suspending",
    "suspended",
];

const OSTYPES: &[&str] = &[
    "other", "wxp", "w2k", "w2k3", "w2k8", "wvista", "win7", "win8", "win10", "win11", "l24",
    "l26", "solaris",
];

/// Keys without a number at their end.
const KEYS: &[(&str, KeyRule)] = &[
    ("acpi", plain(Kind::Boolean)),
    ("affinity", plain(Kind::Text)),
    ("agent", plain(Kind::Text)),
    ("allow-ksm", plain(Kind::Boolean)),
    ("amd-sev", plain(Kind::Text)),
    ("arch", plain(Kind::Text)),
    ("args", plain(Kind::Text)),
    ("autostart", plain(Kind::Boolean)),
    ("balloon", within(Kind::Integer, 0, None)),
    ("bios", text(Format::Choice(&["seabios", "ovmf"]))),
    ("boot", plain(Kind::Text)),
    ("bootdisk", plain(Kind::Text)),
    ("cdrom", plain(Kind::Text)),
    ("cicustom", plain(Kind::Text)),
    ("cipassword", plain(Kind::Text)),
    (
        "citype",
        text(Format::Choice(&["configdrive2", "nocloud", "opennebula"])),
    ),
    ("ciupgrade", plain(Kind::Boolean)),
    ("ciuser", plain(Kind::Text)),
    ("cores", within(Kind::Integer, 1, None)),
    ("cpu", plain(Kind::Text)),
    ("cpulimit", within(Kind::Number, 0, Some(128))),
    ("cpuunits", within(Kind::Integer, 1, Some(262_144))),
    ("description", plain(Kind::Text)),
    ("freeze", plain(Kind::Boolean)),
    ("hookscript", plain(Kind::Text)),
    ("hotplug", text(Format::HotplugFeatures)),
    ("hugepages", text(Format::Choice(&["any", "2", "1024"]))),
    ("intel-tdx", plain(Kind::Text)),
    ("ivshmem", plain(Kind::Text)),
    ("keephugepages", plain(Kind::Boolean)),
    ("keyboard", plain(Kind::Text)),
    ("kvm", plain(Kind::Boolean)),
    ("localtime", plain(Kind::Boolean)),
    ("lock", text(Format::Choice(LOCKS))),
    ("machine", plain(Kind::Text)),
    ("memory", text(Format::Memory)),
    ("meta", plain(Kind::Text)),
    ("migrate_downtime", within(Kind::Number, 0, None)),
    ("migrate_speed", within(Kind::Integer, 0, None)),
    ("name", text(Format::DnsName)),
    ("nameserver", plain(Kind::Text)),
    ("numa", plain(Kind::Boolean)),
    ("onboot", plain(Kind::Boolean)),
    ("ostype", text(Format::Choice(OSTYPES))),
    ("parent", plain(Kind::Text)),
    ("protection", plain(Kind::Boolean)),
    ("reboot", plain(Kind::Boolean)),
    ("running-nets-host-mtu", plain(Kind::Text)),
    ("runningcpu", plain(Kind::Text)),
    ("runningmachine", plain(Kind::Text)),
    ("scsihw", plain(Kind::Text)),
    ("searchdomain", plain(Kind::Text)),
    ("shares", within(Kind::Integer, 0, Some(50_000))),
    ("smbios1", plain(Kind::Text)),
    ("smp", within(Kind::Integer, 1, None)),
    ("snaptime", within(Kind::Integer, 0, None)),
    ("sockets", within(Kind::Integer, 1, None)),
    ("spice_enhancements", plain(Kind::Text)),
    ("sshkeys", plain(Kind::Text)),
    ("startdate", plain(Kind::Text)),
    ("startup", plain(Kind::Text)),
    ("tablet", plain(Kind::Boolean)),
    ("tags", text(Format::Tags)),
    ("tdf", plain(Kind::Boolean)),
    ("template", plain(Kind::Boolean)),
    ("vcpus", within(Kind::Integer, 1, None)),
    ("vga", plain(Kind::Text)),
    ("vmgenid", plain(Kind::Text)),
    ("vmstate", plain(Kind::Text)),
    ("vmstatestorage", plain(Kind::Text)),
    ("watchdog", plain(Kind::Text)),
];

/// Keys that end in a number, with how many of each there may be.
const DEVICES: &[(&str, u32)] = &[
    ("audio", 1),
    ("efidisk", 1),
    ("hostpci", 16),
    ("ide", 4),
    ("ipconfig", 32),
    ("net", 32),
    ("numa", 8),
    ("parallel", 3),
    ("rng", 1),
    ("sata", 6),
    ("scsi", 31),
    ("serial", 4),
    ("tpmstate", 1),
    ("unused", 256),
    ("usb", 14),
    ("virtio", 16),
    ("virtiofs", 10),
];

/// The rules of a key, or none if PVE does not know it.
pub(crate) fn rule(key: &str) -> Option<KeyRule> {
    if let Some((_, rule)) = KEYS.iter().find(|(name, _)| *name == key) {
        return Some(*rule);
    }
    let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &key[stem.len()..];
    let canonical = digits == "0" || !digits.starts_with('0');
    let index: u32 = digits.parse().ok()?;
    let known = DEVICES
        .iter()
        .any(|(name, count)| *name == stem && index < *count);
    (canonical && known).then(|| plain(Kind::Text))
}

/// Every key name that a command line may use.
pub(crate) fn names() -> Vec<String> {
    let devices = DEVICES
        .iter()
        .flat_map(|(name, count)| (0..*count).map(move |index| format!("{name}{index}")));
    KEYS.iter()
        .map(|(name, _)| (*name).to_owned())
        .chain(devices)
        .collect()
}

/// What PVE reads as a boolean, in a file and on a command line.
pub(crate) fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "on" | "yes" | "true" => Some(true),
        "0" | "off" | "no" | "false" => Some(false),
        _ => None,
    }
}

fn is_digits(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_decimal(value: &str) -> bool {
    match value.split_once('.') {
        Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
        None => is_digits(value),
    }
}

/// The form in which PVE keeps a value that it read from a config file, or why it drops the line.
pub(crate) fn store_form(key: &str, value: &str) -> Result<String, String> {
    let rule = rule(key).ok_or_else(|| format!("unknown setting '{key}'"))?;
    let mismatch = |kind: &str| Err(format!("type check ('{kind}') failed - got '{value}'"));
    match rule.kind {
        Kind::Boolean => match boolean(value) {
            Some(on) => Ok(u8::from(on).to_string()),
            None => mismatch("boolean"),
        },
        Kind::Integer if is_digits(value) => {
            let significant = value.trim_start_matches('0');
            Ok(if significant.is_empty() {
                "0"
            } else {
                significant
            }
            .to_owned())
        }
        Kind::Integer => mismatch("integer"),
        Kind::Number if is_decimal(value) => Ok(value.to_owned()),
        Kind::Number => mismatch("number"),
        Kind::Text => match rule.format {
            Format::HotplugFeatures => hotplug_features(value).map(|_| value.to_owned()),
            Format::Any => Ok(unquoted(value).to_owned()),
            _ => Ok(value.to_owned()),
        },
    }
}

fn unquoted(value: &str) -> &str {
    value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value)
}

/// Checks one command-line value as PVE's schema does. The message is what follows `<key>: `.
pub(crate) fn check_argument(key: &str, value: &str) -> Result<(), String> {
    let Some(rule) = rule(key) else { return Ok(()) };
    let number = match rule.kind {
        Kind::Integer => value
            .parse::<i64>()
            .ok()
            .filter(|_| !value.starts_with('+'))
            .map(|n| n as f64),
        Kind::Number => value.parse::<f64>().ok().filter(|n| n.is_finite()),
        Kind::Boolean | Kind::Text => None,
    };
    match (rule.kind, number) {
        (Kind::Integer, None) => {
            return Err(format!("type check ('integer') failed - got '{value}'"));
        }
        (Kind::Number, None) => {
            return Err(format!("type check ('number') failed - got '{value}'"));
        }
        _ => {}
    }
    if let Some(number) = number {
        if let Some(maximum) = rule.maximum.filter(|maximum| number > *maximum as f64) {
            return Err(format!("value must have a maximum value of {maximum}"));
        }
        if let Some(minimum) = rule.minimum.filter(|minimum| number < *minimum as f64) {
            return Err(format!("value must have a minimum value of {minimum}"));
        }
    }
    check_format(key, value, rule.format)
}

fn check_format(key: &str, value: &str, format: Format) -> Result<(), String> {
    match format {
        Format::Any => Ok(()),
        Format::Choice(choices) if choices.contains(&value) => Ok(()),
        Format::Choice(choices) => Err(format!(
            "value '{value}' does not have a value in the enumeration '{}'",
            choices.join(", ")
        )),
        Format::HotplugFeatures => hotplug_features(value)
            .map(|_| ())
            .map_err(|why| format!("invalid format - {why}\n")),
        Format::Memory => match current_memory(value) {
            Some(mib) if mib >= 16 => Ok(()),
            Some(_) => Err(format!(
                "invalid format - format error\n{key}.current: value must have a minimum value of 16\n"
            )),
            None => Err(format!(
                "invalid format - format error\n{key}.current: type check ('integer') failed - got '{value}'\n"
            )),
        },
        Format::Tags => {
            let bad = split_list(value).any(|tag| !is_tag(tag));
            if bad {
                Err("invalid format - invalid characters in tag\n".to_owned())
            } else {
                Ok(())
            }
        }
        Format::DnsName if value.split('.').all(is_dns_label) => Ok(()),
        Format::DnsName => {
            Err("invalid format - value does not look like a valid DNS name\n".to_owned())
        }
    }
}

fn is_tag(tag: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.starts_with(first)
        && tag
            .chars()
            .all(|c| first(c) || matches!(c, '-' | '+' | '.'))
}

fn is_dns_label(label: &str) -> bool {
    let inner = label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
}

/// The parts of a list as PVE splits it: at commas, semicolons, white space and NUL.
pub(crate) fn split_list(list: &str) -> impl Iterator<Item = &str> {
    list.split(|c: char| c == ',' || c == ';' || c == '\0' || c.is_ascii_whitespace())
        .filter(|part| !part.is_empty())
}

/// What may change while the VM runs, from the value of the `hotplug` key.
///
/// `1` is only another word for the default, which has neither CPU nor memory.
pub(crate) fn hotplug_features(value: &str) -> Result<Vec<&str>, String> {
    let value = if value == "1" {
        "network,disk,usb"
    } else {
        value
    };
    if value == "0" {
        return Ok(Vec::new());
    }
    split_list(value)
        .map(|feature| match feature {
            "network" | "disk" | "cpu" | "memory" | "usb" | "cloudinit" => Ok(feature),
            other => Err(format!("invalid hotplug feature '{other}'")),
        })
        .collect()
}

/// The size in MiB that a `memory` value stands for: `4096` or `current=4096`.
pub(crate) fn current_memory(value: &str) -> Option<u64> {
    let parts = value.split(',').filter(|part| !part.trim().is_empty());
    let sizes: Vec<&str> = parts
        .map(|part| part.strip_prefix("current=").unwrap_or(part))
        .collect();
    match sizes.as_slice() {
        [size] if is_digits(size) => size.parse().ok(),
        _ => None,
    }
}
