//! Whole answers of `pvesh` and `qm` on a quiet node: the same fields of the same kinds, and the same values where they
//! do not depend on the machine.

use std::fs;

use serde_json::{Value, json};

use crate::compare::{differ, normal, shape};
use crate::recording::directory;
use crate::stage::{Circumstances, node, wait_for_pvestatd};
use crate::support::scenario::{Command, MonitorState};
use crate::support::{Node, eventually};

/// The state in which an answer was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `samples-base`.
    Base,
    /// VM 101 with this config file.
    Config(&'static str),
    /// VM 101 grown to 3072 MiB and paused.
    Paused,
    /// VM 101 with `shares: 0`.
    SharesZero,
    /// VM 101's monitor refuses connections.
    Refusing,
    /// VM 201 exists on another node.
    OtherNode,
    /// VM 103 is an HA resource.
    HighAvailability,
    /// The cluster has no quorum.
    NoQuorum,
}

/// What must be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Equal {
    /// Every value but the digest and the abridged `args`.
    Values,
    /// Every value, the digest too: the recorded config file is not abridged.
    Bytes,
    /// Fields and kinds, and values that are the same everywhere.
    Shape,
    /// Fields of indented text, and values that are the same everywhere.
    Fields,
    /// Text.
    Text,
    /// Number of points and the time between them; their values are the machine's history.
    Points,
}

/// File, command, state, comparison.
type Sample = (&'static str, &'static str, State, Equal);

