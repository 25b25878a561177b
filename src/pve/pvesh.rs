//! Asking Proxmox VE's API through `pvesh`: the fallback and the cross-check for what is read directly.
//!
//! Each call starts Perl with the whole API: 0.8 s of CPU. A steady tick makes none.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use super::Layout;
use super::command;
use super::error::{Cause, CommandError, check, failed};
use super::qm::Limits;
use super::vmlist::GuestKind;
use crate::domain::{NodeName, VmId, VmName, sanitize};

/// The command `pvesh`.
#[derive(Debug, Clone)]
pub struct Pvesh {
    program: PathBuf,
    limits: Limits,
}

/// One guest as `/cluster/resources` lists it, on whichever node it is. Numbers are up to ten seconds old, and those
/// of a dead node up to five minutes (pmxcfs: status.c: rrd_entry_is_old).
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct GuestResources {
    /// Its number.
    pub vmid: VmId,
    /// The node that owns its configuration.
    pub node: NodeName,
    /// VM or container.
    #[serde(rename = "type")]
    pub kind: GuestKind,
    /// PVE's word: `running`, `stopped`, any QMP state, or `unknown` where its node does not report.
    #[serde(deserialize_with = "word")]
    pub status: String,
    /// Its name; empty where its node does not report.
    #[serde(default)]
    pub name: VmName,
    /// CPU used, as a fraction of its `maxcpu`; it can exceed 1. `None` where it is not told. PVE also says 0 in its
    /// first sample after a start, a migration or a restart of pvestatd: see [`GuestResources::cpu_used`].
    #[serde(default, deserialize_with = "fraction")]
    pub cpu: Option<f64>,
    /// vCPUs.
    #[serde(default, deserialize_with = "fraction")]
    pub maxcpu: Option<f64>,
    /// Memory used, in bytes: total − free in the guest where its balloon driver tells, so that page cache counts as
    /// used; else what its QEMU process uses on the node.
    #[serde(default, deserialize_with = "whole")]
    pub mem: Option<u64>,
    /// Memory, in bytes.
    #[serde(default, deserialize_with = "whole")]
    pub maxmem: Option<u64>,
    /// Seconds since its process was started.
    #[serde(default, deserialize_with = "whole")]
    pub uptime: Option<u64>,
    /// The configuration lock, while one is held.
    #[serde(default, deserialize_with = "optional_word")]
    pub lock: Option<String>,
    /// Its tags, in lower case. A list that cannot be read counts as none, so that it hides no other guest.
    #[serde(default, deserialize_with = "tags")]
    pub tags: Vec<String>,
    /// Whether it is a template.
    #[serde(default, deserialize_with = "flag")]
    pub template: bool,
    /// Its state in the HA manager, if it has one.
    #[serde(default, deserialize_with = "optional_word")]
    pub hastate: Option<String>,
}

impl GuestResources {
    /// CPU used, in cores; `None` where it is unknown. A guest that runs never uses exactly nothing: 0 is PVE's way to
    /// say that it has no second sample yet.
    pub fn cpu_used(&self) -> Option<f64> {
        Some(self.cpu.filter(|cpu| *cpu > 0.0)? * self.maxcpu?)
    }

    /// Memory used, in bytes; `None` where it is unknown. A guest that runs never uses nothing.
    pub fn memory_used(&self) -> Option<u64> {
        self.mem.filter(|mem| *mem > 0)
    }
}

impl Pvesh {
    /// `pvesh` as it is installed under `layout`.
    pub fn new(layout: &Layout, limits: Limits) -> Self {
        Self {
            program: layout.pvesh(),
            limits,
        }
    }

    /// All guests of the cluster: `pvesh get /cluster/resources --type vm`.
    ///
    /// # Errors
    /// When the command fails, or prints something else than the list.
    pub async fn cluster_resources(&self) -> Result<Vec<GuestResources>, CommandError> {
        let args = [
            "get",
            "/cluster/resources",
            "--type",
            "vm",
            "--output-format",
            "json",
        ];
        self.get(&args).await
    }

    /// The version of Proxmox VE: `pvesh get /version`.
    ///
    /// # Errors
    /// When the command fails, or prints something else than a version.
    pub async fn version(&self) -> Result<String, CommandError> {
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let args = ["get", "/version", "--output-format", "json"];
        let version: Version = self.get(&args).await?;
        Ok(sanitize(&version.version, 40))
    }

    pub(super) async fn get<T: serde::de::DeserializeOwned>(
        &self,
        args: &[&str],
    ) -> Result<T, CommandError> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let done = check(command::run(&self.program, &args, self.limits.read).await)?;
        serde_json::from_str(&done.stdout).map_err(|error| {
            let why = sanitize(&error.to_string(), 200);
            failed(&done, Cause::BadOutput(why))
        })
    }
}

/// A number as Perl prints it: PVE's own types are loose, and a number that was once used as text comes out in quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Loose {
    Whole(u64),
    Fraction(f64),
    Flag(bool),
    Text(String),
}

impl Loose {
    fn number(self) -> Option<f64> {
        let number = match self {
            Self::Whole(n) => n as f64,
            Self::Fraction(n) => n,
            Self::Flag(flag) => f64::from(u8::from(flag)),
            Self::Text(text) => text.parse().ok()?,
        };
        (number.is_finite() && number >= 0.0).then_some(number)
    }
}

