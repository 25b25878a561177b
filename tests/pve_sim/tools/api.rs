//! The part of the API tree that this node has: which path is which method, with its options and its result.
//!
//! Source: `pve-manager: PVE/API2.pm` and below; `qemu-server: src/PVE/API2/Qemu.pm`.

use serde_json::{Map, Value, json};

use super::failure::{DIE, Done, EARLY, Failure};
use super::node_info::{self, RELEASE, REPOSITORY_ID, VERSION};
use super::options::{self, Parsed, Spec, Takes, spec};
use super::power;
use super::resources;
use super::rrd;
use super::session::Session;
use super::status;
use super::store;
use super::update::Update;
use crate::vmconf::schema::{self, Kind};
use crate::vmconf::{PendingDeletes, VmConfig};

/// A method of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// `/version`
    Version,
    /// `/cluster/resources`
    ClusterResources,
    /// `/cluster/status`
    ClusterStatus,
    /// `/nodes`
    Nodes,
    /// Anything below `/nodes/NODE`, which another node may have to answer.
    Node(String, NodeMethod),
}

/// A method of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeMethod {
    /// `status`
    Status,
    /// `qemu`
    Vms,
    /// `qemu/VMID/…`
    Vm(String, VmMethod),
}

/// A method of one VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VmMethod {
    /// `get …/status/current`
    Status,
    /// `get …/config`
    Config,
    /// `get …/pending`
    Pending,
    /// `get …/rrddata`
    RrdData,
    /// `set …/config`
    Update,
    /// `create …/config`: the same in a worker task.
    UpdateInTask,
    /// `create …/status/<what>`
    Power(&'static str),
}

/// Task type and word of the power methods.
const POWER: &[(&str, &str)] = &[
    ("start", "qmstart"),
    ("stop", "qmstop"),
    ("shutdown", "qmshutdown"),
    ("reboot", "qmreboot"),
    ("suspend", "qmpause"),
    ("resume", "qmresume"),
];

impl Method {
    /// The method for `pvesh <command> <path>`, or none.
    pub(crate) fn find(command: &str, path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let in_node = |node: &str, method| Some(Self::Node(node.to_owned(), method));
        match (command, parts.as_slice()) {
            ("get", ["version"]) => Some(Self::Version),
            ("get", ["cluster", "resources"]) => Some(Self::ClusterResources),
            ("get", ["cluster", "status"]) => Some(Self::ClusterStatus),
            ("get", ["nodes"]) => Some(Self::Nodes),
            ("get", ["nodes", node, "status"]) => in_node(node, NodeMethod::Status),
            ("get", ["nodes", node, "qemu"]) => in_node(node, NodeMethod::Vms),
            (_, ["nodes", node, "qemu", vmid, rest @ ..]) => in_node(
                node,
                NodeMethod::Vm((*vmid).to_owned(), VmMethod::find(command, rest)?),
            ),
            _ => None,
        }
    }

    /// The options that the method takes.
    pub(crate) fn specs(&self) -> Vec<Spec> {
        match self {
            Self::ClusterResources => vec![spec("type", Takes::Value)],
            Self::Node(_, NodeMethod::Vms) => vec![spec("full", Takes::Flag)],
            Self::Node(_, NodeMethod::Vm(_, method)) => method.specs(),
            _ => Vec::new(),
        }
    }

