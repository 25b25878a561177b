//! Reads a demand trace: one VM a CSV file.
//!
//! ```text
//! # step_s=60 max_cores=16 max_memory_mib=32768
//! time_s,cpu_cores,memory_mib
//! 0,0.988,27346
//! 60,2.370,29309
//! ```
//!
//! Demand is constant until the next line; the last line lasts one step. Knows nothing of policies.

mod preamble;

use std::time::Duration;

use crate::domain::{Cores, Mib, Moment};

use preamble::Preamble;

/// The demand of one VM over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// What the report calls it: the file's name without its ending, or the VM's number.
    pub name: String,
    /// When it begins. Where the file counts seconds from anything but 1970, only their differences mean something.
    pub begin: Moment,
    /// The most cores that the VM can have.
    pub max_cores: Cores,
    /// The most memory that the VM can have, where the trace has memory.
    pub max_memory: Option<Mib>,
    /// Cores wanted.
    pub cpu: Demand,
    /// Mebibytes needed, where the trace has them.
    pub memory: Option<Demand>,
}

/// A wanted amount of one resource, piecewise constant in time.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// Where each piece begins, in milliseconds since the start of the trace; the first is 0.
    starts: Vec<i64>,
    /// Where each ends: at the begin of the next, or earlier where nothing is known in between.
    ends: Vec<i64>,
    /// The wanted amount in each piece, in cores or mebibytes.
    values: Vec<f64>,
}

/// One piece of a [`Demand`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Piece {
    /// Its begin, in milliseconds since the start of the trace.
    pub start: i64,
    /// Its end.
    pub end: i64,
    /// The wanted amount, in cores or mebibytes.
    pub value: f64,
}

impl Demand {
    /// A demand with the amount of each pair from its time (milliseconds) on, the last for `last`.
    ///
    /// `None` if there is nothing in it, if times do not rise, or if an amount is negative or no number.
    pub fn new(points: &[(i64, f64)], last: Duration) -> Option<Self> {
        let origin = points.first()?.0;
        let rising = points.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let sound = points
            .iter()
            .all(|(_, value)| value.is_finite() && *value >= 0.0);
        let last_ms = i64::try_from(last.as_millis()).ok()?;
        if !rising || !sound || last_ms == 0 {
            return None;
        }
        let starts: Vec<i64> = points.iter().map(|(at, _)| at - origin).collect();
        let end = starts.last()? + last_ms;
        Some(Self {
            ends: starts.iter().skip(1).copied().chain([end]).collect(),
            values: points.iter().map(|(_, value)| *value).collect(),
            starts,
        })
    }

    /// The same demand, of which each piece is known for `longest` at most; after that, nothing is known.
    pub fn known_for(mut self, longest: Duration) -> Self {
        let longest = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
        for (start, end) in self.starts.iter().zip(&mut self.ends) {
            *end = (*end).min(start.saturating_add(longest));
        }
        self
    }

    /// How many pieces there are; at least one.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Never: there is at least one piece.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// When the demand ends, in milliseconds since its start.
    pub fn end(&self) -> i64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// How many milliseconds there are between begin and end of which nothing is known.
    pub fn unknown(&self) -> i64 {
        self.end()
            - self
                .pieces()
                .map(|piece| piece.end - piece.start)
                .sum::<i64>()
    }

    /// The piece `index`, if there is one.
    pub fn piece(&self, index: usize) -> Option<Piece> {
        Some(Piece {
            start: *self.starts.get(index)?,
            end: *self.ends.get(index)?,
            value: self.values[index],
        })
    }

    /// All pieces in time order.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        (0..self.len()).filter_map(|index| self.piece(index))
    }

    /// The largest amount.
    pub fn peak(&self) -> f64 {
        self.values.iter().copied().fold(0.0, f64::max)
    }
}

/// Why a trace could not be read. Each message ends the sentence "FILE: …".
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TraceError {
    /// The first line is missing or lacks something.
    #[error("line 1: expected \"# step_s=60 max_cores=16 [max_memory_mib=32768]\", {0}")]
    Preamble(String),
    /// The second line does not name the columns.
    #[error("line 2: expected \"time_s,cpu_cores\" or \"time_s,cpu_cores,memory_mib\", got {0:?}")]
    Header(String),
    /// A line with another number of fields than the header.
    #[error("line {line}: expected {expected} fields, got {got}")]
    Fields {
        /// Where.
        line: usize,
        /// As many as the header names.
        expected: usize,
        /// As many as there are.
        got: usize,
    },
    /// A field that is no number, or a negative one.
    #[error("line {line}: {column} must be a number of 0 or more, got {got:?}")]
    Number {
        /// Where.
        line: usize,
        /// Which column.
        column: &'static str,
        /// What is there.
        got: String,
    },
    /// A time that does not come after the one before.
    #[error("line {line}: time {time} s does not come after {before} s; sort the lines by time")]
    Order {
        /// Where.
        line: usize,
        /// The time there.
        time: f64,
        /// The time before it.
        before: f64,
    },
    /// There are no samples.
    #[error("no samples after the header")]
    Empty,
}