const SAMPLES: &[Sample] = &[
    (
        "07-config-current-with-pending.json",
        "pvesh get /nodes/vm/qemu/101/config --current 1 --output-format json",
        State::Config("07-config-file-with-PENDING.conf"),
        Equal::Values,
    ),
    (
        "07-config-with-pending.json",
        "pvesh get /nodes/vm/qemu/101/config --output-format json",
        State::Config("07-config-file-with-PENDING.conf"),
        Equal::Values,
    ),
    (
        "07-pending.json",
        "pvesh get /nodes/vm/qemu/101/pending --output-format json",
        State::Config("07-config-file-with-PENDING.conf"),
        Equal::Values,
    ),
    (
        "15-pending.json",
        "pvesh get /nodes/vm/qemu/101/pending --output-format json",
        State::Config("15-config-after.conf"),
        Equal::Values,
    ),
    (
        "17-status-current-paused.json",
        "pvesh get /nodes/vm/qemu/101/status/current --output-format json",
        State::Paused,
        Equal::Shape,
    ),
    (
        "30-resources-locked.json",
        "pvesh get /cluster/resources --type vm --output-format json",
        State::Config("30-config-locked.conf"),
        Equal::Shape,
    ),
    (
        "30-status-current-locked.json",
        "pvesh get /nodes/vm/qemu/101/status/current --output-format json",
        State::Config("30-config-locked.conf"),
        Equal::Shape,
    ),
    (
        "40-qmp-socket-dead-resources.json",
        "pvesh get /cluster/resources --type vm --output-format json",
        State::Refusing,
        Equal::Shape,
    ),
    (
        "42-status-shares0.json",
        "pvesh get /nodes/vm/qemu/101/status/current --output-format json",
        State::SharesZero,
        Equal::Shape,
    ),
    (
        "50-resources-with-other-node.json",
        "pvesh get /cluster/resources --type vm --output-format json",
        State::OtherNode,
        Equal::Shape,
    ),
    (
        "52-resources-with-ha.json",
        "pvesh get /cluster/resources --type vm --output-format json",
        State::HighAvailability,
        Equal::Shape,
    ),
    (
        "52-status-ha-managed.json",
        "pvesh get /nodes/vm/qemu/103/status/current --output-format json",
        State::HighAvailability,
        Equal::Shape,
    ),
    (
        "60-noquorum-cluster-status.json",
        "pvesh get /cluster/status --output-format json",
        State::NoQuorum,
        Equal::Shape,
    ),
    (
        "60-noquorum-nodes.json",
        "pvesh get /nodes --output-format json",
        State::NoQuorum,
        Equal::Shape,
    ),
    (
        "samples-base/cluster-resources-vm.json",
        "pvesh get /cluster/resources --type vm --output-format json",
        State::Base,
        Equal::Shape,
    ),
    (
        "samples-base/cluster-resources.json",
        "pvesh get /cluster/resources --output-format json",
        State::Base,
        Equal::Shape,
    ),
    (
        "samples-base/cluster-status.json",
        "pvesh get /cluster/status --output-format json",
        State::Base,
        Equal::Shape,
    ),
    (
        "samples-base/node-status.json",
        "pvesh get /nodes/localhost/status --output-format json",
        State::Base,
        Equal::Shape,
    ),
    (
        "samples-base/nodes-qemu-full.json",
        "pvesh get /nodes/vm/qemu --full 1 --output-format json",
        State::Base,
        Equal::Shape,
    ),
    (
        "samples-base/nodes-qemu.json",
        "pvesh get /nodes/vm/qemu --output-format json",
        State::Base,
        Equal::Shape,
    ),
    (
        "samples-base/nodes.json",
        "pvesh get /nodes --output-format json",
        State::Base,
        Equal::Shape,
    ),
    (
        "samples-base/pvesh-bad-path.stderr",
        "pvesh get /nodes/vm/qemuX --output-format json",
        State::Base,
        Equal::Text,
    ),
    (
        "samples-base/pvesh-missing-node.stderr",
        "pvesh get /nodes/nosuch/qemu --output-format json",
        State::Base,
        Equal::Text,
    ),
    (
        "samples-base/pvesh-missing-vm.stderr",
        "pvesh get /nodes/vm/qemu/999/status/current --output-format json",
        State::Base,
        Equal::Text,
    ),
    (
        "samples-base/qemu-101-config-current.json",
        "pvesh get /nodes/vm/qemu/101/config --current 1 --output-format json",
        State::Base,
        Equal::Values,
    ),
    (
        "samples-base/qemu-101-config.json",
        "pvesh get /nodes/vm/qemu/101/config --output-format json",
        State::Base,
        Equal::Values,
    ),
    (
        "samples-base/qemu-101-pending.json",
        "pvesh get /nodes/vm/qemu/101/pending --output-format json",
        State::Base,
        Equal::Values,
    ),
    (
        "samples-base/qemu-101-status-current.json",
        "pvesh get /nodes/vm/qemu/101/status/current --output-format json",
        State::Base,
        Equal::Shape,
    ),
    (
        "samples-base/qemu-102-config-current.json",
        "pvesh get /nodes/vm/qemu/102/config --current 1 --output-format json",
        State::Base,
        Equal::Values,
    ),
    (
        "samples-base/qemu-102-config.json",
        "pvesh get /nodes/vm/qemu/102/config --output-format json",
        State::Base,
        Equal::Values,
    ),
    (
        "samples-base/qemu-102-pending.json",
        "pvesh get /nodes/vm/qemu/102/pending --output-format json",
        State::Base,
        Equal::Values,
    ),
    (
        "samples-base/qemu-102-status-current.json",
        "pvesh get /nodes/vm/qemu/102/status/current --output-format json",
        State::Base,
        Equal::Shape,
    ),
    (
        "samples-base/qemu-103-config-current.json",
        "pvesh get /nodes/vm/qemu/103/config --current 1 --output-format json",
        State::Base,
        Equal::Bytes,
    ),
    (
        "samples-base/qemu-103-config.json",
        "pvesh get /nodes/vm/qemu/103/config --output-format json",
        State::Base,
        Equal::Bytes,
    ),
    (
        "samples-base/qemu-103-pending.json",
        "pvesh get /nodes/vm/qemu/103/pending --output-format json",
        State::Base,
        Equal::Bytes,
    ),
    (
        "samples-base/qemu-103-status-current.json",
        "pvesh get /nodes/vm/qemu/103/status/current --output-format json",
        State::Base,
        Equal::Shape,
    ),
    (
        "samples-base/qemu-104-config-current.json",
        "pvesh get /nodes/vm/qemu/104/config --current 1 --output-format json",
        State::Base,
        Equal::Bytes,
    ),
    (
        "samples-base/qemu-104-config.json",
        "pvesh get /nodes/vm/qemu/104/config --output-format json",
        State::Base,
        Equal::Bytes,
    ),
    (
        "samples-base/qemu-104-pending.json",
        "pvesh get /nodes/vm/qemu/104/pending --output-format json",
        State::Base,
        Equal::Bytes,
    ),
    (
        "samples-base/qemu-104-status-current.json",
        "pvesh get /nodes/vm/qemu/104/status/current --output-format json",
        State::Base,
        Equal::Shape,
    ),
    (
        "samples-base/qm-config-101.json",
        "qm config 101",
        State::Base,
        Equal::Text,
    ),
    (
        "samples-base/qm-list.json",
        "qm list",
        State::Base,
        Equal::Text,
    ),
    (
        "samples-base/qm-pending-101.json",
        "qm pending 101",
        State::Base,
        Equal::Text,
    ),
    (
        "samples-base/qm-status-101-verbose.json",
        "qm status 101 --verbose",
        State::Base,
        Equal::Fields,
    ),
    (
        "samples-base/rrddata-hour.json",
        "pvesh get /nodes/vm/qemu/101/rrddata --timeframe hour --output-format json",
        State::Base,
        Equal::Points,
    ),
    (
        "samples-base/version.json",
        "pvesh get /version --output-format json",
        State::Base,
        Equal::Values,
    ),
];

