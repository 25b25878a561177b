//! YAML text to a tree in which every node knows its place. The only module that knows the YAML reader.
//!
//! Goes on after a duplicate key, a complex key or a bad merge, so that one look shows all faults; only a syntax
//! error ends it. Scalars stay text: what a value means is for the key to say.

use std::collections::BTreeMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span};

use super::fault::{Place, Scope};
use super::report::Report;

/// Deeper nesting than this is refused: the schema needs six levels.
const MAX_DEPTH: usize = 32;
/// All aliases together may stand for this many nodes: a file of 1 MiB could otherwise grow without end.
const MAX_COPIES: usize = 10_000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) place: Place,
    /// The last line that belongs to it.
    pub(super) end: usize,
    pub(super) value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Text, quoted or not.
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

impl Node {
    fn count(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Scalar(_) => 0,
            Value::List(items) => items.iter().map(Self::count).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.value.count()).sum(),
        }
    }

    fn depth(&self) -> usize {
        let inner = match &self.value {
            Value::Null | Value::Scalar(_) => return 0,
            Value::List(items) => items.iter().map(Self::depth).max(),
            Value::Map(entries) => entries.iter().map(|entry| entry.value.depth()).max(),
        };
        1 + inner.unwrap_or(0)
    }
}

/// The tree of `text`; an empty text is an empty mapping. `None` after a syntax error, which is then in `report`.
pub(super) fn tree(text: &str, scope: Scope, report: &Report) -> Option<Node> {
    let mut builder = Builder {
        report,
        scope,
        open: Vec::new(),
        anchors: BTreeMap::new(),
        copies: 0,
        root: None,
    };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                let (message, hint) = explain(&error);
                report.syntax(place(scope, *error.marker()), message, hint);
                return None;
            }
        }
    }
    Some(builder.root.unwrap_or(Node {
        place: Place {
            scope,
            line: 1,
            column: 1,
        },
        end: 1,
        value: Value::Null,
    }))
}

/// A mapping or list whose end has not come yet.
struct Open {
    place: Place,
    anchor: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// The keys so far, and their lines.
        lines: BTreeMap<String, usize>,
        /// What `<<` brought in; it stands behind the mapping's own keys.
        merged: Vec<Entry>,
        /// A key whose value has not come yet.
        key: Option<Key>,
    },
}

/// A key of a mapping.
enum Key {
    Name(String, Place),
    Merge(Place),
    /// Was reported already; its value is dropped.
    Bad,
}

