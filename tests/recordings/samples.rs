//! Whole answers of `pvesh` and `qm` on a quiet node: the same fields of the same kinds, and the same values where they
//! do not depend on the machine.

use std::fs;

use serde_json::{Value, json};

use crate::compare::{differ, normal, shape};
use crate::recording::directory;
use crate::stage::{Circumstances, node, wait_for_pvestatd};
use crate::support::scenario::{Command, MonitorState};
use crate::support::{Node, Run, eventually};

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

/// One compared answer.
struct Sample {
    file: &'static str,
    state: State,
    equal: Equal,
    command: &'static str,
}

/// The table in `samples.txt`.
fn samples() -> Vec<Sample> {
    let lines = include_str!("samples.txt").lines();
    lines
        .filter(|line| !line.starts_with('#'))
        .map(Sample::parse)
        .collect()
}

impl Sample {
    fn parse(line: &'static str) -> Self {
        let mut rest = line;
        let mut word = || {
            let (word, after) = rest.split_once(' ').unwrap();
            rest = after.trim_start();
            word
        };
        let (file, state, equal) = (word(), word(), word());
        let state = match state {
            "base" => State::Base,
            "ha" => State::HighAvailability,
            "no-quorum" => State::NoQuorum,
            "other-node" => State::OtherNode,
            "paused" => State::Paused,
            "refusing" => State::Refusing,
            "shares-0" => State::SharesZero,
            config => State::Config(config),
        };
        let equal = match equal {
            "bytes" => Equal::Bytes,
            "fields" => Equal::Fields,
            "points" => Equal::Points,
            "shape" => Equal::Shape,
            "text" => Equal::Text,
            "values" => Equal::Values,
            other => panic!("samples.txt: {other}"),
        };
        Self {
            file,
            state,
            equal,
            command: rest,
        }
    }

    fn run(&self, node: &Node) -> Run {
        let mut words: Vec<&str> = self.command.split(' ').collect();
        if words.remove(0) == "qm" {
            return node.qm(words);
        }
        words.extend(["--output-format", "json"]);
        node.pvesh(words)
    }
}

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
    samples().iter().any(|sample| sample.file == name) || BELONGING.contains(&name)
}

/// How many answers are compared.
pub(crate) fn count() -> usize {
    samples().len()
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
    let mut nodes: Vec<(State, Node)> = Vec::new();
    for sample in samples() {
        if !nodes.iter().any(|(state, _)| *state == sample.state) {
            nodes.clear();
            nodes.push((sample.state, stage(sample.state)));
        }
        let Sample { file, equal, .. } = sample;
        let run = sample.run(&nodes[0].1);
        let code = CODES
            .iter()
            .find(|(name, _)| *name == file)
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
            let (recorded, simulated) =
                (comparable(&recorded, equal), comparable(&run.stdout, equal));
            differ(&mut found, file, &recorded, &simulated);
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn comparable(text: &str, equal: Equal) -> Value {
    match equal {
        Equal::Text => json!(normal(text)),
        Equal::Fields => text.lines().map(shape_of_line).collect(),
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
