//! Output formats of the reading commands, named as `pvesh` names them.

use clap::ValueEnum;
use serde::Serialize;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// JSON on one line.
    Json,
    /// JSON, indented.
    JsonPretty,
    /// YAML.
    Yaml,
}

impl OutputFormat {
    /// `value` in this format, ending in a newline; `None` for text, which each command lays out itself.
    ///
    /// # Errors
    /// The value cannot be serialised.
    pub fn render<T: Serialize>(self, value: &T) -> Result<Option<String>, String> {
        let text = match self {
            Self::Text => return Ok(None),
            Self::Json => serde_json::to_string(value).map_err(|e| e.to_string())? + "\n",
            Self::JsonPretty => serde_json::to_string_pretty(value).map_err(|e| e.to_string())? + "\n",
            Self::Yaml => serde_yaml::to_string(value).map_err(|e| e.to_string())?,
        };
        Ok(Some(text))
    }
}

/// Writes to stdout. A reader that went away (`| head`) is no error.
pub fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write;
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
