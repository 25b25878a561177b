//! What each key of the predecessor means here. Its keys and defaults are those of its version 1.7.2; older forms that
//! this version still read are read here as well.

use std::collections::BTreeSet;

use super::draft::{Draft, Value, list};
use super::old::{Flag, Number, Words};
use super::report::{Fate, Line};
use super::{ImportError, Options, channels, machines};
use crate::config::section::{Section, Written};

/// Its defaults, in seconds and cycles.
const CHECK_INTERVAL: f64 = 300.0;
const SCALE_COOLDOWN: f64 = 300.0;
const LOW_CYCLES: f64 = 2.0;
/// The longest wait that either of the two agents takes, in seconds.
const DAY: f64 = 86_400.0;

/// The new file and the report while they are made.
#[derive(Default)]
pub(super) struct Carrier {
    pub(super) draft: Draft,
    pub(super) lines: Vec<Line>,
}

/// Reads the old file from its root section.
pub(super) fn carry(
    mut root: Section<'_>,
    options: &Options,
) -> Result<(Draft, Vec<Line>), ImportError> {
    let mut carrier = Carrier::default();
    limits(&mut root, &mut carrier);
    carrier.flag("dry_run", &mut root);
    thresholds(&mut root, &mut carrier);
    cooldown(&mut root, &mut carrier);
    host_limits(root.section("host_limits"), &mut carrier);
    channels::carry(&mut root, options, &mut carrier);
    let hosts = machines::hosts(root.section("proxmox_hosts").secret(), &mut carrier);
    machines::carry(
        root.section("virtual_machines"),
        hosts,
        options,
        &mut carrier,
    )?;
    without_use(&mut root, &mut carrier);
    root.finish();
    Ok((carrier.draft, carrier.lines))
}

impl Carrier {
    /// Carries `old`, if it is there, over to the key `new` as `text`.
    pub(super) fn value<T>(
        &mut self,
        old: Option<&Written<T>>,
        new: &str,
        text: impl FnOnce(&T) -> String,
        why: Option<&str>,
    ) {
        if let Some(old) = old {
            self.draft.add(Value {
                key: new.to_owned(),
                text: text(&old.value),
                from: (Some(old.place.line), old.path.clone()),
                fate: why.map_or(Fate::Carried, |_| Fate::NewMeaning),
                why: why.map(str::to_owned),
                shown: true,
                secret: None,
            });
        }
    }

    /// A line about something that leaves no value in the new file.
    pub(super) fn line(&mut self, line: usize, fate: Fate, old: &str, why: impl Into<String>) {
        self.lines.push(Line {
            line: Some(line),
            fate,
            old: old.to_owned(),
            new: None,
            value: None,
            why: Some(why.into()),
        });
    }

    fn flag(&mut self, key: &'static str, root: &mut Section<'_>) {
        let mode = |flag: &Flag| if flag.0 { "recommend" } else { "auto" }.to_owned();
        let flag = root.value::<Flag>(key);
        let dry = flag.as_ref().is_some_and(|flag| flag.value.0);
        let why =
            "changes are shown by `vm-autoscale status` and made by `vm-autoscale apply VMID`";
        let new = "profiles.default.mode";
        self.value(flag.as_ref(), new, mode, dry.then_some(why));
    }

    /// The limits of CPU and memory in a section `scaling_limits`, for the new section `owner`. Gives the keys carried.
    pub(super) fn limits(
        &mut self,
        section: &mut Section<'_>,
        owner: &str,
    ) -> BTreeSet<&'static str> {
        let mut carried = BTreeSet::new();
        for (old, new) in [
            ("min_cores", "cpu.min"),
            ("max_cores", "cpu.max"),
            ("min_ram_mb", "memory.min"),
            ("max_ram_mb", "memory.max"),
        ] {
            let written = section.value::<Number>(old);
            if written.is_some() {
                carried.insert(new);
            }
            self.limit(written.as_ref(), owner, new);
        }
        carried
    }

    fn limit(&mut self, old: Option<&Written<Number>>, owner: &str, new: &str) {
        let text = match new {
            "cpu.min" | "cpu.max" => |number: &Number| number.0.to_string(),
            _ => size,
        };
        self.value(old, &format!("{owner}.{new}"), text, None);
    }

    /// A pair of thresholds, for the section `owner` of the new file.
    pub(super) fn pair(&mut self, section: &mut Section<'_>, owner: &str, why: Option<&str>) {
        for key in ["high", "low"] {
            let old = section.value::<Number>(key);
            self.value(old.as_ref(), &format!("{owner}.{key}"), percent, why);
        }
    }
}

/// Why a threshold of memory is not what it was.
pub(super) const CACHE: &str = "a share of what the guest has, without page cache; the old rule counted the cache as used, \
    and its share was one of the ceiling";

pub(super) fn percent(number: &Number) -> String {
    format!("{}%", number.0)
}

/// Its megabytes are those of `qm`: mebibytes.
fn size(number: &Number) -> String {
    match number.0 {
        mib if mib > 0.0 && mib % 1024.0 == 0.0 => format!("{}GiB", mib / 1024.0),
        mib => format!("{mib}MiB"),
    }
}

fn limits(root: &mut Section<'_>, carrier: &mut Carrier) {
    let mut section = root.section("scaling_limits");
    let carried = carrier.limits(&mut section, "profiles.default");
    section.finish();
    for (old, new) in [
        ("min_cores", "cpu.min"),
        ("max_cores", "cpu.max"),
        ("min_ram", "memory.min"),
        ("max_ram", "memory.max"),
    ] {
        let flat = root.value::<Number>(old);
        match &flat {
            Some(flat) if carried.contains(new) => {
                let why = "the same key under scaling_limits counts";
                carrier.line(flat.place.line, Fate::LeftOut, old, why);
            }
            _ => carrier.limit(flat.as_ref(), "profiles.default", new),
        }
    }
}

