//! A VM's QMP socket. Like QEMU's, it serves one client at a time: the next one can connect, but is not greeted before
//! the first has gone.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
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
    let mut lines = BufReader::new(read).lines();
    until_it_answers(node, id).await;
    let version = node.with_vm(id, |vm, _| monitor::version(vm.guest.spec.statistics));
    send(
        &mut write,
        json!({"QMP": {"version": version, "capabilities": ["oob"]}}),
    )
    .await?;
    let mut negotiated = false;
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            () = sleep(LOOK_AGAIN) => {
                if negotiated {
                    tell_events(node, id, &mut write).await?;
                }
                continue;
            }
        };
        let Some(line) = line else { return Ok(()) };
        if line.trim().is_empty() {
            continue;
        }
        until_it_answers(node, id).await;
        let reply = answer(node, id, &line, &mut negotiated);
        send(&mut write, reply).await?;
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

/// The reply to one line.
fn answer(node: &Shared, id: u32, line: &str, negotiated: &mut bool) -> Value {
    let request: Value = match serde_json::from_str(line) {
        Ok(request) => request,
        Err(error) => {
            return failed(Failure::generic(format!("JSON parse error, {error}")), None);
        }
    };
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
