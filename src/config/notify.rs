//! The section `notify`. What stands in it may be secret, so no message and no output shows its lines or values.

mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Component, PathBuf};
use std::time::Duration;

use self::units::{AbsolutePath, CredentialName, Name, Text, WebAddress};
use super::fault::Scope;
use super::section::{Given, Section, Written, WrittenList};
use super::units::{Choice, Scalar, Tag};
use crate::domain::VmId;
use crate::notify::{
    ChannelSettings, Command, Gotify, Heartbeat, Http, Kind, Login, Method, PRESETS, Preset, Pve,
    Route, Secret, SecretSource, Settings, Signature, Smtp, SmtpTls, Templates, Topic, Webhook,
    faults, is_loopback,
};
use crate::record::Severity;

/// More channels than this are a mistake.
const CHANNELS: usize = 32;
/// More headers or fields than this are a mistake.
const VALUES: usize = 64;
const GATHER: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(300);
const REPEAT_AFTER: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(86_400);
/// The upper end is a message each second: more is no notification any more.
const MAX_PER_HOUR: RangeInclusive<u32> = 1..=3_600;
const TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(120);
const EVERY: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(3_600);
const PORT: RangeInclusive<u32> = 1..=65_535;
/// From a text message to what fits in any mailbox.
const MAX_TEXT: RangeInclusive<u32> = 100..=100_000;

/// Where the cluster's file may point to for its secrets: readable by root alone, on every node (pve-facts 7.3).
const SHARED_SECRETS: &str = "/etc/pve/priv/vm-autoscale";
const NOT_HERE: &str = "the web interface's user can read the cluster's file, so no secret may stand in it: \
    expected file: with a path under /etc/pve/priv/vm-autoscale";

/// The word behind `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Gotify,
    Smtp,
    Webhook,
    Pve,
    Command,
}

impl Choice for Type {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("gotify", Self::Gotify),
        ("smtp", Self::Smtp),
        ("webhook", Self::Webhook),
        ("pve", Self::Pve),
        ("command", Self::Command),
    ];
}

impl Choice for Severity {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("info", Self::Info),
        ("notice", Self::Notice),
        ("warning", Self::Warning),
        ("error", Self::Error),
    ];
}

impl Choice for SmtpTls {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("starttls", Self::Starttls),
        ("implicit", Self::Implicit),
    ];
}

impl Choice for Method {
    const WORDS: &'static [(&'static str, Self)] =
        &[("POST", Self::Post), ("PUT", Self::Put), ("GET", Self::Get)];
}

impl Choice for Topic {
    const WORDS: &'static [(&'static str, Self)] = &{
        let mut words = [("", Self::Started); Topic::ALL.len()];
        let mut n = 0;
        while n < words.len() {
            words[n] = (Topic::ALL[n].word(), Topic::ALL[n]);
            n += 1;
        }
        words
    };
}

impl Choice for Preset {
    const WORDS: &'static [(&'static str, Self)] = &{
        let mut words = [("", PRESETS[0]); PRESETS.len()];
        let mut n = 0;
        while n < words.len() {
            words[n] = (PRESETS[n].name, PRESETS[n]);
            n += 1;
        }
        words
    };
}

/// Reads the section.
pub(super) fn read(section: Section<'_>) -> Settings {
    let mut section = section.secret();
    let built_in = Settings::default();
    let gather = section.ranged("gather", GATHER);
    let repeat_after = section.ranged("repeat_after", REPEAT_AFTER);
    let mut channels = BTreeMap::new();
    for (name, section) in section.entries::<Name>("channels", "NAME", CHANNELS) {
        if let Some(channel) = channel(section) {
            channels.insert(name.value.0, channel);
        }
    }
    let heartbeat = heartbeat(section.section("heartbeat"));
    section.finish();
    Settings {
        channels,
        heartbeat,
        gather: gather.map_or(built_in.gather, |written| written.value),
        repeat_after: repeat_after.map_or(built_in.repeat_after, |written| written.value),
    }
}

