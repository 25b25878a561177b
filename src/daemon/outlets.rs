//! Where events go: the journal, the history, and the people who asked to be told.

use std::path::PathBuf;
use std::time::Duration;

use crate::domain::NodeName;
use crate::notify::{self, Notifier, Surroundings};
use crate::pve::Layout;
use crate::record::{Event, History, journal};

/// How long a stop waits for notifications that are being sent. What is important is sent after the next start.
const SEND_WITHIN: Duration = Duration::from_secs(5);

/// Everything that wants to know.
pub(super) struct Outlets {
    /// None for a dry run, which leaves nothing behind.
    history: Option<History>,
    /// None for a single decision or a dry run: these are watched by whoever started them.
    notifier: Option<Notifier>,
}

impl Outlets {
    /// The journal, and the history unless this is a dry run.
    pub(super) fn new(layout: &Layout, dry_run: bool) -> Self {
        Self {
            history: (!dry_run).then(|| History::new(&layout.data_dir())),
            notifier: None,
        }
    }

    /// Also the notification channels, from now on.
    pub(super) fn open(&mut self, settings: &notify::Settings, layout: &Layout, node: &NodeName) {
        let around = Surroundings {
            node: node.clone(),
            root: layout.root().to_owned(),
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        };
        let spool = layout.data_dir().join("spool");
        // Where it cannot be made, the notifier says so when it first writes.
        let _ = std::fs::create_dir_all(&spool);
        self.notifier = Some(Notifier::start(settings, &spool, around));
    }

    /// Tells everyone. Waits for nobody.
    pub(super) fn tell(&mut self, event: &Event) {
        journal::write(event);
        if let Some(history) = &mut self.history {
            history.add(event);
        }
        if let Some(notifier) = &self.notifier {
            notifier.tell(event);
        }
    }

    /// A tick went well.
    pub(super) fn healthy(&self) {
        if let Some(notifier) = &self.notifier {
            notifier.healthy();
        }
    }

    /// Takes over new channels.
    pub(super) fn reload(&self, settings: &notify::Settings) {
        if let Some(notifier) = &self.notifier {
            notifier.reload(settings);
        }
    }

    /// Sends what still waits, for a limited time.
    pub(super) async fn close(&self) {
        if let Some(notifier) = &self.notifier {
            notifier.stop(SEND_WITHIN).await;
        }
    }
}
