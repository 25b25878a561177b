//! Gotify: `POST /message` with an application's token (API reference: <https://gotify.net/api-docs>, `createMessage`).

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::channel::{self, Answer, Sending, Surroundings};
use super::http;
use super::message::Message;
use super::settings::Gotify;
use crate::record::Severity;

/// A Gotify server.
pub(super) struct Channel {
    settings: Gotify,
    around: Surroundings,
}

impl Channel {
    pub(super) fn new(settings: Gotify, around: Surroundings) -> Self {
        Self { settings, around }
    }

    async fn attempt(&self, message: &Message) -> Result<Answer, Answer> {
        let token = self.settings.token.read(self.around.credentials()).await;
        let token = token.map_err(|error| Answer::refused(error.to_string()))?;
        let url = endpoint(&self.settings.url.0);
        let client = http::client(&self.settings.http, &url).await?;
        let body = serde_json::to_vec(&Body::of(message));
        let body = body.map_err(|error| Answer::refused(error.to_string()))?;
        let request = client
            .post(url)
            // A header, since an address gets into the logs of every proxy on the way.
            .header("X-Gotify-Key", token.expose())
            .header("Content-Type", "application/json")
            .body(body);
        let answered = http::exchange(request, &[token]).await?;
        if !answered.status.is_success() {
            return Ok(answered.failure());
        }
        // Gotify answers with the message as it stored it. A proxy's login page would be "200 OK" as well.
        Ok(match serde_json::from_str::<Stored>(&answered.body) {
            Ok(_) => Answer::Delivered,
            Err(_) if !answered.whole => Answer::unsure("broke off in the middle of its answer"),
            Err(_) => Answer::refused(format!(
                "answered {} but not as Gotify does; is {} a Gotify server?",
                answered.status,
                http::origin(&self.settings.url.0)
            )),
        })
    }
}

impl channel::Channel for Channel {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        Box::pin(async { self.attempt(message).await.unwrap_or_else(|answer| answer) })
    }
}

/// `/message` below the server's address, which can itself be below a path of a reverse proxy.
fn endpoint(server: &Url) -> Url {
    let mut url = server.clone();
    let path = format!("{}/message", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url
}

/// What is sent: `title`, `message`, `priority`, `extras`. Without `client::display` the text is plain.
#[derive(Serialize)]
struct Body<'a> {
    title: &'a str,
    message: &'a str,
    priority: u8,
    extras: serde_json::Value,
}

impl<'a> Body<'a> {
    fn of(message: &'a Message) -> Self {
        Self {
            title: &message.subject,
            message: &message.text,
            priority: priority(message.severity),
            extras: serde_json::json!({
                "client::display": { "contentType": "text/plain" },
                "vm-autoscale::message": { "id": message.id, "repeat": message.repeat },
            }),
        }
    }
}

/// The priorities that Proxmox VE's own Gotify targets use (`proxmox-notify: endpoints/gotify.rs`).
fn priority(severity: Severity) -> u8 {
    match severity {
        Severity::Info => 1,
        Severity::Notice => 3,
        Severity::Warning => 5,
        Severity::Error => 9,
    }
}

/// The part of the answer by which a Gotify server is recognized: the number that it gave the message.
#[derive(Deserialize)]
struct Stored {
    #[serde(rename = "id")]
    _id: i64,
    #[serde(rename = "appid")]
    _application: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_behind_a_path_keeps_its_path() {
        for (server, expected) in [
            ("https://gotify.lan", "https://gotify.lan/message"),
            (
                "https://home.lan/gotify/",
                "https://home.lan/gotify/message",
            ),
            ("http://[::1]:8080/", "http://[::1]:8080/message"),
        ] {
            let url = endpoint(&server.parse().unwrap());
            assert_eq!(url.as_str(), expected);
        }
    }
}
