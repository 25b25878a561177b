//! What became of each thing that the old file said.

use serde::Serialize;

use crate::config::Fault;

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It means the same here.
    Carried,
    /// It is there, but means something else.
    NewMeaning,
    /// On the node itself there is no use for it.
    NotNeeded,
    /// There is nothing like it here.
    NotAvailable,
    /// It belongs to a host that is not this node.
    OtherHost,
    /// It was wrong, and is not in the new file.
    LeftOut,
}

impl Fate {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Carried => "carried over",
            Self::NewMeaning => "new meaning",
            Self::NotNeeded => "not needed",
            Self::NotAvailable => "not available",
            Self::OtherHost => "other host",
            Self::LeftOut => "left out",
        }
    }
}

/// One line of the report. Secrets are never in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The line of the old file; none for a default of the predecessor that is written out now.
    pub line: Option<usize>,
    /// What became of it.
    pub fate: Fate,
    /// The old key; items of lists by their number, which counts from 0. Empty for the file as a whole.
    pub old: String,
    /// The new key, if there is one.
    pub new: Option<String>,
    /// The new value, if it may be shown.
    pub value: Option<String>,
    /// What to know about it.
    pub why: Option<String>,
}

impl Line {
    /// Something that is wrong in the old file.
    pub(super) fn fault(fault: Fault) -> Self {
        // A hint that looks further than the keys beside it speaks of our file's keys.
        let near = |hint: &String| {
            !fault.message.starts_with("unknown key") || hint.starts_with("did you mean")
        };
        let why = match fault.hint.as_ref().filter(|hint| near(hint)) {
            Some(hint) => format!("{}; {hint}", fault.message),
            None if fault.message.starts_with("duplicate key") => format!(
                "{}; that one counts here, while for the predecessor the last one did",
                fault.message
            ),
            None => fault.message,
        };
        Self {
            line: Some(fault.place.line),
            fate: Fate::LeftOut,
            old: fault.path,
            new: None,
            value: None,
            why: Some(why),
        }
    }

    /// The line for people, without an end.
    pub fn text(&self) -> String {
        let mut text = format!("{:13}", self.fate.word());
        if let Some(line) = self.line {
            text += &format!("  line {line}");
        }
        if !self.old.is_empty() {
            text += &format!("  {}", self.old);
        }
        if let Some(new) = &self.new {
            text += &format!(" → {new}");
        }
        if let Some(value) = &self.value {
            text += &format!(": {value}");
        }
        if let Some(why) = &self.why {
            text += &format!("\n               {why}");
        }
        text
    }
}