/// A year of seconds a hundred times over: later times are a mistake, and would overflow nothing.
const LATEST_S: f64 = 100.0 * 366.0 * 86_400.0 * 100.0;

const COLUMNS: [&str; 3] = ["time_s", "cpu_cores", "memory_mib"];

impl Trace {
    /// Reads a trace from the text of its file.
    ///
    /// # Errors
    /// If the text is no trace: which line, what was expected, what is there.
    pub fn parse(name: &str, text: &str) -> Result<Self, TraceError> {
        // Some editors begin a file with a mark of its encoding.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.lines().zip(1..).map(|(line, n)| (n, line.trim()));
        let (_, first) = lines
            .next()
            .ok_or_else(|| TraceError::Preamble("the file is empty".to_owned()))?;
        let preamble = Preamble::parse(first)?;
        let (_, header) = lines.next().unwrap_or((2, ""));
        let columns = columns_of(header)?;
        if columns == 3 && preamble.max_memory.is_none() {
            return Err(TraceError::Preamble(
                "max_memory_mib is missing, though the trace has memory".to_owned(),
            ));
        }

        let mut cpu: Vec<(i64, f64)> = Vec::new();
        let mut memory: Vec<(i64, f64)> = Vec::new();
        for (line, text) in lines.filter(|(_, text)| !text.is_empty()) {
            let fields = numbers(line, text, columns)?;
            let at = (fields[0] * 1000.0).round() as i64;
            if let Some((before, _)) = cpu.last()
                && *before >= at
            {
                return Err(TraceError::Order {
                    line,
                    time: fields[0],
                    before: *before as f64 / 1000.0,
                });
            }
            cpu.push((at, fields[1]));
            if columns == 3 {
                memory.push((at, fields[2]));
            }
        }
        let begin = cpu.first().map_or(0, |(at, _)| *at);
        let cpu = Demand::new(&cpu, preamble.step).ok_or(TraceError::Empty)?;
        Ok(Self {
            name: name.to_owned(),
            begin: Moment::from_millis(begin),
            max_cores: preamble.max_cores,
            max_memory: preamble.max_memory.filter(|_| columns == 3),
            cpu,
            memory: Demand::new(&memory, preamble.step),
        })
    }
}

/// How many columns the header names.
fn columns_of(header: &str) -> Result<usize, TraceError> {
    let names: Vec<&str> = header.split(',').map(str::trim).collect();
    match names.len() {
        n @ 2..=3 if names == COLUMNS[..n] => Ok(n),
        _ => Err(TraceError::Header(header.to_owned())),
    }
}

