//! Files that survive being cut off: replaced whole, and set aside when they are damaged.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Replaces `path` by `bytes` through a temporary file beside it, mode 0640.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = beside(path, ".new");
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&temporary, path)
}

/// Writes `value` as JSON in place of `path`.
pub fn save<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    replace_file(path, &serde_json::to_vec(value).map_err(io::Error::other)?)
}

/// What was found at a path.
#[derive(Debug, PartialEq)]
pub enum Loaded<T> {
    /// A value that `accept` took.
    Value(T),
    /// Nothing.
    Missing,
    /// Something that cannot be used; it now lies under this name.
    SetAside(PathBuf, String),
}

/// Reads JSON from `path`. What is damaged, or not accepted, is renamed to `<name>.damaged`, never overwritten.
pub fn load<T: DeserializeOwned>(
    path: &Path,
    accept: impl Fn(&T) -> bool,
) -> io::Result<Loaded<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Missing),
        Err(e) => return Err(e),
    };
    let why = match serde_json::from_slice(&bytes) {
        Ok(value) if accept(&value) => return Ok(Loaded::Value(value)),
        Ok(_) => "it was written by another version".to_owned(),
        Err(e) => e.to_string(),
    };
    let aside = beside(path, ".damaged");
    fs::rename(path, &aside)?;
    Ok(Loaded::SetAside(aside, why))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_set_aside_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.json");
        assert_eq!(load::<u32>(&path, |_| true).unwrap(), Loaded::Missing);
        save(&path, &7).unwrap();
        assert_eq!(load::<u32>(&path, |_| true).unwrap(), Loaded::Value(7));
        fs::write(&path, "{\"cut of").unwrap();
        let Loaded::SetAside(aside, why) = load::<u32>(&path, |_| true).unwrap() else {
            panic!()
        };
        assert!(why.contains("line 1"), "{why}");
        assert_eq!(fs::read_to_string(aside).unwrap(), "{\"cut of");
        assert!(!path.exists());
    }
}
