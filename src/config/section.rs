//! Reading one mapping of the file, key by key. The keys asked for are the keys known: there is no second list.
//!
//! ```text
//! let max = section.ranged("max", Mib(16)..=Mib::gib(4096));   // Option<Written<Mib>>
//! let method = section.value::<MemoryMethod>("method");
//! let tags = section.list::<Tag>("tags");                      // Option<WrittenList<Tag>>
//! let cooldown = section.section("cooldown");                  // empty if the file has none
//! for (name, profile) in section.entries::<ProfileName>("profiles", "NAME", 64) { … }
//! section.finish();                                            // whatever nobody asked for is a fault
//! ```
//!
//! A fault never stops the reading: the key then counts as not written, and the next one is read. A section or list
//! with nothing behind its colon is empty, since people comment out all children of a key.

use std::ops::RangeInclusive;

use super::fault::{Place, Scope};
use super::form::{Form, Known};
use super::parse::{Entry, Node, Value};
use super::report::{QUOTE, Report, Unknown};
use super::units::Scalar;
use crate::domain::sanitize;

/// A value that stands in the file, and where.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) place: Place,
    pub(super) path: String,
}

/// A list that stands in the file, and where each item does.
pub(super) type WrittenList<T> = Written<Vec<Written<T>>>;

/// What stands behind a key that takes a value or a section.
pub(super) enum Given<'a, T> {
    Value(Written<T>),
    Section(Section<'a>),
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
        for scope in [Scope::Node, Scope::Cluster] {
            let own = |entry: &&Entry| entry.place.scope == scope;
            let entries = || self.entries.iter().filter(own);
            let first = entries().map(|entry| entry.place.line).min();
            let last = entries().map(|entry| entry.value.end).max();
            if let (Some(mut first), Some(last)) = (first, last) {
                if self.place.scope == scope {
                    first = first.min(self.place.line);
                }
                self.report.hide(scope, first..=last);
            }
        }
        self
    }

    /// The value of `key`, if it is written and right.
    pub(super) fn value<T: Scalar>(&mut self, key: &'static str) -> Option<Written<T>> {
        let node = self.ask(key, T::expected(), Form::Value(T::form()))?;
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
        let node = self.ask(key, expected.clone(), Form::Value(T::form()))?;
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
        let node = self.ask(key, expected, Form::List(T::form()))?;
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
        let node = self.ask(key, "a section".to_owned(), Form::Section);
        self.child(key, key, node)
    }

    /// The entries of the section `key`, each a section of its own under a name that is free to choose.
    /// `placeholder` stands for that name in documentation. More than `most` are a fault.
    pub(super) fn entries<K: Scalar>(
        &mut self,
        key: &'static str,
        placeholder: &str,
        most: usize,
    ) -> Vec<(Written<K>, Section<'a>)> {
        self.section(key).each(placeholder, most)
    }

    /// The entries of this section, as [`Self::entries`] gives those of one below it.
    pub(super) fn each<K: Scalar>(
        &self,
        placeholder: &str,
        most: usize,
    ) -> Vec<(Written<K>, Section<'a>)> {
        let mut found = Vec::new();
        for (name, entry) in self.names::<K>(most) {
            let mut child = self.child(&name.value.show(), placeholder, Some(&entry.value));
            child.place = entry.place;
            found.push((name, child));
        }
        found
    }

    /// Where the section begins.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The entries whose name is right. More than `most` are a fault.
    fn names<K: Scalar>(&self, most: usize) -> Vec<(Written<K>, &'a Entry)> {
        if let Some(entry) = self.entries.get(most) {
            let message = format!("more than {most} entries");
            self.report.fault(entry.place, &self.path, &message, None);
        }
        let name = |entry: &'a Entry| {
            let node = Node {
                place: entry.place,
                end: entry.place.line,
                value: Value::Scalar(entry.key.clone()),
            };
            let name = self.scalar::<K>(&node, self.path.clone(), &K::expected())?;
            Some((name, entry))
        };
        self.entries.iter().take(most).filter_map(name).collect()
    }

    /// The value of `key`, or the section there that says where the value is.
    pub(super) fn value_or_section<T: Scalar>(
        &mut self,
        key: &'static str,
    ) -> Option<Given<'a, T>> {
        let node = self.ask(key, T::expected(), Form::Value(T::form()))?;
        self.given(node, key, key)
    }

    /// The entries of the section `key`, each a value or a section under a name that is free to choose.
    pub(super) fn values_or_sections<K: Scalar, T: Scalar>(
        &mut self,
        key: &'static str,
        placeholder: &str,
        most: usize,
    ) -> Vec<(K, Given<'a, T>)> {
        let whole = self.section(key);
        whole
            .names::<K>(most)
            .into_iter()
            .filter_map(|(name, entry)| {
                let given = whole.given(&entry.value, &name.value.show(), placeholder)?;
                Some((name.value, given))
            })
            .collect()
    }

    fn given<T: Scalar>(
        &self,
        node: &'a Node,
        key: &str,
        placeholder: &str,
    ) -> Option<Given<'a, T>> {
        match &node.value {
            Value::Map(_) => Some(Given::Section(self.child(key, placeholder, Some(node)))),
            _ => self
                .scalar(node, self.at(key), &T::expected())
                .map(Given::Value),
        }
    }

    /// Reports a fault of `key`, at its place if it is written, else at the section's. What was found first counts.
    pub(super) fn fault(&self, key: &str, message: &str) {
        if self.report.has_fault_in(&self.at(key)) {
            return;
        }
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let place = entry.map_or(self.place, |entry| entry.value.place);
        self.report.fault(place, &self.at(key), message, None);
    }

    /// Reports a fault of a value that was read already.
    pub(super) fn fault_at(&self, place: Place, path: &str, message: &str) {
        self.report.fault(place, path, message, None);
    }

    /// Whether a fault was found in the section.
    pub(super) fn is_at_fault(&self) -> bool {
        self.report.has_fault_in(&self.path)
    }

    /// Whether the section has no entries.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self) {
        let unknown = |entry: &&Entry| !self.asked.contains(&entry.key.as_str());
        for entry in self.entries.iter().filter(unknown) {
            self.report.unknown(Unknown {
                place: entry.place,
                path: self.path.clone(),
                pattern: self.pattern.clone(),
                key: entry.key.clone(),
                siblings: self.asked.clone(),
                secret: self.secret,
            });
        }
    }

    /// Notes that `key` is known, and finds it.
    fn ask(&mut self, key: &'static str, expects: String, form: Form) -> Option<&'a Node> {
        self.asked.push(key);
        let pattern = join(&self.pattern, key);
        self.report.known(pattern, Known { expects, form });
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
