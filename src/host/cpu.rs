//! The node's CPUs, from /proc/stat.

use std::path::Path;

use procfs::{FromBufReadSI, KernelStats};

use super::file::{ReadError, read_text};
use crate::domain::Cores;

/// The counters of /proc/stat at one moment, in clock ticks added up over all CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTimes {
    used: u64,
    total: u64,
    cpus: u32,
}

impl CpuTimes {
    /// Reads `stat` under `proc`.
    ///
    /// Used is what Proxmox VE counts, too: user, nice, system, irq, softirq and steal; not waiting for I/O. Guests are in
    /// user already (ProcFSTools.pm: read_proc_stat).
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn read(proc: &Path) -> Result<Self, ReadError> {
        let path = proc.join("stat");
        let text = read_text(&path)?;
        Self::parse(&text).map_err(|why| ReadError::content(&path, why))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let stats = KernelStats::from_buf_read(text.as_bytes(), procfs::current_system_info());
        let stats = stats.map_err(|error| error.to_string())?;
        let time = &stats.total;
        let told = |ticks: Option<u64>| ticks.unwrap_or(0);
        let used = [
            time.user,
            time.nice,
            time.system,
            told(time.irq),
            told(time.softirq),
            told(time.steal),
        ];
        let used = used.into_iter().fold(0, u64::saturating_add);
        let cpus = u32::try_from(stats.cpu_time.len()).unwrap_or(u32::MAX);
        if cpus == 0 {
            return Err("expected a line for each CPU".to_owned());
        }
        Ok(Self {
            used,
            total: used
                .saturating_add(time.idle)
                .saturating_add(told(time.iowait)),
            cpus,
        })
    }

    /// Logical CPUs that are online.
    pub fn cpus(self) -> Cores {
        Cores::whole(self.cpus)
    }

    /// The mean CPU used since `earlier`; `None` if no time has passed or the counters went back.
    pub fn used_since(self, earlier: Self) -> Option<Cores> {
        let used = self.used.checked_sub(earlier.used)?;
        let total = self.total.checked_sub(earlier.total)?;
        if total == 0 {
            return None;
        }
        let share = used as f64 / total as f64;
        Some(Cores::from_f64(share * f64::from(self.cpus)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stat(total: &str) -> String {
        format!(
            "cpu  {total}\ncpu0 1 0 0 0 0 0 0 0 0 0\ncpu1 1 0 0 0 0 0 0 0 0 0\nintr 1 2\nctxt 3\n\
             btime 1795498458\nprocesses 9\nprocs_running 1\nprocs_blocked 0\n"
        )
    }

    #[test]
    fn used_is_everything_but_idle_and_waiting_for_io() {
        // user nice system idle iowait irq softirq steal guest guest_nice
        let earlier = CpuTimes::parse(&stat("1000 100 200 5000 50 10 20 30 900 0")).unwrap();
        let later = CpuTimes::parse(&stat("1060 100 210 5110 60 10 25 35 960 0")).unwrap();
        // 60 + 10 + 5 + 5 = 80 used of 200 ticks, on two CPUs.
        assert_eq!(later.used_since(earlier), Some(Cores::milli(800)));
        assert_eq!(later.cpus(), Cores::whole(2));
    }

    #[test]
    fn no_time_or_counters_that_went_back_give_no_usage() {
        let earlier = CpuTimes::parse(&stat("1000 100 200 5000 50 10 20 30 0 0")).unwrap();
        assert_eq!(earlier.used_since(earlier), None);
        let restarted = CpuTimes::parse(&stat("10 0 0 100 0 0 0 0 0 0")).unwrap();
        assert_eq!(restarted.used_since(earlier), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        let now = CpuTimes::read(Path::new("/proc")).unwrap();
        assert!(now.cpus() >= Cores::whole(1));
    }

    #[test]
    fn a_torn_file_is_an_error_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("stat"), "cpu  1 2\n").unwrap();
        let error = CpuTimes::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("/stat"), "{error}");
        assert!(CpuTimes::parse("cpu 1 1 1 1\nctxt 1\nbtime 1\nprocesses 1\n").is_err());
    }

    proptest! {
        #[test]
        fn no_content_makes_it_panic(text in "(cpu|cpu0|ctxt |btime )?[ -~\u{e9}\n]{0,60}") {
            let _ = CpuTimes::parse(&text);
        }
    }
}
