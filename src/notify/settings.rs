//! What the section `notify` of the configuration says: typed, checked, every default filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use serde::{Serialize, Serializer};

use super::http::origin;
use super::secret::SecretSource;
use super::topic::Topic;
use crate::domain::VmId;
use crate::record::Severity;

/// Everything that is said of notifications.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// The channels, by the name that the admin gave them.
    pub channels: BTreeMap<String, ChannelSettings>,
    /// A URL that is called while the agent is healthy, so that its silence is noticed elsewhere.
    pub heartbeat: Option<Heartbeat>,
    /// How long to wait for more to happen before a message is sent. A burst then arrives as one digest.
    pub gather: Duration,
    /// For how long the same thing is told only once.
    pub repeat_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            channels: BTreeMap::new(),
            heartbeat: None,
            // Longer than one round of changes takes to be read back (1 to 2 s), short enough for an alarm.
            gather: Duration::from_secs(3),
            // What the predecessor's users know (`notification_dedup_seconds: 900`).
            repeat_after: Duration::from_secs(900),
        }
    }
}

/// One channel: what it is told, how often, and how it is reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChannelSettings {
    /// What it is told.
    pub route: Route,
    /// The most messages in an hour; what happens beyond that waits and then comes as a digest.
    pub max_per_hour: u32,
    /// Time limit for one attempt, from the first packet to the answer.
    pub timeout: Duration,
    /// Replaces the built-in texts.
    pub templates: Templates,
    /// How it is reached.
    #[serde(flatten)]
    pub kind: Kind,
}

impl ChannelSettings {
    /// A channel of this kind with every default.
    pub fn new(kind: Kind) -> Self {
        Self {
            route: Route::default(),
            // A phone that buzzes more often than every two minutes for hours is muted.
            max_per_hour: 30,
            timeout: Duration::from_secs(10),
            templates: Templates::default(),
            kind,
        }
    }

    /// When an attempt is given up from outside. A program is stopped by its own time limit, which takes a moment.
    pub(super) fn limit(&self) -> Duration {
        match self.kind {
            Kind::Pve(_) | Kind::Command(_) => self.timeout + Duration::from_secs(5),
            Kind::Gotify(_) | Kind::Smtp(_) | Kind::Webhook(_) => self.timeout,
        }
    }
}

/// Which events a channel is told. Every condition must hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Route {
    /// Events of these severities.
    pub severities: BTreeSet<Severity>,
    /// Events about these things; empty is all.
    pub events: BTreeSet<Topic>,
    /// Events of VMs with one of these tags; empty is all. Events of no VM pass.
    pub tags: BTreeSet<String>,
    /// Events of these VMs; empty is all. Events of no VM pass. A VM with a listed tag passes too.
    pub vms: BTreeSet<VmId>,
}

impl Default for Route {
    /// All but `info`: that a VM was scaled as intended is normal operation.
    fn default() -> Self {
        Self {
            severities: BTreeSet::from([Severity::Notice, Severity::Warning, Severity::Error]),
            events: BTreeSet::new(),
            tags: BTreeSet::new(),
            vms: BTreeSet::new(),
        }
    }
}

/// Templates that replace the built-in texts, in the language of Jinja.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Templates {
    /// For the subject or title.
    pub subject: Option<String>,
    /// For the plain text.
    pub text: Option<String>,
}

/// The ways to reach people.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Kind {
    /// A Gotify server.
    Gotify(Gotify),
    /// E-mail.
    Smtp(Smtp),
    /// Any HTTP service, among them those of [`super::preset::Preset`].
    Webhook(Webhook),
    /// Proxmox VE's own notification system.
    Pve(Pve),
    /// A program of the admin's.
    Command(Command),
}

impl Kind {
    /// The word that the configuration uses.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Gotify(_) => "gotify",
            Self::Smtp(_) => "smtp",
            Self::Webhook(_) => "webhook",
            Self::Pve(_) => "pve",
            Self::Command(_) => "command",
        }
    }
}

/// An HTTP address. Only its scheme, host and port are ever shown: the rest can hold a password or a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(pub Url);

impl FromStr for Address {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.parse::<Url>() {
            Ok(url) if url.has_host() => Ok(Self(url)),
            _ => Err(()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&origin(&self.0))
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&origin(&self.0))
    }
}

/// How HTTP is spoken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Http {
    /// Certificates in PEM that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// A proxy; without it the usual variables (`https_proxy`, `no_proxy`, …) count.
    pub proxy: Option<Address>,
}

/// A Gotify server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gotify {
    /// The server's address, without `/message`.
    pub url: Address,
    /// The token of an application.
    pub token: SecretSource,
    /// How HTTP is spoken.
    pub http: Http,
}

/// E-mail by SMTP.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Smtp {
    /// The server's name or address. `localhost` is the Postfix that every Proxmox VE node has.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// Whether and how the connection is encrypted.
    pub tls: SmtpTls,
    /// Name and password, where the server wants them.
    pub login: Option<Login>,
    /// The sender; `None` is `vm-autoscale` at this node.
    pub from: Option<String>,
    /// The recipients, each of whom gets the message on its own.
    pub to: Vec<String>,
    /// Certificates in PEM that are trusted besides those of the system.
    pub ca_file: Option<PathBuf>,
}

/// How an SMTP connection is encrypted. There is no "if possible": it would hand the password to whoever strips
/// STARTTLS from the greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// Not at all. A login is then refused unless the server is this node.
    None,
    /// By STARTTLS, or nothing is sent. Port 587.
    Starttls,
    /// From the first byte. Port 465.
    Implicit,
}

impl SmtpTls {
    /// The port that goes with it.
    pub fn port(self) -> u16 {
        match self {
            Self::None => 25,
            Self::Starttls => 587,
            Self::Implicit => 465,
        }
    }
}

/// Name and password.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password.
    pub password: SecretSource,
}

/// Any HTTP service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Webhook {
    /// Its address, which for many services is itself a secret.
    pub url: SecretSource,
    /// The request's method.
    pub method: Method,
    /// Headers.
    pub headers: BTreeMap<String, SecretSource>,
    /// What the body is.
    pub content_type: String,
    /// The body's template; `None` sends the message as JSON with every field.
    pub body: Option<String>,
    /// More values for the template: `topic`, `chat_id`, …
    pub fields: BTreeMap<String, SecretSource>,
    /// The longest text that the service takes, in characters; what is beyond is cut with an ellipsis.
    pub max_text: Option<usize>,
    /// Signs the body.
    pub signature: Option<Signature>,
    /// How HTTP is spoken.
    pub http: Http,
}

/// The methods that a webhook can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET, without a body.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
}

/// HMAC-SHA-256 of the body, in a header as `sha256=` and hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Signature {
    /// The key.
    pub secret: SecretSource,
    /// The header's name.
    pub header: String,
}

/// Proxmox VE's own notification system, reached as mail to root.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Pve {
    /// The forwarder, where it is not in one of its usual places.
    pub program: Option<PathBuf>,
}

/// A program of the admin's, started with the message as JSON on its standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Command {
    /// Its absolute path.
    pub program: PathBuf,
    /// Its arguments, passed as they are.
    pub args: Vec<String>,
}

/// A URL that is called while the agent is healthy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Heartbeat {
    /// The address, which is usually itself a secret.
    pub url: SecretSource,
    /// How often.
    pub every: Duration,
    /// How HTTP is spoken.
    pub http: Http,
}
