//! The values that only the section `notify` has.

use std::path::PathBuf;

use super::super::units::Scalar;
use crate::notify::{Address, HEARTBEAT};

/// The name of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(pub(super) String);

impl Scalar for Name {
    fn expected() -> String {
        format!("a name of lower-case letters, digits and -, not {HEARTBEAT}")
    }

    fn read(text: &str) -> Result<Self, Option<String>> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=32).contains(&text.len()) && text.bytes().all(fits) && text != HEARTBEAT {
            Ok(Self(text.to_owned()))
        } else {
            Err(None)
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// Any text that is not empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text(pub(super) String);

impl Scalar for Text {
    fn expected() -> String {
        "a text".to_owned()
    }

    fn read(text: &str) -> Result<Self, Option<String>> {
        if text.trim().is_empty() {
            Err(None)
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// The address of an HTTP service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WebAddress(pub(super) Address);

impl Scalar for WebAddress {
    fn expected() -> String {
        "an address such as https://gotify.example.com".to_owned()
    }

    fn read(text: &str) -> Result<Self, Option<String>> {
        text.parse().map(Self).map_err(|()| None)
    }

    fn show(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// The path of a file, from the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AbsolutePath(pub(super) PathBuf);

impl Scalar for AbsolutePath {
    fn expected() -> String {
        "a path that begins with /".to_owned()
    }

    fn read(text: &str) -> Result<Self, Option<String>> {
        if text.starts_with('/') && !text.contains('\0') {
            Ok(Self(PathBuf::from(text)))
        } else {
            Err(None)
        }
    }

    fn show(&self) -> String {
        self.0.display().to_string()
    }
}

/// The name of a credential, which is the name of a file in one directory (`systemd.exec(5)`, `LoadCredential=`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CredentialName(pub(super) String);

impl Scalar for CredentialName {
    fn expected() -> String {
        "the name of a credential: letters, digits and _ - .".to_owned()
    }

    fn read(text: &str) -> Result<Self, Option<String>> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if (1..=255).contains(&text.len()) && text.bytes().all(fits) && !matches!(text, "." | "..")
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(None)
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}
