//! Sizes with their units: cores, mebibytes, percents.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Text that is no quantity of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got {got:?}")]
pub struct QuantityError {
    /// What would have been right, with an example.
    pub expected: &'static str,
    /// What was there.
    pub got: String,
}

/// CPU capacity in cores, kept in thousandths so that equal amounts compare equal. Never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cores(u32);

impl Cores {
    /// No CPU at all.
    pub const ZERO: Self = Self(0);

    /// `n` whole cores.
    pub const fn whole(n: u32) -> Self {
        Self(n.saturating_mul(1000))
    }

    /// `n` thousandths of a core.
    pub const fn milli(n: u32) -> Self {
        Self(n)
    }

    /// The nearest thousandth; what is negative or no number becomes zero.
    pub fn from_f64(cores: f64) -> Self {
        // `as` saturates and turns NaN into 0, which is what is wanted here.
        Self((cores * 1000.0).round() as u32)
    }

    /// In cores.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 1000.0
    }

    /// In thousandths of a core.
    pub fn as_milli(self) -> u32 {
        self.0
    }

    /// Whole cores that hold this much.
    pub fn ceil(self) -> u32 {
        self.0.div_ceil(1000)
    }

    /// Whole cores in this much.
    pub fn floor(self) -> u32 {
        self.0 / 1000
    }

    /// `self - other`, zero at least.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Cores {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Cores {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Cores {
    /// `4`, `0.5`, `3.27`: at most two decimals, no trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.2}", self.as_f64());
        f.pad(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for Cores {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(self.as_f64())
    }
}

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        f64::deserialize(d).map(Self::from_f64)
    }
}

/// Memory in mebibytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Mib(pub u64);

impl Mib {
    /// No memory at all.
    pub const ZERO: Self = Self(0);

    /// `n` gibibytes.
    pub const fn gib(n: u64) -> Self {
        Self(n * 1024)
    }

    /// Whole mebibytes in `bytes`.
    pub fn from_bytes(bytes: u64) -> Self {
        Self(bytes >> 20)
    }

    /// The nearest mebibyte; what is negative or no number becomes zero.
    pub fn from_f64(mib: f64) -> Self {
        Self(mib.round() as u64)
    }

    /// In mebibytes.
    pub fn as_f64(self) -> f64 {
        self.0 as f64
    }

    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0.saturating_mul(1 << 20)
    }

    /// `self - other`, zero at least.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Up to the next multiple of `grain` mebibytes.
    pub fn round_up(self, grain: u64) -> Self {
        Self(self.0.next_multiple_of(grain.max(1)))
    }

    /// Down to a multiple of `grain` mebibytes.
    pub fn round_down(self, grain: u64) -> Self {
        Self(self.0 - self.0 % grain.max(1))
    }
}

impl Add for Mib {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Mib {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Mib {
    /// `16 GiB`, `2.5 GiB`, `768 MiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.0 < 1024 {
            format!("{} MiB", self.0)
        } else {
            let gib = format!("{:.2}", self.as_f64() / 1024.0);
            format!("{} GiB", gib.trim_end_matches('0').trim_end_matches('.'))
        };
        f.pad(&text)
    }
}

/// A share of something, 0 % to 100 %, kept in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Percent(u32);

impl Percent {
    /// `n` percent; more than 100 is 100.
    pub const fn whole(n: u32) -> Self {
        Self(if n > 100 { 10_000 } else { n * 100 })
    }

    /// From a fraction, 1.0 being 100 %. Clamped to 0 % … 100 %; what is no number becomes 0 %.
    pub fn from_fraction(fraction: f64) -> Self {
        Self((fraction.clamp(0.0, 1.0) * 10_000.0).round() as u32)
    }

    /// As a fraction, 1.0 being 100 %.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// This share of `whole`.
    pub fn of(self, whole: f64) -> f64 {
        self.fraction() * whole
    }
}

impl Sub for Percent {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Percent {
    /// `80 %`, `92.5 %`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.1}", f64::from(self.0) / 100.0);
        f.pad(&format!(
            "{} %",
            text.trim_end_matches('0').trim_end_matches('.')
        ))
    }
}

impl FromStr for Percent {
    type Err = QuantityError;
    /// `80%` or `80 %`, 0 to 100.
    fn from_str(s: &str) -> Result<Self, QuantityError> {
        let bad = || QuantityError {
            expected: "a percentage such as 80%",
            got: s.to_owned(),
        };
        let number = s.trim().strip_suffix('%').ok_or_else(bad)?.trim_end();
        let value: f64 = number.parse().map_err(|_| bad())?;
        if (0.0..=100.0).contains(&value) {
            Ok(Self::from_fraction(value / 100.0))
        } else {
            Err(bad())
        }
    }
}

impl Serialize for Percent {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{}%", f64::from(self.0) / 100.0))
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// How many times the whole: 1.0 is once. In hundredths, never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio(u32);

impl Ratio {
    /// So many hundredths of the whole.
    pub const fn hundredths(n: u32) -> Self {
        Self(n)
    }

    /// So many times `whole`.
    pub fn of(self, whole: f64) -> f64 {
        f64::from(self.0) / 100.0 * whole
    }
}

impl fmt::Display for Ratio {
    /// `4`, `1.5`: at most two decimals, no trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.2}", self.of(1.0));
        f.pad(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for Ratio {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(self.of(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_people_write_them() {
        let shown = [
            Cores::whole(4).to_string(),
            Cores::milli(500).to_string(),
            Cores::from_f64(3.2749).to_string(),
            Mib(768).to_string(),
            Mib(2560).to_string(),
            Mib::gib(16).to_string(),
            Percent::whole(80).to_string(),
            Percent::from_fraction(0.925).to_string(),
            Ratio::hundredths(400).to_string(),
            Ratio::hundredths(150).to_string(),
        ];
        assert_eq!(
            shown,
            [
                "4", "0.5", "3.27", "768 MiB", "2.5 GiB", "16 GiB", "80 %", "92.5 %", "4", "1.5"
            ]
        );
    }

    #[test]
    fn nonsense_numbers_never_become_large_ones() {
        assert_eq!(Cores::from_f64(f64::NAN), Cores::ZERO);
        assert_eq!(Cores::from_f64(-3.0), Cores::ZERO);
        assert_eq!(Mib::from_f64(f64::NEG_INFINITY), Mib::ZERO);
        assert_eq!(Percent::from_fraction(f64::NAN).fraction(), 0.0);
        assert_eq!(Percent::whole(300), Percent::whole(100));
    }

    #[test]
    fn a_percentage_needs_its_sign_and_its_range() {
        assert_eq!("80%".parse(), Ok(Percent::whole(80)));
        assert_eq!("2.5 %".parse(), Ok(Percent::from_fraction(0.025)));
        for bad in ["80", "101%", "-1%", "%", "eighty%", "NaN%"] {
            assert!(bad.parse::<Percent>().is_err(), "{bad:?}");
        }
    }
}
