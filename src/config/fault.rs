//! What is wrong with a file: where, what was expected, what to write. All of it at once.
//!
//! Two forms: one line a fault, fit for the journal, and one with the faulty source line for a person at a
//! terminal. Neither ever shows a line or a value of a section that may hold secrets.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::domain::sanitize;

/// More faults than this are counted, not shown.
pub const SHOWN: usize = 50;
/// More characters of a source line than this are not shown.
const LINE_WIDTH: usize = 100;

/// Whose settings a file holds. What the node's own file says goes over what the cluster's says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// This node's own: /etc/vm-autoscale/config.yaml.
    Node,
    /// Those of all nodes: /etc/pve/vm-autoscale/config.yaml.
    Cluster,
}

/// A position in a file. Line and column count from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Which file.
    pub scope: Scope,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One thing that is wrong, or, as a warning, that is probably not meant so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// The key that it is about, from the top: `profiles.default.cpu.max`. Empty for the file as a whole.
    pub path: String,
    /// What is wrong, without any value of a section that may hold secrets.
    pub message: String,
    /// What to write instead, where that is known.
    pub hint: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.place.line, self.place.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// The text of one configuration file, and which of its lines nobody may be shown.
#[derive(Clone)]
pub(super) struct SourceFile {
    pub(super) scope: Scope,
    pub(super) file: PathBuf,
    pub(super) text: String,
    pub(super) hidden: Vec<RangeInclusive<usize>>,
}

/// What the configuration was read from: the node's own file, and the cluster's if there is one.
///
/// Its `Debug` form is empty, since the text can hold secrets.
#[derive(Clone, Default)]
pub struct Source {
    files: Vec<SourceFile>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source(…)")
    }
}

impl Source {
    pub(super) fn new(files: Vec<SourceFile>) -> Self {
        Self { files }
    }

    /// A file of which nothing is shown, since it is no text.
    pub(super) fn textless(file: &Path) -> Self {
        Self::new(vec![SourceFile {
            scope: Scope::Node,
            file: file.to_owned(),
            text: String::new(),
            hidden: Vec::new(),
        }])
    }

    fn of(&self, place: Place) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.scope == place.scope)
    }

    /// The file that `place` is in.
    pub fn file(&self, place: Place) -> Option<&Path> {
        self.of(place).map(|file| file.file.as_path())
    }

    /// The fault with its source line and a caret below the place, for a terminal. Styled with ANSI sequences, which
    /// the writer strips where they are not wanted.
    pub fn render(&self, fault: &Fault, color: AnsiColor) -> String {
        let bold = Style::new().bold();
        let mark = Style::new().bold().fg_color(Some(color.into()));
        let file = self.file(fault.place).unwrap_or(Path::new(""));
        let mut text = format!("{bold}{}:{bold:#}{fault}\n", file.display());
        if let Some((line, indent)) = self.line_at(fault.place) {
            let number = fault.place.line.to_string();
            let gutter = " ".repeat(number.len());
            text += &format!(" {number} | {line}\n {gutter} | {indent}{mark}^{mark:#}\n");
        }
        text
    }

    /// The printable part of the line around `place`, and the blanks up to it.
    fn line_at(&self, place: Place) -> Option<(String, String)> {
        let source = self.of(place)?;
        if source
            .hidden
            .iter()
            .any(|lines| lines.contains(&place.line))
        {
            return None;
        }
        let line = lines(&source.text).nth(place.line.checked_sub(1)?)?;
        let column = place.column.saturating_sub(1);
        let skip = column.saturating_sub(LINE_WIDTH / 2);
        let shown: String = line
            .chars()
            .skip(skip)
            .collect::<String>()
            .replace('\t', " ");
        let shown = sanitize(shown.trim_end(), LINE_WIDTH);
        Some((shown, " ".repeat(column - skip)))
    }
}

/// The lines of a text as YAML counts them: a lone carriage return ends one, too.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let ended = ["\r\n", "\n", "\r"]
        .into_iter()
        .find_map(|end| text.strip_suffix(end));
    let lines = ended.unwrap_or(text).split("\r\n");
    lines.flat_map(|part| part.split(['\n', '\r']))
}

/// A configuration file that cannot be used. Prints one line a fault, safe for the journal.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no such file.
    #[error(
        "{}: no such file. Create it (an empty file is valid and means every default), or name another one",
        .0.display()
    )]
    Missing(PathBuf),
    /// There is such a thing, but it is no file that could hold a configuration.
    #[error("{}: {why}", .file.display())]
    Unfit {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be read.
    #[error("{}: cannot be read: {source}", .file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was read, and is wrong.
    #[error(transparent)]
    Invalid(Invalid),
    /// The cluster's file is wrong by itself.
    #[error(transparent)]
    Cluster(Invalid),
}

impl LoadError {
    /// The faults in it, in the order of their lines; none if the file could not be read at all.
    pub fn faults(&self) -> &[Fault] {
        match self {
            Self::Invalid(invalid) | Self::Cluster(invalid) => &invalid.faults,
            _ => &[],
        }
    }
}

/// A configuration file with faults.
#[derive(Debug, thiserror::Error)]
pub struct Invalid {
    /// Which file: the node's own where both together are wrong.
    pub file: PathBuf,
    /// At least one, in the order of their lines.
    pub faults: Vec<Fault>,
    /// What was read.
    pub source_text: Source,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.faults.iter().take(SHOWN).enumerate() {
            let end = if n == 0 { "" } else { "\n" };
            let file = self.source_text.file(fault.place).unwrap_or(&self.file);
            write!(f, "{end}{}:{fault}", file.display())?;
        }
        match self.faults.len().checked_sub(SHOWN) {
            Some(more @ 1..) => write!(f, "\n{}: and {more} more", self.file.display()),
            _ => Ok(()),
        }
    }
}
