//! The form in which what is remembered of a VM goes with it from node to node: small, bounded, and with a version, so
//! that agents of different versions lose no more to each other than what their policies have learned.

use serde_json::{Map, Number, Value};

use super::memory::VmMemory;

/// The version of what policies have learned. Another version is learned anew; the rest of the memory is kept.
const LEARNED_VERSION: u64 = 1;
/// The key of the version.
const VERSION: &str = "learned_version";
/// The most bytes that it takes as JSON: each write goes to the memory and the disk of every node of the cluster.
pub const LEARNED_MAX: usize = 16 * 1024;
/// Amounts keep so many digits; more of them change no decision and only take room.
const DIGITS: i32 = 6;
/// What policies have learned, in the memory of each resource.
const POLICIES: [&str; 2] = ["policy", "parked"];

impl VmMemory {
    /// The memory as it goes with the VM: at most [`LEARNED_MAX`] bytes. Where it would be more, what the policies have
    /// learned stays behind.
    pub fn packed(&self) -> Option<Value> {
        let mut value = serde_json::to_value(self).ok()?;
        value
            .as_object_mut()?
            .insert(VERSION.to_owned(), LEARNED_VERSION.into());
        round(&mut value);
        if value.to_string().len() > LEARNED_MAX {
            forget_policies(&mut value);
        }
        (value.to_string().len() <= LEARNED_MAX).then_some(value)
    }

    /// The memory that [`VmMemory::packed`] of any version has written. `None` if not even what is no policy's can be
    /// understood.
    pub fn unpacked(mut value: Value) -> Option<Self> {
        if value.get(VERSION).and_then(Value::as_u64) != Some(LEARNED_VERSION) {
            forget_policies(&mut value);
        }
        Self::understood(value.clone()).or_else(|| {
            forget_policies(&mut value);
            Self::understood(value)
        })
    }

    fn understood(value: Value) -> Option<Self> {
        serde_json::from_value(value).ok()
    }
}

fn forget_policies(memory: &mut Value) {
    let resources = memory.as_object_mut().into_iter().flat_map(Map::values_mut);
    for resource in resources.filter_map(Value::as_object_mut) {
        for policy in POLICIES {
            if let Some(learned) = resource.get_mut(policy) {
                *learned = Value::Null;
            }
        }
    }
}

/// Rounds every number that is not whole.
fn round(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(rounded) = number.as_f64().filter(|_| number.is_f64()).map(rounded)
                && let Some(new) = Number::from_f64(rounded)
            {
                *number = new;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(round),
        Value::Object(map) => map.values_mut().for_each(round),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let above = value.abs().log10().floor() as i32 + 1;
    // Written with a power of ten above one, so that 0.1 stays 0.1.
    match DIGITS - above {
        down @ 0.. => {
            let power = 10f64.powi(down.min(300));
            (value * power).round() / power
        }
        up => {
            let power = 10f64.powi((-up).min(300));
            (value / power).round() * power
        }
    }
}
