//! From what the file says to what is in force: a VM's section over its profile over the profile `default` over
//! what is built in. Remembers for each value where it came from.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{self, Conflict};
use super::file::{File, Layer, VmLayer};
use super::provenance::{Effective, Origin, Provenance};
use super::report::Report;
use super::section::{Written, WrittenList};
use super::settings::{
    Caps, Cooldown, CpuSettings, HostLimits, MemorySettings, Rate, ResourceSettings, Select,
    Settings, Steady, VmEntry, VmSettings,
};
use super::units::{Cap, Pace, Scalar, Tag, Times, nearest};
use super::windows;
use crate::domain::VmId;

/// The profile that every other one builds on.
pub(super) const DEFAULT: &str = "default";

/// The settings of one VM or profile and the way they came about.
pub(super) struct Resolved {
    pub(super) settings: VmSettings,
    pub(super) trace: Vec<Effective>,
}

/// Fills in every default, and reports what does not fit together.
pub(super) fn settings(file: File, report: &Report) -> (Settings, Provenance) {
    let built_in = Settings::default();
    let mut node = Pick::new(Vec::new());
    let settings = Settings {
        check_interval: node.take(
            "check_interval",
            file.check_interval.as_ref(),
            built_in.check_interval,
        ),
        zone: windows::zone(&file, report),
        select: select(&file, &mut node, built_in.select),
        profiles: profiles(&file, report),
        vms: file
            .vms
            .iter()
            .map(|(id, vm)| (*id, entry(&file, *id, vm, report)))
            .collect(),
        host: HostLimits {
            max_cpu: node.take(
                "host.max_cpu",
                file.host.max_cpu.as_ref(),
                built_in.host.max_cpu,
            ),
            cpu_overcommit: node
                .take(
                    "host.cpu_overcommit",
                    file.host.cpu_overcommit.as_ref(),
                    Times(built_in.host.cpu_overcommit),
                )
                .0,
            max_memory: node.take(
                "host.max_memory",
                file.host.max_memory.as_ref(),
                built_in.host.max_memory,
            ),
            reserve_memory: node.take(
                "host.reserve_memory",
                file.host.reserve_memory.as_ref(),
                built_in.host.reserve_memory,
            ),
            fit_elsewhere: node.take(
                "host.fit_elsewhere",
                file.host.fit_elsewhere.as_ref(),
                built_in.host.fit_elsewhere,
            ),
        },
        notify: file.notify.clone(),
    };
    check::selection(&file, report);
    windows::check(&file, report);
    let (node, zone) = (node.trace, settings.zone.clone());
    (settings, Provenance::new(file, zone, node))
}

fn select(file: &File, node: &mut Pick<'_>, built_in: Select) -> Select {
    let written = &file.select;
    let tags = built_in.tags.into_iter().map(Tag).collect();
    let tags = node.list("select.tags", written.tags.as_ref(), tags);
    let vms = built_in.vms.into_iter().collect();
    let vms = node.list("select.vms", written.vms.as_ref(), vms);
    let exclude = built_in.exclude.into_iter().collect();
    let exclude = node.list("select.exclude", written.exclude.as_ref(), exclude);
    Select {
        tags: tags.into_iter().map(|tag| tag.0).collect(),
        vms: vms.into_iter().collect(),
        exclude: exclude.into_iter().collect(),
    }
}

fn profiles(file: &File, report: &Report) -> BTreeMap<String, VmSettings> {
    let names = file.profiles.keys().map(String::as_str);
    names
        .chain([DEFAULT])
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|name| {
            let (resolved, conflicts) = resolve(file, name, None);
            let owner = format!("profiles.{name}.");
            check::report(&conflicts, &owner, report);
            check::warnings(&resolved, &owner, report);
            (name.to_owned(), resolved.settings)
        })
        .collect()
}

