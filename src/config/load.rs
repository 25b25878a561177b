//! Loading the file: from the disk to settings, or to everything that is wrong with it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::Utf8Error;

use super::fault::{Fault, Invalid, LoadError, Place, Scope, Source};
use super::merge;
use super::parse;
use super::provenance::Provenance;
use super::report::Report;
use super::resolve;
use super::section::Section;
use super::settings::Settings;

/// A larger file is refused: a thousand VMs with a section each need a tenth of it.
pub(super) const SIZE_MAX: u64 = 1 << 20;

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says, every default filled in.
    pub settings: Settings,
    /// What is valid but probably not meant so, in the order of the lines.
    pub warnings: Vec<Fault>,
    /// Where each value came from.
    pub provenance: Provenance,
    /// What the file says, for showing the lines of the warnings.
    pub source: Source,
}

/// Reads the file `path`.
///
/// # Errors
/// It is missing, too large, no plain file, not readable, or has faults: then all of them.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    read(&contents(path)?, path)
}

/// The content of the file `path`, up to the size that a configuration can have.
///
/// # Errors
/// It is missing, too large, no plain file, or not readable.
pub fn contents(path: &Path) -> Result<Vec<u8>, LoadError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => LoadError::Missing(path.to_owned()),
        _ => LoadError::Unreadable {
            file: path.to_owned(),
            source,
        },
    };
    let unfit = |why: &str| LoadError::Unfit {
        file: path.to_owned(),
        why: why.to_owned(),
    };
    // Asked before it is opened, since opening a pipe waits for its writer.
    let what = std::fs::metadata(path).map_err(unreadable)?;
    if !what.is_file() {
        return Err(unfit("is not a plain file"));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(SIZE_MAX + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(unfit(
            "is larger than 1 MiB, which no configuration needs; is it the right file?",
        ));
    }
    Ok(bytes)
}

/// One file's text, and where it is from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) scope: Scope,
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

/// Reads the content of a file; `path` is its name in messages.
///
/// # Errors
/// [`LoadError::Invalid`] with all faults.
pub fn read(bytes: &[u8], path: &Path) -> Result<Loaded, LoadError> {
    read_over(bytes, path, None)
}

/// The same, over the settings of the cluster: the name of their file, and its text.
///
/// # Errors
/// [`LoadError::Cluster`] with all faults of the cluster's file, if it is wrong by itself; else
/// [`LoadError::Invalid`] with those of both together.
pub fn read_over(
    bytes: &[u8],
    path: &Path,
    cluster: Option<(&Path, &str)>,
) -> Result<Loaded, LoadError> {
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            return Err(LoadError::Invalid(Invalid {
                file: path.to_owned(),
                faults: vec![not_utf8(bytes, error)],
                source_text: Source::textless(path),
            }));
        }
    };
    let own = Text {
        scope: Scope::Node,
        file: path,
        text,
    };
    let Some((file, text)) = cluster else {
        return resolved(&[own]).map_err(LoadError::Invalid);
    };
    let below = Text {
        scope: Scope::Cluster,
        file,
        text,
    };
    resolved(&[below]).map_err(LoadError::Cluster)?;
    resolved(&[own, below]).map_err(LoadError::Invalid)
}

/// The settings that `texts` make, the first one on top.
fn resolved(texts: &[Text<'_>]) -> Result<Loaded, Invalid> {
    let report = Report::default();
    let trees = texts
        .iter()
        .map(|text| parse::tree(text.text, text.scope, &report));
    let root = trees.collect::<Option<Vec<_>>>();
    let root = root.and_then(|trees| trees.into_iter().reduce(merge::over));
    let resolved = root.map(|root| {
        let file = super::file::read(Section::root(&root, &report));
        resolve::settings(file, &report)
    });
    let found = report.finish(texts);
    match resolved {
        Some((settings, provenance)) if found.faults.is_empty() => Ok(Loaded {
            settings,
            warnings: found.warnings,
            provenance,
            source: found.source,
        }),
        _ => Err(Invalid {
            file: texts
                .first()
                .map(|text| text.file.to_owned())
                .unwrap_or_default(),
            faults: found.faults,
            source_text: found.source,
        }),
    }
}

/// The fault at the first byte of `bytes` that is no UTF-8.
pub(super) fn not_utf8(bytes: &[u8], error: Utf8Error) -> Fault {
    let valid = &bytes[..error.valid_up_to()];
    let line_start = valid.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
    let line = valid.iter().filter(|b| **b == b'\n').count() + 1;
    let before = String::from_utf8_lossy(&valid[line_start..]);
    Fault {
        place: Place {
            scope: Scope::Node,
            line,
            column: before.chars().count() + 1,
        },
        path: String::new(),
        message: "not UTF-8 text".to_owned(),
        hint: Some("save the file as UTF-8".to_owned()),
    }
}
