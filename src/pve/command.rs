//! Running a command of the node: an argument vector without a shell, a time limit, a process group of its own, an
//! environment of its own, and bounded output.
//!
//! Knows nothing of what the command means: see [`super::error`] for that.

use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

/// The most that is kept of stdout. `/cluster/resources` needs about 400 bytes a guest: enough for 10,000.
const STDOUT_MAX: usize = 4 << 20;

/// The most that is kept of stderr.
const STDERR_MAX: usize = 64 << 10;

/// How long a process group may take to end itself after SIGTERM, and again after SIGKILL, before it is left alone: a
/// process that waits for pmxcfs can be beyond any signal (pmxcfs: dfsm.c: dfsm_send_message_sync).
const GRACE: Duration = Duration::from_secs(2);

/// How long output is still read after the command ended, where a process that it left behind holds the pipe open.
const REST: Duration = Duration::from_millis(200);

/// How a command came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal, which somebody else sent.
    Signalled(i32),
    /// It did not end within its limit; its process group was killed. What it did until then is unknown.
    TimedOut,
    /// It could not be started, and why.
    SpawnFailed(String),
}

/// A command that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// How it ended.
    pub ended: Ended,
    /// What it wrote to stdout, up to 4 MiB.
    pub stdout: String,
    /// What it wrote to stderr, up to 64 KiB.
    pub stderr: String,
    /// Whether it wrote more than was kept.
    pub truncated: bool,
    /// From start to end.
    pub elapsed: Duration,
}

impl Finished {
    /// The command as a person would type it: the program's name without its directory, and the arguments.
    pub fn command_line(&self) -> String {
        CommandLine(&self.argv).to_string()
    }
}

/// Prints an argument vector as a person would type it.
struct CommandLine<'a>(&'a [String]);

impl fmt::Display for CommandLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, word) in self.0.iter().enumerate() {
            match Path::new(word).file_name().and_then(|name| name.to_str()) {
                Some(name) if position == 0 => f.write_str(name)?,
                _ if position == 0 => f.write_str(word)?,
                _ => write!(f, " {word}")?,
            }
        }
        Ok(())
    }
}

/// Runs `program` with `args` and waits for its end, `limit` at most; then its whole process group gets SIGTERM, and
/// two seconds later SIGKILL.
///
/// Wait for this future to its end: if it is dropped, the command goes on, but dies of SIGPIPE when it next prints.
pub async fn run(program: &Path, args: &[String], limit: Duration) -> Finished {
    feed(program, args, &[], limit).await
}

/// As [`run`], with `input` on the program's standard input.
pub async fn feed(program: &Path, args: &[String], input: &[u8], limit: Duration) -> Finished {
    let started = Instant::now();
    let mut stdout = Capture::new(STDOUT_MAX);
    let mut stderr = Capture::new(STDERR_MAX);
    let stdin = if input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    let ended = match spawn(program, args, stdin) {
        Ok(mut child) => wait(&mut child, input, &mut stdout, &mut stderr, limit).await,
        Err(error) => Ended::SpawnFailed(error.to_string()),
    };
    let program = program.to_string_lossy().into_owned();
    Finished {
        argv: std::iter::once(program)
            .chain(args.iter().cloned())
            .collect(),
        ended,
        truncated: stdout.overflow || stderr.overflow,
        stdout: stdout.text(),
        stderr: stderr.text(),
        elapsed: started.elapsed(),
    }
}

fn spawn(program: &Path, args: &[String], stdin: Stdio) -> std::io::Result<Child> {
    Command::new(program)
        .args(args)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        // Perl warns on stderr about a locale that does not exist; this one always does.
        .env("LC_ALL", "C.UTF-8")
        .env("HOME", "/root")
        .current_dir("/")
        .process_group(0)
        .spawn()
}

/// Waits for the end of `child`, writing its input and reading both its outputs all the while.
async fn wait(
    child: &mut Child,
    input: &[u8],
    stdout: &mut Capture,
    stderr: &mut Capture,
    limit: Duration,
) -> Ended {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let stdin = child.stdin.take();
    let writing = async {
        if let Some(mut stdin) = stdin {
            // A program may end without having read everything: its exit code tells what that means.
            let _ = stdin.write_all(input).await;
        }
    };
    let reading = async { tokio::join!(stdout.fill(out), stderr.fill(err), writing) };
    tokio::pin!(reading);
    let to_the_end = async {
        let mut read = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                _ = &mut reading, if !read => read = true,
            }
        };
        if !read {
            let _ = timeout(REST, &mut reading).await;
        }
        status
    };
    match timeout(limit, to_the_end).await {
        Ok(Ok(status)) => ended(status),
        Ok(Err(error)) => Ended::SpawnFailed(format!("its end could not be seen: {error}")),
        Err(_) => {
            kill_group(child).await;
            let _ = timeout(REST, &mut reading).await;
            Ended::TimedOut
        }
    }
}

fn ended(status: std::process::ExitStatus) -> Ended {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, signal) => Ended::Signalled(signal.unwrap_or(0)),
    }
}