/// The numbers of one line.
fn numbers(line: usize, text: &str, columns: usize) -> Result<Vec<f64>, TraceError> {
    let fields: Vec<&str> = text.split(',').map(str::trim).collect();
    if fields.len() != columns {
        return Err(TraceError::Fields {
            line,
            expected: columns,
            got: fields.len(),
        });
    }
    fields
        .iter()
        .zip(COLUMNS)
        .map(|(field, column)| match field.parse::<f64>() {
            Ok(number) if (0.0..LATEST_S).contains(&number) => Ok(number),
            _ => Err(TraceError::Number {
                line,
                column,
                got: (*field).to_owned(),
            }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# step_s=60 max_cores=16 max_memory_mib=32768\n\
        time_s,cpu_cores,memory_mib\n0,0.988,27346\n60,2.370,29309\n";

    fn fault(text: &str) -> String {
        Trace::parse("web", text).unwrap_err().to_string()
    }

    #[test]
    fn a_trace_is_read_as_it_is_written() {
        let trace = Trace::parse("web", GOOD).unwrap();
        assert_eq!(trace.max_cores, Cores::whole(16));
        assert_eq!(trace.max_memory, Some(Mib(32768)));
        let pieces: Vec<_> = trace
            .cpu
            .pieces()
            .map(|p| (p.start, p.end, p.value))
            .collect();
        assert_eq!(pieces, [(0, 60_000, 0.988), (60_000, 120_000, 2.370)]);
        assert_eq!(trace.memory.unwrap().peak(), 29309.0);
    }

    #[test]
    fn memory_may_be_absent_and_lines_may_end_as_on_windows() {
        let text = "# step_s=300 max_cores=2\r\ntime_s,cpu_cores\r\n0,0.5\r\n\r\n";
        let trace = Trace::parse("web", text).unwrap();
        assert_eq!((trace.max_memory, trace.memory), (None, None));
        assert_eq!(trace.cpu.end(), 300_000);
    }

    #[test]
    fn a_mark_of_the_encoding_at_the_begin_is_passed_over() {
        let marked = format!("\u{feff}{GOOD}");
        assert_eq!(Trace::parse("web", &marked), Trace::parse("web", GOOD));
    }

    #[test]
    fn the_largest_vm_there_can_be_is_taken() {
        let text = "# step_s=60 max_cores=4096 max_memory_mib=4194304\ntime_s,cpu_cores,memory_mib\n0,1,1\n";
        let trace = Trace::parse("web", text).unwrap();
        assert_eq!(trace.max_memory, Some(Mib::gib(4096)));
    }

    #[test]
    fn a_gap_is_filled_with_the_demand_before_it_and_time_starts_at_zero() {
        let text = "# step_s=60 max_cores=2\ntime_s,cpu_cores\n120,1\n600,2\n";
        let trace = Trace::parse("web", text).unwrap();
        let pieces: Vec<_> = trace.cpu.pieces().map(|p| (p.start, p.end)).collect();
        assert_eq!(pieces, [(0, 480_000), (480_000, 540_000)]);
    }

    #[test]
    fn every_fault_names_its_line_and_what_was_expected() {
        let faults = [
            fault(""),
            fault("time_s,cpu_cores\n0,1\n"),
            fault("# max_cores=2\ntime_s,cpu_cores\n0,1\n"),
            fault("# step_s=0 max_cores=2\ntime_s,cpu_cores\n0,1\n"),
            fault("# step_s=60 max_cores=5000\ntime_s,cpu_cores\n0,1\n"),
            fault("# step_s=60 max_cores=2 max_memory_mib=34359738368\ntime_s,cpu_cores\n0,1\n"),
            fault("# step_s=1e12 max_cores=2\ntime_s,cpu_cores\n0,1\n"),
            fault("# step_s=60 max_cores=two\ntime_s,cpu_cores\n0,1\n"),
            fault("# step_s=60 max_cores=2\n0,1\n"),
            fault("# step_s=60 max_cores=2\ntime_s,cpu_cores,memory_mib\n0,1,5\n"),
            fault("# step_s=60 max_cores=2\ntime_s,cpu_cores\n0,1\n60\n"),
            fault("# step_s=60 max_cores=2\ntime_s,cpu_cores\n0,1\n60,x\n"),
            fault("# step_s=60 max_cores=2\ntime_s,cpu_cores\n0,1\n60,-1\n"),
            fault("# step_s=60 max_cores=2\ntime_s,cpu_cores\n0,1\n60,NaN\n"),
            fault("# step_s=60 max_cores=2\ntime_s,cpu_cores\n60,1\n60,1\n"),
            fault("# step_s=60 max_cores=2\ntime_s,cpu_cores\n"),
        ];
        insta::assert_snapshot!(faults.join("\n"), @r##"
        line 1: expected "# step_s=60 max_cores=16 [max_memory_mib=32768]", the file is empty
        line 1: expected "# step_s=60 max_cores=16 [max_memory_mib=32768]", got "time_s,cpu_cores"
        line 1: expected "# step_s=60 max_cores=16 [max_memory_mib=32768]", step_s is missing
        line 1: expected "# step_s=60 max_cores=16 [max_memory_mib=32768]", step_s must be a number above 0, got "0"
        line 1: expected "# step_s=60 max_cores=16 [max_memory_mib=32768]", max_cores must be 4096 or less, as no VM has more, got "5000"
        line 1: expected "# step_s=60 max_cores=16 [max_memory_mib=32768]", max_memory_mib must be 4194304 or less, as no VM has more, got "34359738368"; is it in MiB?
        line 1: expected "# step_s=60 max_cores=16 [max_memory_mib=32768]", step_s must be 316224000000 or less, got "1e12"
        line 1: expected "# step_s=60 max_cores=16 [max_memory_mib=32768]", max_cores must be a number above 0, got "two"
        line 2: expected "time_s,cpu_cores" or "time_s,cpu_cores,memory_mib", got "0,1"
        line 1: expected "# step_s=60 max_cores=16 [max_memory_mib=32768]", max_memory_mib is missing, though the trace has memory
        line 4: expected 2 fields, got 1
        line 4: cpu_cores must be a number of 0 or more, got "x"
        line 4: cpu_cores must be a number of 0 or more, got "-1"
        line 4: cpu_cores must be a number of 0 or more, got "NaN"
        line 4: time 60 s does not come after 60 s; sort the lines by time
        no samples after the header
        "##);
    }
}
