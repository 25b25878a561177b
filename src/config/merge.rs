//! Two files as one: what the node's own says goes over what the cluster's says, key by key.

use super::parse::{Entry, Node, Value};

/// `own` over `below`. Sections are merged; a value, a list, a window, a channel and the heartbeat each
/// count as one.
pub(super) fn over(own: Node, below: Node) -> Node {
    merged(own, below, &[])
}

fn merged(own: Node, below: Node, path: &[&str]) -> Node {
    // All children of a key commented out: nothing of its own.
    if own.value == Value::Null {
        return match below.value {
            Value::Map(_) => below,
            _ => own,
        };
    }
    if is_one(path) {
        return own;
    }
    let (Value::Map(entries), Value::Map(mut rest)) = (own.value.clone(), below.value) else {
        return own;
    };
    let mut all: Vec<Entry> = Vec::with_capacity(entries.len() + rest.len());
    for mut entry in entries {
        if let Some(at) = rest.iter().position(|below| below.key == entry.key) {
            let below = rest.remove(at);
            let path: Vec<&str> = path.iter().copied().chain([entry.key.as_str()]).collect();
            entry.value = merged(entry.value, below.value, &path);
        }
        all.push(entry);
    }
    all.append(&mut rest);
    Node {
        value: Value::Map(all),
        ..own
    }
}

/// Whether what stands at `path` is one thing, of which half from here and half from there makes no sense.
fn is_one(path: &[&str]) -> bool {
    matches!(
        path,
        ["notify", "heartbeat"]
            | ["notify", "channels", _]
            | ["profiles" | "vms", _, "schedule", _]
    )
}
