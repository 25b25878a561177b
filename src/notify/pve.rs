//! Proxmox VE's own notification system: the message goes to `proxmox-mail-forward` as mail to root, and the targets and
//! matchers that were set up in the GUI apply.
//!
//! Neither an API call nor a command of Proxmox VE sends an arbitrary notification. A forwarded mail becomes one of the
//! type `system-mail` with the severity `unknown`; the forwarder's exit status is always 0 and its errors are in the
//! journal only (`proxmox-notify: src/lib.rs: new_forwarded_mail`; `proxmox-mail-forward: src/main.rs`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::message::Mailbox;

use super::channel::{self, Answer, Sending, Surroundings};
use super::mail;
use super::message::Message;
use super::program;
use super::settings::Pve;

/// Where the forwarder is: since Proxmox VE 9, and before it (`proxmox-mail-forward: debian/changelog`, 1.0.1).
const PLACES: [&str; 2] = [
    "usr/libexec/proxmox-mail-forward",
    "usr/bin/proxmox-mail-forward",
];

/// Proxmox VE's notification system.
pub(super) struct Channel {
    settings: Pve,
    around: Surroundings,
    timeout: Duration,
}

impl Channel {
    pub(super) fn new(settings: Pve, around: Surroundings, timeout: Duration) -> Self {
        Self {
            settings,
            around,
            timeout,
        }
    }

    async fn attempt(&self, message: &Message) -> Result<Answer, Answer> {
        let forwarder = self.forwarder()?;
        let root = mailbox("root", &self.around.node.to_string())?;
        let mail = mail::build(message, &root, std::slice::from_ref(&root));
        let mail = mail.map_err(Answer::refused)?;
        Ok(program::feed(&forwarder, &[], &mail, self.timeout).await)
    }

    fn forwarder(&self) -> Result<PathBuf, Answer> {
        let root: &Path = &self.around.root;
        let mut places = match &self.settings.program {
            Some(program) => vec![program.clone()],
            None => PLACES.iter().map(|place| root.join(place)).collect(),
        }
        .into_iter();
        places.find(|place| place.is_file()).ok_or_else(|| {
            Answer::refused(
                "finds no proxmox-mail-forward; install the package proxmox-mail-forward, or use a channel of another type",
            )
        })
    }
}

impl channel::Channel for Channel {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        Box::pin(async { self.attempt(message).await.unwrap_or_else(|answer| answer) })
    }
}

fn mailbox(user: &str, node: &str) -> Result<Mailbox, Answer> {
    let address = lettre::Address::new(user, node)
        .map_err(|error| Answer::refused(format!("cannot be used: {error}")))?;
    Ok(Mailbox::new(Some("vm-autoscale".to_owned()), address))
}
