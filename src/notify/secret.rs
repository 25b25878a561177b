//! Secrets: where they come from, and that nothing ever prints them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};
use tokio::io::AsyncReadExt;

/// What stands for a secret wherever one would be printed.
const REDACTED: &str = "<redacted>";

/// The longest secret that is read; a key or a long URL fits, a wrong file does not fill the memory.
const LONGEST: u64 = 16 * 1024;

/// A token, a password, or an address with one in it. Neither `Debug` nor `Serialize` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes `text` as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(REDACTED)
    }
}

/// Where a secret stands. A file or a credential is read at each use, so that a new one needs no reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// In the configuration itself.
    Inline(Secret),
    /// In a file of its own, which only root should be able to read.
    File(PathBuf),
    /// In a credential of the service (`LoadCredential=NAME:…`), by its name.
    Credential(String),
}

/// A secret that could not be read. The text names the source, never what was in it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file could not be read.
    #[error("the secret in {} cannot be read: {source}", .file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something that is no secret.
    #[error("the secret in {} {why}", .file.display())]
    Unusable {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The service has no credentials.
    #[error(
        "the credential {0:?} is not there: add LoadCredential={0}:/path/to/file to the service with `systemctl edit vm-autoscale`"
    )]
    NoCredentials(String),
}

impl SecretSource {
    /// Reads it. `credentials` is the directory that systemd names in `$CREDENTIALS_DIRECTORY`.
    ///
    /// # Errors
    /// If the file or the credential is missing, too large, empty or no UTF-8.
    pub async fn read(&self, credentials: Option<&Path>) -> Result<Secret, SecretError> {
        match self {
            Self::Inline(secret) => Ok(secret.clone()),
            Self::File(file) => read_file(file).await,
            Self::Credential(name) => match credentials {
                Some(dir) => read_file(&dir.join(name)).await,
                None => Err(SecretError::NoCredentials(name.clone())),
            },
        }
    }
}

async fn read_file(file: &Path) -> Result<Secret, SecretError> {
    let unreadable = |source| SecretError::Unreadable {
        file: file.to_owned(),
        source,
    };
    let unusable = |why| SecretError::Unusable {
        file: file.to_owned(),
        why,
    };
    // A FIFO or a device would make the reader wait for ever.
    let kind = tokio::fs::metadata(file).await.map_err(unreadable)?;
    if !kind.is_file() {
        return Err(unusable("is no regular file"));
    }
    let mut bytes = Vec::new();
    let open = tokio::fs::File::open(file).await.map_err(unreadable)?;
    open.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .await
        .map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST {
        return Err(unusable("is longer than 16 KiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| unusable("is not UTF-8"))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(unusable("is empty"));
    }
    Ok(Secret::new(text))
}

/// `text` with every occurrence of a secret blotted out: a server's answer may repeat what it was sent.
pub(super) fn blot(text: &str, secrets: &[Secret]) -> String {
    let long_enough = secrets.iter().filter(|secret| secret.0.len() >= 4);
    long_enough.fold(text.to_owned(), |text, secret| {
        text.replace(secret.expose(), REDACTED)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_in_no_output() {
        let source = SecretSource::Inline(Secret::new("hunter2-token"));
        let json = serde_json::to_string(&source).unwrap();
        for shown in [format!("{source:?}"), format!("{source:#?}"), json] {
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains(REDACTED), "{shown}");
        }
        let echoed = blot("bad token hunter2-token!", &[Secret::new("hunter2-token")]);
        assert_eq!(echoed, "bad token <redacted>!");
    }

    #[tokio::test]
    async fn a_secret_in_a_file_loses_its_line_end_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, " pass word \r\n").unwrap();
        let secret = SecretSource::File(file).read(None).await.unwrap();
        assert_eq!(secret.expose(), " pass word ");
        let named = SecretSource::Credential("token".to_owned());
        let secret = named.read(Some(dir.path())).await.unwrap();
        assert_eq!(secret.expose(), " pass word ");
    }

    #[tokio::test]
    async fn what_is_no_secret_is_refused_in_a_sentence_without_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let cases: [(&str, &[u8], &str); 3] = [
            ("empty", b"\n", "is empty"),
            ("binary", b"tok\xff\xfe", "is not UTF-8"),
            ("large", &[b'x'; 20_000], "is longer than 16 KiB"),
        ];
        for (name, content, why) in cases {
            let file = dir.path().join(name);
            std::fs::write(&file, content).unwrap();
            let error = SecretSource::File(file).read(None).await.unwrap_err();
            let text = error.to_string();
            assert!(text.ends_with(why), "{text}");
            assert!(!text.contains("tok\u{fffd}"), "{text}");
        }
        let missing = SecretSource::Credential("gotify".to_owned());
        let text = missing.read(None).await.unwrap_err().to_string();
        assert!(text.contains("LoadCredential=gotify:"), "{text}");
    }
}
