//! The node's memory, from /proc/meminfo, and what ZFS gives back, from its own statistics.

use std::path::Path;

use super::file::{ReadError, read_text};
use crate::domain::Mib;

/// The node's memory at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All that the kernel manages.
    pub total: Mib,
    /// What programs can have without swapping (MemAvailable). The ZFS cache is not in it.
    pub available: Mib,
    /// What the ZFS cache (ARC) gives back under pressure: its size above its minimum. Zero without ZFS.
    pub arc_reclaimable: Mib,
}

impl Memory {
    /// Reads `meminfo` and the statistics of ZFS under `proc`.
    ///
    /// # Errors
    /// When `meminfo` cannot be read or understood. Statistics of ZFS that cannot be read count as nothing to give back.
    pub fn read(proc: &Path) -> Result<Self, ReadError> {
        let path = proc.join("meminfo");
        let meminfo = read_text(&path)?;
        let arcstats = read_text(&proc.join("spl/kstat/zfs/arcstats")).ok();
        Self::parse(&meminfo, arcstats.as_deref()).map_err(|why| ReadError::content(&path, why))
    }

    fn parse(meminfo: &str, arcstats: Option<&str>) -> Result<Self, String> {
        let field = |name: &str| kib(meminfo, name).ok_or_else(|| format!("expected {name}"));
        Ok(Self {
            total: field("MemTotal")?,
            available: field("MemAvailable")?,
            arc_reclaimable: arcstats.and_then(reclaimable).unwrap_or(Mib::ZERO),
        })
    }

    /// What can be handed out: available memory and what ZFS gives back.
    pub fn free(self) -> Mib {
        self.available + self.arc_reclaimable
    }
}

/// The value of a line `Name:   123 kB`.
fn kib(text: &str, name: &str) -> Option<Mib> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let number: u64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(Mib(number / 1024))
}

/// The ARC's size above its minimum, from lines `name type value`.
fn reclaimable(arcstats: &str) -> Option<Mib> {
    let value = |name: &str| {
        arcstats.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let found = words.next()? == name;
            found.then(|| words.nth(1)?.parse::<u64>().ok()).flatten()
        })
    };
    Some(Mib::from_bytes(
        value("size")?.saturating_sub(value("c_min")?),
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MEMINFO: &str = "MemTotal:       24683656 kB\nMemFree:        18948972 kB\n\
        MemAvailable:   22986128 kB\nBuffers:           21236 kB\nHugePages_Total:       0\n";

    /// The form of arcstats: two lines of head, then name, type, value.
    fn arcstats(size: u64, minimum: u64) -> String {
        format!(
            "9 1 0x01 147 39984 5016498041 1055262331391\nname                            type data\n\
             hits                            4    1\nc                               4    8589934592\n\
             c_min                           4    {minimum}\nc_max                           4    8589934592\n\
             size                            4    {size}\noverhead_size                   4    7\n"
        )
    }

    #[test]
    fn a_node_without_zfs_has_nothing_more_than_the_kernel_says() {
        let memory = Memory::parse(MEMINFO, None).unwrap();
        assert_eq!((memory.total, memory.available), (Mib(24105), Mib(22447)));
        assert_eq!(memory.arc_reclaimable, Mib::ZERO);
        assert_eq!(memory.free(), Mib(22447));
    }

    #[test]
    fn the_arc_gives_back_what_is_above_its_minimum_and_never_less_than_nothing() {
        let memory = Memory::parse(MEMINFO, Some(&arcstats(6 << 30, 1 << 30))).unwrap();
        assert_eq!(memory.arc_reclaimable, Mib::gib(5));
        assert_eq!(memory.free(), Mib(22447) + Mib::gib(5));
        let memory = Memory::parse(MEMINFO, Some(&arcstats(1 << 20, 1 << 30))).unwrap();
        assert_eq!(memory.arc_reclaimable, Mib::ZERO);
        let memory = Memory::parse(MEMINFO, Some("size 4 much")).unwrap();
        assert_eq!(memory.arc_reclaimable, Mib::ZERO);
    }

    #[test]
    fn memory_that_is_not_told_is_an_error_and_not_zero() {
        for bad in [
            "",
            "MemTotal: 5 kB\n",
            "MemTotal: x kB\nMemAvailable: 5 kB\n",
        ] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("meminfo"), bad).unwrap();
            let error = Memory::read(dir.path()).unwrap_err().to_string();
            assert!(error.contains("/meminfo: expected Mem"), "{error}");
        }
    }

    #[test]
    fn both_files_are_found_under_the_given_directory() {
        let dir = tempfile::tempdir().unwrap();
        let zfs = dir.path().join("spl/kstat/zfs");
        std::fs::create_dir_all(&zfs).unwrap();
        std::fs::write(dir.path().join("meminfo"), MEMINFO).unwrap();
        std::fs::write(zfs.join("arcstats"), arcstats(3 << 30, 1 << 30)).unwrap();
        let memory = Memory::read(dir.path()).unwrap();
        assert_eq!(memory.arc_reclaimable, Mib::gib(2));
    }

    #[test]
    fn this_machine_can_be_read() {
        let memory = Memory::read(Path::new("/proc")).unwrap();
        assert!(memory.total > memory.available && memory.available > Mib::ZERO);
    }

    proptest! {
        #[test]
        fn no_content_makes_it_panic(text in "(MemTotal|MemAvailable|size|c_min)?[ -~\u{e9}\n]{0,40}") {
            let _ = Memory::parse(&text, Some(&text));
        }
    }
}
