//! Starting the servers, and reading what they were sent.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// Debian's own, since python3-aiosmtpd is a package of Debian.
const PYTHON: &str = "/usr/bin/python3";

/// A server. It ends when it is dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it listens, on 127.0.0.1.
    pub(crate) port: u16,
    record: PathBuf,
    _dir: TempDir,
}

impl Server {
    /// An HTTP server; none if this machine has no Python.
    pub(crate) fn http() -> Option<Self> {
        Self::start("http_server.py", &[])
    }

    /// The same with TLS.
    #[cfg(feature = "tls")]
    pub(crate) fn https(certificate: &Certificate) -> Option<Self> {
        let [cert, key] = certificate.files();
        Self::start("http_server.py", &[&cert, &key])
    }

    /// An SMTP server; none if this machine has no aiosmtpd.
    pub(crate) fn smtp(options: &[&str]) -> Option<Self> {
        static THERE: OnceLock<bool> = OnceLock::new();
        let there = THERE.get_or_init(|| works(PYTHON, &["-c", "import aiosmtpd"]));
        if !there {
            return skip("python3-aiosmtpd");
        }
        Self::start("smtp_server.py", options)
    }

    fn start(script: &str, options: &[&str]) -> Option<Self> {
        static THERE: OnceLock<bool> = OnceLock::new();
        if !THERE.get_or_init(|| works(PYTHON, &["-c", ""])) {
            return skip("python3");
        }
        let dir = tempfile::tempdir().unwrap();
        let record = dir.path().join("record.jsonl");
        let mut child = Command::new(PYTHON)
            .arg(Path::new("tests/notify").join(script))
            .arg(&record)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // It complains of every connection that a test ends in an unusual way.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        Some(Self {
            child,
            port: line.trim().parse().unwrap(),
            record,
            _dir: dir,
        })
    }

    /// What it was sent so far, each line of its record.
    pub(crate) fn record(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&self.record).unwrap_or_default();
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        whole
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The only thing that it was sent.
    #[track_caller]
    pub(crate) fn single(&self) -> serde_json::Value {
        let mut all = self.record();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// `http://127.0.0.1:PORT/path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn works(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Says what is missing. In CI that is a failure: a test that never runs proves nothing.
fn skip<T>(package: &str) -> Option<T> {
    assert!(
        std::env::var_os("CI").is_none(),
        "{package} is not installed"
    );
    eprintln!("SKIPPED: install {package} to run this test");
    None
}

/// A certificate for 127.0.0.1 and localhost, its key, and what to trust for it.
#[cfg(feature = "tls")]
pub(crate) struct Certificate {
    dir: TempDir,
}

#[cfg(feature = "tls")]
impl Certificate {
    /// Signed by a certificate authority that nobody knows.
    pub(crate) fn by_private_authority() -> Option<Self> {
        let new = Self::begin()?;
        new.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=Home -keyout ca.key -out ca.pem");
        new.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=gotify -keyout key.pem -out request.pem");
        std::fs::write(
            new.dir.path().join("names"),
            "subjectAltName=DNS:localhost,IP:127.0.0.1\n",
        )
        .unwrap();
        new.openssl("x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out cert.pem");
        Some(new)
    }

    /// Signed by itself, as `openssl req -x509` makes it: the usual home server's, with CA:TRUE.
    pub(crate) fn self_signed() -> Option<Self> {
        let new = Self::begin()?;
        new.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem");
        std::fs::copy(new.dir.path().join("cert.pem"), new.trusted()).unwrap();
        Some(new)
    }

    fn begin() -> Option<Self> {
        if !works("openssl", &["version"]) {
            return skip("openssl");
        }
        let dir = tempfile::tempdir().unwrap();
        Some(Self { dir })
    }

    fn openssl(&self, line: &str) {
        let status = Command::new("openssl")
            .args(line.split(' '))
            .current_dir(self.dir.path())
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "openssl {line}");
    }

    /// What a client must trust to accept it.
    pub(crate) fn trusted(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// The certificate and its key.
    pub(crate) fn files(&self) -> [String; 2] {
        [self.path("cert.pem"), self.path("key.pem")]
    }
}
