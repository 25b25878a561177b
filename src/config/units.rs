//! How the admin's file writes a value: sizes, durations, percents, cores, names. One form each, both ways.
//!
//! Knows text and the domain's types. Knows nothing of keys, files or lines.

use std::time::Duration;

use jiff::SignedDuration;
use jiff::fmt::friendly::{Designator, Spacing, SpanPrinter};

mod most;

pub(super) use most::{Cap, Pace, Times};

use super::form::ValueForm;
use crate::domain::{Cores, Mib, Percent, VmId};

/// A value that stands as one scalar in the file.
pub(super) trait Scalar: Sized {
    /// What is right here, with an example: `a size such as 4GiB`.
    fn expected() -> String;

    /// What it looks like, for editors. `read` is what counts; this may let more pass, never less of what is usual.
    fn form() -> ValueForm {
        ValueForm::Text
    }

    /// Reads the value.
    ///
    /// # Errors
    /// The text has another form; the error is what to write instead, where that can be guessed.
    fn read(text: &str) -> Result<Self, Option<String>>;

    /// The value as the file would write it.
    fn show(&self) -> String;
}

/// A value out of a fixed set of words.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// The words and what they mean, in the order in which they are shown.
    const WORDS: &'static [(&'static str, Self)];
}

impl<T: Choice> Scalar for T {
    fn expected() -> String {
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| *word).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => words.concat(),
        }
    }

    fn form() -> ValueForm {
        ValueForm::Words(T::WORDS.iter().map(|(word, _)| *word).collect())
    }

    fn read(text: &str) -> Result<Self, Option<String>> {
        let find = |wanted: &str| T::WORDS.iter().find(|(word, _)| *word == wanted);
        find(text).map(|(_, value)| *value).ok_or_else(|| {
            let words = T::WORDS.iter().map(|(word, _)| *word);
            nearest(&text.to_lowercase(), words).map(|word| format!("did you mean {word}?"))
        })
    }

    fn show(&self) -> String {
        let word = T::WORDS.iter().find(|(_, value)| value == self);
        word.map_or_else(String::new, |(word, _)| (*word).to_owned())
    }
}

impl Scalar for Mib {
    fn expected() -> String {
        "a size such as 4GiB or 512MiB".to_owned()
    }

    fn form() -> ValueForm {
        ValueForm::Pattern(r"^[0-9]+(\.[0-9]+)? ?[KkMmGgTt][Ii][Bb]$")
    }

    /// `512MiB`, `4GiB`, `1.5GiB`, `1TiB`: whole mebibytes. A bare number is refused, and so is `GB`, since people
    /// disagree on what it means.
    fn read(text: &str) -> Result<Self, Option<String>> {
        let (number, unit) = split_unit(text).ok_or(None)?;
        let write = |unit: &str| Err(Some(format!("write {number}{unit}")));
        let factor = match unit.to_ascii_lowercase().as_str() {
            "kib" => 1.0 / 1024.0,
            "mib" => 1.0,
            "gib" => 1024.0,
            "tib" => 1024.0 * 1024.0,
            // Nobody gives a VM 64 MiB or means 65 GiB and more by a bare number.
            "" if number < 64.0 => return write("GiB"),
            "" | "m" | "mb" => return write("MiB"),
            "g" | "gb" => return write("GiB"),
            "t" | "tb" => return write("TiB"),
            _ => return Err(None),
        };
        let mib = number * factor;
        if mib.fract() == 0.0 {
            Ok(Self::from_f64(mib))
        } else {
            Err(Some(format!(
                "sizes are whole mebibytes: write {}MiB",
                mib.ceil()
            )))
        }
    }

    fn show(&self) -> String {
        match self.0 {
            0 => "0MiB".to_owned(),
            mib if mib % (1024 * 1024) == 0 => format!("{}TiB", mib / (1024 * 1024)),
            mib if mib % 1024 == 0 => format!("{}GiB", mib / 1024),
            mib => format!("{mib}MiB"),
        }
    }
}

impl Scalar for Duration {
    fn expected() -> String {
        "a duration such as 5s, 5m or 1h30m".to_owned()
    }

    fn form() -> ValueForm {
        ValueForm::Pattern(r"^[0-9].*[a-z]$")
    }

    /// What jiff calls a friendly duration, without calendar units and sign: `500ms`, `5s`, `1h30m`, `1h 30m`.
    fn read(text: &str) -> Result<Self, Option<String>> {
        let hint = || match split_unit(text) {
            Some((number, "")) => Some(format!("write {number}s or {number}m")),
            Some((days, "d" | "day" | "days")) if days < 10_000.0 => {
                Some(format!("write {}h", days * 24.0))
            }
            _ => None,
        };
        if !text.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(hint());
        }
        let parsed: SignedDuration = text.parse().map_err(|_| hint())?;
        Self::try_from(parsed).map_err(|_| None)
    }

    fn show(&self) -> String {
        const PRINTER: SpanPrinter = SpanPrinter::new()
            .spacing(Spacing::None)
            .designator(Designator::Compact);
        PRINTER.unsigned_duration_to_string(self)
    }
}

