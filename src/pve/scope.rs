//! What the kernel says of a VM's control group, `qemu.slice/<vmid>.scope` (cgroup v2).
//!
//! The scope also holds the VM's helper processes (swtpm, virtiofsd), so its numbers include theirs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Layout, VmConfig};
use crate::domain::{Cores, Mib, VmId};
use crate::host::file::read_text;
use crate::host::{ReadError, Stall};

/// A VM's control group. Its readings fail with [`ReadError::is_missing`] when the VM does not run.
#[derive(Debug, Clone)]
pub struct Scope {
    path: PathBuf,
}

/// `cpu.stat`. Counters since the scope was made, that is, since the VM was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuStat {
    /// CPU time used.
    pub usage: Duration,
    /// Periods of the quota in which the VM wanted to run; 0 without a quota.
    pub periods: u64,
    /// Periods in which it was held back.
    pub throttled_periods: u64,
    /// How long its threads were held back, added up.
    pub throttled: Duration,
}

/// `memory.current` and the part of it that is page cache of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes charged to the scope.
    pub current: u64,
    /// Bytes of it that cache files.
    pub file: u64,
}

impl CpuStat {
    fn parse(text: &str) -> Option<Self> {
        let micros = |key| value_of(text, key).map(Duration::from_micros);
        Some(Self {
            usage: micros("usage_usec")?,
            // Absent while the cpu controller is off for the scope: then there is no quota either.
            periods: value_of(text, "nr_periods").unwrap_or(0),
            throttled_periods: value_of(text, "nr_throttled").unwrap_or(0),
            throttled: micros("throttled_usec").unwrap_or(Duration::ZERO),
        })
    }
}

impl MemoryUse {
    /// Bytes without page cache: what PVE calls `memhost`. Huge pages are not in it, and memory shared through virtiofs
    /// counts as file: for such VMs it is far too low.
    pub fn without_cache(self) -> u64 {
        self.current.saturating_sub(self.file)
    }

    /// Memory of the node that a VM of this configuration occupies, huge pages left out. Memory that is shared with it
    /// through virtiofs is its own, and counts as file.
    pub fn occupied(self, config: &VmConfig) -> Mib {
        Mib::from_bytes(if config.virtiofs {
            self.current
        } else {
            self.without_cache()
        })
    }
}

impl Scope {
    /// The scope of `vm`.
    pub fn new(layout: &Layout, vm: VmId) -> Self {
        Self {
            path: layout.scope(vm),
        }
    }

    /// CPU time and throttling.
    ///
    /// # Errors
    /// When the file cannot be read, or lacks `usage_usec`.
    pub fn cpu_stat(&self) -> Result<CpuStat, ReadError> {
        let path = self.path.join("cpu.stat");
        CpuStat::parse(&read_text(&path)?).ok_or_else(|| lacks(&path, "usage_usec"))
    }

    /// The CPU quota; `None` is no limit.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn cpu_limit(&self) -> Result<Option<Cores>, ReadError> {
        let path = self.path.join("cpu.max");
        parse_limit(&read_text(&path)?).ok_or_else(|| lacks(&path, "QUOTA PERIOD"))
    }

    /// Memory that the VM takes from the node.
    ///
    /// # Errors
    /// When either file cannot be read or understood.
    pub fn memory(&self) -> Result<MemoryUse, ReadError> {
        let path = self.path.join("memory.current");
        let current = read_text(&path)?.trim().parse();
        let current = current.map_err(|_| lacks(&path, "a number of bytes"))?;
        let path = self.path.join("memory.stat");
        let file = value_of(&read_text(&path)?, "file").ok_or_else(|| lacks(&path, "file"))?;
        Ok(MemoryUse { current, file })
    }

    /// How long the VM's threads waited for a CPU of the node.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn cpu_pressure(&self) -> Result<Stall, ReadError> {
        Stall::read(&self.path.join("cpu.pressure"))
    }

    /// How long the VM's threads waited for memory of the node. Says nothing of shortage inside the guest.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn memory_pressure(&self) -> Result<Stall, ReadError> {
        Stall::read(&self.path.join("memory.pressure"))
    }
}

/// Reads `cpu.max`: microseconds of CPU time per period, or `max` for no limit.
fn parse_limit(text: &str) -> Option<Option<Cores>> {
    let (quota, period) = text.trim().split_once(' ')?;
    let period = period.parse::<u32>().ok().filter(|period| *period > 0)?;
    if quota == "max" {
        return Some(None);
    }
    let quota = quota.parse::<u32>().ok()?;
    let cores = f64::from(quota) / f64::from(period);
    Some(Some(Cores::from_f64(cores)))
}

/// The number behind `key` in a file of `key number` lines.
fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok()).flatten()
    })
}

fn lacks(path: &Path, what: &str) -> ReadError {
    ReadError::content(path, format!("expected {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scope_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Scope) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let vm = "101".parse().unwrap();
        std::fs::create_dir_all(layout.scope(vm)).unwrap();
        for (name, text) in files {
            std::fs::write(layout.scope(vm).join(name), text).unwrap();
        }
        (dir, Scope::new(&layout, vm))
    }

    const CPU_STAT: &str = "usage_usec 8462350\nuser_usec 6000000\nsystem_usec 2462350\nnice_usec 0\n\
        core_sched.force_idle_usec 0\nnr_periods 120\nnr_throttled 30\nthrottled_usec 1500000\nnr_bursts 0\nburst_usec 0\n";

    #[test]
    fn cpu_time_and_throttling_are_read() {
        let (_dir, scope) = scope_with(&[("cpu.stat", CPU_STAT)]);
        let stat = scope.cpu_stat().unwrap();
        assert_eq!(stat.usage, Duration::from_micros(8_462_350));
        assert_eq!((stat.periods, stat.throttled_periods), (120, 30));
        assert_eq!(stat.throttled, Duration::from_millis(1500));
    }

    #[test]
    fn a_missing_scope_is_missing_and_not_idle() {
        let (_dir, scope) = scope_with(&[]);
        assert!(scope.cpu_stat().unwrap_err().is_missing());
        let (_dir, scope) = scope_with(&[("cpu.stat", "user_usec 1\n"), ("cpu.max", "\n")]);
        let error = scope.cpu_stat().unwrap_err();
        assert!(!error.is_missing());
        assert!(error.to_string().contains("101.scope/cpu.stat"), "{error}");
        assert!(scope.cpu_limit().is_err());
    }

    #[test]
    fn the_quota_is_in_cores_and_max_is_none() {
        let (_dir, scope) = scope_with(&[("cpu.max", "150000 100000\n")]);
        assert_eq!(scope.cpu_limit().unwrap(), Some(Cores::milli(1500)));
        assert_eq!(parse_limit("max 100000\n"), Some(None));
        for bad in ["", "max", "1000 0", "-1 100000", "x 100000", "max max"] {
            assert_eq!(parse_limit(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn memory_without_page_cache_is_never_negative() {
        let (_dir, scope) = scope_with(&[
            ("memory.current", "302358528\n"),
            (
                "memory.stat",
                "anon 290000000\nfile 8208384\nfile_mapped 5\n",
            ),
        ]);
        let memory = scope.memory().unwrap();
        assert_eq!(memory.without_cache(), 294_150_144);
        let odd = MemoryUse {
            current: 1,
            file: 2,
        };
        assert_eq!(odd.without_cache(), 0);
    }

    proptest! {
        #[test]
        fn no_content_makes_it_panic(text in "(usage_usec|file|max)?[ -~\n]{0,40}") {
            let _ = (CpuStat::parse(&text), parse_limit(&text));
        }
    }
}
