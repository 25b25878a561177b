//! Asking a VM's QEMU over QMP, politely: its monitor serves one client at a time, and PVE needs it, too. So: connect,
//! greeting, ask, close, all within a limit of a fraction of a second; a monitor that does not greet is busy.
//!
//! Asks only. Changes are made through `qm`.

mod answers;
mod session;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use answers::{
    Answer, Answers, Balloon, Dimm, GuestStats, MemorySize, QemuVersion, Status, Vcpu,
};
use session::Session;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

/// How long the monitor may be borrowed. Measured on small shared machines: a whole visit takes 1.5 to 3.5 ms, 44 ms at
/// the 99th percentile of a busy one; PVE's own clients wait 3 s and more for their turn (QMPClient.pm).
pub const BORROW: Duration = Duration::from_millis(200);

/// Why QEMU could not be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// There is no such socket, or nobody behind it: QEMU does not run.
    #[error("QEMU cannot be reached at {}: {error}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The monitor serves another client, or QEMU hangs. Try later.
    #[error("QEMU's monitor {} is busy: no greeting within {} ms", socket.display(), limit.as_millis())]
    Busy {
        /// The socket.
        socket: PathBuf,
        /// How long it was waited for.
        limit: Duration,
    },
    /// Something else than QMP came, or the connection broke before the first answer.
    #[error("QEMU's monitor {} does not speak QMP: {why}", socket.display())]
    Protocol {
        /// The socket.
        socket: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Asks the QEMU behind `socket` everything that the agent wants to know, within `limit` (usually [`BORROW`]).
///
/// Each answer stands alone: a command that fails, or that the limit cut off, voids no other.
///
/// # Errors
/// When not a single question could be put.
pub async fn ask(socket: &Path, limit: Duration) -> Result<Answers, QmpError> {
    let deadline = Instant::now() + limit;
    let busy = || QmpError::Busy {
        socket: socket.to_owned(),
        limit,
    };
    let stream = match timeout_at(deadline, UnixStream::connect(socket)).await {
        Ok(Ok(stream)) => stream,
        // The queue of clients that wait for their turn is full.
        Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return Err(busy()),
        Ok(Err(error)) => {
            return Err(QmpError::Unreachable {
                socket: socket.to_owned(),
                error,
            });
        }
        Err(_) => return Err(busy()),
    };
    let mut session = Session::new(stream);
    let greeting = match timeout_at(deadline, session.greet()).await {
        Ok(Ok(greeting)) => greeting,
        Ok(Err(why)) => {
            return Err(QmpError::Protocol {
                socket: socket.to_owned(),
                why,
            });
        }
        Err(_) => return Err(busy()),
    };
    Ok(answers::collect(&mut session, &greeting, deadline).await)
}

#[cfg(test)]
mod tests;