fn thresholds(root: &mut Section<'_>, carrier: &mut Carrier) {
    carrier.draft.add(Value {
        key: "profiles.imported.policy".to_owned(),
        text: "threshold".to_owned(),
        from: (None, "its only rule".to_owned()),
        fate: Fate::Carried,
        why: Some("steps of one core or 512MiB, as before; the built-in policy, adaptive, goes straight to what is needed".to_owned()),
        shown: true,
        secret: None,
    });
    let mut section = root.section("scaling_thresholds");
    let mut cpu = section.section("cpu");
    carrier.pair(&mut cpu, "profiles.imported.cpu", None);
    cpu.finish();
    let mut ram = section.section("ram");
    carrier.pair(&mut ram, "profiles.imported.memory", Some(CACHE));
    ram.finish();
    section.finish();
}

/// The old agent looked, and moved one step, once in `check_interval`; never within `scale_cooldown` of the last
/// change; and downward only when `scale_down_after_cycles` looks in a row were low. Here looking is cheap and all the
/// time, so that only the waits are left of it.
fn cooldown(root: &mut Section<'_>, carrier: &mut Carrier) {
    let seconds = || Number(0.0)..=Number(DAY);
    let interval = root.ranged("check_interval", seconds());
    let cooldown = root.ranged("scale_cooldown", seconds());
    let cycles = root.ranged("scale_down_after_cycles", Number(1.0)..=Number(100.0));
    let or = |written: &Option<Written<Number>>, default| {
        written.as_ref().map_or(default, |written| written.value.0)
    };
    let every = or(&interval, CHECK_INTERVAL);
    let up = every.max(or(&cooldown, SCALE_COOLDOWN)).ceil();
    let down = (every * or(&cycles, LOW_CYCLES)).max(up).min(DAY).ceil();
    let line = |keys: &[&Option<Written<Number>>]| {
        let written = keys.iter().find_map(|key| key.as_ref());
        written.map(|written| written.place.line)
    };
    let rows = [
        (
            "up",
            up,
            line(&[&cooldown, &interval]),
            "scale_cooldown or check_interval, the longer one",
        ),
        (
            "down",
            down,
            line(&[&cooldown, &interval, &cycles]),
            "scale_cooldown or scale_down_after_cycles × check_interval, the longer one",
        ),
    ];
    for (key, wait, line, from) in rows {
        carrier.draft.add(Value {
            key: format!("profiles.imported.cooldown.{key}"),
            text: format!("{wait}s"),
            from: (line, from.to_owned()),
            fate: Fate::NewMeaning,
            why: Some(
                "what the old file does not say of them is 300 s, 300 s and 2 cycles".to_owned(),
            ),
            shown: true,
            secret: None,
        });
    }
    if let Some(interval) = interval {
        let why = "usage is measured and judged every second, which costs little on the node itself; the pace of \
            the steps is in profiles.imported.cooldown";
        carrier.line(interval.place.line, Fate::NewMeaning, &interval.path, why);
    }
    if let Some(cycles) = cycles {
        let why = "part of profiles.imported.cooldown.down: a wait since the last change, not a count of low readings";
        carrier.line(cycles.place.line, Fate::NewMeaning, &cycles.path, why);
    }
}

fn host_limits(mut section: Section<'_>, carrier: &mut Carrier) {
    let why = "holds back growing only: shrinking, the cure, goes on. Besides, 2GiB stay available: host.reserve_memory";
    for (old, new) in [
        ("max_host_cpu_percent", "host.max_cpu"),
        ("max_host_ram_percent", "host.max_memory"),
    ] {
        let written = section.value::<Number>(old);
        carrier.value(written.as_ref(), new, percent, Some(why));
    }
    section.finish();
}

/// Keys that have no counterpart.
fn without_use(root: &mut Section<'_>, carrier: &mut Carrier) {
    for key in ["ssh_host_key_policy", "ssh_known_hosts"] {
        if let Some(written) = root.value::<Words>(key) {
            let why = "the agent runs on the node itself, without SSH";
            carrier.line(written.place.line, Fate::NotNeeded, key, why);
        }
    }
    if let Some(hotplug) = root.value::<Flag>("auto_configure_hotplug") {
        let why = match hotplug.value.0 {
            true => {
                "no VM's hotplug is changed unasked: `vm-autoscale prepare VMID` does so and tells what waits for a power cycle"
            }
            false => "as here always: only `vm-autoscale prepare VMID` changes a VM's hotplug",
        };
        carrier.line(hotplug.place.line, Fate::NewMeaning, &hotplug.path, why);
    }
    let log = root.section("logging");
    if !log.is_empty() {
        let why = "everything is in the journal: journalctl -u vm-autoscale";
        carrier.line(log.place().line, Fate::NotNeeded, "logging", why);
    }
    for (key, why) in [
        (
            "billing",
            "there are no bills here; `vm-autoscale history --output-format json` has every change with its time, to make them from",
        ),
        (
            "metrics",
            "there is no endpoint for Prometheus here; `vm-autoscale status --output-format json` has the figures",
        ),
    ] {
        let mut section = root.section(key);
        let on = section
            .value::<Flag>("enabled")
            .is_some_and(|on| on.value.0);
        if !section.is_empty() {
            let why = match on {
                true => why.to_owned(),
                false => format!("it was off; {why}"),
            };
            carrier.line(section.place().line, Fate::NotAvailable, key, why);
        }
    }
}

/// Items as one list.
pub(super) fn listed<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    list(&items.iter().map(text).collect::<Vec<_>>())
}
