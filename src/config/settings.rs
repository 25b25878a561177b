//! The settings as the rest of the program uses them: typed, checked, every default filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::schedule::{Window, Zone};
use crate::domain::{Cores, Mib, Percent, Ratio, VmId};
use crate::notify;

/// Everything that the configuration says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// How often to decide.
    pub check_interval: Duration,
    /// Where the clock stands by which schedules go: the node's, as it was when the file was read.
    pub zone: Zone,
    /// Which VMs are managed.
    pub select: Select,
    /// Settings by profile; `default` is always there.
    pub profiles: BTreeMap<String, VmSettings>,
    /// VMs that have a section of their own.
    pub vms: BTreeMap<VmId, VmEntry>,
    /// What the node keeps for itself.
    pub host: HostLimits,
    /// Who is told what, and how.
    pub notify: notify::Settings,
}

/// Which VMs are managed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Select {
    /// A VM with one of these tags is managed; `TAG-NAME` picks the profile NAME.
    pub tags: Vec<String>,
    /// These VMs are managed without a tag.
    pub vms: BTreeSet<VmId>,
    /// These VMs never are.
    pub exclude: BTreeSet<VmId>,
}

/// A VM's own section, resolved over each profile that the VM can follow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VmEntry {
    /// The profile that the section names. Without one the VM's tag picks it.
    pub profile: Option<String>,
    /// The effective settings by profile, or why the section and the profile do not fit together.
    pub by_profile: BTreeMap<String, Result<VmSettings, String>>,
}

/// What the settings say of one VM.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection<'a> {
    /// It did not opt in.
    No,
    /// It is managed, with these settings.
    Managed(&'a VmSettings),
    /// It opted in, but its settings cannot be used, and why.
    Unusable(String),
}

/// The effective settings of one VM.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VmSettings {
    /// The profile it follows.
    pub profile: String,
    /// What the agent does with its decisions.
    pub mode: Mode,
    /// The algorithm that decides how much is right.
    pub policy: PolicyKind,
    /// CPU.
    pub cpu: CpuSettings,
    /// Memory.
    pub memory: MemorySettings,
    /// The least time between changes.
    pub cooldown: Cooldown,
    /// How many changes there may be.
    pub changes: Caps,
    /// Who is served first when the node runs short: the higher number.
    pub priority: u32,
    /// Windows in which something else holds. What is read here without [`VmSettings::at`] holds outside of them.
    pub schedule: Vec<Window>,
}

/// What the agent does with its decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Shows need and allocation.
    Observe,
    /// Also shows the changes that it would make.
    Recommend,
    /// Makes them.
    Auto,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Observe => "observe",
            Self::Recommend => "recommend",
            Self::Auto => "auto",
        })
    }
}

/// The algorithms, by the name that the configuration uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyKind {
    /// Straight to what is needed, back when holding more has cost as much as a change.
    Adaptive,
    /// A step up above `high`, a step down below `low`.
    Threshold,
}

/// CPU settings of one VM.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CpuSettings {
    /// Never less than this.
    pub min: Cores,
    /// Never more than this.
    pub max: Cores,
    /// By which lever.
    pub method: CpuMethod,
    /// Thresholds.
    #[serde(flatten)]
    pub rule: ResourceSettings,
}

/// Memory settings of one VM.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemorySettings {
    /// Never less than this.
    pub min: Mib,
    /// Never more than this.
    pub max: Mib,
    /// By which lever.
    pub method: MemoryMethod,
    /// Whether memory modules are unplugged, too.
    pub unplug: bool,
    /// Thresholds.
    #[serde(flatten)]
    pub rule: ResourceSettings,
}

/// When usage counts as high or low.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResourceSettings {
    /// Usage above this share of the allocation is too much.
    pub high: Percent,
    /// Usage below this share of the allocation is too little.
    pub low: Percent,
    /// Whether the policy `adaptive` gives more before a peak that comes at the same time of the day.
    pub predict: bool,
    /// What keeps the policy `threshold` from going up and down.
    pub steady: Steady,
}

impl ResourceSettings {
    /// With what is built in of the rest.
    pub const fn new(high: Percent, low: Percent) -> Self {
        Self {
            high,
            low,
            predict: true,
            steady: Steady::BUILT_IN,
        }
    }
}

/// What keeps the policy `threshold` from going up and down, in the words of Kubernetes' autoscaler.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Steady {
    /// Usage may pass a threshold by this share of it.
    pub tolerance: Percent,
    /// Stabilisation window for growing: of the sizes that were right in it, a growth goes to the smallest.
    pub up: Duration,
    /// Stabilisation window for shrinking: of the sizes that were right in it, a shrink goes to the largest.
    pub down: Duration,
    /// How far a size may go within a period.
    pub rate: Rate,
}

/// By how much of the size that it had at the start of a period a VM may change within it; `None` is no end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// At most so much more.
    pub up: Option<Percent>,
    /// At most so much less.
    pub down: Option<Percent>,
    /// The period.
    pub period: Duration,
}

impl Steady {
    /// The windows are those of Kubernetes; a tolerance it needs since it has one threshold, not two.
    const BUILT_IN: Self = Self {
        tolerance: Percent::whole(0),
        up: Duration::ZERO,
        down: Duration::from_secs(300),
        rate: Rate {
            up: None,
            down: None,
            period: Duration::from_secs(60),
        },
    };
}