    /// Calls the method.
    pub(crate) fn call(&self, session: &Session, mut parsed: Parsed) -> Done<Value> {
        match self {
            Self::Version => {
                Ok(json!({ "release": RELEASE, "repoid": REPOSITORY_ID, "version": VERSION }))
            }
            Self::ClusterResources => {
                let only = parsed.take("type");
                if let Some(kind) = only
                    .as_deref()
                    .filter(|kind| !["vm", "storage", "node", "sdn"].contains(kind))
                {
                    let message = format!(
                        "value '{kind}' does not have a value in the enumeration 'vm, storage, node, sdn'"
                    );
                    return Err(Failure::parameters(
                        vec![("type".to_owned(), message)],
                        EARLY,
                    ));
                }
                Ok(resources::resources(session, only.as_deref()))
            }
            Self::ClusterStatus => Ok(resources::cluster_status(session)),
            Self::Nodes => Ok(resources::nodes(session)),
            Self::Node(_, NodeMethod::Status) => Ok(node_info::status(session)),
            Self::Node(_, NodeMethod::Vms) => {
                let vms = status::of_vms(session, None, parsed.take_flag("full"))?;
                let order = session.perl_order(vms.keys().copied());
                Ok(order
                    .into_iter()
                    .map(|vmid| Value::Object(vms[&vmid].clone()))
                    .collect())
            }
            Self::Node(_, NodeMethod::Vm(vmid, method)) => method.call(session, vmid, parsed),
        }
    }
}

impl VmMethod {
    fn find(command: &str, rest: &[&str]) -> Option<Self> {
        match (command, rest) {
            ("get", ["status", "current"]) => Some(Self::Status),
            ("get", ["config"]) => Some(Self::Config),
            ("get", ["pending"]) => Some(Self::Pending),
            ("get", ["rrddata"]) => Some(Self::RrdData),
            ("set", ["config"]) => Some(Self::Update),
            ("create", ["config"]) => Some(Self::UpdateInTask),
            ("create", ["status", word]) => POWER
                .iter()
                .find(|(name, _)| name == word)
                .map(|(name, _)| Self::Power(name)),
            _ => None,
        }
    }

    fn specs(self) -> Vec<Spec> {
        match self {
            Self::Status | Self::Pending => Vec::new(),
            Self::Config => vec![spec("current", Takes::Flag), spec("snapshot", Takes::Value)],
            Self::RrdData => vec![spec("timeframe", Takes::Value), spec("cf", Takes::Value)],
            Self::Update => options::update_specs(),
            Self::UpdateInTask => options::update_specs()
                .into_iter()
                .chain([spec("background_delay", Takes::Value)])
                .collect(),
            Self::Power(_) => vec![spec("skiplock", Takes::Flag), spec("timeout", Takes::Value)],
        }
    }

    fn call(self, session: &Session, vmid: &str, mut parsed: Parsed) -> Done<Value> {
        let vmid = options::check_config_values(&parsed.options, vmid)?;
        match self {
            Self::Status => vm_status(session, vmid),
            Self::Config => {
                let (config, text) = store::load(session, vmid)?;
                let keys = if parsed.take_flag("current") {
                    config.active.clone()
                } else {
                    config.with_pending()
                };
                let mut data: Map<String, Value> = keys
                    .iter()
                    .map(|(key, value)| (key.clone(), typed(key, value)))
                    .collect();
                data.insert("digest".to_owned(), json!(store::digest(&text)));
                Ok(Value::Object(data))
            }
            Self::Pending => {
                let (config, text) = store::load(session, vmid)?;
                Ok(pending(session, &config, &store::digest(&text)))
            }
            Self::RrdData => rrd::data(session, vmid, parsed.take("timeframe")),
            Self::Update => {
                let mut update = Update::new(vmid, parsed)?;
                update.check(session)?;
                let lock = store::lock(session, vmid)?;
                update.apply(session, &lock)?;
                Ok(Value::Null)
            }
            Self::UpdateInTask => {
                let mut update = Update::new(vmid, parsed)?;
                update.check(session)?;
                in_task(session, "qmconfig", vmid, || {
                    let lock = store::lock(session, vmid)?;
                    update.apply(session, &lock)
                })
            }
            Self::Power(word) => {
                let skiplock = parsed.take_flag("skiplock");
                power::check(session, word, vmid)?;
                let task = POWER
                    .iter()
                    .find(|(name, _)| *name == word)
                    .map_or("qm", |(_, task)| task);
                in_task(session, task, vmid, || {
                    power::change(session, word, vmid, skiplock)
                })
            }
        }
    }
}

