//! The one trait behind which all channels look alike, and the answers that they can give.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use serde::Serialize;

use super::message::Message;
use super::settings::{ChannelSettings, Kind};
use super::{command, gotify, pve, smtp, webhook};
use crate::domain::NodeName;

/// What became of one attempt. Every `why` is the end of a sentence that begins with the channel's name, and holds no
/// secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum Answer {
    /// The other side has accepted the message.
    Delivered,
    /// It may work later.
    Retry {
        /// What went wrong.
        why: String,
        /// How long the other side asks us to wait.
        after: Option<Duration>,
        /// Whether the message may have arrived all the same.
        unsure: bool,
    },
    /// Nothing will work before an admin changes something: a wrong token, a wrong address.
    Refused {
        /// What went wrong.
        why: String,
    },
    /// The other side will not have this message; another one may be fine.
    Rejected {
        /// What went wrong.
        why: String,
    },
}

impl Answer {
    pub(super) fn retry(why: impl Into<String>) -> Self {
        Self::Retry {
            why: why.into(),
            after: None,
            unsure: false,
        }
    }

    pub(super) fn unsure(why: impl Into<String>) -> Self {
        Self::Retry {
            why: why.into(),
            after: None,
            unsure: true,
        }
    }

    pub(super) fn refused(why: impl Into<String>) -> Self {
        Self::Refused { why: why.into() }
    }

    /// What went wrong, if something did.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Delivered => None,
            Self::Retry { why, .. } | Self::Refused { why } | Self::Rejected { why } => Some(why),
        }
    }
}

/// The future of one attempt.
pub(super) type Sending<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// A way to reach people. It holds settings only: connections and secrets live as long as one attempt, so that a stale
/// connection or a replaced token never stands in the way of a message that comes once a day.
pub(super) trait Channel: Send + Sync {
    /// Makes one attempt. The caller limits its time.
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a>;
}

/// What surrounds the channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The node's name.
    pub node: NodeName,
    /// The root under which programs are looked for; `/` but for tests, the demo and a rescue system.
    pub root: PathBuf,
    /// The directory that systemd names in `$CREDENTIALS_DIRECTORY`, if it names one.
    pub credentials: Option<PathBuf>,
}

impl Surroundings {
    pub(super) fn credentials(&self) -> Option<&Path> {
        self.credentials.as_deref()
    }
}

/// The channel that `settings` describe.
pub(super) fn open(settings: &ChannelSettings, surroundings: &Surroundings) -> Box<dyn Channel> {
    let around = surroundings.clone();
    match &settings.kind {
        Kind::Gotify(gotify) => Box::new(gotify::Channel::new(gotify.clone(), around)),
        Kind::Smtp(smtp) => Box::new(smtp::Channel::new(smtp.clone(), around, settings.timeout)),
        Kind::Webhook(webhook) => Box::new(webhook::Channel::new(webhook.clone(), around)),
        Kind::Pve(pve) => Box::new(pve::Channel::new(pve.clone(), around, settings.timeout)),
        Kind::Command(command) => {
            Box::new(command::Channel::new(command.clone(), settings.timeout))
        }
    }
}
