//! What the predecessor's values look like: YAML as Python read it (version 1.1), and forms that it took besides.

use crate::config::form::ValueForm;
use crate::config::parse::{Entry, Node, Value};
use crate::config::units::Scalar;
use crate::domain::sanitize;

/// Longer numbers and texts are no settings.
const NUMBER_LENGTH: usize = 20;
const TEXT_LENGTH: usize = 1000;

/// Whether the file has the section `key` at its top.
pub(super) fn has(root: &Node, key: &str) -> bool {
    match &root.value {
        Value::Map(entries) => entries.iter().any(|entry| entry.key == key),
        _ => false,
    }
}

/// The same file with less variety: keys without a value are gone, which Python read as not set; the lists of hosts and
/// VMs are sections whose keys are the items' numbers; recipients are a list.
pub(super) fn normal(mut root: Node) -> Node {
    without_nulls(&mut root);
    let Value::Map(entries) = &mut root.value else {
        return root;
    };
    for entry in entries {
        match entry.key.as_str() {
            "proxmox_hosts" | "virtual_machines" => numbered(&mut entry.value),
            "alerts" => {
                if let Value::Map(alerts) = &mut entry.value.value {
                    alerts
                        .iter_mut()
                        .filter(|entry| entry.key == "email_recipient")
                        .for_each(|entry| recipients(&mut entry.value));
                }
            }
            _ => {}
        }
    }
    root
}

/// How deep this goes is bounded by the parser.
fn without_nulls(node: &mut Node) {
    match &mut node.value {
        Value::Map(entries) => {
            entries.retain(|entry| entry.value.value != Value::Null);
            let values = entries.iter_mut().map(|entry| &mut entry.value);
            values.for_each(without_nulls);
        }
        Value::List(items) => items.iter_mut().for_each(without_nulls),
        Value::Null | Value::Scalar(_) => {}
    }
}

fn numbered(node: &mut Node) {
    if let Value::List(items) = &mut node.value {
        let items = std::mem::take(items).into_iter().enumerate();
        node.value = Value::Map(
            items
                .map(|(number, value)| Entry {
                    key: number.to_string(),
                    place: value.place,
                    value,
                })
                .collect(),
        );
    }
}

fn recipients(node: &mut Node) {
    if let Value::Scalar(text) = &node.value {
        let item = |text: &str| Node {
            value: Value::Scalar(text.trim().to_owned()),
            ..node.clone()
        };
        node.value = Value::List(text.split(',').map(item).collect());
    }
}

/// A truth value, as YAML 1.1 writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flag(pub(super) bool);

impl Scalar for Flag {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn read(text: &str) -> Result<Self, Option<String>> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(Self(true)),
            "false" | "no" | "off" | "0" => Ok(Self(false)),
            _ => Err(None),
        }
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// A number that is not negative.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(super) struct Number(pub(super) f64);

impl Scalar for Number {
    fn expected() -> String {
        "a number".to_owned()
    }

    fn form() -> ValueForm {
        ValueForm::Number
    }

    /// `80`, `80.5`, `16_384`. A leading zero made it octal for Python, so nobody knows what was meant.
    fn read(text: &str) -> Result<Self, Option<String>> {
        let digits = text.replace('_', "");
        let octal =
            digits.starts_with('0') && digits.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        if !plain || octal || text.len() > NUMBER_LENGTH {
            return Err(None);
        }
        digits.parse().map(Self).map_err(|_| None)
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// A text in one line, which may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words(pub(super) String);

impl Scalar for Words {
    fn expected() -> String {
        "a text in one line that can be printed".to_owned()
    }

    fn read(text: &str) -> Result<Self, Option<String>> {
        if sanitize(text, TEXT_LENGTH) == text {
            Ok(Self(text.to_owned()))
        } else {
            Err(None)
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_what_python_took_for_one() {
        for (text, flag) in [
            ("yes", true),
            ("On", true),
            ("TRUE", true),
            ("off", false),
            ("0", false),
        ] {
            assert_eq!(Flag::read(text), Ok(Flag(flag)), "{text}");
        }
        assert_eq!(Flag::read("maybe"), Err(None));
    }

    #[test]
    fn a_number_that_could_mean_two_things_is_none() {
        assert_eq!(Number::read("16_384"), Ok(Number(16384.0)));
        assert_eq!(Number::read("0.5"), Ok(Number(0.5)));
        for bad in [
            "",
            ".",
            "010",
            "-1",
            "1e3",
            "80%",
            "nan",
            "inf",
            "1:30",
            "999999999999999999999",
        ] {
            assert_eq!(Number::read(bad), Err(None), "{bad:?}");
        }
    }
}
