//! Values that say how much there may be at most, of which there may also be no end.

use super::{Scalar, nearest, split_unit};
use crate::domain::{Percent, Ratio};

/// No end.
const UNLIMITED: &str = "unlimited";

/// How many there may be at most; `None` is no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) struct Cap(pub(in crate::config) Option<u32>);

/// More changes than these are not counted: see `decide::remembered`.
const CAP_MAX: u32 = 96;

impl Scalar for Cap {
    fn expected() -> String {
        format!("a whole number, 2 to {CAP_MAX}, or {UNLIMITED}")
    }

    fn read(text: &str) -> Result<Self, Option<String>> {
        if text == UNLIMITED {
            return Ok(Self(None));
        }
        match u32::read(text) {
            Ok(most @ 2..=CAP_MAX) => Ok(Self(Some(most))),
            Ok(0 | 1) => Err(Some("up and down again are 2".to_owned())),
            Ok(_) => Err(Some(format!("write {UNLIMITED}"))),
            Err(_) => Err(perhaps_unlimited(text)),
        }
    }

    fn show(&self) -> String {
        self.0.map_or(UNLIMITED.to_owned(), |most| most.to_string())
    }
}

/// By how much of itself something may change at most; `None` is no end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::config) struct Pace(pub(in crate::config) Option<Percent>);

impl Scalar for Pace {
    fn expected() -> String {
        format!("a percentage, 1% to 100%, or {UNLIMITED}")
    }

    fn read(text: &str) -> Result<Self, Option<String>> {
        if text == UNLIMITED {
            return Ok(Self(None));
        }
        match Percent::read(text) {
            Ok(share) if share >= Percent::whole(1) => Ok(Self(Some(share))),
            Ok(_) => Err(None),
            Err(hint) => Err(hint.or_else(|| perhaps_unlimited(text))),
        }
    }

    fn show(&self) -> String {
        self.0.map_or(UNLIMITED.to_owned(), |most| most.show())
    }
}

/// How many times the whole may be handed out; `None` is no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) struct Times(pub(in crate::config) Option<Ratio>);

/// More than anybody means: 4 to 10 are usual.
const TIMES_MAX: f64 = 100.0;

impl Scalar for Times {
    fn expected() -> String {
        format!("a ratio, 1 to {TIMES_MAX}, such as 4 or 1.5, or {UNLIMITED}")
    }

    fn read(text: &str) -> Result<Self, Option<String>> {
        if text == UNLIMITED {
            return Ok(Self(None));
        }
        let (number, unit) = split_unit(text).ok_or_else(|| perhaps_unlimited(text))?;
        match unit {
            "" if (1.0..=TIMES_MAX).contains(&number) => {
                // Within the range, it fits.
                let hundredths = (number * 100.0).round() as u32;
                Ok(Self(Some(Ratio::hundredths(hundredths))))
            }
            "" => Err(None),
            "%" => Err(Some(format!("write {}", number / 100.0))),
            ":1" | "x" => Err(Some(format!("write {number}"))),
            _ => Err(perhaps_unlimited(text)),
        }
    }

    fn show(&self) -> String {
        self.0.map_or(UNLIMITED.to_owned(), |most| most.to_string())
    }
}

fn perhaps_unlimited(text: &str) -> Option<String> {
    nearest(text, [UNLIMITED]).map(|word| format!("did you mean {word}?"))
}