/// Runs a worker task to its end. Its failure is printed, but the call itself succeeds with the task's id.
fn in_task(
    session: &Session,
    kind: &str,
    vmid: u32,
    work: impl FnOnce() -> Done<()>,
) -> Done<Value> {
    if let Err(last_words) = session.worker(work)? {
        session.warn(&format!("{last_words}\n"));
    }
    Ok(json!(task_id(session.node(), kind, vmid)))
}

/// `UPID:node:pid:pstart:starttime:type:id:user:`
#[expect(
    clippy::disallowed_methods,
    reason = "a stamp in a task's name, as PVE makes it"
)]
fn task_id(node: &str, kind: &str, vmid: u32) -> String {
    let epoch = std::time::SystemTime::UNIX_EPOCH;
    let now = std::time::SystemTime::now()
        .duration_since(epoch)
        .map_or(0, |age| age.as_secs());
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let started = stat
        .rsplit_once(") ")
        .and_then(|(_, fields)| fields.split(' ').nth(19)?.parse::<u64>().ok())
        .unwrap_or(0);
    format!(
        "UPID:{node}:{:08X}:{started:08X}:{now:08X}:{kind}:{vmid}:root@pam:",
        std::process::id()
    )
}

fn vm_status(session: &Session, vmid: u32) -> Done<Value> {
    let (config, _) = store::load(session, vmid)?;
    let mut vm = status::of_vms(session, Some(vmid), true)?
        .remove(&vmid)
        .unwrap_or_default();
    vm.insert("ha".to_owned(), resources::ha_of(session, vmid));
    let agent = config
        .get("agent")
        .and_then(|agent| agent.split(',').next());
    if agent.is_some_and(|first| {
        schema::boolean(first.strip_prefix("enabled=").unwrap_or(first)) == Some(true)
    }) {
        vm.insert("agent".to_owned(), json!(1));
    }
    Ok(Value::Object(vm))
}

/// Integers and booleans are numbers in JSON, everything else is a string, `memory` and `cpulimit` included.
fn typed(key: &str, value: &str) -> Value {
    let is_number =
        schema::rule(key).is_some_and(|rule| matches!(rule.kind, Kind::Boolean | Kind::Integer));
    match value.parse::<i64>() {
        Ok(number) if is_number => json!(number),
        _ => json!(value),
    }
}

fn pending(session: &Session, config: &VmConfig, digest: &str) -> Value {
    let deletes: PendingDeletes = config.pending_deletes();
    let mut active = config.active.clone();
    active.insert("digest".to_owned(), digest.to_owned());
    let delete_code = |force: &bool| json!(if *force { 2 } else { 1 });
    let mut items = Vec::new();
    for key in session.perl_order(active.keys()) {
        let mut item = json!({ "key": key, "value": typed(key, &active[key]) });
        if let Some(new) = config.pending.get(key) {
            item["pending"] = typed(key, new);
        }
        if let Some(force) = deletes.get(key) {
            item["delete"] = delete_code(force);
        }
        items.push(item);
    }
    let only_pending = config
        .pending
        .iter()
        .filter(|(key, _)| *key != "delete" && !active.contains_key(*key));
    items.extend(
        only_pending.map(|(key, value)| json!({ "key": key, "pending": typed(key, value) })),
    );
    let only_delete = deletes.iter().filter(|(key, _)| !active.contains_key(*key));
    items.extend(
        only_delete.map(|(key, force)| json!({ "key": key, "delete": delete_code(force) })),
    );
    Value::Array(items)
}

/// Why another node's method cannot be called: there is no way to it from here.
pub(crate) fn unreachable(session: &Session, node: &str) -> Failure {
    match resources::node_address(session, node) {
        None => Failure::Died {
            message: format!(
                "hostname lookup '{node}' failed - failed to get address info for: {node}: Name or service not known"
            ),
            code: EARLY,
        },
        Some(address) => {
            session.warn(&format!(
                "ssh: connect to host {address} port 22: Connection refused\r\n"
            ));
            Failure::Died {
                message: "proxy handler failed: exit code 255".to_owned(),
                code: DIE,
            }
        }
    }
}
