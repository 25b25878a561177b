//! What a single key cannot tell: settings that contradict each other (faults), and those that are valid but
//! probably not meant so (warnings).
//!
//! A finding is reported once, for the section that wrote one of the values, not again for all that inherit them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fault::Place;
use super::file::File;
use super::provenance::{Effective, Origin};
use super::report::Report;
use super::resolve::Resolved;
use super::section::{Written, WrittenList};
use super::settings::{CpuMethod, MemoryMethod};
use super::units::Scalar;
use crate::domain::{Cores, Mib, Percent, VmId};

/// A band between low and high that is narrower than this makes sizes go up and down.
const DEAD_BAND: Percent = Percent::whole(10);
/// Of a VM with memory hotplug, this much is no memory module and can never be taken away (`Mem.pm`: static memory).
const STATIC_MEMORY: Mib = Mib::gib(1);
/// The most that PVE takes for `cpulimit` (`QemuServer.pm`, 0 to 128).
const CPULIMIT_MAX: Cores = Cores::whole(128);

/// Two values that contradict each other.
#[derive(PartialEq)]
pub(super) struct Conflict {
    small: Effective,
    large: Effective,
    relation: Relation,
    profile: String,
    /// What is wrong, for someone who does not see the file.
    pub(super) message: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Relation {
    /// The smaller one may be equal.
    AtMost,
    /// It may not.
    Below,
}

/// The contradictions in the settings of one VM or profile.
pub(super) fn conflicts(resolved: &Resolved) -> Vec<Conflict> {
    let settings = &resolved.settings;
    let (cpu, memory) = (&settings.cpu, &settings.memory);
    let pairs = [
        (cpu.min <= cpu.max, "cpu.min", "cpu.max", Relation::AtMost),
        (
            cpu.rule.low < cpu.rule.high,
            "cpu.low",
            "cpu.high",
            Relation::Below,
        ),
        (
            memory.min <= memory.max,
            "memory.min",
            "memory.max",
            Relation::AtMost,
        ),
        (
            memory.rule.low < memory.rule.high,
            "memory.low",
            "memory.high",
            Relation::Below,
        ),
    ];
    pairs
        .into_iter()
        .filter(|(fine, ..)| !fine)
        .filter_map(|(_, small, large, relation)| {
            let small = resolved.effective(small)?.clone();
            let large = resolved.effective(large)?.clone();
            let message = format!(
                "{} {} {} {} {}",
                small.key,
                small.value,
                relation.broken(),
                large.key,
                large.value
            );
            let profile = settings.profile.clone();
            Some(Conflict {
                small,
                large,
                relation,
                profile,
                message,
            })
        })
        .collect()
}

impl Relation {
    fn broken(self) -> &'static str {
        match self {
            Self::AtMost => "is above",
            Self::Below => "is not below",
        }
    }

    fn broken_from_above(self) -> &'static str {
        match self {
            Self::AtMost => "is below",
            Self::Below => "is not above",
        }
    }
}

impl Conflict {
    /// Whether a window has a part in it.
    pub(super) fn is_of_a_window(&self) -> bool {
        window_of(&self.small).or(window_of(&self.large)).is_some()
    }

    /// The place to blame, and the sentence that fits it; `None` if `owner` wrote neither value.
    ///
    /// Nor is anything blamed that may only be the default for a value that is itself at fault.
    fn blame(&self, owner: &str, report: &Report) -> Option<(Place, &str, String)> {
        let profile = format!("profiles.{}.", self.profile);
        let layers = [owner, &profile, "profiles.default."];
        let at_fault = |key: &str| layers.iter().any(|layer| report.is_at_fault(layer, key));
        let in_window = |value: &Effective| {
            let window = window_of(value);
            window.is_some_and(|window| report.has_fault_in(window))
        };
        if at_fault(&self.small.key)
            || at_fault(&self.large.key)
            || in_window(&self.small)
            || in_window(&self.large)
        {
            return None;
        }
        let (blamed, word, other) = match written_by(&self.small, owner) {
            Some(_) => (&self.small, self.relation.broken(), &self.large),
            None => (&self.large, self.relation.broken_from_above(), &self.small),
        };
        let (path, place) = written_by(blamed, owner)?;
        let value = &blamed.value;
        let (key, limit, from) = (&other.key, &other.value, &other.from);
        Some((
            place,
            path,
            format!("{value} {word} {key}, which is {limit} ({from})"),
        ))
    }
}

/// The path of the window that wrote this value, if one did.
fn window_of(value: &Effective) -> Option<&str> {
    const SCHEDULE: &str = ".schedule.";
    let Origin::File { path, .. } = &value.from else {
        return None;
    };
    let name = path.find(SCHEDULE)? + SCHEDULE.len();
    let rest = path.get(name..)?;
    // A name may have dots, and so may a key.
    let key = format!(".{}", value.key);
    rest.strip_suffix(key.as_str())
        .and_then(|window| path.get(..name + window.len()))
}

/// Reports contradictions as faults.
pub(super) fn report(conflicts: &[Conflict], owner: &str, report: &Report) {
    for (place, path, message) in conflicts.iter().filter_map(|c| c.blame(owner, report)) {
        report.fault(place, path, &message, None);
    }
}

/// Reports contradictions of a VM's section with the profile `default`, where another profile would fit.
pub(super) fn report_misfits(conflicts: &[Conflict], owner: &str, report: &Report) {
    for (place, path, message) in conflicts.iter().filter_map(|c| c.blame(owner, report)) {
        let hint =
            "this fits only other profiles: name the one it follows with the key \"profile\"";
        report.warn(place, path, message, Some(hint.to_owned()));
    }
}

