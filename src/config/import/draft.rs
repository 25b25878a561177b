//! The new file while it is made: values at keys, each with the place that it came from.

use std::collections::BTreeMap;
use std::path::Path;

use super::SecretFile;
use super::report::{Fate, Line};
use crate::config::fault::{Fault, LoadError};
use crate::config::load;
use crate::domain::sanitize;

/// More characters of the old file's name are not repeated.
const NAME_LENGTH: usize = 200;

/// The order of the sections.
const SECTIONS: [&str; 5] = ["select", "profiles", "vms", "host", "notify"];

/// What is said above a section.
const ABOVE: [(&str, &[&str]); 4] = [
    (
        "select",
        &[
            "The VMs that the old file scaled. Those with one of these tags are managed, too; tags: [] ends that.",
        ],
    ),
    ("profiles.default", &["For every managed VM."]),
    (
        "profiles.imported",
        &[
            "The rule of the old file: a step up above high, a step down below low. Remove policy and cooldown to get what",
            "is built in: straight to what is needed, within seconds, and back to the recent peak.",
        ],
    ),
    (
        "profiles.imported.memory",
        &[
            "Shares of what the guest has, without page cache. The old rule counted the cache as used.",
        ],
    ),
];

/// A value of the new file.
#[derive(Debug, Clone)]
pub(super) struct Value {
    /// Its key, from the top: `profiles.default.cpu.max`.
    pub(super) key: String,
    /// As it is written, quotes and all.
    pub(super) text: String,
    /// The line and key of the old file; no line for a default of the predecessor.
    pub(super) from: (Option<usize>, String),
    /// What became of it.
    pub(super) fate: Fate,
    /// What to know about it.
    pub(super) why: Option<String>,
    /// Whether the report shows it.
    pub(super) shown: bool,
    /// The file that it names, if it stands for a secret.
    pub(super) secret: Option<SecretFile>,
}

/// The new file. See the module's first lines.
#[derive(Debug, Default)]
pub(super) struct Draft {
    values: Vec<Value>,
    /// What is said beside a section's name.
    beside: BTreeMap<String, String>,
}

impl Draft {
    pub(super) fn add(&mut self, value: Value) {
        self.values.push(value);
    }

    /// Says beside the section `key` where it came from.
    pub(super) fn note(&mut self, key: String, from: &str) {
        self.beside.insert(key, from.to_owned());
    }

    /// The text, without what our own reader does not take, which goes to `lines`.
    pub(super) fn settle(&mut self, old: &Path, lines: &mut Vec<Line>) -> String {
        loop {
            let text = self.render(old);
            let faults = match load::read(text.as_bytes(), old) {
                Ok(_) => return text,
                Err(LoadError::Invalid(invalid)) => invalid.faults,
                Err(_) => Vec::new(),
            };
            let before = self.values.len();
            for fault in &faults {
                self.remove(fault, lines);
            }
            // Each round has to leave less than the one before, down to a file that says nothing.
            if self.values.len() == before {
                let rest = std::mem::take(&mut self.values);
                let why = "it does not fit the rest of the new file";
                lines.extend(rest.iter().map(|value| value.left_out(why)));
            }
        }
    }

    /// Removes the value that the fault is about: a notification channel as a whole, since half of one is none.
    fn remove(&mut self, fault: &Fault, lines: &mut Vec<Line>) {
        let mut parts = fault.path.splitn(4, '.');
        let whole = match [parts.next(), parts.next(), parts.next()] {
            [Some("notify"), Some("channels"), Some(name)] => format!("notify.channels.{name}"),
            _ => fault.path.clone(),
        };
        let below = format!("{whole}.");
        let message = match &fault.hint {
            Some(hint) => format!("{}; {hint}", fault.message),
            None => fault.message.clone(),
        };
        let (gone, stay) = std::mem::take(&mut self.values)
            .into_iter()
            .partition(|value: &Value| value.key == whole || value.key.starts_with(&below));
        self.values = stay;
        let why = match whole == fault.path {
            true => message,
            false => format!("the channel would not work: {}: {message}", fault.path),
        };
        lines.extend(gone.iter().map(|value| value.left_out(&why)));
    }

