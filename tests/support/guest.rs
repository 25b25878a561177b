//! A real Linux guest: its kernel, its initial file system, and the serial line on which it obeys.
//!
//! The kernel is Debian's for clouds, unpacked into `target/guest/`, or wherever
//! `VM_AUTOSCALE_GUEST` says.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use super::scenario::RealSpec;
use super::{LOOK_AGAIN, pause};

/// Software emulation on a busy machine boots slowly.
const BOOT: Duration = Duration::from_secs(180);
/// The longest that one line of work may take in the guest.
const WORK: Duration = Duration::from_secs(180);
/// The disk that the guest may read, all zeros.
const DISK_MIB: u64 = 600;

/// What a guest is made of, made once for all tests of a process; the reason if that cannot be.
static KIT: OnceLock<Result<Kit, String>> = OnceLock::new();
/// Guests run one after the other: two in software emulation would starve each other.
static ALONE: Mutex<()> = Mutex::new(());

struct Kit {
    spec: RealSpec,
    _dir: tempfile::TempDir,
}

/// The right to run a guest, and what it is made of.
pub(crate) struct Turn {
    /// For [`super::Vm::real`].
    pub(crate) spec: RealSpec,
    _alone: MutexGuard<'static, ()>,
}

/// Waits for one's turn to run a guest. `None`, with a line that says so, where there is no QEMU or kernel.
pub(crate) fn turn(test: &str) -> Option<Turn> {
    match KIT.get_or_init(build) {
        Ok(kit) => Some(Turn {
            spec: kit.spec.clone(),
            _alone: ALONE
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        }),
        Err(why) => {
            // Past the harness's capture: a test that did not run must not look like one that passed.
            let line = format!("SKIPPED {test}: {why}\n");
            std::io::stderr().write_all(line.as_bytes()).unwrap();
            None
        }
    }
}

fn build() -> Result<Kit, String> {
    for program in ["qemu-system-x86_64", "busybox", "cpio"] {
        let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|dir| dir.join(program).exists());
        if !found {
            return Err(format!("{program} is not installed"));
        }
    }
    let home = std::env::var_os("VM_AUTOSCALE_GUEST").map(PathBuf::from);
    let home = home.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/guest"));
    let kernel = find(&home.join("boot"), "vmlinuz-")
        .ok_or_else(|| format!("there is no kernel under {}", home.display()))?;
    let modules = find(&home.join("lib/modules"), "").ok_or("there are no kernel modules")?;
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let initrd = dir.path().join("initrd");
    pack(&dir.path().join("root"), &modules, &initrd).map_err(|e| format!("initrd: {e}"))?;
    let disk = dir.path().join("disk");
    let file = fs::File::create(&disk).map_err(|e| e.to_string())?;
    file.set_len(DISK_MIB << 20).map_err(|e| e.to_string())?;
    Ok(Kit {
        spec: RealSpec {
            kernel,
            initrd,
            disk,
        },
        _dir: dir,
    })
}

/// The first entry of `dir` whose name begins so.
fn find(dir: &Path, prefix: &str) -> Option<PathBuf> {
    let mut entries = fs::read_dir(dir).ok()?.flatten();
    entries
        .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
}

/// Packs busybox, the drivers, `init` and `hog` into the guest's initial file system.
fn pack(root: &Path, modules: &Path, initrd: &Path) -> std::io::Result<()> {
    for dir in ["bin", "dev", "proc", "sys", "modules", "tmp"] {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    symlink("busybox", root.join("bin/sh"))?;
    let drivers = modules.join("kernel/drivers");
    for module in [
        "virtio/virtio_ring",
        "virtio/virtio",
        "virtio/virtio_pci_modern_dev",
        "virtio/virtio_pci_legacy_dev",
        "virtio/virtio_pci",
        "virtio/virtio_balloon",
        "block/virtio_blk",
    ] {
        let file = format!("{module}.ko");
        let name = Path::new(&file).file_name().unwrap_or_default();
        fs::copy(drivers.join(&file), root.join("modules").join(name))?;
    }
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest");
    fs::copy(guest.join("init"), root.join("init"))?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    run(Command::new(rustc)
        .args([
            "--edition=2024",
            "-O",
            "-C",
            "target-feature=+crt-static",
            "-o",
        ])
        .arg(root.join("bin/hog"))
        .arg(guest.join("hog.rs")))?;
    let archive = format!("find . | cpio -o -H newc --quiet > '{}'", initrd.display());
    run(Command::new("sh").arg("-c").arg(archive).current_dir(root))
}

fn run(command: &mut Command) -> std::io::Result<()> {
    match command.stdin(Stdio::null()).status()?.success() {
        true => Ok(()),
        false => Err(std::io::Error::other(format!("{command:?} failed"))),
    }
}

/// A guest's serial line.
pub(crate) struct Serial {
    line: BufReader<UnixStream>,
}

impl Serial {
    /// Waits until the guest has booted.
    #[track_caller]
    pub(crate) fn of(socket: &Path) -> Self {
        let until = Instant::now() + BOOT;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < until, "{}: {error}", socket.display()),
            }
            pause(LOOK_AGAIN);
        };
        stream.set_read_timeout(Some(BOOT)).unwrap();
        let mut serial = Self {
            line: BufReader::new(stream),
        };
        // The first word may have been said before anyone listened.
        serial.send("");
        loop {
            let line = serial.receive();
            if line == "READY" || line.starts_with("=== ") {
                break;
            }
        }
        serial.run("true");
        serial.line.get_ref().set_read_timeout(Some(WORK)).unwrap();
        serial
    }

    /// Has the guest's shell carry out a line, and returns what it printed.
    #[track_caller]
    pub(crate) fn run(&mut self, line: &str) -> String {
        let mark = format!("mark{}", line.len());
        self.send(&format!("echo {mark}; {line}"));
        while self.receive() != mark {}
        let mut printed = Vec::new();
        loop {
            let line = self.receive();
            if line.starts_with("=== ") {
                return printed.join("\n");
            }
            printed.push(line);
        }
    }

    /// The number that a line prints.
    #[track_caller]
    pub(crate) fn number(&mut self, line: &str) -> u64 {
        let printed = self.run(line);
        printed
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("{line}: {printed:?}"))
    }

    /// CPUs that the guest runs on.
    pub(crate) fn cpus(&mut self) -> u64 {
        self.number("grep -c ^processor /proc/cpuinfo")
    }

    /// A line of /proc/meminfo, in MiB.
    pub(crate) fn meminfo(&mut self, key: &str) -> u64 {
        self.number(&format!(
            "awk '/^{key}:/ {{print int($2/1024)}}' /proc/meminfo"
        ))
    }

    /// Programs that the guest's kernel killed for want of memory.
    pub(crate) fn oom_kills(&mut self) -> u64 {
        self.number("awk '/^oom_kill / {print $2}' /proc/vmstat")
    }

    fn send(&mut self, line: &str) {
        let stream = self.line.get_mut();
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    #[track_caller]
    fn receive(&mut self) -> String {
        let mut line = String::new();
        let read = self.line.read_line(&mut line);
        assert!(
            read.is_ok_and(|n| n > 0),
            "the guest says no more after {line:?}"
        );
        line.trim_end().to_owned()
    }
}
