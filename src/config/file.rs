//! The schema: every key that the file may have, with its unit and range. What is not written stays `None` here.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::time::Duration;

use super::fault::Scope;
use super::form::Known;
use super::notify;
use super::parse;
use super::report::Report;
use super::section::{Section, Written, WrittenList};
use super::settings::{CpuMethod, FitElsewhere, MemoryMethod, Mode, PolicyKind};
use super::units::{Cap, Choice, Pace, ProfileName, Scalar, Tag, Times};
use super::windows::{self, WindowLayer};
use crate::domain::{Cores, Mib, Percent, VmId};

/// More than once a second is no use: counters are sampled every second.
const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
/// A day is the longest that the predecessor allowed.
const COOLDOWN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(86_400);
/// An hour is the longest that Kubernetes allows.
const STABILIZATION: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
/// Half an hour is the longest that Kubernetes allows.
const RATE_PERIOD: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(1800);
/// A tenth of a core is the quota's grain. The upper end only catches typing errors: QEMU's q35 ends at 4096.
pub(crate) const CORES: RangeInclusive<Cores> = Cores::milli(100)..=Cores::whole(4096);
/// The least and the most that PVE gives a VM (`Mem.pm: $memory_fmt`, `get_max_mem`).
pub(crate) const MEMORY: RangeInclusive<Mib> = Mib(16)..=Mib::gib(4096);
const RESERVE: RangeInclusive<Mib> = Mib::ZERO..=Mib::gib(4096);
const SHARE: RangeInclusive<Percent> = Percent::whole(0)..=Percent::whole(100);
const PRIORITY: RangeInclusive<u32> = 0..=1000;

/// Each VM's section is resolved over each profile, so their number has an end; a Proxmox VE cluster is smaller.
const PROFILES: usize = 64;
const VMS: usize = 4096;

impl Choice for Mode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("observe", Self::Observe),
        ("recommend", Self::Recommend),
        ("auto", Self::Auto),
    ];
}

impl Choice for PolicyKind {
    const WORDS: &'static [(&'static str, Self)] =
        &[("adaptive", Self::Adaptive), ("threshold", Self::Threshold)];
}

impl Choice for FitElsewhere {
    const WORDS: &'static [(&'static str, Self)] =
        &[("ha", Self::Ha), ("all", Self::All), ("off", Self::Off)];
}

impl Choice for bool {
    const WORDS: &'static [(&'static str, Self)] = &[("false", false), ("true", true)];
}

impl Choice for CpuMethod {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("vcpus", Self::Vcpus),
        ("cpulimit", Self::Cpulimit),
        ("off", Self::Off),
    ];
}

impl Choice for MemoryMethod {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("balloon", Self::Balloon),
        ("dimm", Self::Dimm),
        ("off", Self::Off),
    ];
}

/// What the file says, and nothing more.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) check_interval: Option<Written<Duration>>,
    pub(super) select: Select,
    pub(super) profiles: BTreeMap<String, Layer>,
    pub(super) vms: BTreeMap<VmId, VmLayer>,
    pub(super) host: Host,
    pub(super) notify: crate::notify::Settings,
}

#[derive(Debug, Clone)]
pub(super) struct Select {
    pub(super) tags: Option<WrittenList<Tag>>,
    pub(super) vms: Option<WrittenList<VmId>>,
    pub(super) exclude: Option<WrittenList<VmId>>,
}

#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) max_cpu: Option<Written<Percent>>,
    pub(super) cpu_overcommit: Option<Written<Times>>,
    pub(super) max_memory: Option<Written<Percent>>,
    pub(super) reserve_memory: Option<Written<Mib>>,
    pub(super) fit_elsewhere: Option<Written<FitElsewhere>>,
}

/// What a VM's own section says: a layer over its profile, and which profile that is.
#[derive(Debug, Clone)]
pub(super) struct VmLayer {
    pub(super) profile: Option<Written<ProfileName>>,
    pub(super) layer: Layer,
}

/// What a profile or a VM's section says about how a VM is scaled.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    pub(super) mode: Option<Written<Mode>>,
    pub(super) policy: Option<Written<PolicyKind>>,
    pub(super) cpu: ResourceLayer<Cores, CpuMethod>,
    pub(super) memory: ResourceLayer<Mib, MemoryMethod>,
    pub(super) unplug: Option<Written<bool>>,
    pub(super) tolerance: Option<Written<Percent>>,
    pub(super) stabilization_up: Option<Written<Duration>>,
    pub(super) stabilization_down: Option<Written<Duration>>,
    pub(super) rate_up: Option<Written<Pace>>,
    pub(super) rate_down: Option<Written<Pace>>,
    pub(super) rate_period: Option<Written<Duration>>,
    pub(super) per_hour: Option<Written<Cap>>,
    pub(super) per_day: Option<Written<Cap>>,
    pub(super) cooldown_up: Option<Written<Duration>>,
    pub(super) cooldown_down: Option<Written<Duration>>,
    pub(super) priority: Option<Written<u32>>,
    pub(super) windows: Vec<WindowLayer>,
}

#[derive(Debug, Clone)]
pub(super) struct ResourceLayer<Q, M> {
    pub(super) min: Option<Written<Q>>,
    pub(super) max: Option<Written<Q>>,
    pub(super) high: Option<Written<Percent>>,
    pub(super) low: Option<Written<Percent>>,
    pub(super) predict: Option<Written<bool>>,
    pub(super) method: Option<Written<M>>,
}

impl<Q, M> Default for ResourceLayer<Q, M> {
    fn default() -> Self {
        Self {
            min: None,
            max: None,
            high: None,
            low: None,
            predict: None,
            method: None,
        }
    }
}

