//! Reading one mapping of the file, key by key. The keys asked for are the keys known: there is no second list.
//!
//! ```text
//! let max = section.ranged("max", Mib(16)..=Mib::gib(4096));   // Option<Written<Mib>>
//! let method = section.value::<MemoryMethod>("method");
//! let tags = section.list::<Tag>("tags");                      // Option<WrittenList<Tag>>
//! let cooldown = section.section("cooldown");                  // empty if the file has none
//! for (name, profile) in section.entries::<ProfileName>("profiles", "NAME") { … }
//! section.finish();                                            // whatever nobody asked for is a fault
//! ```
//!
//! A fault never stops the reading: the key then counts as not written, and the next one is read. A section or list
//! with nothing behind its colon is empty, since people comment out all children of a key.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::fault::{Fault, Place, Source};
use super::parse::{Entry, Node, Value};
use super::units::{Scalar, nearest};
use crate::domain::sanitize;

/// The longest piece of the file that a message quotes.
const QUOTE: usize = 60;

/// A value that stands in the file, and where.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) place: Place,
    pub(super) path: String,
}

/// A list that stands in the file, and where each item does.
pub(super) type WrittenList<T> = Written<Vec<Written<T>>>;

/// What was found while reading a file.
#[derive(Default)]
pub(super) struct Report {
    faults: RefCell<Vec<Fault>>,
    warnings: RefCell<Vec<Fault>>,
    unknown: RefCell<Vec<Unknown>>,
    keys: RefCell<BTreeMap<String, String>>,
    hidden: RefCell<Vec<RangeInclusive<usize>>>,
    broken: RefCell<Option<usize>>,
}

/// A key that nobody asked for. Its hint waits until all known keys are known.
struct Unknown {
    place: Place,
    path: String,
    /// The section's path with placeholders.
    pattern: String,
    key: String,
    siblings: Vec<&'static str>,
    secret: bool,
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
        self.faults.borrow_mut().push(Fault {
            place,
            path: path.to_owned(),
            message: message.to_owned(),
            hint,
        });
    }

    /// Whether a fault was found at `key` of the section whose path and dot are `owner`.
    pub(super) fn is_at_fault(&self, owner: &str, key: &str) -> bool {
        let faults = self.faults.borrow();
        let mut paths = faults.iter().map(|fault| fault.path.strip_prefix(owner));
        paths.any(|rest| rest == Some(key))
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
        *self.broken.borrow_mut() = Some(place.line);
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

    /// The known keys that were asked for so far, and what each expects.
    pub(super) fn keys(&self) -> BTreeMap<String, String> {
        self.keys.borrow().clone()
    }

    /// Everything that was found, in the order of the lines.
    pub(super) fn finish(self, text: &str) -> Found {
        let mut faults = self.faults.into_inner();
        let unknown = self.unknown.into_inner();
        if !unknown.is_empty() {
            let keys = super::file::known_keys();
            faults.extend(unknown.into_iter().map(|unknown| unknown.explain(&keys)));
        }
        faults.sort_by_key(|fault| fault.place);
        let mut warnings = self.warnings.into_inner();
        warnings.sort_by_key(|fault| fault.place);
        let mut hidden = self.hidden.into_inner();
        // Without a tree it is unknown where a secret section begins and ends.
        if let Some(line) = self.broken.into_inner()
            && text.lines().take(line).any(|line| line.contains("notify"))
        {
            hidden.push(1..=usize::MAX);
        }
        let source = Source::new(text, hidden);
        Found {
            faults,
            warnings,
            source,
        }
    }
}

impl Unknown {
    fn explain(self, keys: &BTreeMap<String, String>) -> Fault {
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
    fn hint(&self, keys: &BTreeMap<String, String>) -> String {
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
            let sections: Vec<_> = below.iter().map(|p| format!("{p:?}")).collect();
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

fn last(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, key)| key)
}

/// One mapping of the file. See the module's first lines.
pub(super) struct Section<'a> {
    entries: &'a [Entry],
    place: Place,
    path: String,
    pattern: String,
    secret: bool,
    report: &'a Report,
    asked: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The file as a whole.
    pub(super) fn root(node: &'a Node, report: &'a Report) -> Self {
        let empty = Self {
            entries: &[],
            place: node.place,
            path: String::new(),
            pattern: String::new(),
            secret: false,
            report,
            asked: Vec::new(),
        };
        empty.filled(Some(node))
    }

    /// From here on down, neither values nor lines are ever shown.
    pub(super) fn secret(mut self) -> Self {
        self.secret = true;
        if let Some(end) = self.entries.iter().map(|entry| entry.value.end).max() {
            let lines = self.place.line..=end;
            self.report.hidden.borrow_mut().push(lines);
        }
        self
    }

    /// The value of `key`, if it is written and right.
    pub(super) fn value<T: Scalar>(&mut self, key: &'static str) -> Option<Written<T>> {
        let node = self.ask(key, T::expected())?;
        self.scalar(node, self.at(key), &T::expected())
    }