/// A VM's section over the profile that it names, or else over every one that its tag may pick.
fn entry(file: &File, id: VmId, vm: &VmLayer, report: &Report) -> VmEntry {
    let owner = format!("vms.{id}.");
    let named = vm.profile.as_ref().map(|profile| profile.value.0.as_str());
    let known: BTreeSet<&str> = file
        .profiles
        .keys()
        .map(String::as_str)
        .chain([DEFAULT])
        .collect();
    let mut candidates = known.clone();
    if let Some(profile) = &vm.profile {
        let name = profile.value.0.as_str();
        candidates.retain(|candidate| *candidate == name);
        if candidates.is_empty() {
            let hint = match nearest(name, known.iter().copied()) {
                Some(meant) => format!("did you mean {meant:?}?"),
                None => format!(
                    "known: {}",
                    known.into_iter().collect::<Vec<_>>().join(", ")
                ),
            };
            let message = format!("there is no profile {name:?}");
            report.fault(profile.place, &profile.path, &message, Some(hint));
        }
    }
    let all: Vec<_> = candidates
        .into_iter()
        .map(|name| (name, resolve(file, name, Some(&vm.layer))))
        .map(|(name, (resolved, conflicts))| (name, conflicts, resolved))
        .collect();
    let usable = all.iter().any(|(_, conflicts, _)| conflicts.is_empty());
    let mut by_profile = BTreeMap::new();
    for (name, conflicts, resolved) in all {
        if name == named.unwrap_or(DEFAULT) {
            check::warnings(&resolved, &owner, report);
            match usable {
                // It may follow another profile, which only its tag will tell.
                true => check::report_misfits(&conflicts, &owner, report),
                false => check::report(&conflicts, &owner, report),
            }
        }
        let settings = match conflicts.first() {
            None => Ok(resolved.settings),
            Some(conflict) => Err(format!(
                "its own section does not fit the profile {name:?}: {}",
                conflict.message
            )),
        };
        by_profile.insert(name.to_owned(), settings);
    }
    VmEntry {
        profile: named.map(str::to_owned),
        by_profile,
    }
}

/// What says something of a VM that follows `profile`, the one that counts first at the front.
pub(super) fn layers<'a>(file: &'a File, profile: &str, own: Option<&'a Layer>) -> Vec<&'a Layer> {
    let named = (profile != DEFAULT).then(|| file.profiles.get(profile));
    own.into_iter()
        .chain(named.flatten())
        .chain(file.profiles.get(DEFAULT))
        .collect()
}

/// The settings of `profile`, below those of `own` if there are such, and all that contradicts each other in them,
/// also while windows are open.
fn resolve(file: &File, profile: &str, own: Option<&Layer>) -> (Resolved, Vec<Conflict>) {
    let layers = layers(file, profile, own);
    let mut resolved = flat(profile, layers.clone());
    let mut conflicts = check::conflicts(&resolved);
    let windows = windows::in_effect(profile, &layers);
    for open in windows::together(&windows) {
        let opened = windows::opened(&layers, |window| open.contains(window.path.as_str()));
        let more = check::conflicts(&flat(profile, opened)).into_iter();
        let more = more.filter(Conflict::is_of_a_window);
        let new: Vec<_> = more.filter(|new| !conflicts.contains(new)).collect();
        conflicts.extend(new);
    }
    resolved.settings.schedule = windows.into_iter().map(|(_, window)| window).collect();
    (resolved, conflicts)
}