struct Builder<'a> {
    report: &'a Report,
    scope: Scope,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    copies: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    /// Takes in one event. `None` ends the reading; the fault is in the report.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let at = place(self.scope, span.start);
        if event.tag().is_some_and(|tag| !tag.is_yaml_core_schema()) {
            self.report
                .fault(at, "", "tags such as !name are not used in this file", None);
        }
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                let hint = "remove the line --- and what follows it".to_owned();
                self.report.fault(at, "", "a second document", Some(hint));
                return None;
            }
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                self.scalar(&text, plain, anchor, at, span.end.line());
            }
            Event::SequenceStart(_, anchor, _) => {
                return self.start(at, anchor, Kind::List(Vec::new()));
            }
            Event::MappingStart(_, anchor, _) => {
                let kind = Kind::Map {
                    entries: Vec::new(),
                    lines: BTreeMap::new(),
                    merged: Vec::new(),
                    key: None,
                };
                return self.start(at, anchor, kind);
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span.end.line()),
            Event::Alias(anchor) => return self.alias(anchor, at),
            _ => {}
        }
        Some(())
    }

    fn scalar(&mut self, text: &str, plain: bool, anchor: usize, at: Place, end: usize) {
        if plain && text == "<<" && self.expects_key() {
            self.set_key(Key::Merge(at));
            return;
        }
        let value = match text {
            "" | "~" | "null" | "Null" | "NULL" if plain && !self.expects_key() => Value::Null,
            _ => Value::Scalar(text.to_owned()),
        };
        let node = Node {
            place: at,
            end,
            value,
        };
        self.remember(anchor, &node);
        self.attach(node);
    }

    fn start(&mut self, place: Place, anchor: usize, kind: Kind) -> Option<()> {
        if self.open.len() >= MAX_DEPTH {
            self.report.fault(place, "", "nested too deeply", None);
            return None;
        }
        self.open.push(Open {
            place,
            anchor,
            kind,
        });
        Some(())
    }

    fn end(&mut self, end: usize) {
        let Some(open) = self.open.pop() else { return };
        let value = match open.kind {
            Kind::List(items) => Value::List(items),
            Kind::Map {
                mut entries,
                mut lines,
                merged,
                ..
            } => {
                for entry in merged {
                    if lines.insert(entry.key.clone(), entry.place.line).is_none() {
                        entries.push(entry);
                    }
                }
                Value::Map(entries)
            }
        };
        // A block's end is found at the start of what follows it; its last child knows better.
        let last = match &value {
            Value::List(items) => items.last().map(|item| item.end),
            Value::Map(entries) => entries.iter().map(|entry| entry.value.end).max(),
            Value::Null | Value::Scalar(_) => None,
        };
        let node = Node {
            place: open.place,
            end: end.max(last.unwrap_or(0)),
            value,
        };
        self.remember(open.anchor, &node);
        self.attach(node);
    }

    fn alias(&mut self, anchor: usize, at: Place) -> Option<()> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            self.report
                .fault(at, "", "an alias inside of what it stands for", None);
            return None;
        };
        self.copies += node.count();
        if self.copies > MAX_COPIES || self.open.len() + node.depth() > MAX_DEPTH {
            self.report
                .fault(at, "", "aliases make the file too large", None);
            return None;
        }
        self.attach(node);
        Some(())
    }

    fn remember(&mut self, anchor: usize, node: &Node) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
    }

    fn expects_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                kind: Kind::Map { key: None, .. },
                ..
            })
        )
    }

    fn set_key(&mut self, new: Key) {
        if let Some(Open {
            kind: Kind::Map { key, .. },
            ..
        }) = self.open.last_mut()
        {
            *key = Some(new);
        }
    }

    /// Puts a finished node where it belongs: a list, a key, the value of a key, or the root.
    fn attach(&mut self, node: Node) {
        if self.expects_key() {
            let key = match node.value {
                Value::Scalar(text) => Key::Name(text, node.place),
                _ => {
                    self.report
                        .fault(node.place, "", "expected a plain word as key", None);
                    Key::Bad
                }
            };
            return self.set_key(key);
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(Kind::List(items)) => items.push(node),
            Some(Kind::Map {
                entries,
                lines,
                merged,
                key,
            }) => match key.take() {
                Some(Key::Name(key, place)) => match lines.get(&key) {
                    Some(line) => self.report.duplicate(place, &key, *line),
                    None => {
                        lines.insert(key.clone(), place.line);
                        entries.push(Entry {
                            key,
                            place,
                            value: node,
                        });
                    }
                },
                Some(Key::Merge(place)) => merge(node, place, merged, self.report),
                Some(Key::Bad) | None => {}
            },
        }
    }
}

/// What `<<` brings into a mapping: another mapping's entries, or those of several, the earlier ones first.
fn merge(node: Node, place: Place, merged: &mut Vec<Entry>, report: &Report) {
    match node.value {
        Value::Map(entries) => merged.extend(entries),
        Value::List(items) => {
            for item in items {
                merge(item, place, merged, report);
            }
        }
        Value::Null | Value::Scalar(_) => {
            report.fault(place, "", "<< expects a mapping such as *name", None);
        }
    }
}

/// The reader counts lines from 1 and columns from 0.
fn place(scope: Scope, marker: granit_parser::Marker) -> Place {
    Place {
        scope,
        line: marker.line(),
        column: marker.col() + 1,
    }
}

/// The reader's message, and what usually causes it. None of its messages quotes the text.
fn explain(error: &ScanError) -> (String, Option<&'static str>) {
    let hint = match error.kind() {
        ErrorKind::TabInIndentation
        | ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInPlainScalar => Some("indent with spaces, not with tabs"),
        ErrorKind::MappingValueNotAllowed
        | ErrorKind::MappingKeyNotAllowed
        | ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::BlockSequenceEntryNotAllowed
        | ErrorKind::ExpectedDocumentStart
        | ErrorKind::InvalidIndentation => {
            Some("check the indentation of this line and of the one above it")
        }
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            Some("a key ends in a colon and a space")
        }
        ErrorKind::UnclosedQuotedScalar => Some("close the quote"),
        ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::UnclosedFlowCollection { .. } => {
            Some("separate with commas and close the bracket")
        }
        ErrorKind::UnexpectedCharacter { .. } => Some("put the value into quotes"),
        _ => None,
    };
    (format!("not valid YAML: {}", error.kind()), hint)
}
