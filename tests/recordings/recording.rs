//! One recorded command: what was run, what it printed, what the VM's config and QEMU were before and after.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Where the recordings are.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/recordings")
}

/// A recorded command.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    /// Its file, below the directory of recordings, without the ending.
    pub(crate) name: String,
    /// `qm` or `pvesh`, and its arguments.
    pub(crate) command: Vec<String>,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The VM's config file before the command; none where there was no such file.
    pub(crate) config_before: Option<String>,
    /// After it.
    pub(crate) config_after: Option<String>,
    /// What QEMU said before the command; none where it was not asked or did not answer.
    pub(crate) qemu_before: Option<Value>,
    /// After it.
    pub(crate) qemu_after: Option<Value>,
}

impl Recording {
    /// The recording in this file, or none if the file holds something else.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).unwrap();
        let (command, rest) = text.strip_prefix("$ ")?.split_once('\n')?;
        let (code, rest) = rest.strip_prefix("exit code: ")?.split_once('\n')?;
        let block = |title: &str| {
            let (_, after) = rest.split_once(&format!("--- {title}\n")).unwrap();
            let end = after.find("\n--- ").map_or(after.len(), |end| end + 1);
            let empty = after.starts_with("--- ");
            if empty { "" } else { &after[..end] }.to_owned()
        };
        let line = |title: &str| {
            let (_, after) = rest.split_once(&format!("--- {title}: "))?;
            serde_json::from_str(after.lines().next()?).ok()
        };
        let config = |title: &str| Some(block(title)).filter(|text| !text.starts_with('('));
        let config_before = config("config before");
        let unchanged = block("config after") == "(unchanged)\n";
        let name = path.strip_prefix(directory()).unwrap().with_extension("");
        Some(Self {
            name: name.to_str().unwrap().to_owned(),
            command: command.split(' ').map(str::to_owned).collect(),
            code: code.parse().unwrap(),
            stdout: block("stdout"),
            stderr: block("stderr"),
            config_after: if unchanged {
                config_before.clone()
            } else {
                config("config after")
            },
            config_before,
            qemu_before: line("qmp before"),
            qemu_after: line("qmp after"),
        })
    }

    /// The VM whose state was recorded: the one that the command names, else 101.
    pub(crate) fn vmid(&self) -> Option<u32> {
        let words = self.command.iter().flat_map(|word| word.split('/'));
        let named = words
            .filter_map(|word| word.parse().ok())
            .find(|vmid| *vmid >= 100);
        named.or(self.config_before.is_some().then_some(101))
    }
}

/// All files below the directory of recordings, in order.
pub(crate) fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path)
            } else {
                found.push(path)
            }
        }
    }
    found.sort();
    found
}
