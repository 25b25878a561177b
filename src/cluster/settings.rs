//! The settings of all nodes, `/etc/pve/vm-autoscale/config.yaml`, below each node's own.
//!
//! A faulty file changes nothing: the last good one, of which each node keeps a copy on its own disk, stays in force.
//! Where there is no good one yet, nothing is known of what the admin allows, so nothing may be changed.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::{self, LoadError, Loaded, Settings};
use crate::domain::Moment;
use crate::observe::Pause;
use crate::pve::Layout;
use crate::record;

use super::files::{CONFIG, FilesError, SharedFiles};
use super::mounted::Mounted;

/// What is known of the cluster's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Their text; `None` if the cluster has none.
    Text(Option<String>),
    /// They cannot be read, and why.
    Unread(String),
}

/// The settings that a node works by, and what stands against them.
#[derive(Debug)]
pub struct InForce {
    /// The settings.
    pub loaded: Loaded,
    /// Why what is written now is not in force, if so.
    pub rejected: Option<LoadError>,
    /// The order to change nothing, where the cluster's settings are not known at all.
    pub hold: Option<Pause>,
}

/// The copy of what was last in force.
#[derive(Serialize, Deserialize)]
struct LastGood {
    text: Option<String>,
}

/// The text of the cluster's settings, if there are such. Blocks.
///
/// # Errors
/// It cannot be told: /etc/pve is not mounted, or does not answer as it should.
pub fn read_settings(files: &impl SharedFiles) -> Result<Option<String>, FilesError> {
    files.read_settled(CONFIG)
}

/// The settings in force by what is written now, for commands. Blocks.
///
/// # Errors
/// The node's own file cannot be used.
pub fn settings_in_force(layout: &Layout) -> Result<Settings, LoadError> {
    in_force(layout, &Known::now(layout)).map(|in_force| in_force.loaded.settings)
}

/// The node's own file over the cluster's settings, or over those that were last good.
///
/// # Errors
/// The node's own file cannot be used.
pub fn in_force(layout: &Layout, known: &Known) -> Result<InForce, LoadError> {
    let file = layout.config_file();
    in_force_with(layout, &config::contents(&file)?, &file, known)
}

/// The same with `own` as the node's settings, which `file` names in messages.
///
/// # Errors
/// `own` cannot be used.
pub fn in_force_with(
    layout: &Layout,
    own: &[u8],
    file: &Path,
    known: &Known,
) -> Result<InForce, LoadError> {
    let name = layout.pve().join(CONFIG);
    let over = |shared: Option<&str>| {
        let shared = shared.map(|text| (name.as_path(), text));
        config::read_over(own, file, shared)
    };
    let rejected = match known {
        Known::Text(text) => match over(text.as_deref()) {
            Ok(loaded) => {
                return Ok(InForce {
                    loaded,
                    rejected: None,
                    hold: None,
                });
            }
            Err(error) => Some(error),
        },
        Known::Unread(_) => None,
    };
    if let Some(good) = last_good(&layout.last_good_config())
        && let Ok(loaded) = over(good.text.as_deref())
    {
        return Ok(InForce {
            loaded,
            rejected,
            hold: None,
        });
    }
    let loaded = over(None)?;
    let why = match known {
        Known::Text(_) => "its settings are faulty, see `vm-autoscale check-config`",
        Known::Unread(why) => why,
    };
    let by = format!("/etc/pve/{CONFIG}, of which no good version is known here,");
    Ok(InForce {
        loaded,
        rejected,
        hold: Some(Pause::new(&by, Moment::now(), why, true)),
    })
}

impl Known {
    /// The cluster's settings as they are written now. Blocks.
    pub fn now(layout: &Layout) -> Self {
        match read_settings(&Mounted::new(layout.clone())) {
            Ok(text) => Self::Text(text),
            Err(why) => Self::Unread(why.to_string()),
        }
    }

    /// Keeps a copy on the node's own disk: these settings are good.
    ///
    /// # Errors
    /// The disk refused.
    pub fn keep(&self, layout: &Layout) -> std::io::Result<()> {
        let Self::Text(text) = self else {
            return Ok(());
        };
        let path = layout.last_good_config();
        if last_good(&path).is_some_and(|good| good.text == *text) {
            return Ok(());
        }
        let good = LastGood { text: text.clone() };
        record::save(&path, &good)
    }
}

/// A copy that is damaged is none.
fn last_good(path: &Path) -> Option<LastGood> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(own: &str) -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.config_dir()).unwrap();
        std::fs::write(layout.config_file(), own).unwrap();
        (dir, layout)
    }

    fn text(text: &str) -> Known {
        Known::Text(Some(text.to_owned()))
    }

    #[test]
    fn a_faulty_file_of_the_cluster_leaves_the_last_good_one_in_force() {
        let (_dir, layout) = node("check_interval: 7s\n");
        let good = text("host: {max_cpu: 70%}\n");
        let first = in_force(&layout, &good).unwrap();
        assert_eq!(first.loaded.settings.host.max_cpu.to_string(), "70 %");
        good.keep(&layout).unwrap();
        let bad = in_force(&layout, &text("host: {max_cpu: 700%}\n")).unwrap();
        assert!(matches!(bad.rejected, Some(LoadError::Cluster(_))));
        assert_eq!(bad.loaded.settings, first.loaded.settings);
        assert_eq!(bad.hold, None);
        let hanging = in_force(&layout, &Known::Unread("no answer".to_owned())).unwrap();
        assert_eq!(hanging.loaded.settings, first.loaded.settings);
        assert!(hanging.hold.is_none() && hanging.rejected.is_none());
    }

    #[test]
    fn without_a_good_version_of_the_clusters_file_nothing_may_be_changed() {
        let (_dir, layout) = node("");
        let faulty = in_force(&layout, &text("nonsense: 1\n")).unwrap();
        assert!(faulty.hold.is_some() && faulty.rejected.is_some());
        let unread = in_force(&layout, &Known::Unread("no answer".to_owned())).unwrap();
        assert_eq!(unread.hold.unwrap().reason, "no answer");
    }

    #[test]
    fn a_fault_of_the_nodes_own_file_is_not_blamed_on_the_cluster() {
        let (_dir, layout) = node("nonsense: 1\n");
        let error = in_force(&layout, &text("check_interval: 9s\n")).unwrap_err();
        assert!(matches!(error, LoadError::Invalid(_)), "{error}");
    }
}