    /// What the report says of the values.
    pub(super) fn lines(&self) -> impl Iterator<Item = Line> {
        self.values.iter().map(|value| Line {
            line: value.from.0,
            fate: value.fate,
            old: value.from.1.clone(),
            new: Some(value.key.clone()),
            value: value.shown.then(|| value.text.clone()),
            why: value.why.clone(),
        })
    }

    /// The files that the values name.
    pub(super) fn secrets(&self) -> Vec<SecretFile> {
        self.values
            .iter()
            .filter_map(|value| value.secret.clone())
            .collect()
    }

    fn render(&self, old: &Path) -> String {
        let mut text = format!(
            "# Made by `vm-autoscale import-config` from {}. Each comment names the old key.\n",
            sanitize(&old.display().to_string(), NAME_LENGTH)
        );
        for section in SECTIONS {
            let below = format!("{section}.");
            let values = self
                .values
                .iter()
                .filter(|value| value.key.starts_with(&below));
            let values: Vec<_> = values.collect();
            if !values.is_empty() {
                text.push('\n');
                self.section(&mut text, section, &values);
            }
        }
        text
    }

    /// Writes the section `key`; `values` are those in it and below it.
    fn section(&self, text: &mut String, key: &str, values: &[&Value]) {
        let indent = "  ".repeat(key.matches('.').count());
        let above = ABOVE.iter().find(|(section, _)| *section == key);
        for line in above.map_or(&[][..], |(_, lines)| lines) {
            *text += &format!("{indent}# {line}\n");
        }
        let name = key.rsplit('.').next().unwrap_or(key);
        match self.beside.get(key) {
            Some(from) => *text += &format!("{indent}{name}:  # {from}\n"),
            None => *text += &format!("{indent}{name}:\n"),
        }
        // Every key in here begins with the section's and a dot.
        let start = key.len() + 1;
        let mut order: Vec<&str> = Vec::new();
        let mut children: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for value in values {
            let dot = value.key.get(start..).and_then(|rest| rest.find('.'));
            let end = dot.map_or(value.key.len(), |dot| start + dot);
            let child = &value.key[..end];
            let group = children.entry(child).or_default();
            if group.is_empty() {
                order.push(child);
            }
            group.push(value);
        }
        for child in order {
            match children.get(child).map(Vec::as_slice) {
                Some([value, ..]) if value.key == child => value.write(text, &indent),
                Some(values) => self.section(text, child, values),
                None => {}
            }
        }
    }
}

impl Value {
    fn write(&self, text: &mut String, indent: &str) {
        let name = self.key.rsplit('.').next().unwrap_or(&self.key);
        *text += &format!("{indent}  {name}: {}", self.text);
        // In a VM's section the VM's own comment tells.
        if !self.key.starts_with("vms.") && !self.from.1.is_empty() {
            *text += &format!("  # {}", self.from.1);
            if self.from.0.is_none() {
                text.push_str(", which was not written: its default");
            }
        }
        text.push('\n');
    }

    fn left_out(&self, why: &str) -> Line {
        Line {
            line: self.from.0,
            fate: Fate::LeftOut,
            old: self.from.1.clone(),
            new: Some(self.key.clone()),
            value: None,
            why: Some(why.to_owned()),
        }
    }
}

/// `text` in double quotes, so that every reader of YAML takes it for the same text.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            c if c.is_alphanumeric() => quoted.push(c),
            c => quoted += &format!("\\U{:08x}", u32::from(c)),
        }
    }
    quoted.push('"');
    quoted
}

/// A list in brackets, wrapped so that long ones can be read.
pub(super) fn list(items: &[String]) -> String {
    let rows: Vec<String> = items.chunks(12).map(|row| row.join(", ")).collect();
    format!("[{}]", rows.join(",\n    "))
}
