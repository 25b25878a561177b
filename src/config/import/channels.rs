//! The predecessor's notifications: two channels, each of which is one of ours.

use super::carry::{Carrier, listed};
use super::draft::{Value, quoted};
use super::old::{Flag, Number, Words};
use super::report::Fate;
use super::{Options, SecretFile};
use crate::config::section::{Section, Written};
use crate::notify::Secret;

/// Its port for e-mail, if it does not say another: submission, always with STARTTLS.
const SUBMISSION: u16 = 587;

/// Reads what is told to whom.
pub(super) fn carry(root: &mut Section<'_>, options: &Options, carrier: &mut Carrier) {
    let repeat = root.value::<Number>("notification_dedup_seconds");
    let seconds = |number: &Number| format!("{}s", number.0);
    carrier.value(repeat.as_ref(), "notify.repeat_after", seconds, None);
    gotify(root.section("gotify").secret(), options, carrier);
    mail(root.section("alerts").secret(), options, carrier);
}

/// One of our channels while it is made.
struct Channel<'c> {
    name: &'static str,
    options: &'c Options,
    carrier: &'c mut Carrier,
}

impl Channel<'_> {
    /// `from` is the key of the old file that the value came from.
    fn add(&mut self, key: &str, text: String, from: (Option<usize>, String), why: Option<&str>) {
        self.carrier.draft.add(Value {
            key: format!("notify.channels.{}.{key}", self.name),
            text,
            from,
            fate: why.map_or(Fate::Carried, |_| Fate::NewMeaning),
            why: why.map(str::to_owned),
            shown: false,
            secret: None,
        });
    }

    fn text(&mut self, key: &str, old: Option<&Written<Words>>) {
        if let Some(old) = old.filter(|old| !old.value.0.is_empty()) {
            self.add(key, quoted(&old.value.0), from(old), None);
        }
    }

    /// Moves a secret to a file of its own.
    fn secret(&mut self, key: &str, old: Option<&Written<Words>>) {
        let Some(old) = old.filter(|old| !old.value.0.is_empty()) else {
            return;
        };
        let path = self.options.secrets.join(format!("{}.{key}", self.name));
        self.carrier.draft.add(Value {
            key: format!("notify.channels.{}.{key}", self.name),
            text: format!("{{file: {}}}", quoted(&path.display().to_string())),
            from: from(old),
            fate: Fate::Carried,
            why: Some("moved to a file that only root can read".to_owned()),
            shown: true,
            secret: Some(SecretFile {
                path,
                secret: Secret::new(old.value.0.clone()),
            }),
        });
    }

    /// The type, and that every change is told, as it was there.
    fn begin(&mut self, kind: &str, on: &Written<Flag>) {
        let from = (Some(on.place.line), on.path.clone());
        self.add("type", kind.to_owned(), from.clone(), None);
        let why = "every change is told, as before; without this key only trouble and its end are";
        let all = "[info, notice, warning, error]".to_owned();
        self.add("severities", all, from, Some(why));
    }
}

fn from<T>(written: &Written<T>) -> (Option<usize>, String) {
    (Some(written.place.line), written.path.clone())
}

/// Whether the channel was on; says so if it was off.
fn switched_on(
    section: &mut Section<'_>,
    key: &'static str,
    name: &str,
    carrier: &mut Carrier,
) -> Option<Written<Flag>> {
    let on = section.value::<Flag>(key).filter(|on| on.value.0);
    if on.is_none() && !section.is_empty() {
        let why = format!("{key} is not true, so no channel is written");
        carrier.line(section.place().line, Fate::Carried, name, why);
    }
    on
}

fn gotify(mut section: Section<'_>, options: &Options, carrier: &mut Carrier) {
    let url = section.value::<Words>("server_url");
    let token = section.value::<Words>("app_token");
    let priority = section.value::<Number>("priority");
    if let Some(on) = switched_on(&mut section, "enabled", "gotify", carrier) {
        let name = "gotify";
        let mut channel = Channel {
            name,
            options,
            carrier,
        };
        channel.begin("gotify", &on);
        channel.text("url", url.as_ref());
        channel.secret("token", token.as_ref());
        if let Some(priority) = priority {
            let why = "each message has the priority of what it tells";
            carrier.line(priority.place.line, Fate::NewMeaning, &priority.path, why);
        }
    }
    section.finish();
}

fn mail(mut section: Section<'_>, options: &Options, carrier: &mut Carrier) {
    let to = section.list::<Words>("email_recipient");
    let server = section.value::<Words>("smtp_server");
    let port = section.value::<Number>("smtp_port");
    let user = section.value::<Words>("smtp_user");
    let password = section.value::<Words>("smtp_password");
    if let Some(on) = switched_on(&mut section, "email_enabled", "alerts", carrier) {
        let Some(server) = server.filter(|server| !server.value.0.is_empty()) else {
            section.fault(
                "smtp_server",
                "there is no server to send to, so no channel is written",
            );
            return section.finish();
        };
        let name = "mail";
        let mut channel = Channel {
            name,
            options,
            carrier,
        };
        channel.begin("smtp", &on);
        channel.text("server", Some(&server));
        channel.add("tls", "starttls".to_owned(), from(&server), None);
        let (number, place) = match &port {
            Some(port) => (port.value.0.to_string(), from(port)),
            None => (
                SUBMISSION.to_string(),
                (None, "alerts.smtp_port".to_owned()),
            ),
        };
        channel.add("port", number, place, None);
        if password
            .as_ref()
            .is_some_and(|password| !password.value.0.is_empty())
        {
            channel.text("username", user.as_ref());
            channel.secret("password", password.as_ref());
        }
        let recipient = to.as_ref().and_then(|to| to.value.first());
        let sender = user.filter(|user| user.value.0.contains('@'));
        match (&sender, recipient) {
            (None, Some(recipient)) => {
                let why =
                    "smtp_user, the sender so far, is no address: the first recipient stands in";
                channel.add(
                    "from",
                    quoted(&recipient.value.0),
                    from(recipient),
                    Some(why),
                );
            }
            (sender, _) => channel.text("from", sender.as_ref()),
        }
        if let Some(to) = &to {
            let items = listed(&to.value, |item| quoted(&item.value.0));
            channel.add("to", items, from(to), None);
        }
    }
    section.finish();
}