/// A number that may be absent or null, but nothing else.
pub(super) fn fraction<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    let Some(loose) = Option::<Loose>::deserialize(from)? else {
        return Ok(None);
    };
    let number = loose.number();
    number
        .map(Some)
        .ok_or_else(|| serde::de::Error::custom("expected a number, 0 or more"))
}

fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    // `as` saturates; a size in bytes beyond 2^53 is no size.
    Ok(fraction(from)?.map(|number| number as u64))
}

fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(match Option::<Loose>::deserialize(from)? {
        Some(Loose::Text(text)) => !matches!(text.as_str(), "" | "0"),
        Some(loose) => loose.number().is_some_and(|n| n != 0.0),
        None => false,
    })
}

fn word<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(sanitize(&String::deserialize(from)?, 40))
}

fn optional_word<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let word = Option::<String>::deserialize(from)?;
    Ok(word.map(|word| sanitize(&word, 40)))
}

fn tags<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let text = Option::<String>::deserialize(from)?.unwrap_or_default();
    Ok(super::config_file::tags(&text).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> serde_json::Result<Vec<GuestResources>> {
        serde_json::from_str(text)
    }

    macro_rules! recording {
        ($name:literal) => {
            parse(include_str!(concat!("../../tests/data/recordings/", $name))).unwrap()
        };
    }

    #[test]
    fn a_recorded_busy_vm_has_its_usage_in_cores_and_bytes() {
        let guests = recording!("samples-running-after-burn/cluster-resources-vm.json");
        let web = &guests[0];
        assert_eq!((web.vmid.get(), web.node.as_str()), (101, "vm"));
        assert_eq!(
            (web.kind, web.status.as_str()),
            (GuestKind::Qemu, "running")
        );
        assert_eq!(web.name.as_str(), "web");
        assert_eq!(web.cpu_used(), Some(0.07334672980657));
        let db = &guests[1];
        assert_eq!(db.cpu_used(), Some(0.0495586012206554 * 2.0));
        assert_eq!(db.memory_used(), Some(944_660_480));
        assert_eq!(db.maxmem, Some(1 << 30));
    }

    #[test]
    fn the_first_sample_of_a_running_vm_is_unknown_and_not_idleness() {
        let guests = recording!("samples-base/cluster-resources-vm.json");
        assert_eq!(
            (guests[0].status.as_str(), guests[0].cpu),
            ("running", Some(0.0))
        );
        assert_eq!(guests[0].cpu_used(), None);
    }

    #[test]
    fn tags_templates_locks_and_ha_states_are_read() {
        let guests = recording!("52-resources-with-ha.json");
        assert_eq!(guests[2].tags, ["autoscale", "lab"]);
        assert_eq!(guests[2].hastate.as_deref(), Some("stopped"));
        assert!(guests[3].template && !guests[0].template);
        let guests = recording!("30-resources-locked.json");
        assert_eq!(guests[0].lock.as_deref(), Some("backup"));
    }

    #[test]
    fn a_vm_of_a_node_that_does_not_report_has_no_numbers() {
        let guests = recording!("50-resources-with-other-node.json");
        let there = guests.last().unwrap();
        assert_eq!(
            (there.node.as_str(), there.status.as_str()),
            ("pve2", "unknown")
        );
        assert_eq!(
            (there.cpu_used(), there.memory_used(), there.maxmem),
            (None, None, None)
        );
        assert_eq!(there.name.as_str(), "");
    }

    #[test]
    fn numbers_in_quotes_are_numbers_and_other_text_is_an_error() {
        let entry = |field: &str| {
            format!(r#"[{{"vmid":101,"node":"a","type":"lxc","status":"running",{field}}}]"#)
        };
        let read = |field: &str| parse(&entry(field));
        assert_eq!(
            read(r#""maxcpu":"2","new":{"x":[]}"#).unwrap()[0].maxcpu,
            Some(2.0)
        );
        assert_eq!(read(r#""maxcpu":1.5"#).unwrap()[0].maxcpu, Some(1.5));
        assert_eq!(read(r#""mem":null"#).unwrap()[0].mem, None);
        assert!(!read(r#""template":"""#).unwrap()[0].template);
        assert!(read(r#""template":"1""#).unwrap()[0].template);
        for bad in [
            r#""cpu":"NaN""#,
            r#""mem":-1"#,
            r#""mem":[]"#,
            r#""tags":1"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(
            read(r#""tags":"a<b;autoscale""#).unwrap()[0]
                .tags
                .is_empty()
        );
        assert!(parse("update VM 101: -vcpus 1\n[]").is_err());
        assert!(parse("[] trailing").is_err());
    }

    #[test]
    fn hostile_names_are_cleaned() {
        let text = r#"[{"vmid":101,"node":"a","type":"qemu","status":"run\u001bning","name":"a\nb","lock":"x\u0000"}]"#;
        let guest = &parse(text).unwrap()[0];
        assert_eq!(guest.status, "run?ning");
        assert_eq!(guest.name.as_str(), "a?b");
        assert_eq!(guest.lock.as_deref(), Some("x?"));
    }

    #[tokio::test]
    async fn output_that_is_no_list_is_an_error_of_the_command() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.pvesh().parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("/bin/echo", layout.pvesh()).unwrap();
        let pvesh = Pvesh::new(&layout, Limits::default());
        let error = pvesh.cluster_resources().await.unwrap_err();
        assert_eq!(
            error.command,
            "pvesh get /cluster/resources --type vm --output-format json"
        );
        assert!(matches!(error.cause, Cause::BadOutput(_)), "{error}");
    }
}