/// At most so many changes of one resource of one VM; `None` is no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
pub struct Caps {
    /// In any hour.
    pub per_hour: Option<u32>,
    /// In any 24 hours.
    pub per_day: Option<u32>,
}

/// Levers for CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum CpuMethod {
    /// vCPUs where they can move, else the quota.
    Auto,
    /// vCPUs only.
    Vcpus,
    /// The quota only.
    Cpulimit,
    /// CPU is left alone.
    Off,
}

/// Levers for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum MemoryMethod {
    /// The balloon under the ceiling, memory modules above it.
    Auto,
    /// The balloon only.
    Balloon,
    /// Memory modules only.
    Dimm,
    /// Memory is left alone.
    Off,
}

/// The least time between changes of one resource of one VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cooldown {
    /// Before growing again.
    pub up: Duration,
    /// Before shrinking, after a change in either direction.
    pub down: Duration,
}

/// What the node keeps for itself. Grows are granted under these limits; shrinks never wait for them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostLimits {
    /// The node's CPU usage stays below this.
    pub max_cpu: Percent,
    /// So many times the node's CPUs may be handed out as vCPUs, to all VMs that run; `None` is no end.
    pub cpu_overcommit: Option<Ratio>,
    /// The node's memory usage stays below this.
    pub max_memory: Percent,
    /// And this much memory stays available.
    pub reserve_memory: Mib,
    /// Which VMs grow only as far as another node could take them.
    pub fit_elsewhere: FitElsewhere,
}

/// Which VMs grow only as far as at least one other node that is online could take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FitElsewhere {
    /// Those that high availability starts elsewhere when this node dies.
    Ha,
    /// All, so that each can be migrated as well.
    All,
    /// None.
    Off,
}

impl std::fmt::Display for FitElsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Ha => "ha",
            Self::All => "all",
            Self::Off => "off",
        })
    }
}

impl Default for Settings {
    fn default() -> Self {
        let profile = VmSettings::default();
        Self {
            check_interval: Duration::from_secs(1),
            zone: Zone::default(),
            select: Select {
                tags: vec!["autoscale".to_owned()],
                vms: BTreeSet::new(),
                exclude: BTreeSet::new(),
            },
            profiles: BTreeMap::from([(profile.profile.clone(), profile)]),
            vms: BTreeMap::new(),
            host: HostLimits {
                max_cpu: Percent::whole(90),
                cpu_overcommit: None,
                max_memory: Percent::whole(90),
                reserve_memory: Mib::gib(2),
                fit_elsewhere: FitElsewhere::Ha,
            },
            notify: notify::Settings::default(),
        }
    }
}

impl Default for VmSettings {
    /// The thresholds and limits are those that the predecessor's users know.
    fn default() -> Self {
        Self {
            profile: "default".to_owned(),
            mode: Mode::Auto,
            policy: PolicyKind::Adaptive,
            cpu: CpuSettings {
                min: Cores::whole(1),
                max: Cores::whole(8),
                method: CpuMethod::Auto,
                rule: ResourceSettings::new(Percent::whole(80), Percent::whole(20)),
            },
            memory: MemorySettings {
                min: Mib::gib(1),
                max: Mib::gib(16),
                method: MemoryMethod::Auto,
                unplug: false,
                rule: ResourceSettings::new(Percent::whole(85), Percent::whole(25)),
            },
            cooldown: Cooldown {
                up: Duration::from_secs(1),
                down: Duration::from_secs(30),
            },
            changes: Caps::default(),
            priority: 100,
            schedule: Vec::new(),
        }
    }
}

impl Settings {
    /// What these settings say of the VM `id` with `tags` (in lower case).
    ///
    /// Only an admin's words decide: a tag can opt in and pick a profile that the admin wrote, no more.
    pub fn of(&self, id: VmId, tags: &[String]) -> Selection<'_> {
        if self.select.exclude.contains(&id) {
            return Selection::No;
        }
        let tagged = self.profile_in_tags(tags);
        if tagged.is_none() && !self.select.vms.contains(&id) {
            return Selection::No;
        }
        let entry = self.vms.get(&id);
        let profile = entry
            .and_then(|entry| entry.profile.as_deref())
            .or(tagged)
            .unwrap_or("default");
        let missing = || {
            Selection::Unusable(format!(
                "its tag asks for the profile {profile:?}, which does not exist"
            ))
        };
        match entry {
            None => self
                .profiles
                .get(profile)
                .map_or_else(missing, Selection::Managed),
            Some(entry) => match entry.by_profile.get(profile) {
                Some(Ok(settings)) => Selection::Managed(settings),
                Some(Err(why)) => Selection::Unusable(why.clone()),
                None => missing(),
            },
        }
    }

    /// The profile that the tags pick; a bare tag picks `default`, a named one wins over it.
    fn profile_in_tags<'t>(&self, tags: &'t [String]) -> Option<&'t str> {
        let mut bare = None;
        for (tag, prefix) in tags
            .iter()
            .flat_map(|tag| self.select.tags.iter().map(move |p| (tag, p)))
        {
            match tag.strip_prefix(prefix.as_str()) {
                Some("") => bare = Some("default"),
                Some(rest) if rest.starts_with('-') && rest.len() > 1 => return Some(&rest[1..]),
                _ => {}
            }
        }
        bare
    }
}
