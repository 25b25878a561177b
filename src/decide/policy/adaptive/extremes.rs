//! How the extreme needs of a time are stored: small, as they go with a VM from node to node.

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::domain::Moment;

/// Needs in MiB, and when they were, oldest first.
pub(super) type Extremes = VecDeque<(Moment, f64)>;

/// Pairs of milliseconds, the first since 1970 and each other since the one before, and of the need.
pub(super) fn serialize<S: Serializer>(list: &Extremes, to: S) -> Result<S::Ok, S::Error> {
    let mut before = 0;
    let pairs: Vec<(i64, f64)> = list
        .iter()
        .map(|(at, need)| {
            let since = at.as_millis() - before;
            before = at.as_millis();
            (since, *need)
        })
        .collect();
    pairs.serialize(to)
}

/// Reads what [`serialize`] has written. What is not understood was not seen: an extreme more or less is no reason to lose
/// all else.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Extremes, D::Error> {
    let mut at = 0_i64;
    let list = Vec::<Value>::deserialize(from)?;
    let pairs = list
        .into_iter()
        .map_while(|pair| serde_json::from_value::<(i64, f64)>(pair).ok());
    let extremes = pairs.map(|(since, need)| {
        at = at.saturating_add(since);
        (Moment::from_millis(at), need)
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
            (0..256)
                .map(|n| (at(n), 65_536.0 - 64.0 * n as f64))
                .collect(),
        );
        let text = serde_json::to_string(&stored).unwrap();
        assert!(text.len() < 256 * 20, "{} bytes", text.len());
        assert_eq!(serde_json::from_str::<Stored>(&text).unwrap(), stored);
    }

    #[test]
    fn what_is_not_understood_was_not_seen() {
        for (text, count) in [
            (r#"[["2026-11-01T00:00:00Z", 64.0]]"#, 0),
            ("[[1800000000000, 64.0], [60000]]", 1),
            ("[]", 0),
        ] {
            let stored: Stored = serde_json::from_str(text).unwrap();
            assert_eq!(stored.0.len(), count, "{text}");
        }
    }
}