/// Reads the file from its root section.
pub(super) fn read(mut root: Section<'_>) -> File {
    let file = File {
        check_interval: root.ranged("check_interval", INTERVAL),
        select: select(root.section("select")),
        profiles: root
            .entries::<ProfileName>("profiles", "NAME", PROFILES)
            .into_iter()
            .map(|(name, mut section)| {
                let layer = layer(&mut section);
                section.finish();
                (name.value.0, layer)
            })
            .collect(),
        vms: root
            .entries::<VmId>("vms", "VMID", VMS)
            .into_iter()
            .map(|(id, section)| (id.value, vm(section)))
            .collect(),
        host: host(root.section("host")),
        notify: notify::read(root.section("notify")),
    };
    root.finish();
    file
}

fn select(mut section: Section<'_>) -> Select {
    let select = Select {
        tags: section.list("tags"),
        vms: section.list("vms"),
        exclude: section.list("exclude"),
    };
    section.finish();
    select
}

fn host(mut section: Section<'_>) -> Host {
    let host = Host {
        max_cpu: section.ranged("max_cpu", SHARE),
        cpu_overcommit: section.value("cpu_overcommit"),
        max_memory: section.ranged("max_memory", SHARE),
        reserve_memory: section.ranged("reserve_memory", RESERVE),
        fit_elsewhere: section.value("fit_elsewhere"),
    };
    section.finish();
    host
}

fn vm(mut section: Section<'_>) -> VmLayer {
    let vm = VmLayer {
        profile: section.value("profile"),
        layer: layer(&mut section),
    };
    section.finish();
    vm
}

fn layer(section: &mut Section<'_>) -> Layer {
    let mode = section.value("mode");
    let policy = section.value("policy");
    let cpu = resource(section.section("cpu"), CORES, |_| ()).0;
    let (memory, unplug) = resource(section.section("memory"), MEMORY, |memory| {
        memory.value("unplug")
    });
    let mut cooldown = section.section("cooldown");
    let cooldown_up = cooldown.ranged("up", COOLDOWN);
    let cooldown_down = cooldown.ranged("down", COOLDOWN);
    cooldown.finish();
    let mut threshold = section.section("threshold");
    let tolerance = threshold.ranged("tolerance", SHARE);
    let mut stabilization = threshold.section("stabilization");
    let stabilization_up = stabilization.ranged("up", STABILIZATION);
    let stabilization_down = stabilization.ranged("down", STABILIZATION);
    stabilization.finish();
    let mut rate = threshold.section("rate");
    let rate_up = rate.value("up");
    let rate_down = rate.value("down");
    let rate_period = rate.ranged("period", RATE_PERIOD);
    rate.finish();
    threshold.finish();
    let mut changes = section.section("changes");
    let per_hour = changes.value("per_hour");
    let per_day = changes.value("per_day");
    changes.finish();
    Layer {
        tolerance,
        stabilization_up,
        stabilization_down,
        rate_up,
        rate_down,
        rate_period,
        per_hour,
        per_day,
        mode,
        policy,
        cpu,
        memory,
        unplug,
        cooldown_up,
        cooldown_down,
        priority: section.ranged("priority", PRIORITY),
        windows: windows::read(section),
    }
}

/// What a window may set.
pub(super) fn window_layer(section: &mut Section<'_>) -> Layer {
    Layer {
        mode: section.value("mode"),
        policy: section.value("policy"),
        cpu: limits(section.section("cpu"), CORES),
        memory: limits(section.section("memory"), MEMORY),
        ..Layer::default()
    }
}

fn limits<Q: Scalar + PartialOrd + Clone, M>(
    mut section: Section<'_>,
    range: RangeInclusive<Q>,
) -> ResourceLayer<Q, M> {
    let layer = ResourceLayer {
        min: section.ranged("min", range.clone()),
        max: section.ranged("max", range),
        ..ResourceLayer::default()
    };
    section.finish();
    layer
}

/// A resource's section; `own` reads the keys that only this resource has.
fn resource<Q: Scalar + PartialOrd + Clone, M: Scalar, T>(
    mut section: Section<'_>,
    limits: RangeInclusive<Q>,
    own: impl FnOnce(&mut Section<'_>) -> T,
) -> (ResourceLayer<Q, M>, T) {
    let resource = ResourceLayer {
        min: section.ranged("min", limits.clone()),
        max: section.ranged("max", limits),
        high: section.ranged("high", SHARE),
        low: section.ranged("low", SHARE),
        predict: section.value("predict"),
        method: section.value("method"),
    };
    let own = own(&mut section);
    section.finish();
    (resource, own)
}

/// A file in which no section is missing that some of the keys stand in.
const EVERY_SECTION: &str = "{profiles: {default: {schedule: {a: {}}}}, vms: {100: {schedule: {a: {}}}}, notify: {channels: {a: {type: gotify, token: {}}, \
    b: {type: smtp, password: {}}, c: {type: webhook, url: {}, signature: {secret: {}}, headers: {x: {}}, fields: {x: {}}}, d: {type: pve}, \
    e: {type: command}}, heartbeat: {url: {}}}}";

/// Every key that the file may have, and what it expects: `profiles.NAME.cpu.max` → `a number of cores …`.
pub fn known_keys() -> &'static BTreeMap<String, Known> {
    static KEYS: OnceLock<BTreeMap<String, Known>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let report = Report::default();
        if let Some(node) = parse::tree(EVERY_SECTION, Scope::Node, &report) {
            read(Section::root(&node, &report));
        }
        report.keys()
    })
}
