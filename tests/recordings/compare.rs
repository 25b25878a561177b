//! Holding what the simulated commands did against what the real ones did.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::recording::Recording;
use crate::stage::{Stage, qemu_state};
use crate::support::{Node, Run};

/// The longest that a guest may take to get where the recorded one got.
const GUEST_PATIENCE: Duration = Duration::from_secs(5);

/// Values that the same command must give on another machine too; of all others only the kind of value is compared.
const SAME_EVERYWHERE: &[&str] = &[
    "balloon_min",
    "cpus",
    "lock",
    "managed",
    "maxmem",
    "name",
    "node",
    "qmpstatus",
    "running-machine",
    "running-qemu",
    "serial",
    "shares",
    "status",
    "tags",
    "template",
    "type",
    "vmid",
];

/// Runs the recorded command on a node in the recorded state. Returns the differences.
pub(crate) fn differences(recording: &Recording) -> Vec<String> {
    let stage = Stage::set(recording);
    if let (Some(vmid), Some(expected)) = (recording.vmid(), &recording.qemu_before) {
        let mut before = Vec::new();
        qemu_differences(&mut before, expected, &qemu_state(&stage.node, vmid), false);
        if !before.is_empty() {
            return before;
        }
    }
    let run = run(&stage.node, recording);
    let mut found = output_differences(recording, &run);
    let Some(vmid) = recording.vmid() else {
        return found;
    };
    let path = format!("etc/pve/nodes/vm/qemu-server/{vmid}.conf");
    let config = std::fs::read_to_string(stage.node.path(&path)).ok();
    differ(&mut found, "config after", &recording.config_after, &config);
    if let Some(expected) = &recording.qemu_after {
        let pvestatd_grows = !recording
            .config_after
            .as_ref()
            .is_some_and(|text| text.contains("\nshares: 0\n"));
        let until = Instant::now() + GUEST_PATIENCE;
        loop {
            let state = qemu_state(&stage.node, vmid);
            let mut now = Vec::new();
            qemu_differences(&mut now, expected, &state, pvestatd_grows);
            if now.is_empty() || Instant::now() > until {
                found.append(&mut now);
                break;
            }
        }
    }
    found
}

/// Runs the recorded command line; a recorded digest is replaced by the one of this node's file.
fn run(node: &Node, recording: &Recording) -> Run {
    let mut words: Vec<String> = recording.command[1..].to_vec();
    if recording.name.starts_with("32b-") {
        let asked = node.pvesh([
            "get",
            "/nodes/vm/qemu/101/config",
            "--output-format",
            "json",
        ]);
        *words.last_mut().unwrap() = asked.json()["digest"].as_str().unwrap().to_owned();
    }
    if recording.command[0] == "pvesh" {
        node.pvesh(words)
    } else {
        node.qm(words)
    }
}

/// Exit code, stdout and stderr.
pub(crate) fn output_differences(recording: &Recording, run: &Run) -> Vec<String> {
    let mut found = Vec::new();
    differ(&mut found, "exit code", &Some(recording.code), &run.code);
    differ(
        &mut found,
        "stderr",
        &normal(&recording.stderr),
        &normal(&run.stderr),
    );
    match (
        serde_json::from_str::<Value>(&recording.stdout),
        serde_json::from_str::<Value>(&run.stdout),
    ) {
        (Ok(expected), Ok(actual)) => {
            differ(&mut found, "stdout", &shape(&expected), &shape(&actual))
        }
        _ => differ(
            &mut found,
            "stdout",
            &normal(&recording.stdout),
            &normal(&run.stdout),
        ),
    }
    found
}

/// Notes a difference.
pub(crate) fn differ<T: PartialEq + std::fmt::Debug>(
    found: &mut Vec<String>,
    what: &str,
    expected: &T,
    actual: &T,
) {
    if expected != actual {
        found.push(format!(
            "{what}:\n    recorded  {expected:?}\n    simulated {actual:?}"
        ));
    }
}

/// Process ids, task ids and the abridged `args` line are other ones on another machine.
pub(crate) fn normal(text: &str) -> String {
    let line = |line: &str| {
        let line = match line.split_once(".conf.tmp.") {
            Some((before, after)) => {
                format!(
                    "{before}.conf.tmp.PID{}",
                    after.trim_start_matches(|c: char| c.is_ascii_digit())
                )
            }
            None => line.to_owned(),
        };
        if let Some(task) = line.strip_prefix("\"UPID:") {
            let fields: Vec<&str> = task.split(':').collect();
            return format!(
                "UPID {} fields {} {} {}",
                fields.len(),
                fields[0],
                fields[4..].join(":"),
                numbers(&fields[1..4])
            );
        }
        if line.starts_with("cur args: ") {
            return "cur args: ABRIDGED".to_owned();
        }
        // A row of `qm list` ends with the process id.
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [vmid, _, status, _, "0.00", pid] if vmid.parse::<u32>().is_ok() => {
                let known = if *pid == "0" { "0" } else { "PID" };
                format!("{} {status} {known} {} wide", &line[..32], line.len())
            }
            _ => line,
        }
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

fn numbers(fields: &[&str]) -> &'static str {
    let hexadecimal = fields
        .iter()
        .all(|field| field.len() == 8 && u64::from_str_radix(field, 16).is_ok());
    if hexadecimal {
        "with 8 digits each"
    } else {
        "malformed"
    }
}

/// The kind of each value, and the value where it must be the same everywhere. Lists of VMs are sorted.
pub(crate) fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let of_node = fields.get("type") == Some(&json!("node"));
            let shaped = fields.iter().map(|(key, value)| {
                // The memory of the node is the machine's, that of a VM is its config's.
                let same = SAME_EVERYWHERE.contains(&key.as_str()) && !(of_node && key == "maxmem");
                (key.clone(), if same { value.clone() } else { shape(value) })
            });
            Value::Object(shaped.collect::<Map<_, _>>())
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items
                .iter()
                .map(|item| json!([item["vmid"], item["key"], item["id"], shape(item)]))
                .collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        Value::Bool(_) => json!("boolean"),
        Value::Null => json!("null"),
    }
}

/// vCPUs, memory modules, memory and balloon. What the guest itself told (statistics) is not compared, and pvestatd,
/// which ran beside the recording, may have let the balloon grow on.
fn qemu_differences(
    found: &mut Vec<String>,
    expected: &Value,
    actual: &Value,
    pvestatd_grows: bool,
) {
    for part in [
        "query-cpus-fast",
        "query-hotpluggable-cpus",
        "query-memory-devices",
        "query-memory-size-summary",
    ] {
        differ(found, part, &expected[part], &actual[part]);
    }
    let (expected, actual) = (&expected["query-balloon"], &actual["query-balloon"]);
    differ(
        found,
        "balloon error",
        &expected.get("error"),
        &actual.get("error"),
    );
    differ(
        found,
        "balloon's maximum",
        &expected["max_mem"],
        &actual["max_mem"],
    );
    let (wanted, had) = (expected["actual"].as_u64(), actual["actual"].as_u64());
    if wanted != had && !(pvestatd_grows && wanted > had) {
        differ(found, "balloon", &wanted, &had);
    }
}
