//! The configuration while the daemon runs: the node's own file over the cluster's, which is watched from here.

use std::time::{Duration, Instant};

use crate::cluster::{self, FilesError, InForce, Known, Mounted};
use crate::config::{LoadError, Settings};
use crate::observe::{Patient, Pause};
use crate::pve::Layout;

/// How often the cluster's file is looked at: remote changes in /etc/pve announce themselves to nobody (pve-facts 7.5).
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long the start waits for it.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// How long a later look may hold up the daemon; one that takes longer is picked up the next time.
const GLANCE: Duration = Duration::from_millis(20);

/// The settings in force, and what stands against those that are written.
#[derive(Debug)]
pub(super) struct Configuration {
    layout: Layout,
    pub(super) settings: Settings,
    /// Why what is written now is not in force, if so.
    pub(super) rejected: Option<String>,
    /// The order to change nothing, where the cluster's settings are not known.
    pub(super) hold: Option<Pause>,
    known: Known,
    watcher: Patient<Mounted, Result<Option<String>, FilesError>>,
    looked: Instant,
    /// Whether what is good is kept on disk: a dry run leaves nothing behind.
    keeps: bool,
}

impl Configuration {
    /// Reads what is written.
    ///
    /// # Errors
    /// The node's own file cannot be used.
    pub(super) async fn open(layout: &Layout, keeps: bool) -> Result<Self, LoadError> {
        let mut watcher = Patient::new(Mounted::new(layout.clone()));
        let known = match watcher.read(FIRST_LOOK, look).await {
            Some(Ok(text)) => Known::Text(text),
            Some(Err(why)) => Known::Unread(why.to_string()),
            None => Known::Unread(format!("no answer for {} s", FIRST_LOOK.as_secs())),
        };
        let in_force = cluster::in_force(layout, &known)?;
        let mut configuration = Self {
            layout: layout.clone(),
            settings: in_force.loaded.settings.clone(),
            rejected: None,
            hold: None,
            known,
            watcher,
            looked: Instant::now(),
            keeps,
        };
        configuration.enter(in_force);
        Ok(configuration)
    }

    /// Whether the cluster's file says something else than when it was read last. Waits for nothing that hangs.
    pub(super) async fn has_changed(&mut self) -> bool {
        if self.watcher.is_idle() && self.looked.elapsed() < LOOK_EVERY {
            return false;
        }
        let Some(seen) = self.watcher.read(GLANCE, look).await else {
            return false;
        };
        self.looked = Instant::now();
        match seen {
            Ok(text) if self.known != Known::Text(text.clone()) => {
                self.known = Known::Text(text);
                true
            }
            // A file that cannot be read says nothing new.
            _ => false,
        }
    }

    /// Reads the node's own file again, over what is known of the cluster's. A faulty one changes nothing.
    ///
    /// # Errors
    /// Why it stays as it was, or why the cluster's last good file is in force instead of the present one.
    pub(super) fn reload(&mut self) -> Result<(), String> {
        match cluster::in_force(&self.layout, &self.known) {
            Ok(in_force) => self.enter(in_force),
            Err(error) => self.rejected = Some(error.to_string()),
        }
        self.rejected.clone().map_or(Ok(()), Err)
    }

    /// The files that are in force, for people.
    pub(super) fn origin(&self) -> String {
        let own = self.layout.config_file().display().to_string();
        match &self.known {
            Known::Text(Some(_)) => format!("{own} over /etc/pve/{}", cluster::CONFIG),
            _ => own,
        }
    }

    fn enter(&mut self, in_force: InForce) {
        for warning in &in_force.loaded.warnings {
            tracing::warn!("{warning}");
        }
        self.settings = in_force.loaded.settings;
        self.rejected = in_force.rejected.map(|error| error.to_string());
        self.hold = in_force.hold;
        if self.rejected.is_none()
            && self.keeps
            && let Err(e) = self.known.keep(&self.layout)
        {
            let path = self.layout.last_good_config();
            tracing::warn!("cannot write {}: {e}", path.display());
        }
    }
}

fn look(files: &mut Mounted) -> Result<Option<String>, FilesError> {
    cluster::read_settings(files)
}
