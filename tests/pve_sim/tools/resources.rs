//! The cluster-wide lists: `/cluster/resources`, `/cluster/status`, `/nodes`.
//!
//! They are made from pmxcfs' own files (`.vmlist`, `.rrd`, `.members`) and so show what pvestatd saw last.
//! Source: `pve-manager: PVE/API2/Cluster.pm: resources, get_status`; `PVE/API2Tools.pm`; `PVE/API2/Nodes.pm: index`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::session::Session;
use crate::vmconf::VmConfig;

/// One line of `.rrd`: the fields after the key.
type Fields = Vec<String>;

/// Names of a VM's numbers in `.rrd`, by field.
const VM_NUMBERS: &[(usize, &str)] = &[
    (0, "uptime"),
    (5, "maxcpu"),
    (6, "cpu"),
    (7, "maxmem"),
    (8, "mem"),
    (9, "maxdisk"),
    (10, "disk"),
    (11, "netin"),
    (12, "netout"),
    (13, "diskread"),
    (14, "diskwrite"),
];

/// What every node has without any configuration: PVE's built-in storage `local`.
const LOCAL_CONTENT: &str = "backup,images,iso,rootdir,snippets,vztmpl";

/// What pvestatd broadcast last, by key.
#[derive(Debug, Default)]
pub(crate) struct RoundRobin(BTreeMap<String, Fields>);

impl RoundRobin {
    /// Reads `/etc/pve/.rrd`.
    pub(crate) fn read(session: &Session) -> Self {
        let text = session.read("etc/pve/.rrd").unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        Self(
            lines
                .map(|(key, rest)| (key.to_owned(), rest.split(':').map(str::to_owned).collect()))
                .collect(),
        )
    }

    /// A VM's fields, and whether they are in the form of PVE 9.
    fn vm(&self, vmid: &str) -> Option<(&Fields, bool)> {
        let new = self
            .0
            .get(&format!("pve-vm-9.0/{vmid}"))
            .map(|fields| (fields, true));
        new.or_else(|| {
            self.0
                .get(&format!("pve2.3-vm/{vmid}"))
                .map(|fields| (fields, false))
        })
    }

    /// A node's fields; the first ones are the same in both forms.
    pub(crate) fn node(&self, node: &str) -> Option<&Fields> {
        self.0
            .get(&format!("pve-node-9.0/{node}"))
            .or_else(|| self.0.get(&format!("pve2-node/{node}")))
    }

    fn storage(&self, node: &str, storage: &str) -> Option<&Fields> {
        self.0.get(&format!("pve-storage-9.0/{node}/{storage}"))
    }
}

/// A field as Perl makes a number of it: nothing and `U` are 0, whole numbers have no point.
pub(crate) fn number(fields: &[String], index: usize) -> Value {
    let text = fields.get(index).map_or("", String::as_str);
    match (text.parse::<u64>(), text.parse::<f64>()) {
        (Ok(whole), _) => json!(whole),
        (_, Ok(fraction)) if fraction.is_finite() && fraction != 0.0 => json!(fraction),
        _ => json!(0),
    }
}

/// The cluster's nodes: online or not, by name. A node without a cluster is alone and online.
fn members(session: &Session) -> (Vec<(String, Value)>, Option<Value>) {
    let text = session.read("etc/pve/.members").unwrap_or_default();
    let members: Value = serde_json::from_str(&text).unwrap_or_default();
    let nodes = members["nodelist"]
        .as_object()
        .map(|nodes| nodes.clone().into_iter().collect())
        .unwrap_or_default();
    (nodes, members.get("cluster").cloned())
}

/// The names of all nodes.
pub(crate) fn node_names(session: &Session) -> Vec<String> {
    let (nodes, _) = members(session);
    if nodes.is_empty() {
        vec![session.node().to_owned()]
    } else {
        nodes.into_iter().map(|(name, _)| name).collect()
    }
}

/// The address of a node, if the cluster knows it.
pub(crate) fn node_address(session: &Session, node: &str) -> Option<String> {
    let (nodes, _) = members(session);
    let member = nodes.into_iter().find(|(name, _)| name == node)?.1;
    member["ip"].as_str().map(str::to_owned)
}