/// One channel; `None` if it has a fault that leaves nothing to work with.
fn channel(mut section: Section<'_>) -> Option<ChannelSettings> {
    // Without its type nobody knows which of its other keys are right.
    let word = required::<Type>(&mut section, "type")?;
    let kind = match word {
        Type::Gotify => gotify(&mut section).map(Kind::Gotify),
        Type::Smtp => smtp(&mut section).map(Kind::Smtp),
        Type::Webhook => webhook(&mut section).map(Kind::Webhook),
        Type::Pve => Some(Kind::Pve(Pve {
            program: path(&mut section, "program"),
        })),
        Type::Command => command(&mut section).map(Kind::Command),
    };
    let route = route(&mut section);
    let max_per_hour = section.ranged("max_per_hour", MAX_PER_HOUR);
    let timeout = section.ranged("timeout", TIMEOUT);
    let templates = Templates {
        subject: text(&mut section, "subject"),
        text: text(&mut section, "text"),
    };
    let channel = kind.map(|kind| {
        let built_in = ChannelSettings::new(kind);
        ChannelSettings {
            route,
            max_per_hour: max_per_hour.map_or(built_in.max_per_hour, |written| written.value),
            timeout: timeout.map_or(built_in.timeout, |written| written.value),
            templates,
            ..built_in
        }
    });
    for fault in channel.iter().flat_map(faults) {
        section.fault(fault.key, &fault.message);
    }
    section.finish();
    channel
}

fn route(section: &mut Section<'_>) -> Route {
    let built_in = Route::default();
    Route {
        severities: set(section.list("severities")).unwrap_or(built_in.severities),
        events: set(section.list("events")).unwrap_or_default(),
        tags: set::<Tag>(section.list("tags"))
            .unwrap_or_default()
            .into_iter()
            .map(|tag| tag.0)
            .collect(),
        vms: set::<VmId>(section.list("vms")).unwrap_or_default(),
    }
}

fn gotify(section: &mut Section<'_>) -> Option<Gotify> {
    let url = required::<WebAddress>(section, "url");
    let token = secret(section, "token");
    if token.is_none() {
        section.fault("token", "expected the token of a Gotify application");
    }
    let http = http(section);
    Some(Gotify {
        url: url?.0,
        token: token?,
        http,
    })
}

fn smtp(section: &mut Section<'_>) -> Option<Smtp> {
    let server = text(section, "server").unwrap_or_else(|| "localhost".to_owned());
    // A mail to the node's own Postfix leaves no wire; any other server is reached encrypted unless told otherwise.
    let usual = if is_loopback(&server) {
        SmtpTls::None
    } else {
        SmtpTls::Starttls
    };
    let tls = section
        .value::<SmtpTls>("tls")
        .map_or(usual, |tls| tls.value);
    let port = section
        .ranged("port", PORT)
        .and_then(|port| u16::try_from(port.value).ok());
    let username = text(section, "username");
    let password = secret(section, "password");
    let login = match (username, password) {
        (Some(username), Some(password)) => Some(Login { username, password }),
        (Some(_), None) => {
            section.fault("password", "a username needs a password");
            None
        }
        (None, Some(_)) => {
            section.fault("username", "a password needs a username");
            None
        }
        (None, None) => None,
    };
    Some(Smtp {
        server,
        port: port.unwrap_or(tls.port()),
        tls,
        login,
        from: text(section, "from"),
        to: texts(section, "to"),
        ca_file: path(section, "ca_file"),
    })
}

fn webhook(section: &mut Section<'_>) -> Option<Webhook> {
    let preset = section.value::<Preset>("preset");
    let url = secret(section, "url");
    if url.is_none() {
        section.fault("url", "expected the address of the service");
    }
    let method = section.value::<Method>("method");
    let headers = secrets(section, "headers");
    let fields = secrets(section, "fields");
    let signature = signature(section.section("signature"));
    let content_type = text(section, "content_type");
    let body = text(section, "body");
    let max_text = section.ranged("max_text", MAX_TEXT);
    let http = http(section);
    let mut hook = Webhook {
        url: url?,
        method: method.map_or(Method::Post, |method| method.value),
        headers,
        content_type: content_type.unwrap_or_else(|| "application/json".to_owned()),
        body,
        fields,
        max_text: max_text.map(|max| max.value as usize),
        signature,
        http,
    };
    if let Some(Written { value: preset, .. }) = preset {
        let lacks = |field: &&&str| !hook.fields.contains_key(**field);
        if let Some(field) = preset.fields.iter().find(lacks) {
            section.fault(
                "fields",
                &format!("the preset {} needs {field}", preset.name),
            );
            return None;
        }
        preset.fill(&mut hook);
    }
    Some(hook)
}