/// Ends the process group of `child`: politely, then for certain.
async fn kill_group(child: &mut Child) {
    // The leader was started with a group of its own, which therefore has its number.
    let Some(group) = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .map(Pid::from_raw)
    else {
        return;
    };
    // Either signal may find nobody left to receive it.
    let _ = killpg(group, Signal::SIGTERM);
    let _ = timeout(GRACE, child.wait()).await;
    let _ = killpg(group, Signal::SIGKILL);
    let _ = timeout(GRACE, child.wait()).await;
}

/// The beginning of an output, up to a bound. What comes after is read and dropped, so that the writer never blocks.
struct Capture {
    bytes: Vec<u8>,
    max: usize,
    overflow: bool,
}

impl Capture {
    fn new(max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            max,
            overflow: false,
        }
    }

    async fn fill(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let mut chunk = [0; 8192];
        // A read error ends the output like its end does.
        while let Ok(n @ 1..) = pipe.read(&mut chunk).await {
            let room = self.max - self.bytes.len();
            self.overflow |= n > room;
            self.bytes.extend_from_slice(&chunk[..n.min(room)]);
        }
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn sh(script: &str, limit: Duration) -> Finished {
        let args = ["-c".to_owned(), script.to_owned()];
        run(Path::new("/bin/sh"), &args, limit).await
    }

    #[tokio::test]
    async fn the_exit_code_and_both_outputs_come_back() {
        let done = sh("echo out; echo err >&2; exit 4", LONG).await;
        assert_eq!(done.ended, Ended::Exited(4));
        assert_eq!(
            (done.stdout.as_str(), done.stderr.as_str()),
            ("out\n", "err\n")
        );
        assert_eq!(done.argv[..2], ["/bin/sh", "-c"]);
        assert!(done.command_line().starts_with("sh -c "));
    }

    #[tokio::test]
    async fn a_signal_from_elsewhere_is_not_an_exit_code() {
        let done = sh("kill -9 $$", LONG).await;
        assert_eq!(done.ended, Ended::Signalled(9));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let done = run(Path::new("/no/such/qm"), &["set".to_owned()], LONG).await;
        assert!(matches!(done.ended, Ended::SpawnFailed(_)), "{done:?}");
        assert_eq!(done.command_line(), "qm set");
    }

    #[tokio::test]
    async fn no_shell_sees_the_arguments() {
        let args = ["$HOME; echo `id`".to_owned(), "*".to_owned()];
        let done = run(Path::new("/bin/echo"), &args, LONG).await;
        assert_eq!(done.stdout, "$HOME; echo `id` *\n");
    }

    #[tokio::test]
    async fn the_environment_is_our_own_and_stdin_is_empty() {
        let done = sh(
            "cat; env | grep -v '^PWD=\\|^_=\\|^SHLVL=\\|^OLDPWD=' | sort; pwd",
            LONG,
        )
        .await;
        assert_eq!(
            done.stdout,
            "HOME=/root\nLC_ALL=C.UTF-8\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n/\n"
        );
    }

    #[tokio::test]
    async fn output_beyond_the_bound_is_dropped_and_the_command_still_ends() {
        let done = sh(
            "head -c 5000000 /dev/zero; head -c 100000 /dev/zero >&2",
            LONG,
        )
        .await;
        assert_eq!(done.ended, Ended::Exited(0));
        assert_eq!(
            (done.stdout.len(), done.stderr.len()),
            (STDOUT_MAX, STDERR_MAX)
        );
        assert!(done.truncated);
    }

    /// Processes of the group `leader` that still run (not those that are dead and unreaped).
    fn alive(leader: &str) -> Vec<String> {
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
            let mut fields = stat.rsplit_once(") ")?.1.split(' ');
            let (state, group) = (fields.next()?, fields.nth(1)?);
            (group == leader && state != "Z").then_some(stat.clone())
        });
        processes.collect()
    }

    /// A killed process needs a moment on a CPU to go.
    async fn all_gone(leader: &str) {
        assert!(leader.parse::<u32>().is_ok(), "{leader:?}");
        let gone = async {
            while !alive(leader).is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LONG, gone).await.expect("it still runs");
    }

    #[tokio::test]
    async fn after_the_limit_the_whole_group_is_gone_with_what_it_had_said() {
        let limit = Duration::from_secs(1);
        let done = sh("echo $$; sleep 777 & sleep 777", limit).await;
        assert_eq!(done.ended, Ended::TimedOut);
        all_gone(done.stdout.trim()).await;
    }

    #[tokio::test]
    async fn who_ignores_sigterm_is_killed() {
        let limit = Duration::from_secs(1);
        let done = sh("trap '' TERM; echo $$; while :; do sleep 1; done", limit).await;
        assert_eq!(done.ended, Ended::TimedOut);
        all_gone(done.stdout.trim()).await;
    }

    #[tokio::test]
    async fn a_process_left_behind_with_the_pipe_delays_nothing() {
        let done = sh("sleep 30 & echo $$", LONG).await;
        assert_eq!(done.ended, Ended::Exited(0));
        let leader: i32 = done.stdout.trim().parse().unwrap();
        assert_eq!(alive(done.stdout.trim()).len(), 1);
        killpg(Pid::from_raw(leader), Signal::SIGKILL).unwrap();
    }
}