/// The settings that come out of `layers`, whatever windows they have.
pub(super) fn flat(profile: &str, layers: Vec<&Layer>) -> Resolved {
    let mut pick = Pick::new(layers);
    let VmSettings {
        mode,
        policy,
        cpu,
        memory,
        cooldown,
        changes,
        priority,
        ..
    } = VmSettings::default();
    let steady = steady(&mut pick, cpu.rule.steady);
    let settings = VmSettings {
        profile: profile.to_owned(),
        mode: pick.one("mode", |l| l.mode.as_ref(), mode),
        policy: pick.one("policy", |l| l.policy.as_ref(), policy),
        cpu: CpuSettings {
            min: pick.one("cpu.min", |l| l.cpu.min.as_ref(), cpu.min),
            max: pick.one("cpu.max", |l| l.cpu.max.as_ref(), cpu.max),
            method: pick.one("cpu.method", |l| l.cpu.method.as_ref(), cpu.method),
            rule: ResourceSettings {
                high: pick.one("cpu.high", |l| l.cpu.high.as_ref(), cpu.rule.high),
                low: pick.one("cpu.low", |l| l.cpu.low.as_ref(), cpu.rule.low),
                predict: pick.one("cpu.predict", |l| l.cpu.predict.as_ref(), cpu.rule.predict),
                steady,
            },
        },
        memory: MemorySettings {
            min: pick.one("memory.min", |l| l.memory.min.as_ref(), memory.min),
            max: pick.one("memory.max", |l| l.memory.max.as_ref(), memory.max),
            method: pick.one("memory.method", |l| l.memory.method.as_ref(), memory.method),
            unplug: pick.one("memory.unplug", |l| l.unplug.as_ref(), memory.unplug),
            rule: ResourceSettings {
                high: pick.one("memory.high", |l| l.memory.high.as_ref(), memory.rule.high),
                low: pick.one("memory.low", |l| l.memory.low.as_ref(), memory.rule.low),
                predict: pick.one(
                    "memory.predict",
                    |l| l.memory.predict.as_ref(),
                    memory.rule.predict,
                ),
                steady,
            },
        },
        cooldown: Cooldown {
            up: pick.one("cooldown.up", |l| l.cooldown_up.as_ref(), cooldown.up),
            down: pick.one("cooldown.down", |l| l.cooldown_down.as_ref(), cooldown.down),
        },
        changes: Caps {
            per_hour: pick
                .one(
                    "changes.per_hour",
                    |l| l.per_hour.as_ref(),
                    Cap(changes.per_hour),
                )
                .0,
            per_day: pick
                .one(
                    "changes.per_day",
                    |l| l.per_day.as_ref(),
                    Cap(changes.per_day),
                )
                .0,
        },
        priority: pick.one("priority", |l| l.priority.as_ref(), priority),
        schedule: Vec::new(),
    };
    let trace = pick.trace;
    Resolved { settings, trace }
}

fn steady(pick: &mut Pick<'_>, built_in: Steady) -> Steady {
    let Rate { up, down, period } = built_in.rate;
    Steady {
        tolerance: pick.one(
            "threshold.tolerance",
            |l| l.tolerance.as_ref(),
            built_in.tolerance,
        ),
        up: pick.one(
            "threshold.stabilization.up",
            |l| l.stabilization_up.as_ref(),
            built_in.up,
        ),
        down: pick.one(
            "threshold.stabilization.down",
            |l| l.stabilization_down.as_ref(),
            built_in.down,
        ),
        rate: Rate {
            up: pick
                .one("threshold.rate.up", |l| l.rate_up.as_ref(), Pace(up))
                .0,
            down: pick
                .one("threshold.rate.down", |l| l.rate_down.as_ref(), Pace(down))
                .0,
            period: pick.one("threshold.rate.period", |l| l.rate_period.as_ref(), period),
        },
    }
}

/// Takes each value from the first layer that has it, and notes where that was.
struct Pick<'a> {
    layers: Vec<&'a Layer>,
    trace: Vec<Effective>,
}

impl<'a> Pick<'a> {
    fn new(layers: Vec<&'a Layer>) -> Self {
        let trace = Vec::new();
        Self { layers, trace }
    }

    fn one<T: Scalar + Clone + 'a>(
        &mut self,
        key: &str,
        get: impl Fn(&'a Layer) -> Option<&'a Written<T>>,
        built_in: T,
    ) -> T {
        let written = self.layers.iter().find_map(|layer| get(layer));
        self.take(key, written, built_in)
    }

    fn take<T: Scalar + Clone>(
        &mut self,
        key: &str,
        written: Option<&Written<T>>,
        built_in: T,
    ) -> T {
        let value = written.map_or(built_in, |written| written.value.clone());
        self.trace.push(Effective {
            key: key.to_owned(),
            value: value.show(),
            from: origin(written),
        });
        value
    }

    fn list<T: Scalar + Clone>(
        &mut self,
        key: &str,
        written: Option<&WrittenList<T>>,
        built_in: Vec<T>,
    ) -> Vec<T> {
        let value = written.map_or(built_in, |list| {
            list.value.iter().map(|item| item.value.clone()).collect()
        });
        let shown: Vec<_> = value.iter().map(Scalar::show).collect();
        self.trace.push(Effective {
            key: key.to_owned(),
            value: format!("[{}]", shown.join(", ")),
            from: origin(written),
        });
        value
    }
}

pub(super) fn origin<T>(written: Option<&Written<T>>) -> Origin {
    written.map_or(Origin::BuiltIn, |written| Origin::File {
        path: written.path.clone(),
        place: written.place,
    })
}
