//! QEMU's monitor as PVE uses it: one connection for each command, closed at once, since QEMU serves one client.
//!
//! Nothing here is particular to the simulation: the other end may be a real QEMU. Source of the texts, retries and
//! time limits: `qemu-server: src/PVE/QMPClient.pm`, `QemuServer/Monitor.pm`.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use serde_json::{Value, json};

use super::failure::{Done, Failure};
use super::session::Session;
use super::store;

/// Seconds that a command may take.
const DEFAULT_TIMEOUT: f64 = 5.0;
/// Adding or removing devices and objects may take longer.
const DEVICE_TIMEOUT: f64 = 60.0;
/// Time limit of one line of the human monitor.
const HMP_TIMEOUT: f64 = 25.0;
/// Time limit of everything that a status asks one VM.
const STATUS_TIMEOUT: f64 = 3.0;
/// Pause between two attempts to connect.
const RETRY_PAUSE: f64 = 0.1;

/// The monitor of one VM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Monitor<'a> {
    session: &'a Session,
    vmid: u32,
}

impl<'a> Monitor<'a> {
    /// Names the VM; nothing is opened yet.
    pub(crate) fn new(session: &'a Session, vmid: u32) -> Self {
        Self { session, vmid }
    }

    /// Runs one command on a connection of its own.
    pub(crate) fn command(&self, execute: &str, arguments: Value) -> Done<Value> {
        let seconds = match execute {
            "device_add" | "device_del" | "object-add" | "object-del" => DEVICE_TIMEOUT,
            _ => DEFAULT_TIMEOUT,
        };
        self.command_within(seconds, execute, arguments)
    }

    /// Runs one line of the human monitor. What it says about mistakes is its text: PVE looks at none of it.
    pub(crate) fn human(&self, line: &str) -> Done<()> {
        self.command_within(
            HMP_TIMEOUT,
            "human-monitor-command",
            json!({ "command-line": line }),
        )
        .map(|_| ())
    }

    fn command_within(&self, seconds: f64, execute: &str, arguments: Value) -> Done<Value> {
        if store::running_pid(self.session, self.vmid).is_none() {
            return Err(Failure::died(format!("VM {} not running", self.vmid)));
        }
        if !self.socket().exists() {
            return Err(Failure::died("unable to open monitor socket"));
        }
        let answer = self.open(seconds).and_then(|mut client| {
            client.execute("qmp_capabilities", json!({}))?;
            client.execute(execute, arguments)
        });
        answer.map_err(|why| {
            Failure::died(format!(
                "VM {} qmp command '{execute}' failed - {why}",
                self.vmid
            ))
        })
    }

    /// Connects for a status. What it may take is counted from here, whatever else is connected after it.
    pub(crate) fn open_for_status(&self) -> Option<Client> {
        self.open(STATUS_TIMEOUT).ok()
    }

    fn socket(&self) -> std::path::PathBuf {
        self.session
            .path(format!("run/qemu-server/{}.qmp", self.vmid))
    }

    fn open(&self, seconds: f64) -> Result<Client, String> {
        let stream = self
            .connect(seconds)
            .map_err(|why| format!("unable to connect to VM {} qmp socket - {why}", self.vmid))?;
        let deadline = Instant::now() + self.session.delays().timeout(seconds);
        Ok(Client {
            stream,
            deadline,
            received: Vec::new(),
            sent: 0,
        })
    }

    /// A full queue of waiting clients is worth waiting for, anything else is not.
    fn connect(&self, seconds: f64) -> Result<UnixStream, String> {
        let mut attempts = 1;
        loop {
            match connect_at_once(&self.socket()) {
                Ok(stream) => return Ok(stream),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => return Err(error.desc().to_owned()),
            }
            // Counted, not measured: on a busy machine a scaled pause is no exact one.
            if f64::from(attempts - 1) * RETRY_PAUSE >= seconds {
                return Err(format!("timeout after {attempts} retries"));
            }
            self.session.sleep(RETRY_PAUSE);
            attempts += 1;
        }
    }
}

fn connect_at_once(path: &Path) -> Result<UnixStream, Errno> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let descriptor = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(descriptor.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = UnixStream::from(descriptor);
    stream.set_nonblocking(false).map_err(|_| Errno::EIO)?;
    Ok(stream)
}

/// One connection to QEMU.
#[derive(Debug)]
pub(crate) struct Client {
    stream: UnixStream,
    deadline: Instant,
    received: Vec<u8>,
    sent: u32,
}

impl Client {
    /// Asks several things and stops at the first that fails.
    pub(crate) fn ask_all(mut self, commands: &[&str]) -> Vec<Value> {
        if self.execute("qmp_capabilities", json!({})).is_err() {
            return Vec::new();
        }
        commands
            .iter()
            .map_while(|execute| self.execute(execute, json!({})).ok())
            .collect()
    }

    fn execute(&mut self, execute: &str, arguments: Value) -> Result<Value, String> {
        self.sent += 1;
        let id = format!("{}:{}", std::process::id(), self.sent);
        let request = format!(
            "{}\n",
            json!({ "execute": execute, "arguments": arguments, "id": id })
        );
        self.stream
            .write_all(request.as_bytes())
            .map_err(|_| "client closed connection".to_owned())?;
        loop {
            let message: Value =
                serde_json::from_slice(&self.line()?).map_err(|error| error.to_string())?;
            if let Some(why) = message.pointer("/error/desc").and_then(Value::as_str) {
                return Err(why.trim_end().to_owned());
            }
            if message["id"] == id.as_str() {
                return Ok(message["return"].clone());
            }
            if message.get("QMP").is_none() && message.get("event").is_none() {
                return Err("received response without command id".to_owned());
            }
        }
    }

    fn line(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                return Ok(self.received.drain(..=end).collect());
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err("got timeout".to_owned());
            }
            // A limit of less than a millisecond would be none at all.
            let limit = left.max(Duration::from_millis(1));
            self.stream
                .set_read_timeout(Some(limit))
                .map_err(|error| error.to_string())?;
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err("client closed connection".to_owned()),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(_) => return Err("client closed connection".to_owned()),
            }
        }
    }
}
