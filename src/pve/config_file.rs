//! The grammar of a VM's configuration file, `/etc/pve/nodes/<node>/qemu-server/<vmid>.conf`.
//!
//! Everything before the first section header is the running configuration; `[PENDING]` waits for a power cycle;
//! other sections are snapshots (qemu-server: QemuServer.pm: parse_vm_config and $confdesc).
//! Parsing never fails: what cannot be understood in a key that matters is listed in [`VmConfig::problems`], so that
//! an unreadable value is unknown and never a default.

mod value;

use std::collections::BTreeSet;

pub(super) use value::tags;

use crate::domain::{Cores, Mib, VmName, sanitize};

/// Options that say how much CPU and memory a VM is given, or how they begin.
const SIZES: [&str; 10] = [
    "memory",
    "balloon",
    "hugepages",
    "hostpci",
    "virtiofs",
    "cores",
    "sockets",
    "smp",
    "vcpus",
    "cpulimit",
];

/// The most problems that are listed of one file: more would tell nobody anything.
const PROBLEMS_MAX: usize = 10;

/// A feature that can be plugged into the running VM (`hotplug`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hotplug {
    /// Network cards.
    Network,
    /// Disks.
    Disk,
    /// vCPUs.
    Cpu,
    /// Memory modules.
    Memory,
    /// USB devices.
    Usb,
    /// The cloud-init drive.
    CloudInit,
}

/// The page size that backs a VM's memory (`hugepages`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hugepages {
    /// Whichever size fits.
    Any,
    /// 2 MiB pages.
    Mib2,
    /// 1 GiB pages; memory modules then start at 1 GiB.
    Gib1,
}

/// How many bits of physical address a VM's CPU has (`cpu`): they bound its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressBits {
    /// As many as the node has, 40 at most.
    #[default]
    Common,
    /// As many as the node has.
    Host,
    /// So many.
    Exactly(u32),
}

/// What a VM's configuration file says. Values are those of the running VM, not of `[PENDING]`.
#[derive(Debug, Clone, PartialEq)]
pub struct VmConfig {
    /// Its name, cleaned; empty if it has none.
    pub name: VmName,
    /// Cores per socket.
    pub cores: u32,
    /// Sockets; the legacy key `smp` counts where `sockets` is absent.
    pub sockets: u32,
    /// vCPUs plugged; absent means all, [`VmConfig::max_vcpus`].
    pub vcpus: Option<u32>,
    /// The CPU quota; absent or 0 means none.
    pub cpulimit: Option<Cores>,
    /// Memory.
    pub memory: Mib,
    /// `balloon`, if set. 0 means that the VM has no balloon device.
    pub balloon: Option<Mib>,
    /// `shares`, if set. Only an explicit 0 keeps pvestatd off the balloon.
    pub shares: Option<u32>,
    /// What can be plugged while it runs.
    pub hotplug: BTreeSet<Hotplug>,
    /// Whether it was given a NUMA topology; memory hotplug needs it.
    pub numa: bool,
    /// Whether one of `numa0` to `numa7` sets a topology of its own; that rules out memory hotplug.
    pub custom_numa: bool,
    /// Huge pages, if its memory is backed by them.
    pub hugepages: Option<Hugepages>,
    /// The kind of guest, PVE's word for it; `other` if not set.
    pub ostype: String,
    /// The machine type, if set.
    pub machine: Option<String>,
    /// Whether a directory is shared with it through virtiofs; that rules out memory hotplug.
    pub virtiofs: bool,
    /// Whether a device of the node is passed through to it; QEMU then pins all its memory.
    pub passthrough: bool,
    /// How far its CPU can address memory.
    pub address_bits: AddressBits,
    /// Whether the guest agent is enabled.
    pub agent: bool,
    /// Its tags, in lower case, each once, sorted.
    pub tags: Vec<String>,
    /// The configuration lock (`backup`, `migrate`, …), while one is held.
    pub lock: Option<String>,
    /// Whether it is a template.
    pub template: bool,
    /// The number that its firmware shows (`smbios1: uuid=…`), in lower case. PVE gives each new VM one of its own, which
    /// stays with it when it moves (qemu-server: API2/Qemu.pm: create_vm, clone_vm).
    pub uuid: Option<String>,
    /// Options that are set or deleted in `[PENDING]`, by name, sorted.
    pub pending: Vec<String>,
    /// What could not be understood. Unless this is empty, no other field may be relied on.
    pub problems: Vec<String>,
    /// The first of them that leaves open how much CPU or memory the VM is given.
    pub size_problem: Option<String>,
}

impl Default for VmConfig {
    /// PVE's own defaults (QemuServer.pm: $confdesc).
    fn default() -> Self {
        Self {
            name: VmName::default(),
            cores: 1,
            sockets: 1,
            vcpus: None,
            cpulimit: None,
            memory: Mib(512),
            balloon: None,
            shares: None,
            hotplug: value::HOTPLUG_DEFAULT.into(),
            numa: false,
            custom_numa: false,
            hugepages: None,
            ostype: "other".to_owned(),
            machine: None,
            virtiofs: false,
            passthrough: false,
            address_bits: AddressBits::Common,
            agent: false,
            tags: Vec::new(),
            lock: None,
            template: false,
            uuid: None,
            pending: Vec::new(),
            problems: Vec::new(),
            size_problem: None,
        }
    }
}

/// The part of the file that a line belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Active,
    Pending,
    Other,
}

