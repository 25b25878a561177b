//! The node itself, and what its VMs that are not selected were given.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::{Cores, Mib, Moment, NodeName, Reading, Source, VmId};
use crate::host::{CpuTimes, Memory};
use crate::pve::process::QemuProcess;
use crate::pve::scope::Scope;
use crate::pve::{Layout, VmConfig};

use super::files::Listed;
use super::lately::Lately;
use super::{HostView, Unselected};

/// A calm second on a busy node is no room: its CPU is looked at for this long.
const LATELY: Duration = Duration::from_secs(10);

/// What is kept of the node between looks.
#[derive(Debug)]
pub(super) struct Node {
    last: Option<CpuTimes>,
    lately: Lately<CpuTimes>,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            last: None,
            lately: Lately::of(LATELY),
        }
    }
}

impl Node {
    /// The node at `at`, by a clock that never goes back.
    pub(super) fn look(
        &mut self,
        layout: &Layout,
        at: Duration,
        now: Moment,
        unselected: Reading<Unselected>,
    ) -> HostView {
        let times = CpuTimes::read(&layout.proc()).map_err(|e| e.to_string());
        let cpus = times.as_ref().map_or(Cores::ZERO, |times| times.cpus());
        let cpu_used = match times.and_then(|times| self.used(at, times)) {
            Ok(used) => Reading::known(used, now, Source::Proc),
            Err(why) => Reading::Unknown(why),
        };
        let (memory_total, memory_available) = match Memory::read(&layout.proc()) {
            Ok(memory) => (
                memory.total,
                Reading::known(memory.free(), now, Source::Proc),
            ),
            Err(e) => (Mib::ZERO, Reading::unknown(e.to_string())),
        };
        HostView {
            cpus,
            cpu_used,
            memory_total,
            memory_available,
            unselected,
        }
    }

    /// The mean since the last look, or that of the last seconds where it is larger.
    fn used(&mut self, at: Duration, times: CpuTimes) -> Result<Cores, String> {
        let last = self.last.replace(times);
        let Some(since_last) = last.and_then(|last| times.used_since(last)) else {
            self.lately.restart(at, times);
            return Err("it was measured once only".to_owned());
        };
        self.lately.push(at, times);
        let lately = self.lately.first();
        let lately = lately.and_then(|first| times.used_since(first));
        Ok(lately.map_or(since_last, |lately| lately.max(since_last)))
    }
}

/// What the VMs of `node` that run and are not among the `chosen` were given.
pub(super) fn unselected(
    layout: &Layout,
    node: &NodeName,
    listed: &BTreeMap<VmId, Listed>,
    chosen: &BTreeMap<VmId, Listed>,
    now: Moment,
) -> Reading<Unselected> {
    let mut all = Unselected::default();
    for (vm, listed) in listed {
        if listed.owner != *node || chosen.contains_key(vm) {
            continue;
        }
        match given_to(layout, *vm, listed) {
            Ok(given) => {
                all.cores = all.cores + given.cores;
                all.untouched = all.untouched + given.untouched;
            }
            Err(why) => return Reading::unknown(format!("VM {vm}: {why}")),
        }
    }
    Reading::known(all, now, Source::ConfigFile)
}

/// What a VM was given; nothing if it does not run.
fn given_to(layout: &Layout, vm: VmId, listed: &Listed) -> Result<Unselected, String> {
    let process = QemuProcess::find(layout, vm).map_err(|e| e.to_string())?;
    if process.is_none() {
        return Ok(Unselected::default());
    }
    let config = listed.config.as_ref().map_err(Clone::clone)?;
    if let Some(problem) = &config.size_problem {
        return Err(problem.clone());
    }
    Ok(Unselected {
        cores: config.cores_given(),
        untouched: untouched(layout, vm, config)?,
    })
}

/// Memory that a VM may use but does not occupy yet.
fn untouched(layout: &Layout, vm: VmId, config: &VmConfig) -> Result<Mib, String> {
    if config.is_pinned() {
        return Ok(Mib::ZERO);
    }
    let memory = Scope::new(layout, vm).memory().map_err(|e| e.to_string())?;
    Ok(config
        .memory_given()
        .saturating_sub(memory.occupied(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said to be used at each second, by one CPU that was busy for so many of its hundred ticks.
    fn used(busy: &[u64]) -> Vec<Option<f64>> {
        let mut node = Node::default();
        let (mut at, mut ticks) = (0, 0);
        let one = |busy: &u64| {
            (at, ticks) = (at + 1, ticks + busy);
            let stat = format!("cpu {ticks} 0 0 {} 0 0 0 0 0 0\n", at * 100 - ticks);
            let rest = "ctxt 1\nbtime 1\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n";
            let stat = format!("{stat}cpu0{}{rest}", &stat[3..]);
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("stat"), stat).unwrap();
            let times = CpuTimes::read(folder.path()).unwrap();
            let used = node.used(Duration::from_secs(at), times);
            used.ok().map(Cores::as_f64)
        };
        busy.iter().map(one).collect()
    }

    #[test]
    fn a_calm_second_on_a_busy_node_is_no_room_and_a_busy_one_shows_at_once() {
        let seen = used(&[0, 100, 0, 100, 0]);
        assert_eq!(seen, [None, Some(1.0), Some(0.5), Some(1.0), Some(0.5)]);
    }

    #[test]
    fn what_was_used_long_ago_counts_no_more() {
        let mut busy = vec![100; 12];
        busy.extend([0; 12]);
        assert_eq!(used(&busy).last(), Some(&Some(0.0)));
    }

    #[test]
    fn what_a_vm_was_given_and_has_not_touched_is_its_own() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let vm = VmId::try_from(300).unwrap();
        let untouched = |config: &str| untouched(&layout, vm, &VmConfig::parse(config));
        let why = untouched("memory: 8192\n").unwrap_err();
        assert!(why.contains("memory.current"), "{why}");
        let scope = layout.scope(vm);
        std::fs::create_dir_all(&scope).unwrap();
        let mib = |mib: u64| mib * 1024 * 1024;
        std::fs::write(scope.join("memory.current"), format!("{}\n", mib(3072))).unwrap();
        std::fs::write(scope.join("memory.stat"), format!("file {}\n", mib(1024))).unwrap();
        for (config, left) in [
            ("memory: 8192\n", 6144),
            ("memory: 8192\nballoon: 0\n", 6144),
            ("memory: 8192\nballoon: 4096\n", 2048),
            ("memory: 1024\n", 0),
            ("memory: 8192\nvirtiofs0: data\n", 5120),
            ("memory: 8192\nhugepages: 2\n", 0),
            ("memory: 8192\nhostpci0: 0000:01:00.0\n", 0),
        ] {
            assert_eq!(untouched(config), Ok(Mib(left)), "{config}");
        }
    }
}
