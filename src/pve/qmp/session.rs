//! One visit to a QMP monitor: lines of JSON, bounded, one command at a time as PVE's own client does it.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::domain::sanitize;

/// The longest line that is read. 512 vCPUs make about 120 KiB.
const LINE_MAX: u64 = 1 << 20;

/// Why a command has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// QEMU answered with an error of this class and description.
    Error { class: String, text: String },
    /// The connection broke or something unexpected came: nothing further can be asked.
    Broken(String),
}

/// A connection to a monitor. Dropping it gives the monitor back.
pub(super) struct Session {
    stream: BufReader<UnixStream>,
    next_id: u64,
}

impl Session {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream: BufReader::new(stream),
            next_id: 0,
        }
    }

    /// Waits for the greeting and leaves negotiation mode. Returns what the greeting holds.
    pub(super) async fn greet(&mut self) -> Result<Value, String> {
        let mut line = self.line().await?;
        let greeting = line.get_mut("QMP").map(Value::take);
        let greeting = greeting.ok_or("no QMP greeting")?;
        match self.command("qmp_capabilities", Value::Null).await {
            Ok(_) => Ok(greeting),
            Err(Refusal::Error { text, .. } | Refusal::Broken(text)) => Err(text),
        }
    }

    /// Asks one thing and waits for its answer; events in between are passed over.
    pub(super) async fn command(&mut self, name: &str, arguments: Value) -> Result<Value, Refusal> {
        self.next_id += 1;
        let id = json!(format!("vm-autoscale-{}", self.next_id));
        let mut request = json!({"execute": name, "id": id});
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let request = format!("{request}\n");
        let sent = self.stream.get_mut().write_all(request.as_bytes()).await;
        sent.map_err(|error| Refusal::Broken(error.to_string()))?;
        loop {
            let mut line = self.line().await.map_err(Refusal::Broken)?;
            if line.get("event").is_some() {
                continue;
            }
            if line.get("id") != Some(&id) {
                return Err(Refusal::Broken("an answer to another question".to_owned()));
            }
            if let Some(answer) = line.get_mut("return") {
                return Ok(answer.take());
            }
            let part = |key: &str| {
                let text = line
                    .pointer(&format!("/error/{key}"))
                    .and_then(Value::as_str);
                sanitize(text.unwrap_or("unknown error"), 200)
            };
            return Err(Refusal::Error {
                class: part("class"),
                text: part("desc"),
            });
        }
    }

    /// The next line, as JSON. serde_json bounds the depth, [`LINE_MAX`] the length.
    async fn line(&mut self) -> Result<Value, String> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(LINE_MAX);
        let read = bounded.read_until(b'\n', &mut line).await;
        read.map_err(|error| error.to_string())?;
        if line.last() != Some(&b'\n') {
            let why = if line.len() as u64 == LINE_MAX {
                "a line without end"
            } else {
                "the connection was closed"
            };
            return Err(why.to_owned());
        }
        serde_json::from_slice(&line).map_err(|error| sanitize(&error.to_string(), 200))
    }
}
