//! A peak of the day, as an admin is told of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::Amount;

/// A time of the day from which on a VM usually needs more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnownPeak {
    /// When, by the node's clock, to five minutes: `09:00`.
    pub at: String,
    /// The days of the week on which it came the last time: `mon tue wed`.
    pub days: String,
    /// What it usually needs.
    pub needs: Amount,
    /// Whether more is given before it. If not, it is only watched: that has not paid lately.
    pub followed: bool,
}

impl fmt::Display for KnownPeak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at,
            days,
            needs,
            followed,
        } = self;
        let what = if *followed {
            "made ready for"
        } else {
            "only watched"
        };
        write!(f, "{needs} from about {at}, {days}: {what}")
    }
}
