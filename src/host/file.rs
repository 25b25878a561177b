//! Reading one small file of the kernel's or of Proxmox VE's, with a bound and with its path in every error.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The most that is read of any file. pmxcfs itself allows 1 MiB (pmxcfs/memdb.h); what /proc and cgroups hold is smaller.
pub const FILE_MAX: u64 = 1 << 20;

/// A file that could not be read or understood.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused. A missing file is this, too: see [`ReadError::is_missing`].
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is larger than [`FILE_MAX`].
    #[error("cannot read {}: it is larger than {} KiB", path.display(), FILE_MAX >> 10)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It was read, but holds something unexpected.
    #[error("cannot understand {}: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl ReadError {
    /// Content of `path` that could not be understood, and `why`.
    pub fn content(path: &Path, why: impl Into<String>) -> Self {
        Self::Content {
            path: path.to_owned(),
            why: why.into(),
        }
    }

    /// Whether the file, or the process or control group behind it, is not there.
    ///
    /// A process that ends while one of its files is open answers ESRCH, a control group ENODEV.
    pub fn is_missing(&self) -> bool {
        let gone = |code| {
            let errno = nix::errno::Errno::from_raw(code);
            matches!(
                errno,
                nix::errno::Errno::ENOENT
                    | nix::errno::Errno::ENOTDIR
                    | nix::errno::Errno::ESRCH
                    | nix::errno::Errno::ENODEV
            )
        };
        match self {
            Self::Io { error, .. } => error.raw_os_error().is_some_and(gone),
            Self::TooLarge { .. } | Self::Content { .. } => false,
        }
    }
}

/// Reads `path` to its end. The size that the file system reports is not believed: /proc says 0, and pmxcfs may be a
/// second behind, since the kernel caches attributes of FUSE files.
///
/// # Errors
/// When the file cannot be opened or read, or is larger than [`FILE_MAX`].
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, ReadError> {
    let io_error = |error| ReadError::Io {
        path: path.to_owned(),
        error,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io_error)?;
    file.take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(io_error)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(ReadError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}

/// Reads `path` as text; what is not UTF-8 becomes `U+FFFD`.
///
/// # Errors
/// As [`read_bytes`].
pub fn read_text(path: &Path) -> Result<String, ReadError> {
    let bytes = read_bytes(path)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_file_and_tells_missing_from_broken() {
        let dir = tempfile::tempdir().unwrap();
        let missing = read_text(&dir.path().join("cpu.stat")).unwrap_err();
        assert!(missing.is_missing());
        assert!(missing.to_string().contains("cpu.stat"), "{missing}");
        let directory = read_text(dir.path()).unwrap_err();
        assert!(!directory.is_missing());
    }

    #[test]
    fn a_file_without_end_is_not_swallowed_whole() {
        assert!(matches!(
            read_bytes(Path::new("/dev/zero")),
            Err(ReadError::TooLarge { .. })
        ));
    }
}