/// `/cluster/resources`.
pub(crate) fn resources(session: &Session, only: Option<&str>) -> Value {
    let rrd = RoundRobin::read(session);
    let wanted = |kind: &str| only.is_none_or(|only| only == kind);
    let mut entries = Vec::new();
    if wanted("vm") {
        entries.extend(vms(session, &rrd));
    }
    if wanted("node") {
        entries.extend(node_names(session).iter().map(|node| {
            let mut entry = node_entry(session, &rrd, node);
            entry.insert("cgroup-mode".to_owned(), json!(2));
            Value::Object(entry)
        }));
    }
    if wanted("storage") {
        entries.extend(
            node_names(session)
                .iter()
                .map(|node| storage_entry(&rrd, node)),
        );
    }
    if wanted("network") {
        entries.extend(node_names(session).iter().map(|node| {
            json!({
                "id": format!("network/{node}/zone/localnetwork"), "network": "localnetwork", "network-type": "zone",
                "node": node, "status": "ok", "type": "network",
            })
        }));
    }
    Value::Array(entries)
}

fn vms(session: &Session, rrd: &RoundRobin) -> Vec<Value> {
    let text = session.read("etc/pve/.vmlist").unwrap_or_default();
    let list: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut entries = Vec::new();
    for (vmid, place) in list["ids"].as_object().into_iter().flatten() {
        let kind = place["type"].as_str().unwrap_or("qemu");
        let node = place["node"].as_str().unwrap_or_default();
        let mut entry = Map::new();
        entry.insert("id".to_owned(), json!(format!("{kind}/{vmid}")));
        entry.insert("vmid".to_owned(), json!(vmid.parse::<u32>().unwrap_or(0)));
        entry.insert("node".to_owned(), json!(node));
        entry.insert("type".to_owned(), json!(kind));
        entry.insert("status".to_owned(), json!("unknown"));
        if let Some((fields, new)) = rrd.vm(vmid) {
            add_usage(&mut entry, fields, new);
        }
        let directory = if kind == "lxc" { "lxc" } else { "qemu-server" };
        let config = session
            .read(format!("etc/pve/nodes/{node}/{directory}/{vmid}.conf"))
            .unwrap_or_default();
        let (config, _) = VmConfig::parse(0, &config);
        for key in ["lock", "tags"] {
            if let Some(value) = config.get(key) {
                entry.insert(key.to_owned(), json!(value));
            }
        }
        let service = if kind == "lxc" { "ct" } else { "vm" };
        if let Some(state) = ha_state(session, &format!("{service}:{vmid}")) {
            entry.insert("hastate".to_owned(), state);
        }
        entries.push(Value::Object(entry));
    }
    entries
}

fn add_usage(entry: &mut Map<String, Value>, fields: &Fields, new: bool) {
    let text = |index: usize| json!(fields.get(index).map_or("", String::as_str));
    entry.insert("name".to_owned(), text(1));
    entry.insert("status".to_owned(), text(2));
    entry.insert("template".to_owned(), number(fields, 3));
    for (index, name) in VM_NUMBERS {
        entry.insert((*name).to_owned(), number(fields, *index));
    }
    if new {
        entry.insert("memhost".to_owned(), number(fields, 15));
    }
}

/// The state of an HA service: what the manager wrote, else what was asked for.
fn ha_state(session: &Session, service: &str) -> Option<Value> {
    let status: Value = serde_json::from_str(
        &session
            .read("etc/pve/ha/manager_status")
            .unwrap_or_default(),
    )
    .unwrap_or_default();
    if let Some(state) = status["service_status"][service].get("state") {
        return Some(state.clone());
    }
    let resources = session.read("etc/pve/ha/resources.cfg")?;
    let (kind, id) = service.split_once(':')?;
    let mut lines = resources
        .lines()
        .skip_while(|line| line.trim_end() != format!("{kind}: {id}"));
    lines.next()?;
    let settings = lines.take_while(|line| line.starts_with(char::is_whitespace));
    let state = settings
        .filter_map(|line| line.trim().strip_prefix("state "))
        .next();
    Some(json!(state.map_or("started", str::trim)))
}

