//! Where each value in force came from, and what is in force for one VM at one time.

use std::fmt;

use serde::Serialize;

use super::fault::{Place, Scope};
use super::file::File;
use super::resolve::{DEFAULT, flat, layers, origin};
use super::schedule::{Window, Zone};
use super::windows::{self, WindowLayer};
use crate::domain::{Moment, VmId};

/// Where an effective value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Nobody wrote it.
    BuiltIn,
    /// The VM's tag picked it.
    Tag,
    /// It stands in a file.
    File {
        /// The key: `profiles.big.cpu.max`.
        path: String,
        /// Where.
        #[serde(flatten)]
        place: Place,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.pad("built-in default"),
            Self::Tag => f.pad("its tag"),
            Self::File { path, place } => {
                let whose = match place.scope {
                    Scope::Node => "",
                    Scope::Cluster => "the cluster's ",
                };
                f.pad(&format!("{whose}{path}, line {}", place.line))
            }
        }
    }
}

/// One value that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effective {
    /// Its key, from the VM's section down: `cpu.max`. For the node's own settings from the top: `host.max_cpu`.
    pub key: String,
    /// The value as the file would write it.
    pub value: String,
    /// Where it came from.
    pub from: Origin,
}

/// What is in force for one VM at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct EffectiveVm {
    /// Its settings.
    pub settings: Vec<Effective>,
    /// Its windows, also those that are not open.
    pub windows: Vec<Scheduled>,
}

/// A window of a VM.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scheduled {
    /// The window, with what takes effect of it.
    #[serde(flatten)]
    pub window: Window,
    /// When it closes, if it is open.
    pub open_until: Option<Moment>,
    /// Where it is written.
    pub from: Origin,
}

/// Where each value in force came from.
#[derive(Debug, Clone)]
pub struct Provenance {
    file: File,
    zone: Zone,
    node: Vec<Effective>,
}

/// Why there is no effective setting to show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no profile {0:?}")]
pub struct NoProfile(String);

impl Provenance {
    pub(super) fn new(file: File, zone: Zone, node: Vec<Effective>) -> Self {
        Self { file, zone, node }
    }

    /// The settings of the node itself.
    pub fn node(&self) -> &[Effective] {
        &self.node
    }

    /// The settings of the VM `id` as they hold at `now`, and where each came from; the first one is its profile.
    ///
    /// `tagged` is the profile that the VM's tag picks, if any; a profile in the VM's own section wins over it.
    ///
    /// # Errors
    /// The profile does not exist.
    pub fn vm(
        &self,
        id: VmId,
        tagged: Option<&str>,
        now: Moment,
    ) -> Result<EffectiveVm, NoProfile> {
        let own = self.file.vms.get(&id);
        let written = own.and_then(|vm| vm.profile.as_ref());
        let profile = written
            .map(|profile| profile.value.0.as_str())
            .or(tagged)
            .unwrap_or(DEFAULT);
        if profile != DEFAULT && !self.file.profiles.contains_key(profile) {
            return Err(NoProfile(profile.to_owned()));
        }
        let from = match (written, tagged) {
            (None, Some(_)) => Origin::Tag,
            _ => origin(written),
        };
        let mut all = vec![Effective {
            key: "profile".to_owned(),
            value: profile.to_owned(),
            from,
        }];
        let layers = layers(&self.file, profile, own.map(|vm| &vm.layer));
        let open = |window: &WindowLayer| window.is_open(now, &self.zone);
        all.extend(flat(profile, windows::opened(&layers, open)).trace);
        let told = |(written, window): (&WindowLayer, Window)| Scheduled {
            open_until: window.open_until(now, &self.zone),
            from: Origin::File {
                path: written.path.clone(),
                place: written.place,
            },
            window,
        };
        let windows = windows::in_effect(profile, &layers);
        let windows = windows.into_iter().map(told).collect();
        Ok(EffectiveVm {
            settings: all,
            windows,
        })
    }
}
