//! Collects what is found while a file is read: faults, warnings, the keys that are known, the lines not to be shown.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::fault::{Fault, Place, Scope, Source, SourceFile, lines};
use super::form::Known;
use super::load::Text;
use super::units::nearest;
use crate::domain::sanitize;

/// The longest piece of the file that a message quotes.
pub(super) const QUOTE: usize = 60;

/// What was found while reading a file.
#[derive(Default)]
pub(super) struct Report {
    faults: RefCell<Vec<Fault>>,
    /// The paths of the faults.
    at_fault: RefCell<BTreeSet<String>>,
    warnings: RefCell<Vec<Fault>>,
    unknown: RefCell<Vec<Unknown>>,
    keys: RefCell<BTreeMap<String, Known>>,
    hidden: RefCell<Vec<(Scope, RangeInclusive<usize>)>>,
    broken: RefCell<Option<Place>>,
}

/// A key that nobody asked for. Its hint waits until all known keys are known.
pub(super) struct Unknown {
    pub(super) place: Place,
    pub(super) path: String,
    /// The section's path with placeholders.
    pub(super) pattern: String,
    pub(super) key: String,
    /// The keys that are known beside it.
    pub(super) siblings: Vec<&'static str>,
    pub(super) secret: bool,
}

/// What a reading ended with.
pub(super) struct Found {
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<Fault>,
    pub(super) source: Source,
}

impl Report {
    /// Something wrong.
    pub(super) fn fault(&self, place: Place, path: &str, message: &str, hint: Option<String>) {
        self.at_fault.borrow_mut().insert(path.to_owned());
        self.faults.borrow_mut().push(Fault {
            place,
            path: path.to_owned(),
            message: message.to_owned(),
            hint,
        });
    }

    /// Whether a fault was found at `path` or below it.
    pub(super) fn has_fault_in(&self, path: &str) -> bool {
        let below = format!("{path}.");
        let at_fault = self.at_fault.borrow();
        at_fault.contains(path) || at_fault.iter().any(|fault| fault.starts_with(&below))
    }

    /// Whether a fault was found at `key` of the section whose path and dot are `owner`.
    pub(super) fn is_at_fault(&self, owner: &str, key: &str) -> bool {
        let path = format!("{owner}{key}");
        self.at_fault.borrow().contains(&path)
    }

    /// Something valid that is probably not meant so.
    pub(super) fn warn(&self, place: Place, path: &str, message: String, hint: Option<String>) {
        self.warnings.borrow_mut().push(Fault {
            place,
            path: path.to_owned(),
            message,
            hint,
        });
    }

    /// The text cannot be read beyond `place`.
    pub(super) fn syntax(&self, place: Place, message: String, hint: Option<&str>) {
        *self.broken.borrow_mut() = Some(place);
        self.fault(place, "", &message, hint.map(str::to_owned));
    }

    /// A key that stands twice in one mapping.
    pub(super) fn duplicate(&self, place: Place, key: &str, first: usize) {
        // A key that no section knows could be anything, also a secret in a wrong place.
        let known = super::file::known_keys();
        let named = known.keys().any(|path| last(path) == key) || key.parse::<u32>().is_ok();
        let message = match named {
            true => format!("duplicate key {key:?}, already on line {first}"),
            false => format!("duplicate key, already on line {first}"),
        };
        self.fault(place, "", &message, None);
    }

    /// A key that is known, and what it expects.
    pub(super) fn known(&self, pattern: String, known: Known) {
        self.keys.borrow_mut().insert(pattern, known);
    }

    /// A key that nobody asked for.
    pub(super) fn unknown(&self, unknown: Unknown) {
        self.unknown.borrow_mut().push(unknown);
    }

    /// Lines that are never shown.
    pub(super) fn hide(&self, scope: Scope, lines: RangeInclusive<usize>) {
        self.hidden.borrow_mut().push((scope, lines));
    }

    /// The known keys that were asked for so far, and what each expects.
    pub(super) fn keys(&self) -> BTreeMap<String, Known> {
        self.keys.borrow().clone()
    }

