//! A VM's QEMU process: whether it is there, how long it has run, and how busy each vCPU's thread is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use procfs::{FromRead, Uptime};

use super::Layout;
use crate::domain::VmId;
use crate::host::ReadError;
use crate::host::file::{read_bytes, read_text};

/// The QEMU process of a VM, as found by its pid file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QemuProcess {
    proc: PathBuf,
    pid: u32,
    started: u64,
}

/// A vCPU's thread and the CPU time that it has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VcpuThread {
    /// QEMU's number for the vCPU.
    pub index: u32,
    /// The thread's number on the node.
    pub thread_id: i32,
    /// CPU time in user and system mode since the thread started.
    pub time: Duration,
}

impl QemuProcess {
    /// Finds the process of `vm`; `None` when it does not run on this node.
    ///
    /// A pid file alone proves nothing, since numbers are used again. As PVE does it, the process must be QEMU and have
    /// been started with exactly this pid file, and be no zombie (Helpers.pm: instance_running_locally).
    ///
    /// # Errors
    /// When a file is there but cannot be read or understood: whether the VM runs is then unknown.
    pub fn find(layout: &Layout, vm: VmId) -> Result<Option<Self>, ReadError> {
        let path = layout.pid_file(vm);
        let Some(text) = unless_missing(read_text(&path))? else {
            return Ok(None);
        };
        let pid: u32 = text
            .trim()
            .parse()
            .map_err(|_| ReadError::content(&path, "expected a process number"))?;
        let proc = layout.proc();
        let directory = proc.join(pid.to_string());
        let Some(cmdline) = unless_missing(read_bytes(&directory.join("cmdline")))? else {
            return Ok(None);
        };
        if !is_qemu_of(&cmdline, layout, vm) {
            return Ok(None);
        }
        let Some(stat) = unless_missing(Stat::read(&directory.join("stat")))? else {
            return Ok(None);
        };
        Ok((!stat.is_dead()).then_some(Self {
            proc,
            pid,
            started: stat.started,
        }))
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// When it was started, in clock ticks after the node's start. Two processes with the same number and the same
    /// start are one.
    pub fn started(&self) -> u64 {
        self.started
    }

    /// How long it has run. Starts again with a live migration.
    ///
    /// # Errors
    /// When the node's uptime cannot be read.
    pub fn uptime(&self) -> Result<Duration, ReadError> {
        let path = self.proc.join("uptime");
        let text = read_text(&path)?;
        let uptime = Uptime::from_read(text.as_bytes())
            .map_err(|error| ReadError::content(&path, error.to_string()))?;
        Ok(uptime.uptime_duration().saturating_sub(ticks(self.started)))
    }

    /// The threads of its vCPUs, by vCPU number.
    ///
    /// QEMU names them `CPU n/KVM`, or `CPU n/TCG` without hardware virtualisation, since PVE starts it with
    /// `debug-threads=on`.
    ///
    /// # Errors
    /// When the threads cannot be listed, or one of them cannot be understood. A thread that ends meanwhile is left out.
    pub fn vcpu_threads(&self) -> Result<Vec<VcpuThread>, ReadError> {
        let tasks = self.proc.join(self.pid.to_string()).join("task");
        let io_error = |error| ReadError::Io {
            path: tasks.clone(),
            error,
        };
        let mut threads = Vec::new();
        for entry in std::fs::read_dir(&tasks).map_err(io_error)? {
            let directory = entry.map_err(io_error)?.path();
            threads.extend(unless_missing(vcpu_thread(&directory))?.flatten());
        }
        threads.sort_unstable_by_key(|thread| thread.index);
        Ok(threads)
    }
}

/// The vCPU thread in `directory`, if it is one.
fn vcpu_thread(directory: &Path) -> Result<Option<VcpuThread>, ReadError> {
    let name = read_text(&directory.join("comm"))?;
    let index = name
        .trim_end()
        .strip_prefix("CPU ")
        .and_then(|rest| rest.strip_suffix("/KVM").or(rest.strip_suffix("/TCG")))
        .and_then(|index| index.parse().ok());
    let thread_id = directory.file_name().and_then(|name| name.to_str());
    let (Some(index), Some(thread_id)) = (index, thread_id.and_then(|id| id.parse().ok())) else {
        return Ok(None);
    };
    let stat = Stat::read(&directory.join("stat"))?;
    Ok(Some(VcpuThread {
        index,
        thread_id,
        time: ticks(stat.used),
    }))
}

/// Whether a command line is that of the QEMU of `vm`.
fn is_qemu_of(cmdline: &[u8], layout: &Layout, vm: VmId) -> bool {
    let mut words = cmdline
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy);
    let program = words.next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    if !name.ends_with("kvm") && !name.starts_with("qemu-system-") {
        return false;
    }
    let mut after_option = words.skip_while(|word| word != "-pidfile" && word != "--pidfile");
    let Some(pid_file) = after_option.nth(1) else {
        return false;
    };
    // PVE writes the path in this form; /var/run is a link to /run.
    let expected = format!("var/run/qemu-server/{vm}.pid");
    let pid_file = Path::new(pid_file.as_ref());
    pid_file == Path::new("/").join(&expected)
        || pid_file == layout.root().join(&expected)
        || (!layout.is_system() && pid_file == layout.pid_file(vm))
}

/// What is needed of a process's or thread's `stat` file.
struct Stat {
    state: char,
    used: u64,
    started: u64,
}

impl Stat {
    /// Reads fields 3, 14, 15 and 22 of proc(5). The name in field 2 may hold anything, also brackets and spaces.
    fn read(path: &Path) -> Result<Self, ReadError> {
        Self::parse(&read_text(path)?)
            .ok_or_else(|| ReadError::content(path, "expected the fields of proc(5)"))
    }

    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |position: usize| fields.get(position - 3)?.parse::<u64>().ok();
        Some(Self {
            state: fields.first()?.chars().next()?,
            used: number(14)?.saturating_add(number(15)?),
            started: number(22)?,
        })
    }

    fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// Clock ticks as time; a tick is 10 ms.
fn ticks(count: u64) -> Duration {
    let per_second = procfs::ticks_per_second().max(1);
    Duration::from_millis(count.saturating_mul(1000) / per_second)
}

fn unless_missing<T>(result: Result<T, ReadError>) -> Result<Option<T>, ReadError> {
    match result {
        Err(error) if error.is_missing() => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests;