/// Whether a service is under HA, and in which state: the `ha` part of a VM's status.
pub(crate) fn ha_of(session: &Session, vmid: u32) -> Value {
    let resources = session.read("etc/pve/ha/resources.cfg").unwrap_or_default();
    if resources
        .lines()
        .any(|line| line.trim_end() == format!("vm: {vmid}"))
    {
        let status: Value = serde_json::from_str(
            &session
                .read("etc/pve/ha/manager_status")
                .unwrap_or_default(),
        )
        .unwrap_or_default();
        json!({ "managed": 1, "state": status["service_status"][format!("vm:{vmid}")]["state"] })
    } else {
        json!({ "managed": 0 })
    }
}

fn node_entry(session: &Session, rrd: &RoundRobin, node: &str) -> Map<String, Value> {
    let (members, _) = members(session);
    let online = members
        .iter()
        .find(|(name, _)| name == node)
        .map(|(_, member)| member["online"] == 1);
    let mut entry = Map::new();
    let mut put = |key: &str, value: Value| entry.insert(key.to_owned(), value);
    put("id", json!(format!("node/{node}")));
    put("node", json!(node));
    put("type", json!("node"));
    put("status", json!("unknown"));
    if let Some(fields) = rrd.node(node) {
        if online.unwrap_or(true) {
            for (key, index) in [("uptime", 0), ("cpu", 5), ("mem", 8), ("disk", 12)] {
                put(key, number(fields, index));
            }
            put("status", json!("online"));
        }
        put("level", json!(fields.get(1).map_or("", String::as_str)));
        for (key, index) in [("maxcpu", 4), ("maxmem", 7), ("maxdisk", 11)] {
            put(key, number(fields, index));
        }
    }
    if online == Some(false) {
        put("status", json!("offline"));
    }
    entry
}

fn storage_entry(rrd: &RoundRobin, node: &str) -> Value {
    let mut entry = json!({
        "content": LOCAL_CONTENT, "id": format!("storage/{node}/local"), "node": node, "plugintype": "dir",
        "shared": 0, "status": "unknown", "storage": "local", "type": "storage",
    });
    if let Some(fields) = rrd.storage(node, "local") {
        entry["maxdisk"] = number(fields, 1);
        entry["disk"] = number(fields, 2);
        entry["status"] = json!("available");
    }
    entry
}

/// `/nodes`.
pub(crate) fn nodes(session: &Session) -> Value {
    let rrd = RoundRobin::read(session);
    node_names(session)
        .iter()
        .map(|node| Value::Object(node_entry(session, &rrd, node)))
        .collect()
}

/// `/cluster/status`.
pub(crate) fn cluster_status(session: &Session) -> Value {
    let (members, cluster) = members(session);
    let own = session.node();
    if members.is_empty() {
        return json!([{
            "id": format!("node/{own}"), "ip": own_address(session), "level": "", "local": 1, "name": own, "nodeid": 0,
            "online": 1, "type": "node",
        }]);
    }
    let rrd = RoundRobin::read(session);
    let mut entries = Vec::new();
    if let Some(cluster) = cluster {
        let mut entry = json!({ "type": "cluster", "id": "cluster" });
        for key in ["name", "nodes", "quorate", "version"] {
            entry[key] = cluster[key].clone();
        }
        entries.push(entry);
    }
    for index in session.perl_order(0..members.len()) {
        let (name, member) = &members[index];
        let level = rrd
            .node(name)
            .and_then(|fields| fields.get(1).cloned())
            .unwrap_or_default();
        let mut entry = json!({
            "id": format!("node/{name}"), "level": level, "local": u8::from(name == own), "name": name,
            "nodeid": member["id"], "online": member["online"], "type": "node",
        });
        if let Some(address) = member.get("ip") {
            entry["ip"] = address.clone();
        }
        entries.push(entry);
    }
    Value::Array(entries)
}

/// A node without a cluster finds its own address by its name.
fn own_address(session: &Session) -> String {
    let hosts = session.read("etc/hosts").unwrap_or_default();
    let address = hosts.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?;
        words
            .any(|name| name == session.node())
            .then(|| address.to_owned())
    });
    address.unwrap_or_else(|| "127.0.1.1".to_owned())
}
