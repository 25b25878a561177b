//! The VM's config file under /etc/pve, its lock, and whether it runs: what `qm` reads and writes on disk.
//!
//! Source: `pve-common: src/PVE/File.pm: file_set_contents`, `Tools.pm: lock_file_full`;
//! `pve-guest-common: src/PVE/AbstractConfig.pm`; `qemu-server: src/PVE/QemuServer/Helpers.pm: instance_running_locally`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::failure::{Done, EARLY, Failure, INTERRUPTED};
use super::session::Session;
use crate::vmconf::VmConfig;

/// The path of a VM's config below /etc/pve.
fn config_path(node: &str, vmid: u32) -> String {
    format!("nodes/{node}/qemu-server/{vmid}.conf")
}

/// What `strerror` says.
pub(crate) fn system_text(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_owned(),
        None => error.to_string(),
    }
}

/// VMs whose config is on this node, in rising order.
pub(crate) fn local_vms(session: &Session) -> Vec<u32> {
    let directory = session.path(format!("etc/pve/nodes/{}/qemu-server", session.node()));
    let names = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name());
    let vmid = |name: std::ffi::OsString| name.to_str()?.strip_suffix(".conf")?.parse().ok();
    let mut vms: Vec<u32> = names.filter_map(vmid).collect();
    vms.sort_unstable();
    vms
}

/// The config and its file's text, from which the digest is made.
pub(crate) fn load(session: &Session, vmid: u32) -> Done<(VmConfig, String)> {
    let path = config_path(session.node(), vmid);
    let text = fs::read(session.path("etc/pve").join(&path)).map_err(|_| Failure::Died {
        message: format!("Configuration file '{path}' does not exist"),
        code: EARLY,
    })?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let (config, warnings) = VmConfig::parse(vmid, &text);
    for warning in warnings {
        session.warn(&format!("{warning}\n"));
    }
    Ok((config, text))
}

/// The SHA-1 of the file's text: what `--digest` is compared with.
pub(crate) fn digest(text: &str) -> String {
    sha1_smol::Sha1::from(text).digest().to_string()
}

/// Replaces the config: writes `<file>.tmp.<PID>` beside it and renames it, as PVE does everywhere in /etc/pve.
pub(crate) fn write(session: &Session, vmid: u32, config: &VmConfig) -> Done<()> {
    let path = config_path(session.node(), vmid);
    let temporary = format!("{path}.tmp.{}", std::process::id());
    let real = |path: &str| session.path("etc/pve").join(path);
    let failed = |what: String, error: io::Error| Failure::Died {
        message: format!("{what} - {}", system_text(&error)),
        code: EARLY,
    };
    let write = || {
        refuse_without_quorum(&real(&temporary))?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(real(&temporary))?;
        file.write_all(config.to_string().as_bytes())
    };
    write()
        .map_err(|error| failed(format!("unable to open file '/etc/pve/{temporary}'"), error))?;
    fs::rename(real(&temporary), real(&path)).map_err(|error| {
        let _ = fs::remove_file(real(&temporary));
        failed(format!("unable to rename '/etc/pve/{temporary}'"), error)
    })
}

fn refuse_without_quorum(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path.parent().unwrap_or(path))?
        .permissions()
        .mode();
    if mode & 0o222 == 0 {
        Err(io::Error::from_raw_os_error(nix::libc::EACCES))
    } else {
        Ok(())
    }
}

/// Whether /etc/pve can be written.
///
/// Without a quorum pmxcfs shows its directories without write permission and refuses even root (recorded in
/// `60-noquorum-fs.txt`). A common file system would let root pass, so the bits are looked at here.
pub(crate) fn is_quorate(session: &Session) -> bool {
    let directory = session.path(format!("etc/pve/nodes/{}/qemu-server", session.node()));
    refuse_without_quorum(&directory.join("any")).is_ok()
}

/// Holds the VM's exclusive flock until dropped.
#[derive(Debug)]
pub(crate) struct VmLock(#[expect(dead_code, reason = "held for its lock, never read")] File);

/// Takes `/var/lock/qemu-server/lock-<VMID>.conf`, waiting as long as PVE waits.
pub(crate) fn lock(session: &Session, vmid: u32) -> Done<VmLock> {
    let name = format!("var/lock/qemu-server/lock-{vmid}.conf");
    let path = session.path(&name);
    let open = || {
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        OpenOptions::new().create(true).append(true).open(&path)
    };
    let cannot = |why: String| Failure::Died {
        message: format!("can't lock file '/{name}' - {why}"),
        code: INTERRUPTED,
    };
    let file =
        open().map_err(|error| cannot(format!("can't open file - {}", system_text(&error))))?;
    match file.try_lock() {
        Ok(()) => return Ok(VmLock(file)),
        Err(TryLockError::WouldBlock) => session.warn("trying to acquire lock...\n"),
        Err(TryLockError::Error(error)) => return Err(cannot(system_text(&error))),
    }
    let deadline = Instant::now() + session.delays().scaled(session.delays().flock_s);
    while Instant::now() < deadline {
        if file.try_lock().is_ok() {
            session.warn(" OK\n");
            return Ok(VmLock(file));
        }
        session.sleep(0.02);
    }
    Err(cannot("got timeout".to_owned()))
}

/// The process id of the VM's QEMU if it runs here.
///
/// The pid file counts only while `/proc/PID/cmdline` has a `-pidfile` of that VM and the process is no zombie.
pub(crate) fn running_pid(session: &Session, vmid: u32) -> Option<u32> {
    let pid: u32 = session
        .read(format!("run/qemu-server/{vmid}.pid"))?
        .trim()
        .parse()
        .ok()?;
    let cmdline = fs::read(session.path(format!("proc/{pid}/cmdline"))).ok()?;
    let words: Vec<&[u8]> = cmdline.split(|byte| *byte == 0).collect();
    let expected = format!("run/qemu-server/{vmid}.pid");
    let ours = words
        .windows(2)
        .any(|pair| pair[0] == b"-pidfile" && pair[1].ends_with(expected.as_bytes()));
    let state = session.read(format!("proc/{pid}/stat"))?;
    let zombie = state
        .rsplit_once(')')
        .is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'));
    (ours && !zombie).then_some(pid)
}

/// The scope in which systemd runs the VM.
pub(crate) fn scope(session: &Session, vmid: u32) -> PathBuf {
    session.path(format!("sys/fs/cgroup/qemu.slice/{vmid}.scope"))
}