impl Scalar for Percent {
    fn expected() -> String {
        "a percentage such as 80%".to_owned()
    }

    fn form() -> ValueForm {
        ValueForm::Pattern(r"^[0-9]+(\.[0-9]+)? ?%$")
    }

    /// `80%`, `92.5%`; 0 to 100.
    fn read(text: &str) -> Result<Self, Option<String>> {
        text.parse().map_err(|_| match split_unit(text) {
            Some((share, "")) if share.fract() != 0.0 && share < 1.0 => {
                Some(format!("write {}%", (share * 10_000.0).round() / 100.0))
            }
            Some((percent, "")) if percent <= 100.0 => Some(format!("write {percent}%")),
            _ => None,
        })
    }

    fn show(&self) -> String {
        format!("{}%", (self.fraction() * 10_000.0).round() / 100.0)
    }
}

impl Scalar for Cores {
    fn expected() -> String {
        "a number of cores such as 4 or 0.5".to_owned()
    }

    fn form() -> ValueForm {
        ValueForm::Number
    }

    /// `4`, `0.5`; at most three decimals.
    fn read(text: &str) -> Result<Self, Option<String>> {
        let (number, unit) = split_unit(text).ok_or(None)?;
        let cores = match unit.to_ascii_lowercase().as_str() {
            "" => number,
            "core" | "cores" | "c" | "cpu" | "cpus" | "vcpu" | "vcpus" => {
                return Err(Some(format!("write {number}")));
            }
            "%" => return Err(Some(format!("write {}", number / 100.0))),
            _ => return Err(None),
        };
        let milli = cores * 1000.0;
        // 64.108 × 1000 is not quite whole in binary.
        if (milli - milli.round()).abs() < 1e-6 && milli <= f64::from(u32::MAX) {
            Ok(Self::from_f64(cores))
        } else {
            Err(None)
        }
    }

    fn show(&self) -> String {
        self.as_f64().to_string()
    }
}

impl Scalar for u32 {
    fn expected() -> String {
        "a whole number".to_owned()
    }

    fn form() -> ValueForm {
        ValueForm::Number
    }

    fn read(text: &str) -> Result<Self, Option<String>> {
        if text.bytes().all(|b| b.is_ascii_digit()) {
            text.parse().map_err(|_| None)
        } else {
            Err(None)
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Scalar for VmId {
    fn expected() -> String {
        "a VMID, 100 to 999999999".to_owned()
    }

    fn form() -> ValueForm {
        ValueForm::Number
    }

    fn read(text: &str) -> Result<Self, Option<String>> {
        text.parse().map_err(|_| None)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A tag that opts a VM in. Kept in lower case, as PVE compares tags.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag(pub(super) String);

impl Scalar for Tag {
    fn expected() -> String {
        "a tag such as autoscale: letters, digits and _ - + ., not beginning with - + .".to_owned()
    }

    fn form() -> ValueForm {
        ValueForm::Pattern(r"^[A-Za-z0-9_][A-Za-z0-9_+.-]*$")
    }

    /// PVE's own form: `[a-z0-9_][a-z0-9_\-\+\.]*`, in any case (`pve-common: JSONSchema.pm: PVE_TAG_RE`).
    fn read(text: &str) -> Result<Self, Option<String>> {
        let tag = text.to_ascii_lowercase();
        let first = tag.bytes().next().ok_or(None)?;
        if tag.bytes().all(is_tag_byte) && !matches!(first, b'-' | b'+' | b'.') {
            Ok(Self(tag))
        } else {
            Err(None)
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// The name of a profile: what can follow `autoscale-` in a tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProfileName(pub(super) String);

impl Scalar for ProfileName {
    fn expected() -> String {
        "a name in lower case that fits in a tag: letters, digits and _ - + .".to_owned()
    }

    fn form() -> ValueForm {
        ValueForm::Pattern(r"^[a-z0-9_+.-]+$")
    }

    fn read(text: &str) -> Result<Self, Option<String>> {
        if !text.is_empty() && text.bytes().all(is_tag_byte) {
            return Ok(Self(text.to_owned()));
        }
        let lower = text.to_ascii_lowercase().replace(' ', "-");
        let fits = !lower.is_empty() && lower.bytes().all(is_tag_byte);
        Err(fits.then(|| format!("write {lower}")))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

fn is_tag_byte(b: u8) -> bool {
    matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'+' | b'.')
}

/// A plain decimal number below a trillion and what follows it, spaces between them dropped.
fn split_unit(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number = number.parse().ok().filter(|number| *number < 1e12)?;
    Some((number, unit.trim()))
}

/// No word of the schema is longer than half of this.
const WORD_MAX: usize = 40;

/// The word that was probably meant: at most every third letter differs.
pub(super) fn nearest<'w>(text: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    if text.len() > WORD_MAX {
        return None;
    }
    let far = (text.chars().count() / 3).max(1);
    words
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(text, word), word))
        .filter(|(distance, _)| *distance <= far)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests;
