//! Feeding a message to a program: no shell, a clean environment, a process group of its own, a time limit.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, Command};

use super::channel::Answer;
use super::wording::line;

/// The most that is read of what the program complains.
const COMPLAINT: u64 = 4 * 1024;
/// How long a killed program may take to be gone.
const GRACE: Duration = Duration::from_secs(2);
/// What `sysexits.h` calls a temporary failure: the program asks to be started again later.
const TEMPORARY: i32 = 75;

/// A program to start.
pub(super) struct Program<'a> {
    /// Its absolute path.
    pub(super) path: &'a Path,
    /// Its arguments.
    pub(super) args: &'a [String],
    /// The time it may take.
    pub(super) limit: Duration,
}

/// Starts `program` with `input` on its standard input and waits for its end. Exit status 0 is delivered, 75 is try
/// again later, anything else is a failure. When the time is over, its whole process group is killed.
pub(super) async fn feed(program: &Program<'_>, input: &[u8]) -> Answer {
    let name = program.path.display();
    let mut child = match spawn(program) {
        Ok(child) => child,
        Err(error) => return Answer::refused(format!("cannot start {name}: {error}")),
    };
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    let talk = talk(&mut child, input);
    match tokio::time::timeout(program.limit, talk).await {
        Ok(Ok((status, complaint))) => judge(program.path, status, &complaint),
        Ok(Err(error)) => Answer::unsure(format!("lost sight of {name}: {error}")),
        Err(_) => {
            if let Some(group) = group {
                // The only error is that nobody is left in the group.
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            let _ = tokio::time::timeout(GRACE, child.wait()).await;
            let seconds = program.limit.as_secs();
            Answer::unsure(format!(
                "{name} did not end within {seconds} s and was killed"
            ))
        }
    }
}

fn spawn(program: &Program<'_>) -> std::io::Result<Child> {
    Command::new(program.path)
        .args(program.args)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Writes the input and reads the complaint at the same time, so that neither side waits for the other.
async fn talk(child: &mut Child, input: &[u8]) -> std::io::Result<(ExitStatus, String)> {
    let stdin = child.stdin.take();
    let stderr = child.stderr.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program may end without having read everything: its exit status tells.
            let _ = stdin.write_all(input).await;
        }
    };
    let ((), complaint, status) = tokio::join!(write, read(stderr), child.wait());
    Ok((status?, complaint))
}

/// What the program says on standard error, up to a bound; the rest is read and forgotten, or the program would block.
async fn read(stderr: Option<ChildStderr>) -> String {
    let mut kept = Vec::new();
    if let Some(mut stderr) = stderr {
        let _ = (&mut stderr).take(COMPLAINT).read_to_end(&mut kept).await;
        let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn judge(path: &Path, status: ExitStatus, complaint: &str) -> Answer {
    if status.success() {
        return Answer::Delivered;
    }
    let said = match line(complaint, 200) {
        said if said.is_empty() => String::new(),
        said => format!(": {said}"),
    };
    let why = format!("{} ended with {status}{said}", path.display());
    match status.code() {
        Some(TEMPORARY) => Answer::retry(why),
        Some(_) => Answer::Rejected { why },
        None => Answer::unsure(why),
    }
}
