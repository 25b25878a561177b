//! What the reading commands print: text for people, or the same data for programs, as `pvesh` offers it.

use std::io::{self, Write};

use serde::Serialize;

/// The form of what a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// One line of JSON.
    Json,
    /// Indented JSON.
    JsonPretty,
    /// YAML.
    Yaml,
}

impl OutputFormat {
    /// Writes `data` in this form; in the form `text` what `text` writes.
    ///
    /// # Errors
    /// Nothing could be written to `out`.
    pub fn print<W: Write + ?Sized>(
        self,
        out: &mut W,
        data: &impl Serialize,
        text: impl FnOnce(&mut W) -> io::Result<()>,
    ) -> io::Result<()> {
        match self {
            Self::Text => text(out),
            Self::Json => {
                serde_json::to_writer(&mut *out, data)?;
                writeln!(out)
            }
            Self::JsonPretty => {
                serde_json::to_writer_pretty(&mut *out, data)?;
                writeln!(out)
            }
            Self::Yaml => serde_yaml::to_writer(out, data).map_err(io::Error::other),
        }
    }
}
