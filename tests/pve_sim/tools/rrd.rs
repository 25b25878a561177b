//! `get …/rrddata`: what pvestatd recorded of a VM.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::failure::{Done, EARLY, Failure};
use super::resources::RoundRobin;
use super::session::Session;
use super::store;

/// What `rrddata` can be asked for: the seconds between two points, and how many there are (pve-cluster 9.0.3).
const TIMEFRAMES: [(&str, u64, u64); 5] = [
    ("hour", 60, 60),
    ("day", 60, 1440),
    ("week", 1800, 336),
    ("month", 1800, 1440),
    ("year", 21_600, 1460),
];

/// The last hour, day … as means. Real nodes keep a binary file; this one keeps a JSON object a line, each with its
/// `time`, in the file of the same name, and a time without a line has only its `time`.
pub(super) fn data(session: &Session, vmid: u32, timeframe: Option<String>) -> Done<Value> {
    let refused =
        |why: &str| Failure::parameters(vec![("timeframe".to_owned(), why.to_owned())], EARLY);
    let Some(timeframe) = timeframe else {
        return Err(refused("property is missing and it is not optional"));
    };
    let Some((_, step, count)) = TIMEFRAMES.into_iter().find(|(word, ..)| *word == timeframe)
    else {
        return Err(refused(&format!(
            "value '{timeframe}' does not have a value in the enumeration 'hour, day, week, month, year'"
        )));
    };
    store::load(session, vmid)?;
    let lines = session
        .read(format!("var/lib/rrdcached/db/pve-vm-9.0/{vmid}"))
        .unwrap_or_default();
    let points: Vec<Map<String, Value>> = lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let time = |point: &Map<String, Value>| point.get("time").and_then(Value::as_u64);
    let rrd = RoundRobin::read(session);
    let seen = rrd
        .node(session.node())
        .and_then(|fields| fields.get(2)?.parse::<u64>().ok());
    let newest = points.iter().filter_map(time).max();
    let end = seen.max(newest).unwrap_or(0) / step * step;
    let start = end.saturating_sub((count - 1) * step);
    let mut within: BTreeMap<u64, Vec<&Map<String, Value>>> = BTreeMap::new();
    for point in &points {
        let at = time(point).map(|at| at / step * step);
        within.entry(at.unwrap_or(0)).or_default().push(point);
    }
    let at = |time| means(time, within.get(&time).map_or(&[], Vec::as_slice));
    Ok((0..count).map(|index| at(start + index * step)).collect())
}

/// The mean of each number, where there is one.
fn means(time: u64, points: &[&Map<String, Value>]) -> Value {
    let mut sums: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (name, value) in points.iter().flat_map(|point| point.iter()) {
        if let Some(value) = value.as_f64() {
            let (sum, count) = sums.entry(name).or_default();
            (*sum, *count) = (*sum + value, *count + 1.0);
        }
    }
    let mean = |(name, (sum, count)): (&str, (f64, f64))| (name.to_owned(), json!(sum / count));
    let mut entry: Map<String, Value> = sums.into_iter().map(mean).collect();
    entry.insert("time".to_owned(), json!(time));
    Value::Object(entry)
}
