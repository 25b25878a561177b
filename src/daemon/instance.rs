//! One agent per node: two would work against each other.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::DaemonError;
use crate::pve::Layout;

/// Takes the node's lock, which the kernel gives back however this process ends.
pub(super) fn lock(layout: &Layout) -> Result<Flock<File>, DaemonError> {
    let directory = layout.run_dir();
    let path = directory.join("lock");
    let fail = |e: &dyn std::fmt::Display| {
        DaemonError::Node(format!("cannot lock {}: {e}", path.display()))
    };
    fs::create_dir_all(&directory).map_err(|e| fail(&e))?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    match Flock::lock(file.map_err(|e| fail(&e))?, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            // The number is for people; the lock itself is what counts.
            let written = lock.set_len(0).and_then(|()| lock.rewind());
            written
                .and_then(|()| writeln!(lock, "{}", std::process::id()))
                .map_err(|e| fail(&e))?;
            Ok(lock)
        }
        Err((mut held, Errno::EWOULDBLOCK)) => {
            let mut pid = String::new();
            let known = held.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            let who = if known {
                format!("process {}", pid.trim())
            } else {
                "unknown process".to_owned()
            };
            Err(DaemonError::AnotherInstance(who))
        }
        Err((_, errno)) => Err(fail(&errno)),
    }
}
