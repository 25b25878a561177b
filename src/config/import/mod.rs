//! The predecessor's file, turned into ours, with a line for each thing that it said.
//!
//! Pure: text in, text and report out. `old` is what the predecessor's values look like, `carry`, `machines` and `channels`
//! know what each of its keys means here, `draft` is the new file while it is made, `report` is what is told. The reader of our own file is
//! the judge: what it would not take is left out and told, so the result always loads.

mod carry;
mod channels;
mod draft;
mod machines;
mod old;
mod report;

use std::path::{Path, PathBuf};

use super::fault::{Invalid, Scope, Source};
use super::load;
use super::parse;
use super::report::Report;
use super::section::Section;
use crate::notify::Secret;

pub use report::{Fate, Line};

/// One of these sections is in every file of the predecessor: it did not start without all of them.
const ITS_SECTIONS: [&str; 4] = [
    "scaling_thresholds",
    "scaling_limits",
    "proxmox_hosts",
    "virtual_machines",
];

/// What the old file does not tell.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which of its `proxmox_hosts` this node is; several for the nodes of one cluster, where a VM can move. Without
    /// any, the host of this node's name, or the only one.
    pub hosts: Vec<String>,
    /// This node's name, if it is known.
    pub node: Option<String>,
    /// Where the files with secrets are going to be: an absolute path.
    pub secrets: PathBuf,
}

/// The result.
#[derive(Debug)]
pub struct Import {
    /// Our file. It loads without a fault.
    pub text: String,
    /// The files that it takes secrets from.
    pub secrets: Vec<SecretFile>,
    /// What became of each thing in the old file, in the order of its lines.
    pub lines: Vec<Line>,
}

/// A secret that gets a file of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// Where the new file expects it.
    pub path: PathBuf,
    /// What is to be in it.
    pub secret: Secret,
}

/// Why nothing could be made of the old file.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is no YAML text.
    #[error(transparent)]
    Unreadable(Invalid),
    /// It is YAML, but none of the predecessor's.
    #[error(
        "{}: is no file of the predecessor: it has none of the sections {}", .0.display(), ITS_SECTIONS.join(", ")
    )]
    NotIts(PathBuf),
    /// Nothing tells which host of the file this node is.
    #[error(
        "the file has the hosts {}, and none has this node's name: say which one this node is with --host NAME, and \
         repeat that for the other nodes of its cluster", .0.join(", ")
    )]
    WhichHost(Vec<String>),
    /// A host that was asked for does not exist.
    #[error("the file has no host {asked:?}; it has: {}", .known.join(", "))]
    NoHost {
        /// The name.
        asked: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The result would be larger than a configuration can be.
    #[error(
        "the result would be larger than 1 MiB, which is no configuration; split the list of virtual machines"
    )]
    TooLarge,
}

/// Makes our file from the predecessor's. `file` is its name in messages.
///
/// # Errors
/// It cannot be read at all, or does not tell which of its hosts this node is.
pub fn import(bytes: &[u8], file: &Path, options: &Options) -> Result<Import, ImportError> {
    let unreadable = |faults| {
        ImportError::Unreadable(Invalid {
            file: file.to_owned(),
            faults,
            source_text: Source::default(),
        })
    };
    let text =
        str::from_utf8(bytes).map_err(|error| unreadable(vec![load::not_utf8(bytes, error)]))?;
    let report = Report::default();
    let texts = [load::Text {
        scope: Scope::Node,
        file,
        text,
    }];
    let Some(tree) = parse::tree(text, Scope::Node, &report) else {
        return Err(unreadable(report.finish(&texts).faults));
    };
    if !ITS_SECTIONS.iter().any(|key| old::has(&tree, key)) {
        return Err(ImportError::NotIts(file.to_owned()));
    }
    let tree = old::normal(tree);
    let (mut draft, mut lines) = carry::carry(Section::root(&tree, &report), options)?;
    lines.extend(report.finish(&texts).faults.into_iter().map(Line::fault));
    let text = draft.settle(file, &mut lines);
    if text.len() as u64 > load::SIZE_MAX {
        return Err(ImportError::TooLarge);
    }
    lines.extend(draft.lines());
    // Stable: what was found in one line stays in the order in which it was carried over.
    lines.sort_by_key(|line| line.line.unwrap_or(usize::MAX));
    Ok(Import {
        text,
        secrets: draft.secrets(),
        lines,
    })
}