    /// Everything that was found, in the order of the lines.
    pub(super) fn finish(self, texts: &[Text<'_>]) -> Found {
        let mut faults = self.faults.into_inner();
        let unknown = self.unknown.into_inner();
        if !unknown.is_empty() {
            let keys = super::file::known_keys();
            faults.extend(unknown.into_iter().map(|unknown| unknown.explain(keys)));
        }
        let mut warnings = self.warnings.into_inner();
        for text in texts {
            let all: Vec<&str> = lines(text.text).collect();
            for finding in faults.iter_mut().chain(&mut warnings) {
                if finding.place.scope == text.scope {
                    finding.place = within(&all, finding.place);
                }
            }
        }
        faults.sort_by_key(|fault| fault.place);
        warnings.sort_by_key(|fault| fault.place);
        let hidden = self.hidden.into_inner();
        let broken = self.broken.into_inner();
        let source_file = |text: &Text<'_>| {
            let own = hidden.iter().filter(|(scope, _)| *scope == text.scope);
            let mut hidden: Vec<_> = own.map(|(_, lines)| lines.clone()).collect();
            // Without a tree it is unknown where a secret section begins and ends.
            if let Some(place) = broken
                && place.scope == text.scope
                && lines(text.text)
                    .take(place.line)
                    .any(|line| line.contains("notify"))
            {
                hidden.push(1..=usize::MAX);
            }
            SourceFile {
                scope: text.scope,
                file: text.file.to_owned(),
                text: text.text.to_owned(),
                hidden,
            }
        };
        let source = Source::new(texts.iter().map(source_file).collect());
        Found {
            faults,
            warnings,
            source,
        }
    }
}

impl Unknown {
    fn explain(self, keys: &BTreeMap<String, Known>) -> Fault {
        let message = match self.secret {
            true => "unknown key".to_owned(),
            false => format!("unknown key {:?}", sanitize(&self.key, QUOTE)),
        };
        Fault {
            hint: Some(self.hint(keys)),
            place: self.place,
            path: self.path,
            message,
        }
    }

    /// The key that was meant, the section that it belongs to, or all keys that are known here.
    fn hint(&self, keys: &BTreeMap<String, Known>) -> String {
        let siblings = self.siblings.iter().copied();
        if let Some(meant) = nearest(&self.key, siblings) {
            return format!("did you mean {meant:?}?");
        }
        let prefix = match self.pattern.as_str() {
            "" => String::new(),
            pattern => format!("{pattern}."),
        };
        let parents = || {
            let same = keys.keys().filter(|path| last(path) == self.key);
            same.map(|path| path.rsplit_once('.').map_or("", |(parent, _)| parent))
        };
        let below: Vec<_> = parents().filter_map(|p| p.strip_prefix(&prefix)).collect();
        if !below.is_empty() {
            // Where a key belongs both in a section and far below it, the section is meant.
            let depth = |section: &str| section.matches('.').count();
            let nearest = below.iter().map(|p| depth(p)).min();
            let near = below.iter().filter(|p| Some(depth(p)) == nearest);
            let sections: Vec<_> = near.map(|p| format!("{p:?}")).collect();
            let sections = sections.join(" or ");
            return format!("it belongs under {sections}: check the indentation");
        }
        if let Some(parent) = parents().next() {
            return match parent {
                "" => "it belongs at the top level: check the indentation".to_owned(),
                parent => format!("it belongs under {parent:?}"),
            };
        }
        match self.siblings.is_empty() {
            true => "this section has no keys".to_owned(),
            false => format!("known here: {}", self.siblings.join(", ")),
        }
    }
}

/// What is found at the end of the text belongs to its last line, not to one that would follow.
fn within(lines: &[&str], place: Place) -> Place {
    if place.line <= lines.len().max(1) {
        return place;
    }
    Place {
        scope: place.scope,
        line: lines.len().max(1),
        column: lines.last().map_or(0, |line| line.chars().count()) + 1,
    }
}

fn last(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, key)| key)
}