impl VmConfig {
    /// Reads the text of a configuration file. Never fails: see [`VmConfig::problems`].
    pub fn parse(text: &str) -> Self {
        let mut config = Self::default();
        let (mut sockets, mut smp) = (None, None);
        let mut pending = BTreeSet::new();
        let mut section = Section::Active;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_end();
            // `#` lines are the description, which its owner writes; nothing in them counts.
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with('[') {
                section = header(line);
                continue;
            }
            if section == Section::Other {
                continue;
            }
            let Some((key, value)) = key_value(line) else {
                let got = sanitize(line, 60);
                config.problem(format!("line {number} is not 'key: value': {got:?}"), true);
                continue;
            };
            if section == Section::Pending {
                note_pending(&mut pending, key, value);
                continue;
            }
            let understood = match key {
                "sockets" => value::count(value).map(|n| sockets = Some(n)),
                "smp" => value::count(value).map(|n| smp = Some(n)),
                _ => config.take(key, value),
            };
            if let Err(why) = understood {
                let got = sanitize(value, 60);
                let of_size = SIZES.iter().any(|option| key.starts_with(option));
                config.problem(format!("line {number}: {key}: {why}, not {got:?}"), of_size);
            }
        }
        // QemuServer.pm: config_to_command: `smp` is the old name, `sockets` wins.
        config.sockets = sockets.or(smp).unwrap_or(1);
        config.pending = pending.into_iter().collect();
        if text.trim().is_empty() {
            config.problem("the file is empty".to_owned(), true);
        }
        config
    }

    fn problem(&mut self, problem: String, of_size: bool) {
        if of_size && self.size_problem.is_none() {
            self.size_problem = Some(problem.clone());
        }
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    /// Takes over one option of the running configuration. Options that do not matter here are ignored, as PVE does.
    fn take(&mut self, key: &str, text: &str) -> Result<(), &'static str> {
        match key {
            "name" => self.name = VmName::new(text),
            "cores" => self.cores = value::count(text)?,
            "vcpus" => self.vcpus = Some(value::count(text)?),
            "cpulimit" => self.cpulimit = value::cpulimit(text)?,
            "memory" => self.memory = value::memory(text)?,
            "balloon" => self.balloon = Some(value::mib(text)?),
            "shares" => self.shares = Some(value::shares(text)?),
            "hotplug" => self.hotplug = value::hotplug(text)?,
            "numa" => self.numa = value::boolean(text)?,
            "hugepages" => self.hugepages = Some(value::hugepages(text)?),
            "ostype" => self.ostype = value::word(text)?,
            "cpu" => self.address_bits = value::address_bits(text)?,
            "machine" => self.machine = Some(value::machine(text)?),
            "agent" => self.agent = value::agent(text)?,
            "tags" => self.tags = value::tags(text)?,
            "lock" => self.lock = Some(value::word(text)?),
            "smbios1" => self.uuid = value::uuid(text),
            "template" => self.template = value::boolean(text)?,
            _ if numbered(key, "numa") => self.custom_numa = true,
            _ if numbered(key, "virtiofs") => self.virtiofs = true,
            _ if numbered(key, "hostpci") => self.passthrough = true,
            _ => {}
        }
        Ok(())
    }

    /// The most vCPUs that the running VM can have: sockets × cores.
    pub fn max_vcpus(&self) -> u32 {
        self.sockets.saturating_mul(self.cores)
    }

    /// vCPUs plugged according to the configuration.
    pub fn plugged_vcpus(&self) -> u32 {
        self.vcpus.unwrap_or_else(|| self.max_vcpus())
    }

    /// Whether the guest is a Windows of any age (`ostype` wxp, w2k, wvista, win7 to win11).
    pub fn is_windows(&self) -> bool {
        self.ostype.starts_with('w')
    }

    /// The cores that it is given: its vCPUs, or their quota.
    pub fn cores_given(&self) -> Cores {
        let vcpus = Cores::whole(self.plugged_vcpus());
        self.cpulimit.map_or(vcpus, |limit| limit.min(vcpus))
    }

    /// The memory that is its own. With a `balloon`, pvestatd takes back what is beyond, where the node runs out of it, or
    /// it was never given (`pve-manager: PVE/AutoBalloon.pm: compute_alg1`).
    pub fn memory_given(&self) -> Mib {
        let balloon = self.balloon.filter(|balloon| *balloon > Mib::ZERO);
        balloon.map_or(self.memory, |balloon| balloon.min(self.memory))
    }

    /// Whether all of its memory is taken from the node when it starts. Huge pages are the one kind that PVE preallocates
    /// (`Memory.pm`); a device that is passed through may write anywhere, so that QEMU pins all of it.
    pub fn is_pinned(&self) -> bool {
        self.hugepages.is_some() || self.passthrough
    }

    /// Whether the VM has a balloon device.
    pub fn has_balloon(&self) -> bool {
        self.balloon != Some(Mib::ZERO)
    }
}

/// Which section a header line opens. Only `[PENDING]` matters; its case does not.
fn header(line: &str) -> Section {
    if line.eq_ignore_ascii_case("[pending]") {
        Section::Pending
    } else {
        Section::Other
    }
}

/// Splits `key: value`. A key is `[a-z][a-z_-]*[0-9]*` at the start of the line.
fn key_value(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(':')?;
    let name = key.trim_end_matches(|c: char| c.is_ascii_digit());
    let well_formed = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'-');
    well_formed.then(|| (key, value.trim()))
}

/// Whether `key` is `prefix` with a number.
fn numbered(key: &str, prefix: &str) -> bool {
    key.strip_prefix(prefix)
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Notes which options a line of `[PENDING]` sets, or deletes (`delete: vcpus,!balloon`; `!` forces it).
fn note_pending(pending: &mut BTreeSet<String>, key: &str, value: &str) {
    if key == "delete" {
        let names = value::list(value).map(|name| name.trim_start_matches('!'));
        pending.extend(names.map(|name| sanitize(name, 60)));
    } else {
        pending.insert(key.to_owned());
    }
}

#[cfg(test)]
mod tests;