/// Exit codes of the failing ones, from `samples-base/timings.txt`; all others succeeded.
const CODES: &[(&str, i32)] = &[
    ("samples-base/pvesh-bad-path.stderr", 1),
    ("samples-base/pvesh-missing-node.stderr", 2),
    ("samples-base/pvesh-missing-vm.stderr", 2),
];

/// Files that are the state in which others were recorded, or what these printed on stdout: nothing.
const BELONGING: &[&str] = &[
    "07-config-file-with-PENDING.conf",
    "15-config-after.conf",
    "30-config-locked.conf",
    "52-ha-resources.cfg",
    "samples-base/101.conf",
    "samples-base/102.conf",
    "samples-base/103.conf",
    "samples-base/104.conf",
    "samples-base/pvesh-bad-path.json",
    "samples-base/pvesh-missing-node.json",
    "samples-base/pvesh-missing-vm.json",
    "samples-base/timings.txt",
];

/// Whether a sample is, or belongs to, this file.
pub(crate) fn covers(name: &str) -> bool {
    SAMPLES.iter().any(|(file, ..)| *file == name) || BELONGING.contains(&name)
}

/// How many answers are compared.
pub(crate) fn count() -> usize {
    SAMPLES.len()
}

fn text_of(file: &str) -> String {
    fs::read_to_string(directory().join(file)).unwrap()
}

fn stage(state: State) -> Node {
    let circumstances = Circumstances {
        other_node: state == State::OtherNode,
        pvestatd: true,
        ..Circumstances::default()
    };
    let node = node(&circumstances, |vms| {
        let web = vms.get_mut(&101).unwrap();
        let config = web.config.as_mut().unwrap();
        match state {
            State::Config(file) => *config = text_of(file),
            State::Paused => *config = config.replace("memory: 2048", "memory: 3072"),
            State::SharesZero => {
                *config = config.replace("serial0: socket", "serial0: socket\nshares: 0")
            }
            _ => {}
        }
    });
    match state {
        State::HighAvailability => {
            node.write("etc/pve/ha/resources.cfg", &text_of("52-ha-resources.cfg"))
        }
        State::NoQuorum => node.control(&Command::Quorum { quorate: false }),
        State::Refusing => node.control(&Command::Monitor {
            vm: 101,
            state: MonitorState::Refuses,
        }),
        _ => {}
    }
    wait_for_pvestatd(&node);
    if state != State::Refusing {
        eventually("the guest has told its memory", || {
            let mut monitor = node.monitor(101);
            monitor.get("query-balloon", json!({}))["total_mem"].is_u64()
        });
    }
    if state == State::Paused {
        node.control(&Command::Pause { vm: 101 });
    }
    node
}

