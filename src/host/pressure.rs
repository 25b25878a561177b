//! Pressure stall information: how long tasks waited for a resource. The same format for the node and for a control
//! group. Older kernels have no `full` line for CPU, and PSI can be switched off: unknown then.

use std::path::Path;
use std::time::Duration;

use super::file::{ReadError, read_text};
use crate::domain::Percent;

/// The waiting for one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// Share of the last ten seconds in which at least one task waited.
    pub some: Percent,
    /// Time in which at least one task waited, since the start.
    pub some_total: Duration,
    /// Share of the last ten seconds in which all tasks waited; `None` where the kernel does not tell.
    pub full: Option<Percent>,
}

impl Stall {
    /// Reads a pressure file.
    ///
    /// # Errors
    /// When it cannot be read (PSI may be switched off) or understood.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let text = read_text(path)?;
        Self::parse(&text).ok_or_else(|| ReadError::content(path, "expected a line 'some'"))
    }

    fn parse(text: &str) -> Option<Self> {
        let line = |kind| text.lines().find_map(|line| averages(line, kind));
        let (some, some_total) = line("some ")?;
        Some(Self {
            some,
            some_total,
            full: line("full ").map(|(share, _)| share),
        })
    }
}

/// Reads `some avg10=1.53 avg60=0.87 avg300=0.23 total=123456`: the first average and the total.
fn averages(line: &str, kind: &str) -> Option<(Percent, Duration)> {
    let mut fields = line.strip_prefix(kind)?.split_whitespace();
    let field = |text: &mut std::str::SplitWhitespace<'_>, key: &str| {
        text.find_map(|field| Some(field.strip_prefix(key)?.to_owned()))
    };
    let share: f64 = field(&mut fields, "avg10=")?.parse().ok()?;
    let total: u64 = field(&mut fields, "total=")?.parse().ok()?;
    let share = share
        .is_finite()
        .then(|| Percent::from_fraction(share / 100.0))?;
    Some((share, Duration::from_micros(total)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_are_read() {
        let text = "some avg10=70.77 avg60=56.05 avg300=24.85 total=127826896\n\
                    full avg10=2.50 avg60=0.00 avg300=0.00 total=0\n";
        let stall = Stall::parse(text).unwrap();
        assert_eq!(stall.some, Percent::from_fraction(0.7077));
        assert_eq!(stall.some_total, Duration::from_micros(127_826_896));
        assert_eq!(stall.full, Some(Percent::from_fraction(0.025)));
    }

    #[test]
    fn a_kernel_without_full_leaves_it_unknown() {
        let stall = Stall::parse("some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n").unwrap();
        assert_eq!((stall.some, stall.full), (Percent::whole(0), None));
    }

    #[test]
    fn what_is_no_pressure_file_is_an_error() {
        for bad in [
            "",
            "some",
            "some avg10=x total=1",
            "some avg10=NaN total=1",
            "some total=1",
        ] {
            assert_eq!(Stall::parse(bad), None, "{bad:?}");
        }
    }
}
