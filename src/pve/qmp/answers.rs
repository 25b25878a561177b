//! What is asked, and the typed answers.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::session::{Refusal, Session};
use crate::domain::{Mib, Moment, sanitize};

/// One answer, or the reason why there is none.
pub type Answer<T> = Result<T, String>;

/// Everything that one visit brought home. Each answer stands alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// QEMU's version, from its greeting.
    pub version: Option<QemuVersion>,
    /// Whether the guest executes.
    pub status: Answer<Status>,
    /// The vCPUs that QEMU runs.
    pub vcpus: Answer<Vec<Vcpu>>,
    /// The balloon; `None` without a balloon device.
    pub balloon: Answer<Option<Balloon>>,
    /// The guest's own statistics; `None` without a balloon device.
    pub guest_stats: Answer<Option<GuestStats>>,
    /// Memory that QEMU gives the guest at most.
    pub memory: Answer<MemorySize>,
    /// Plugged memory modules, in the order in which QEMU lists them.
    pub dimms: Answer<Vec<Dimm>>,
}

/// QEMU's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct QemuVersion {
    /// The 10 of 10.2.1.
    pub major: u32,
    /// The 2 of 10.2.1.
    pub minor: u32,
    /// The 1 of 10.2.1.
    pub micro: u32,
}

impl fmt::Display for QemuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// Whether the guest executes (`query-status`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// Whether its vCPUs run.
    pub running: bool,
    /// QEMU's word: `running`, `paused`, `io-error`, `inmigrate`, …
    #[serde(rename = "status", deserialize_with = "word")]
    pub word: String,
}

/// One vCPU (`query-cpus-fast`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Vcpu {
    /// QEMU's number for it.
    #[serde(rename = "cpu-index")]
    pub index: u32,
    /// The host thread that runs it.
    pub thread_id: i32,
}

/// The balloon (`query-balloon`, with PVE's additions).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Balloon {
    /// What the guest may use now.
    #[serde(deserialize_with = "mib")]
    pub actual: Mib,
    /// What it could use with an empty balloon, modules included. Only PVE's QEMU tells.
    #[serde(default, deserialize_with = "optional_mib")]
    pub max_mem: Option<Mib>,
}

/// The guest's own statistics, through the balloon device (`guest-stats`).
///
/// A value that the guest does not report is `None`; counters start with the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestStats {
    /// When the guest last told; `None` if it never did: no balloon driver answers.
    pub last_update: Option<Moment>,
    /// Memory that the guest sees.
    pub total: Option<Mib>,
    /// Memory that nothing uses.
    pub free: Option<Mib>,
    /// Memory that programs can have without swapping.
    pub available: Option<Mib>,
    /// Page cache.
    pub disk_caches: Option<Mib>,
    /// Bytes swapped in since the guest started.
    pub swap_in: Option<u64>,
    /// Bytes swapped out since the guest started.
    pub swap_out: Option<u64>,
    /// Page faults that had to read from disk.
    pub major_faults: Option<u64>,
    /// Programs killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Times that a program waited for memory to be made free.
    pub alloc_stalls: Option<u64>,
    /// Pages that programs themselves had to reclaim.
    pub direct_reclaims: Option<u64>,
}

/// Memory that QEMU gives the guest at most (`query-memory-size-summary`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MemorySize {
    /// From the start.
    #[serde(rename = "base-memory", deserialize_with = "mib")]
    pub base: Mib,
    /// In modules.
    #[serde(rename = "plugged-memory", default, deserialize_with = "mib")]
    pub plugged: Mib,
}

impl MemorySize {
    /// Both together.
    pub fn total(self) -> Mib {
        self.base + self.plugged
    }
}

/// A plugged memory module (`query-memory-devices`, type `dimm`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Dimm {
    /// Its name, `dimm0` and so on with PVE.
    #[serde(deserialize_with = "word")]
    pub id: String,
    /// Its size.
    #[serde(deserialize_with = "mib")]
    pub size: Mib,
}

/// Puts all questions, one after the other, until `deadline`.
pub(super) async fn collect(session: &mut Session, greeting: &Value, deadline: Instant) -> Answers {
    let mut visit = Visit {
        session,
        deadline,
        over: None,
    };
    let balloon_stats = json!({"path": "/machine/peripheral/balloon0", "property": "guest-stats"});
    // What decisions rest on comes first, in case that time runs out.
    let status = visit.ask("query-status", Value::Null).await;
    let guest_stats = visit.ask("qom-get", balloon_stats).await;
    let balloon = visit.ask("query-balloon", Value::Null).await;
    let vcpus = visit.ask("query-cpus-fast", Value::Null).await;
    let memory = visit.ask("query-memory-size-summary", Value::Null).await;
    let dimms = visit.ask("query-memory-devices", Value::Null).await;
    let version = greeting.pointer("/version/qemu").cloned();
    Answers {
        version: version.and_then(|version| serde_json::from_value(version).ok()),
        status: typed(status),
        vcpus: typed(vcpus),
        balloon: unless_no_device(balloon),
        guest_stats: unless_no_device(guest_stats).map(|raw: Option<RawStats>| raw.map(Into::into)),
        memory: typed(memory),
        dimms: typed(dimms).and_then(modules),
    }
}