#[test]
fn whole_answers_have_the_recorded_fields_and_values() {
    let mut found = Vec::new();
    let mut states: Vec<State> = Vec::new();
    SAMPLES.iter().for_each(|(_, _, state, _)| {
        if !states.contains(state) {
            states.push(*state);
        }
    });
    for state in states {
        let node = stage(state);
        for (file, command, _, equal) in SAMPLES.iter().filter(|(_, _, other, _)| *other == state) {
            let mut words = command.split(' ');
            let run = if words.next() == Some("qm") {
                node.qm(words)
            } else {
                node.pvesh(words)
            };
            let code = CODES
                .iter()
                .find(|(name, _)| name == file)
                .map_or(0, |(_, code)| *code);
            differ(
                &mut found,
                &format!("{file}, exit code"),
                &Some(code),
                &run.code,
            );
            let recorded = text_of(file);
            if code != 0 {
                differ(&mut found, file, &recorded, &run.stderr);
            } else {
                let [recorded, simulated] =
                    [recorded.as_str(), run.stdout.as_str()].map(|text| comparable(text, *equal));
                differ(&mut found, file, &recorded, &simulated);
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn comparable(text: &str, equal: Equal) -> Value {
    match equal {
        Equal::Text => json!(normal(text)),
        Equal::Fields => text.lines().map(|line| shape_of_line(line)).collect(),
        _ => {
            let data: Value =
                serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
            match equal {
                Equal::Shape => without_certificate(shape(&data)),
                Equal::Points => points(&data),
                Equal::Bytes => sorted(data),
                _ => masked(sorted(data)),
            }
        }
    }
}

fn shape_of_line(line: &str) -> Value {
    let (key, value) = line.split_once(':').unwrap();
    let value = value.trim();
    let typed = value
        .parse::<u64>()
        .map_or_else(|_| json!(value), |number| json!(number));
    let kept = if value.is_empty() { Value::Null } else { typed };
    shape(&json!({ key: kept }))
}

/// A list of options comes in the order of a Perl hash, another one each time.
fn sorted(mut data: Value) -> Value {
    if let Some(items) = data.as_array_mut() {
        items.sort_by_key(|item| item["key"].to_string());
    }
    data
}

/// The recorded config files were abridged in their `args`, so these and the digest differ.
fn masked(mut data: Value) -> Value {
    match &mut data {
        Value::Object(fields) => {
            for key in ["args", "digest"] {
                fields.get_mut(key).map(Value::take);
            }
        }
        Value::Array(items) => {
            for item in items
                .iter_mut()
                .filter(|item| item["key"] == "args" || item["key"] == "digest")
            {
                item["value"].take();
            }
        }
        _ => {}
    }
    data
}

/// The simulated node has no certificate, and its fingerprint is absent, as on a node that lost its own.
fn without_certificate(mut data: Value) -> Value {
    match &mut data {
        Value::Object(fields) => {
            fields.remove("ssl_fingerprint");
            fields
                .values_mut()
                .for_each(|field| *field = without_certificate(field.take()));
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| *item = without_certificate(item.take())),
        _ => {}
    }
    data
}

fn points(data: &Value) -> Value {
    let times: Vec<u64> = data
        .as_array()
        .unwrap()
        .iter()
        .map(|point| point["time"].as_u64().unwrap())
        .collect();
    let steps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    json!([times.len(), steps])
}
