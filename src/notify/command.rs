//! A program of the admin's: started without a shell, with the message as JSON on its standard input.
//!
//! The agent runs as root, so a program that someone else could replace is not started.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::channel::{self, Answer, Sending};
use super::message::Message;
use super::program;
use super::settings::Command;

/// Write permission of the group and of everybody else.
const OTHERS_WRITE: u32 = 0o022;

/// A program of the admin's.
pub(super) struct Channel {
    settings: Command,
    timeout: Duration,
}

impl Channel {
    pub(super) fn new(settings: Command, timeout: Duration) -> Self {
        Self { settings, timeout }
    }

    async fn attempt(&self, message: &Message) -> Result<Answer, Answer> {
        let json = serde_json::to_vec(message);
        let json = json.map_err(|error| Answer::refused(error.to_string()))?;
        let path = trusted(&self.settings.program).map_err(Answer::refused)?;
        Ok(program::feed(&path, &self.settings.args, &json, self.timeout).await)
    }
}

impl channel::Channel for Channel {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        Box::pin(async { self.attempt(message).await.unwrap_or_else(|answer| answer) })
    }
}

/// The program's real path, if nobody but root and the agent's own user can replace it or a directory above it.
///
/// # Errors
/// The end of a sentence that begins with the channel's name.
pub(super) fn trusted(program: &Path) -> Result<PathBuf, String> {
    let failed = |path: &Path, error: io::Error| {
        format!(
            "cannot be used: {} cannot be examined: {error}",
            path.display()
        )
    };
    let real = program
        .canonicalize()
        .map_err(|error| failed(program, error))?;
    let own = nix::unistd::geteuid().as_raw();
    for path in real.ancestors() {
        let meta = path.metadata().map_err(|error| failed(path, error))?;
        if meta.mode() & OTHERS_WRITE != 0 {
            return Err(format!(
                "cannot be used: {} can be written by others; take that right away: chmod go-w {}",
                path.display(),
                path.display()
            ));
        }
        if meta.uid() != 0 && meta.uid() != own {
            return Err(format!(
                "cannot be used: {} belongs to another user than root",
                path.display()
            ));
        }
    }
    if !real.is_file() {
        return Err(format!("cannot be used: {} is no file", real.display()));
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_program_that_others_could_replace_is_refused() {
        // /var/lib or the target directory: not below /tmp, which everybody may write to.
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let program = dir.path().join("hook");
        std::fs::write(&program, "#!/bin/true\n").unwrap();
        set_permissions(&program, Permissions::from_mode(0o775)).unwrap();
        let why = trusted(&program).unwrap_err();
        assert!(why.contains("can be written by others"), "{why}");
        set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        set_permissions(dir.path(), Permissions::from_mode(0o757)).unwrap();
        let why = trusted(&program).unwrap_err();
        assert!(why.contains(&*dir.path().to_string_lossy()), "{why}");
        set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        let here = env!("CARGO_MANIFEST_DIR");
        match trusted(Path::new(here)) {
            // Only where the checkout itself is safe can its content be.
            Err(why) if why.ends_with("is no file") => {
                assert_eq!(trusted(&program).unwrap(), program.canonicalize().unwrap());
            }
            other => assert!(other.is_err()),
        }
        let in_tmp = tempfile::NamedTempFile::new().unwrap();
        let why = trusted(in_tmp.path()).unwrap_err();
        assert!(why.contains("/tmp can be written by others"), "{why}");
    }
}