/// The visit while it lasts: the deadline and a broken connection end it for all further questions.
struct Visit<'a> {
    session: &'a mut Session,
    deadline: Instant,
    over: Option<String>,
}

impl Visit<'_> {
    async fn ask(&mut self, command: &str, arguments: Value) -> Result<Value, Refusal> {
        if let Some(why) = &self.over {
            return Err(Refusal::Broken(why.clone()));
        }
        let answer = timeout_at(self.deadline, self.session.command(command, arguments)).await;
        let answer =
            answer.unwrap_or_else(|_| Err(Refusal::Broken("no answer in time".to_owned())));
        if let Err(Refusal::Broken(why)) = &answer {
            self.over = Some(why.clone());
        }
        answer
    }
}

fn typed<T: DeserializeOwned>(answer: Result<Value, Refusal>) -> Answer<T> {
    match answer {
        Ok(value) => {
            serde_json::from_value(value).map_err(|error| sanitize(&error.to_string(), 200))
        }
        Err(Refusal::Error { text, .. } | Refusal::Broken(text)) => Err(text),
    }
}

/// As [`typed`], but a device that does not exist is an answer, too (recorded in qmp-no-balloon-device.json).
fn unless_no_device<T: DeserializeOwned>(answer: Result<Value, Refusal>) -> Answer<Option<T>> {
    match answer {
        Err(Refusal::Error { class, .. })
            if matches!(class.as_str(), "DeviceNotActive" | "DeviceNotFound") =>
        {
            Ok(None)
        }
        answer => typed(answer).map(Some),
    }
}

/// The modules among the memory devices; other types (nvdimm, virtio-mem, …) are not what PVE plugs.
fn modules(devices: Vec<Value>) -> Answer<Vec<Dimm>> {
    devices
        .into_iter()
        .filter(|device| device["type"] == "dimm")
        .map(|mut device| typed(Ok(device["data"].take())))
        .collect()
}

/// `guest-stats` as QEMU sends it.
#[derive(Deserialize)]
struct RawStats {
    #[serde(rename = "last-update")]
    last_update: i64,
    #[serde(default)]
    stats: RawValues,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct RawValues {
    stat_total_memory: Told,
    stat_free_memory: Told,
    stat_available_memory: Told,
    stat_disk_caches: Told,
    stat_swap_in: Told,
    stat_swap_out: Told,
    stat_major_faults: Told,
    stat_oom_kills: Told,
    stat_alloc_stalls: Told,
    stat_direct_reclaims: Told,
}

/// A value that the guest may not report: QEMU then shows all ones (recorded in qmp-balloon-and-guest-stats.json).
#[derive(Default)]
struct Told(Option<u64>);

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = u64::deserialize(from)?;
        Ok(Self((value != u64::MAX).then_some(value)))
    }
}

impl Told {
    fn mib(&self) -> Option<Mib> {
        self.0.map(Mib::from_bytes)
    }
}

impl From<RawStats> for GuestStats {
    fn from(raw: RawStats) -> Self {
        let told = raw.last_update > 0;
        let stats = raw.stats;
        Self {
            last_update: told.then(|| Moment::from_millis(raw.last_update.saturating_mul(1000))),
            total: stats.stat_total_memory.mib(),
            free: stats.stat_free_memory.mib(),
            available: stats.stat_available_memory.mib(),
            disk_caches: stats.stat_disk_caches.mib(),
            swap_in: stats.stat_swap_in.0,
            swap_out: stats.stat_swap_out.0,
            major_faults: stats.stat_major_faults.0,
            oom_kills: stats.stat_oom_kills.0,
            alloc_stalls: stats.stat_alloc_stalls.0,
            direct_reclaims: stats.stat_direct_reclaims.0,
        }
    }
}

fn word<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(sanitize(&String::deserialize(from)?, 40))
}

fn mib<'de, D: Deserializer<'de>>(from: D) -> Result<Mib, D::Error> {
    u64::deserialize(from).map(Mib::from_bytes)
}

fn optional_mib<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Mib>, D::Error> {
    Ok(Option::<u64>::deserialize(from)?.map(Mib::from_bytes))
}