/// Reports what is valid but probably not meant so.
pub(super) fn warnings(resolved: &Resolved, owner: &str, report: &Report) {
    let settings = &resolved.settings;
    let (cpu, memory) = (&settings.cpu, &settings.memory);
    let warn = |wrong: bool, keys: &[&str], message: String, hint: &str| {
        let written = keys.iter().filter_map(|key| resolved.effective(key));
        let Some((path, place)) = written.filter_map(|e| written_by(e, owner)).next() else {
            return;
        };
        if wrong {
            report.warn(place, path, message, Some(hint.to_owned()));
        }
    };
    for (rule, keys) in [
        (&cpu.rule, ["cpu.low", "cpu.high"]),
        (&memory.rule, ["memory.low", "memory.high"]),
    ] {
        let narrow = rule.low < rule.high && rule.high - rule.low < DEAD_BAND;
        let message = format!("less than 10 points between {} and {}", keys[0], keys[1]);
        warn(
            narrow,
            &keys,
            message,
            "the size would go up and down; spread them",
        );
    }
    warn(
        memory.method == MemoryMethod::Dimm && memory.min < STATIC_MEMORY,
        &["memory.min", "memory.method"],
        "with memory modules a VM never has less than 1GiB".to_owned(),
        "write 1GiB or more, or use the method balloon",
    );
    let whole = |cores: Cores| cores.as_milli().is_multiple_of(1000);
    warn(
        cpu.method == CpuMethod::Vcpus && !(whole(cpu.min) && whole(cpu.max)),
        &["cpu.min", "cpu.max", "cpu.method"],
        "vCPUs are whole: a part of one cannot be given".to_owned(),
        "write whole numbers, or use the method cpulimit",
    );
    warn(
        cpu.method == CpuMethod::Cpulimit && cpu.max > CPULIMIT_MAX,
        &["cpu.max", "cpu.method"],
        "Proxmox VE takes no cpulimit above 128".to_owned(),
        "write 128 or less, or use the method vcpus",
    );
    warn(
        settings.cooldown.down < settings.cooldown.up,
        &["cooldown.down", "cooldown.up"],
        "shrinking would wait less than growing".to_owned(),
        "a VM that waits for more is worse than one that has too much",
    );
    warn(
        settings.cooldown.down == Duration::ZERO,
        &["cooldown.down"],
        "without a wait before shrinking a VM goes up and down with each burst".to_owned(),
        "write some minutes, such as 5m",
    );
}

/// Reports contradictions between the lists of `select` and the sections of `vms`. Excluding wins, so none is a fault.
pub(super) fn selection(file: &File, report: &Report) {
    let (vms, exclude) = (items(&file.select.vms), items(&file.select.exclude));
    let warn = |at: &Written<VmId>, message: String, hint: &str| {
        report.warn(at.place, &at.path, message, Some(hint.to_owned()));
    };
    repeated(vms, report);
    repeated(exclude, report);
    let selected: BTreeSet<VmId> = vms.iter().map(|vm| vm.value).collect();
    for item in exclude {
        let id = item.value;
        if selected.contains(&id) {
            let message = format!("VM {id} is selected and excluded; it is not managed");
            warn(item, message, "remove it from one of the lists");
        } else if file.vms.contains_key(&id) {
            let message = format!("VM {id} has a section of its own but is excluded");
            warn(item, message, "remove one of them");
        }
    }
    tags(file, report);
}

fn tags(file: &File, report: &Report) {
    let tags = items(&file.select.tags);
    repeated(tags, report);
    if let Some(list) = &file.select.tags
        && tags.is_empty()
        && items(&file.select.vms).is_empty()
    {
        let message = "no tag and no VM selects anything: nothing is managed".to_owned();
        report.warn(list.place, &list.path, message, None);
    }
    let all: BTreeSet<&str> = tags.iter().map(|tag| tag.value.0.as_str()).collect();
    for tag in tags {
        let text = &tag.value.0;
        let mut prefixes = text.match_indices('-').map(|(end, _)| &text[..end]);
        if let Some(other) = prefixes.find(|prefix| all.contains(prefix)) {
            let message = format!("{text:?} also reads as {other:?} with a profile");
            let hint = format!("name it so that it does not begin with \"{other}-\"");
            report.warn(tag.place, &tag.path, message, Some(hint));
        }
    }
}

fn items<T>(list: &Option<WrittenList<T>>) -> &[Written<T>] {
    list.as_ref().map_or(&[], |list| &list.value)
}

fn repeated<T: Scalar + Ord>(list: &[Written<T>], report: &Report) {
    let mut seen = BTreeSet::new();
    for item in list.iter().filter(|item| !seen.insert(&item.value)) {
        let message = format!("{} is listed twice", item.value.show());
        report.warn(
            item.place,
            &item.path,
            message,
            Some("remove one".to_owned()),
        );
    }
}

/// Where `owner` wrote this value, if it did.
fn written_by<'e>(effective: &'e Effective, owner: &str) -> Option<(&'e str, Place)> {
    match &effective.from {
        Origin::File { path, place } if path.starts_with(owner) => Some((path, *place)),
        _ => None,
    }
}

impl Resolved {
    pub(super) fn effective(&self, key: &str) -> Option<&Effective> {
        self.trace.iter().find(|effective| effective.key == key)
    }
}
