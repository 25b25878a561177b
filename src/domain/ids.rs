//! Names of things: VMs and nodes. Text that a VM's owner can write is cleaned when it enters.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest VM name that is shown; PVE itself allows a DNS name, 253 characters.
const NAME_MAX: usize = 63;

/// An identifier that does not have the form Proxmox VE requires.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {expected}, not {got:?}")]
pub struct InvalidId {
    what: &'static str,
    expected: &'static str,
    got: String,
}

/// A VM's number, 100 to 999,999,999 (`PVE::JSONSchema`, format `pve-vmid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct VmId(u32);

impl VmId {
    /// The number itself.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for VmId {
    type Error = InvalidId;
    fn try_from(n: u32) -> Result<Self, InvalidId> {
        match n {
            100..=999_999_999 => Ok(Self(n)),
            _ => Err(InvalidId {
                what: "a VMID",
                expected: "100 to 999999999",
                got: n.to_string(),
            }),
        }
    }
}

impl From<VmId> for u32 {
    fn from(id: VmId) -> u32 {
        id.0
    }
}

impl FromStr for VmId {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        let bad = || InvalidId {
            what: "a VMID",
            expected: "100 to 999999999",
            got: sanitize(s, 20),
        };
        if !s.bytes().all(|b| b.is_ascii_digit()) || s.starts_with('0') {
            return Err(bad());
        }
        s.parse::<u32>()
            .ok()
            .and_then(|n| Self::try_from(n).ok())
            .ok_or_else(bad)
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A node's name: one DNS label, as pmxcfs uses it for `/etc/pve/nodes/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NodeName {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        let label = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if (1..=63).contains(&s.len())
            && s.bytes().all(label)
            && !s.starts_with('-')
            && !s.ends_with('-')
        {
            Ok(Self(s))
        } else {
            Err(InvalidId {
                what: "a node's name",
                expected: "one DNS label",
                got: sanitize(&s, 70),
            })
        }
    }
}

impl FromStr for NodeName {
    type Err = InvalidId;
    fn from_str(s: &str) -> Result<Self, InvalidId> {
        Self::try_from(s.to_owned())
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> String {
        name.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A VM's name as a person may see it: one line, printable, at most 63 characters.
///
/// Its owner chose the text, so it is cleaned on the way in and can forge neither a log line nor a terminal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct VmName(String);

impl VmName {
    /// Cleans `raw` and keeps it.
    pub fn new(raw: &str) -> Self {
        Self(sanitize(raw, NAME_MAX))
    }

    /// The cleaned text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for VmName {
    fn from(raw: String) -> Self {
        Self::new(&raw)
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes foreign text safe to print: control and direction-changing characters become `?`, and what is
/// longer than `max` characters ends in `…`.
pub fn sanitize(raw: &str, max: usize) -> String {
    let unsafe_to_print = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut text: String = raw
        .chars()
        .take(max)
        .map(|c| if unsafe_to_print(c) { '?' } else { c })
        .collect();
    if raw.chars().nth(max).is_some() {
        text.pop();
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vmid_is_a_number_from_100_without_leading_zero() {
        assert_eq!("101".parse::<VmId>().unwrap().get(), 101);
        for bad in [
            "99",
            "0101",
            "",
            "1000000000",
            "-101",
            "+101",
            "101 ",
            "１０１",
        ] {
            assert!(bad.parse::<VmId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_cannot_start_a_new_line_or_move_the_cursor() {
        assert_eq!(
            VmName::new("web\nVM 102: fine\x1b[2J\u{202e}").as_str(),
            "web?VM 102: fine?[2J?"
        );
        assert_eq!(
            VmName::new(&"x".repeat(70)).as_str().chars().count(),
            NAME_MAX
        );
    }

    #[test]
    fn a_node_name_cannot_leave_its_directory() {
        assert!("pve1".parse::<NodeName>().is_ok());
        for bad in ["", "..", "a/b", "-a", "pve1.example.com"] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?}");
        }
    }
}
