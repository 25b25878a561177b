//! The list of commands that were run on a node: `var/lib/pve-sim/commands.log`, a line of JSON each.
//!
//! By it tests count how many processes the agent starts, and the demo tells.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::node::clock::unix_millis;

/// One command that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Started {
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// The command and its arguments.
    pub(crate) argv: Vec<String>,
}

/// Writes down that `name` was started with `words`. Where that cannot be done, the command says what is wrong.
pub(crate) fn remember(root: &Path, name: &str, words: &[String]) {
    let argv = std::iter::once(name.to_owned()).chain(words.iter().cloned());
    let started = Started {
        at_ms: unix_millis(),
        argv: argv.collect(),
    };
    let log = root.join("var/lib/pve-sim/commands.log");
    let opened = File::options().create(true).append(true).open(log);
    if let (Ok(mut log), Ok(line)) = (opened, serde_json::to_string(&started)) {
        log.write_all(format!("{line}\n").as_bytes()).ok();
    }
}
