//! A plain QMP client, for tests that look at QEMU itself.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// How long a reply may take; long, since a busy machine is no fault.
const REPLY_WITHIN: Duration = Duration::from_secs(20);

/// A connection on which commands can be given.
#[derive(Debug)]
pub(crate) struct Monitor {
    lines: BufReader<UnixStream>,
    /// What QEMU greeted with.
    pub(crate) greeting: Value,
    /// Events that came so far.
    pub(crate) events: Vec<Value>,
}

impl Monitor {
    /// Connects, waits for the greeting, negotiates.
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        Self::connect_within(path, REPLY_WITHIN)
    }

    /// The same, with another limit on each reply: a QEMU that does not greet is told by it.
    pub(crate) fn connect_within(path: &Path, limit: Duration) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(limit))?;
        let mut monitor = Self {
            lines: BufReader::new(stream),
            greeting: Value::Null,
            events: Vec::new(),
        };
        monitor.greeting = monitor.receive()?;
        monitor.ask("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Gives a command and returns the whole reply: `{"return": …}` or `{"error": …}`.
    pub(crate) fn ask(&mut self, command: &str, arguments: Value) -> io::Result<Value> {
        let request = json!({"execute": command, "arguments": arguments});
        let stream = self.lines.get_mut();
        stream.write_all(format!("{request}\n").as_bytes())?;
        loop {
            let reply = self.receive()?;
            if reply.get("event").is_none() {
                return Ok(reply);
            }
            self.events.push(reply);
        }
    }

    /// Gives a command that must succeed, and returns its value.
    #[track_caller]
    pub(crate) fn get(&mut self, command: &str, arguments: Value) -> Value {
        let reply = self.ask(command, arguments).unwrap();
        let value = reply.get("return").cloned();
        value.unwrap_or_else(|| panic!("{command}: {reply}"))
    }

    /// What the human monitor prints.
    #[track_caller]
    pub(crate) fn human(&mut self, line: &str) -> String {
        let printed = self.get("human-monitor-command", json!({"command-line": line}));
        printed.as_str().unwrap().to_owned()
    }

    /// Waits for the next line that is an event.
    #[track_caller]
    pub(crate) fn next_event(&mut self) -> Value {
        if self.events.is_empty() {
            let event = self.receive().unwrap();
            self.events.push(event);
        }
        self.events.remove(0)
    }

    fn receive(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}
