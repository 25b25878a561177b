//! How the extreme needs of a time are stored: small, as they go with a VM from node to node.

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::domain::Moment;

/// Needs in MiB, and when they were, oldest first.
pub(super) type Extremes = VecDeque<(Moment, f64)>;

/// In this unit, in MiB, needs are whole numbers.
pub(super) const UNIT_MIB: f64 = 64.0;

/// Seconds and needs in turn, each as the difference from the one before; the first seconds are since 1970.
pub(super) fn serialize<S: Serializer>(list: &Extremes, to: S) -> Result<S::Ok, S::Error> {
    let (mut at, mut need) = (0, 0);
    let mut differences = Vec::with_capacity(2 * list.len());
    for (moment, mib) in list {
        // What is larger than any number of units is the largest one.
        let (second, units) = (moment.as_millis() / 1000, (mib / UNIT_MIB).round() as i64);
        differences.extend([second - at, units.saturating_sub(need)]);
        (at, need) = (second, units);
    }
    differences.serialize(to)
}

/// Reads what [`serialize`] has written. From what is not understood on, nothing was seen: an extreme more or less is no
/// reason to lose all else.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Extremes, D::Error> {
    let list = Vec::<Value>::deserialize(from)?;
    let differences: Vec<i64> = list.iter().map_while(Value::as_i64).collect();
    let (mut at, mut need) = (0_i64, 0_i64);
    let extremes = differences.chunks_exact(2).map(|pair| {
        at = at.saturating_add(pair[0]);
        need = need.saturating_add(pair[1]);
        let moment = Moment::from_millis(at.saturating_mul(1000));
        (moment, need as f64 * UNIT_MIB)
    });
    Ok(extremes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Stored(#[serde(with = "super")] Extremes);

    #[test]
    fn what_is_stored_is_read_again_and_is_small() {
        let at = |minute: i64| Moment::from_millis(1_800_000_000_000 + minute * 60_000);
        let stored = Stored(
            (0..1024)
                .map(|n| (at(n), 65_536.0 - 64.0 * n as f64))
                .collect(),
        );
        let text = serde_json::to_string(&stored).unwrap();
        assert!(text.len() < 1024 * 7, "{} bytes", text.len());
        assert_eq!(serde_json::from_str::<Stored>(&text).unwrap(), stored);
    }

    #[test]
    fn what_is_not_understood_was_not_seen() {
        for (text, count) in [
            (r#"[["2026-11-01T00:00:00Z", 64.0]]"#, 0),
            ("[1800000000, 16, 60]", 1),
            ("[1800000000, 16, 60, -1, null]", 2),
            ("[9223372036854775807, 1, 9223372036854775807, 1]", 2),
            ("[]", 0),
        ] {
            let stored: Stored = serde_json::from_str(text).unwrap();
            assert_eq!(stored.0.len(), count, "{text}");
        }
    }
}