fn signature(mut section: Section<'_>) -> Option<Signature> {
    let written = !section.is_empty();
    let secret = secret(&mut section, "secret");
    let header = text(&mut section, "header");
    if written && secret.is_none() {
        section.fault("secret", "expected the key to sign with");
    }
    section.finish();
    Some(Signature {
        secret: secret?,
        header: header.unwrap_or_else(|| "X-Signature-256".to_owned()),
    })
}

fn command(section: &mut Section<'_>) -> Option<Command> {
    let program = required::<AbsolutePath>(section, "program");
    let args = texts(section, "args");
    Some(Command {
        program: program?.0,
        args,
    })
}

fn heartbeat(mut section: Section<'_>) -> Option<Heartbeat> {
    let written = !section.is_empty();
    let url = secret(&mut section, "url");
    let every = section.ranged("every", EVERY);
    let http = http(&mut section);
    if written && url.is_none() {
        section.fault("url", "expected the address to call");
    }
    section.finish();
    Some(Heartbeat {
        url: url?,
        every: every.map_or(Duration::from_secs(60), |every| every.value),
        http,
    })
}

fn http(section: &mut Section<'_>) -> Http {
    Http {
        ca_file: path(section, "ca_file"),
        proxy: section
            .value::<WebAddress>("proxy")
            .map(|proxy| proxy.value.0),
    }
}

/// A secret: the text itself, or `{file: …}`, or `{credential: …}`.
fn secret(section: &mut Section<'_>, key: &'static str) -> Option<SecretSource> {
    let given = section.value_or_section::<Text>(key)?;
    source(section, given)
}

fn secrets(section: &mut Section<'_>, key: &'static str) -> BTreeMap<String, SecretSource> {
    let values = section.values_or_sections::<Text, Text>(key, "NAME", VALUES);
    let values = values.into_iter();
    values
        .filter_map(|(name, given)| Some((name.0, source(section, given)?)))
        .collect()
}

fn source(section: &Section<'_>, given: Given<'_, Text>) -> Option<SecretSource> {
    let mut section = match given {
        Given::Value(text) if text.place.scope == Scope::Cluster => {
            section.fault_at(text.place, &text.path, NOT_HERE);
            return None;
        }
        Given::Value(text) => return Some(SecretSource::Inline(Secret::new(text.value.0))),
        Given::Section(section) => section,
    };
    let shared = section.place().scope == Scope::Cluster;
    let file = path(&mut section, "file");
    let inside = |file: &PathBuf| {
        let climbs = file.components().any(|part| part == Component::ParentDir);
        file.starts_with(SHARED_SECRETS) && !climbs
    };
    if shared && file.as_ref().is_some_and(|file| !inside(file)) {
        section.fault("file", NOT_HERE);
    }
    let credential = section
        .value::<CredentialName>("credential")
        .map(|name| name.value.0);
    let source = match (file, credential) {
        (Some(file), None) => Some(SecretSource::File(file)),
        (None, Some(_)) if shared => {
            section.fault("credential", NOT_HERE);
            None
        }
        (None, Some(name)) => Some(SecretSource::Credential(name)),
        _ if section.is_at_fault() => None,
        _ => {
            section.fault(
                "file",
                "expected either file: with a path or credential: with a name",
            );
            None
        }
    };
    section.finish();
    source
}

/// The value of a key that must be there.
fn required<T: Scalar>(section: &mut Section<'_>, key: &'static str) -> Option<T> {
    let written = section.value::<T>(key);
    if written.is_none() {
        section.fault(key, &format!("expected {}", T::expected()));
    }
    written.map(|written| written.value)
}

fn text(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    section.value::<Text>(key).map(|text| text.value.0)
}

fn texts(section: &mut Section<'_>, key: &'static str) -> Vec<String> {
    let items = section
        .list::<Text>(key)
        .map(|list| list.value)
        .unwrap_or_default();
    items.into_iter().map(|item| item.value.0).collect()
}

fn path(section: &mut Section<'_>, key: &'static str) -> Option<PathBuf> {
    section.value::<AbsolutePath>(key).map(|path| path.value.0)
}

fn set<T: Ord>(list: Option<WrittenList<T>>) -> Option<BTreeSet<T>> {
    Some(list?.value.into_iter().map(|item| item.value).collect())
}
