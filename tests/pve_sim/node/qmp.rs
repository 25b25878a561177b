//! A VM's QMP socket. Like QEMU's, it serves one client at a time: the next one can connect, but is not greeted before
//! the first has gone.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::Shared;
use super::monitor::{self, Failure};
use super::scenario::MonitorState;

/// How often a monitor that hangs looks whether it still does, and how often events are told.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Listens on `path` for the VM `id` until the handle is aborted. The socket file is the caller's to remove.
pub(crate) fn serve(node: &Rc<Shared>, id: u32, path: &Path) -> Result<AbortHandle> {
    std::fs::remove_file(path).ok();
    let listener =
        UnixListener::bind(path).with_context(|| format!("QMP socket {}", path.display()))?;
    let node = Rc::clone(node);
    let task = tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that goes away in the middle of a reply is no fault of the node's.
            converse(&node, id, stream).await.ok();
        }
    });
    Ok(task.abort_handle())
}

/// One client, from the greeting until it goes.
async fn converse(node: &Shared, id: u32, stream: UnixStream) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut requests = Requests {
        read,
        received: Vec::new(),
    };
    until_it_answers(node, id).await;
    let version = node.with_vm(id, |vm, _| monitor::version(vm.guest.spec.statistics));
    let greeting = json!({"QMP": {"version": version, "capabilities": ["oob"]}});
    send(&mut write, greeting).await?;
    let mut negotiated = false;
    loop {
        let request = tokio::select! {
            request = requests.next() => request?,
            () = sleep(LOOK_AGAIN) => {
                if negotiated {
                    tell_events(node, id, &mut write).await?;
                }
                continue;
            }
        };
        let Some(request) = request else {
            return Ok(());
        };
        until_it_answers(node, id).await;
        let reply = match request {
            Ok(request) => answer(node, id, &request, &mut negotiated),
            Err(error) => failed(Failure::generic(format!("JSON parse error, {error}")), None),
        };
        send(&mut write, reply).await?;
    }
}

/// What a client sends: JSON values, one after the other, with or without a line break between them.
struct Requests {
    read: OwnedReadHalf,
    received: Vec<u8>,
}

impl Requests {
    /// The next value, or what is wrong with it; nothing at the end. Can be dropped at any point without a loss.
    async fn next(&mut self) -> std::io::Result<Option<serde_json::Result<Value>>> {
        loop {
            let mut values = serde_json::Deserializer::from_slice(&self.received).into_iter();
            let next = values.next();
            let end = values.byte_offset();
            match next {
                Some(Ok(value)) => {
                    self.received.drain(..end);
                    return Ok(Some(Ok(value)));
                }
                Some(Err(error)) if !error.is_eof() => {
                    self.received.clear();
                    return Ok(Some(Err(error)));
                }
                Some(Err(_)) | None => {}
            }
            if self.read.read_buf(&mut self.received).await? == 0 {
                return Ok(None);
            }
        }
    }
}

async fn until_it_answers(node: &Shared, id: u32) {
    let hangs = || node.with_vm(id, |vm, _| vm.monitor == MonitorState::Hangs);
    while hangs() == Some(true) {
        sleep(LOOK_AGAIN).await;
    }
}

async fn tell_events(
    node: &Shared,
    id: u32,
    write: &mut (impl AsyncWriteExt + Unpin),
) -> std::io::Result<()> {
    let events = node.with_vm(id, |vm, _| std::mem::take(&mut vm.events));
    let now = super::clock::unix_millis();
    for mut event in events.unwrap_or_default() {
        event["timestamp"] = json!({"seconds": now / 1000, "microseconds": now % 1000 * 1000});
        send(write, event).await?;
    }
    Ok(())
}

/// The reply to one request.
fn answer(node: &Shared, id: u32, request: &Value, negotiated: &mut bool) -> Value {
    let tag = request.get("id");
    let Some(command) = request.get("execute").and_then(Value::as_str) else {
        let desc = "QMP input lacks member 'execute'";
        return failed(Failure::generic(desc), tag);
    };
    if !*negotiated {
        if command == "qmp_capabilities" {
            *negotiated = true;
            return done(json!({}), tag);
        }
        let failure = Failure {
            class: "CommandNotFound",
            desc: "Expecting capabilities negotiation with 'qmp_capabilities'".to_owned(),
        };
        return failed(failure, tag);
    }
    let arguments = request.get("arguments").cloned().unwrap_or(json!({}));
    let reply = node.with_vm(id, |vm, now| monitor::execute(vm, command, &arguments, now));
    match reply {
        Some(Ok(value)) => done(value, tag),
        Some(Err(failure)) => failed(failure, tag),
        None => failed(Failure::generic("QEMU is gone"), tag),
    }
}

fn done(value: Value, tag: Option<&Value>) -> Value {
    tagged(json!({"return": value}), tag)
}

fn failed(failure: Failure, tag: Option<&Value>) -> Value {
    tagged(
        json!({"error": {"class": failure.class, "desc": failure.desc}}),
        tag,
    )
}

fn tagged(mut reply: Value, tag: Option<&Value>) -> Value {
    if let Some(tag) = tag {
        reply["id"] = tag.clone();
    }
    reply
}

async fn send(write: &mut (impl AsyncWriteExt + Unpin), message: Value) -> std::io::Result<()> {
    let line = format!("{message}\r\n");
    write.write_all(line.as_bytes()).await
}