    /// The value of `key`, if it is written, right, and within `range`.
    pub(super) fn ranged<T: Scalar + PartialOrd>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<T>,
    ) -> Option<Written<T>> {
        let limits = format!("{} to {}", range.start().show(), range.end().show());
        let expected = format!("{}, {limits}", T::expected());
        let node = self.ask(key, expected.clone())?;
        let written: Written<T> = self.scalar(node, self.at(key), &expected)?;
        if range.contains(&written.value) {
            return Some(written);
        }
        let shown = written.value.show();
        let message = self.got(&format!("expected {limits}"), &shown);
        self.report.fault(node.place, &written.path, &message, None);
        None
    }

    /// The items of the list `key` that are right, if it is written.
    pub(super) fn list<T: Scalar>(&mut self, key: &'static str) -> Option<WrittenList<T>> {
        let expected = format!("a list, each item {}", T::expected());
        let node = self.ask(key, expected)?;
        let path = self.at(key);
        let items = match &node.value {
            Value::Null => &[][..],
            Value::List(items) => items,
            Value::Scalar(text) => {
                let hint = T::read(text).is_ok() && !self.secret;
                let hint = hint.then(|| format!("write [{}]", sanitize(text, QUOTE)));
                self.wrong_kind(node, &path, "a list", hint);
                return None;
            }
            Value::Map(_) => {
                self.wrong_kind(node, &path, "a list", None);
                return None;
            }
        };
        let item = |item| self.scalar(item, path.clone(), &T::expected());
        Some(Written {
            value: items.iter().filter_map(item).collect(),
            place: node.place,
            path: path.clone(),
        })
    }

    /// The section `key`, empty if it is not written.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let node = self.ask(key, "a section".to_owned());
        self.child(key, key, node)
    }

    /// The entries of the section `key`, each a section of its own under a name that is free to choose.
    /// `placeholder` stands for that name in documentation.
    pub(super) fn entries<K: Scalar>(
        &mut self,
        key: &'static str,
        placeholder: &str,
    ) -> Vec<(Written<K>, Section<'a>)> {
        let whole = self.section(key);
        let mut found = Vec::new();
        for entry in whole.entries {
            let name = Node {
                place: entry.place,
                end: entry.place.line,
                value: Value::Scalar(entry.key.clone()),
            };
            let path = whole.path.clone();
            let Some(name) = whole.scalar::<K>(&name, path, &K::expected()) else {
                continue;
            };
            let mut child = whole.child(&name.value.show(), placeholder, Some(&entry.value));
            child.place = entry.place;
            found.push((name, child));
        }
        found
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        let unknown = self
            .entries
            .iter()
            .filter(|entry| !self.asked.contains(&entry.key.as_str()));
        self.report
            .unknown
            .borrow_mut()
            .extend(unknown.map(|entry| Unknown {
                place: entry.place,
                path: self.path.clone(),
                pattern: self.pattern.clone(),
                key: entry.key.clone(),
                siblings: self.asked.clone(),
                secret: self.secret,
            }));
    }

    /// Notes that `key` is known, and finds it.
    fn ask(&mut self, key: &'static str, expected: String) -> Option<&'a Node> {
        self.asked.push(key);
        let pattern = join(&self.pattern, key);
        self.report.keys.borrow_mut().insert(pattern, expected);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(&entry.value)
    }

    fn at(&self, key: &str) -> String {
        join(&self.path, key)
    }

    fn child(&self, key: &str, placeholder: &str, node: Option<&'a Node>) -> Section<'a> {
        let empty = Section {
            entries: &[],
            place: node.map_or(self.place, |node| node.place),
            path: self.at(key),
            pattern: join(&self.pattern, placeholder),
            secret: self.secret,
            report: self.report,
            asked: Vec::new(),
        };
        empty.filled(node)
    }

    fn filled(mut self, node: Option<&'a Node>) -> Self {
        match node.map(|node| (&node.value, node)) {
            None | Some((Value::Null, _)) => {}
            Some((Value::Map(entries), _)) => self.entries = entries,
            Some((_, node)) => {
                let hint = match &node.value {
                    Value::Scalar(text) if text.contains(':') => {
                        Some("put a space behind the colon")
                    }
                    _ => None,
                };
                let hint = hint.map(str::to_owned);
                self.wrong_kind(node, &self.path, "a section with keys and values", hint);
            }
        }
        self
    }

    fn scalar<T: Scalar>(&self, node: &Node, path: String, expected: &str) -> Option<Written<T>> {
        let Value::Scalar(text) = &node.value else {
            let hint = matches!(node.value, Value::Null)
                .then(|| "leave the key out to get its default".to_owned());
            self.wrong_kind(node, &path, expected, hint);
            return None;
        };
        match T::read(text) {
            Ok(value) => Some(Written {
                value,
                place: node.place,
                path,
            }),
            Err(hint) => {
                let message = self.got(&format!("expected {expected}"), text);
                let hint = hint.filter(|_| !self.secret);
                self.report.fault(node.place, &path, &message, hint);
                None
            }
        }
    }

    fn got(&self, expected: &str, text: &str) -> String {
        match self.secret {
            true => expected.to_owned(),
            false => format!("{expected}, got {:?}", sanitize(text, QUOTE)),
        }
    }

    fn wrong_kind(&self, node: &Node, path: &str, expected: &str, hint: Option<String>) {
        let expected = format!("expected {expected}");
        let message = match &node.value {
            Value::Null => format!("{expected}, got nothing"),
            Value::Scalar(text) => self.got(&expected, text),
            Value::List(_) => format!("{expected}, got a list"),
            Value::Map(_) => format!("{expected}, got a section"),
        };
        self.report.fault(node.place, path, &message, hint);
    }
}

fn join(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}
