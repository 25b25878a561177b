//! What can be known to be wrong with a channel before anything is sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use lettre::message::Mailbox;
use reqwest::Url;

use super::batch::{Batch, Item};
use super::http::NO_TLS;
use super::message::Message;
use super::secret::SecretSource;
use super::settings::{ChannelSettings, Kind, Login, Smtp, SmtpTls, Templates, Webhook};
use super::template::TemplateError;
use super::webhook;
use crate::domain::{Moment, NodeName, Resource, VmId, VmName};
use crate::record::{Event, EventKind, VmRef};

/// Something wrong with a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key in the channel's section that it is about.
    pub key: &'static str,
    /// What is wrong, without any value that could be secret.
    pub message: String,
}

fn fault(key: &'static str, message: impl Into<String>) -> Fault {
    Fault {
        key,
        message: message.into(),
    }
}

/// What is wrong with `channel`. Templates are tried out on an example.
pub fn faults(channel: &ChannelSettings) -> Vec<Fault> {
    let mut faults = templates(&channel.templates);
    match &channel.kind {
        Kind::Gotify(gotify) => faults.extend(address("url", &gotify.url.0)),
        Kind::Smtp(smtp) => faults.extend(mail(smtp)),
        Kind::Webhook(hook) => faults.extend(hook_faults(hook)),
        Kind::Pve(_) | Kind::Command(_) => {}
    }
    faults
}

/// What is wrong with an address.
fn address(key: &'static str, url: &Url) -> Vec<Fault> {
    let mut faults = Vec::new();
    match url.scheme() {
        "https" if !cfg!(feature = "tls") => faults.push(fault(key, NO_TLS)),
        "http" | "https" => {}
        _ => faults.push(fault(
            key,
            "expected an address that begins with https:// or http://",
        )),
    }
    faults
}

fn mail(smtp: &Smtp) -> Vec<Fault> {
    let mut faults = Vec::new();
    if smtp.tls != SmtpTls::None && !cfg!(feature = "tls") {
        faults.push(fault("tls", NO_TLS));
    }
    if let Some(Login { .. }) = &smtp.login
        && smtp.tls == SmtpTls::None
        && !is_loopback(&smtp.server)
    {
        faults.push(fault(
            "tls",
            "a password would cross the network in the clear: use tls: starttls or tls: implicit",
        ));
    }
    match &smtp.from {
        Some(from) if from.parse::<Mailbox>().is_err() => {
            faults.push(fault(
                "from",
                "expected an address such as pve1@example.com",
            ));
        }
        None if !is_loopback(&smtp.server) => faults.push(fault(
            "from",
            "a server other than localhost needs a sender such as pve1@example.com",
        )),
        _ => {}
    }
    if smtp.to.is_empty() {
        faults.push(fault("to", "expected at least one recipient"));
    }
    if smtp.to.iter().any(|to| to.parse::<Mailbox>().is_err()) {
        faults.push(fault("to", "expected addresses such as admin@example.com"));
    }
    faults
}

/// Whether a server is this node itself.
pub fn is_loopback(server: &str) -> bool {
    let bare = server.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => server.eq_ignore_ascii_case("localhost"),
    }
}

fn hook_faults(hook: &Webhook) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let SecretSource::Inline(url) = &hook.url {
        match url.expose().parse::<Url>() {
            Ok(url) => faults.extend(address("url", &url)),
            Err(_) => faults.push(fault(
                "url",
                "expected an address such as https://example.com/hook",
            )),
        }
    }
    let fields: BTreeMap<String, String> = hook
        .fields
        .keys()
        .map(|name| (name.clone(), "example".to_owned()))
        .collect();
    let tried = examples(&Templates::default()).and_then(|examples| {
        examples
            .iter()
            .try_for_each(|example| webhook::body(hook, example, &fields).map(drop))
    });
    if let Err(error) = tried {
        faults.push(fault("body", format!("the template {error}")));
    }
    faults
}

fn templates(templates: &Templates) -> Vec<Fault> {
    let only = |subject: Option<&String>, text: Option<&String>| Templates {
        subject: subject.cloned(),
        text: text.cloned(),
    };
    let tried = [
        ("subject", only(templates.subject.as_ref(), None)),
        ("text", only(None, templates.text.as_ref())),
    ];
    tried
        .into_iter()
        .filter_map(|(key, one)| {
            let error = examples(&one).err()?;
            Some(fault(key, format!("the template {error}")))
        })
        .collect()
}

/// A message about one VM, one about none, a digest, and a test: what a template must be able to show.
fn examples(templates: &Templates) -> Result<Vec<Message>, TemplateError> {
    // Cannot fail: constants that have the form of a VMID and of a node's name.
    let (Ok(id), Ok(node)) = (VmId::try_from(101), "pve1".parse::<NodeName>()) else {
        return Ok(Vec::new());
    };
    let at = Moment::default();
    let vm = VmRef {
        id,
        name: VmName::new("web"),
        tags: Vec::new(),
    };
    let item = |vm: Option<VmRef>| Item {
        id: 1,
        event: Arc::new(Event {
            at,
            node: node.clone(),
            vm,
            kind: EventKind::HostLimit {
                resource: Resource::Memory,
                why: "an example".to_owned(),
            },
        }),
        more: 0,
    };
    let zone = TimeZone::UTC;
    let batches = [
        vec![item(Some(vm.clone()))],
        vec![item(None)],
        vec![item(Some(vm)), item(None)],
    ];
    let mut messages = Vec::new();
    for items in batches {
        let batch = Batch::new(items, BTreeMap::new(), false);
        messages.push(Message::compose(&batch, &node, &zone, templates)?);
    }
    messages.push(Message::test("example", &node, at, &zone, templates)?);
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::secret::Secret;
    use crate::notify::settings::{Gotify, Http};

    #[test]
    fn an_encrypted_channel_needs_a_build_that_can_encrypt() {
        let channel = ChannelSettings::new(Kind::Gotify(Gotify {
            url: "https://gotify.example.com".parse().unwrap(),
            token: SecretSource::Inline(Secret::new("token")),
            http: Http::default(),
        }));
        let found = faults(&channel);
        match cfg!(feature = "tls") {
            true => assert!(found.is_empty(), "{found:?}"),
            false => assert_eq!(found, [fault("url", NO_TLS)]),
        }
    }

    #[test]
    fn only_this_node_is_loopback() {
        for here in [
            "localhost",
            "LOCALHOST",
            "127.0.0.1",
            "127.1.2.3",
            "::1",
            "[::1]",
        ] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in [
            "mail.example.com",
            "localhost.example.com",
            "10.0.0.1",
            "::2",
            "",
        ] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }
}
