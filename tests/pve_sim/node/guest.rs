//! The operating system inside a VM: how it reacts to plugged devices and to the balloon, how its memory fills, what
//! it reports, and when its OOM killer strikes. Pure; time is an argument.
//!
//! The sizes are those of the recorded guest (Linux 6, 2 GiB): 100 MiB and 1.6 % of the boot memory never appear in
//! MemTotal, 60 MiB are the idle system's own, and MemAvailable is MemFree less the kernel's reserve of 74 MiB.

use super::load::Demand;
use super::machine::{BOOT_S, GuestStatistics, MIB, Machine, Wish};
use super::scenario::GuestSpec;

/// Pages are 4 KiB.
const PAGE: f64 = 4096.0;
/// The kernel keeps this much free for itself; an allocation that would take it meets the OOM killer.
const MIN_FREE_MIB: f64 = 16.0;
/// How fast the page cache fills from a disk, in MiB per second.
const READ_MIB_PER_S: f64 = 300.0;
/// How fast a guest writes to swap and reads back, in MiB per second.
const SWAP_MIB_PER_S: f64 = 100.0;
/// What a struck service still uses, as a share of what it wants.
const AFTER_OOM: f64 = 0.3;

/// The state of a guest's kernel. Sizes in MiB.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guest {
    /// What it is like.
    pub(crate) spec: GuestSpec,
    /// Anonymous memory in use.
    pub(crate) anonymous: f64,
    /// Shared memory in use.
    pub(crate) shared: f64,
    /// Page cache of files.
    pub(crate) cache: f64,
    /// Swapped out.
    pub(crate) swapped: f64,
    /// OOM kills so far.
    pub(crate) oom_kills: u64,
    /// Until when a struck service is down, in the node's seconds.
    pub(crate) down_until: Option<f64>,
    /// Seconds in which memory was short: OOM killer, swapping, or no memory left to hand out.
    pub(crate) short_s: f64,
    counters: Counters,
    polled_at: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counters {
    swap_in_mib: f64,
    swap_out_mib: f64,
    major_faults: f64,
    minor_faults: f64,
    stalls: f64,
    reclaimed_pages: f64,
}

/// A device that the guest let go of, or refused to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// It is gone.
    Released(String),
    /// The guest keeps it.
    Refused(String),
}

/// A guest's memory at one moment, in MiB.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Memory {
    /// MemTotal.
    pub(crate) total: f64,
    /// MemFree.
    pub(crate) free: f64,
    /// MemAvailable.
    pub(crate) available: f64,
    /// Everything in use on the host's side.
    pub(crate) resident: f64,
}

impl Guest {
    /// A guest that has been up for a while: its memory is filled, its balloon where it was asked to be.
    pub(crate) fn settled(spec: GuestSpec, machine: &mut Machine, demand: &Demand) -> Self {
        let mut guest = Self {
            spec,
            ..Self::default()
        };
        guest.anonymous = demand.memory_mib(0.0);
        guest.shared = demand.shmem_mib(0.0);
        guest.move_balloon(machine, f64::INFINITY);
        let room = guest.room(machine) - guest.anonymous - guest.shared;
        guest.cache = demand.files_mib.min(room).max(0.0);
        guest
    }

    /// Lets `dt` seconds pass up to `now`. `age` is the time since the load was set.
    pub(crate) fn advance(
        &mut self,
        machine: &mut Machine,
        demand: &Demand,
        (now, dt, age): (f64, f64, f64),
    ) -> Vec<Reaction> {
        if !machine.running {
            return Vec::new();
        }
        let reactions = self.react(machine, now);
        self.move_balloon(machine, dt);
        self.use_memory(machine, demand, (now, dt, age));
        reactions
    }

    /// Answers what is due of what it was asked for.
    fn react(&mut self, machine: &mut Machine, now: f64) -> Vec<Reaction> {
        let (due, later) = std::mem::take(&mut machine.requests)
            .into_iter()
            .partition(|request| request.due <= now);
        machine.requests = later;
        let mut reactions = Vec::new();
        let due: Vec<super::machine::Request> = due;
        for request in due {
            let id = request.device;
            let is_module = machine.modules.iter().any(|module| module.id == id);
            let (onlines, releases) = if is_module {
                (self.spec.onlines_memory, self.spec.releases_memory)
            } else {
                (self.spec.onlines_vcpus, self.spec.releases_vcpus)
            };
            match request.wish {
                Wish::Online if onlines => set_online(machine, &id),
                Wish::Online => {}
                Wish::Release if releases => {
                    machine.remove_device(&id);
                    reactions.push(Reaction::Released(id));
                }
                Wish::Release => reactions.push(Reaction::Refused(id)),
            }
        }
        reactions
    }

    /// Inflates or deflates for `dt` seconds. A guest gives what it does not need; to give more it must swap.
    fn move_balloon(&mut self, machine: &mut Machine, dt: f64) {
        let memory = self.memory(machine);
        let ram = machine.ram() as f64;
        let Some(balloon) = machine.balloon.as_mut() else {
            return;
        };
        if !self.spec.balloon_driver {
            return;
        }
        let step = (self.spec.balloon_mib_per_s * dt).min(1e9) * MIB as f64;
        let (wanted, inflated) = (balloon.wanted as f64, balloon.inflated as f64);
        let reclaimable = (memory.free + self.cache - MIN_FREE_MIB).max(0.0);
        let by_swapping = self.swap_room().min(SWAP_MIB_PER_S * dt);
        let most = inflated + (reclaimable + by_swapping) * MIB as f64;
        let next = if wanted > inflated {
            wanted.min(inflated + step).min(most).max(inflated)
        } else {
            wanted.max(inflated - step)
        };
        balloon.inflated = next.min(ram) as u64;
    }

    /// Follows the demand as far as there is room.
    fn use_memory(
        &mut self,
        machine: &mut Machine,
        demand: &Demand,
        (now, dt, age): (f64, f64, f64),
    ) {
        let struck = self.down_until.is_some_and(|until| now < until);
        let share = if struck { AFTER_OOM } else { 1.0 };
        let before = self.anonymous;
        self.anonymous = demand.memory_mib(age) * share;
        self.shared = demand.shmem_mib(age);
        let room = self.room(machine);
        let missing = self.anonymous + self.shared - room;
        self.swap(missing.max(0.0), dt);
        let deficit = self.anonymous + self.shared - self.swapped - room;
        if deficit > 0.5 {
            self.short_s += dt;
            self.counters.stalls += 50.0 * dt;
            if !struck {
                self.oom_kills += 1;
                self.down_until = Some(now + self.spec.recovers_from_oom_s);
                self.anonymous *= AFTER_OOM;
            }
        } else if self.swapped > 0.0 {
            self.short_s += dt;
        }
        let left = (room - (self.anonymous + self.shared - self.swapped)).max(0.0);
        let evicted = (self.cache - left).max(0.0);
        self.cache = (self.cache - evicted).min(demand.files_mib);
        let read = (READ_MIB_PER_S * dt).min((demand.files_mib.min(left) - self.cache).max(0.0));
        self.cache += read;
        self.count(evicted, (self.anonymous - before).max(0.0), left, dt);
    }

    /// Brings swap towards holding `missing` MiB; what is swapped out is read back now and then.
    fn swap(&mut self, missing: f64, dt: f64) {
        let target = missing.min(self.spec.swap_mib as f64);
        let step = SWAP_MIB_PER_S * dt;
        if target > self.swapped {
            let out = (target - self.swapped).min(step);
            self.swapped += out;
            self.counters.swap_out_mib += out;
        } else {
            let back = (self.swapped - target).min(step);
            self.swapped -= back;
            self.read_from_swap(back);
        }
        if self.swapped > 0.0 {
            self.read_from_swap((self.swapped * 0.1 * dt).min(step));
        }
    }

    fn read_from_swap(&mut self, mib: f64) {
        self.counters.swap_in_mib += mib;
        self.counters.major_faults += mib * MIB as f64 / PAGE;
    }

    /// Counts faults and reclaim: a cache that is squeezed below the programs' own files is read again and again.
    fn count(&mut self, evicted: f64, grown: f64, left: f64, dt: f64) {
        self.counters.minor_faults += grown * MIB as f64 / PAGE + 100.0 * dt;
        self.counters.reclaimed_pages += evicted * MIB as f64 / PAGE;
        if left < MIN_FREE_MIB {
            self.counters.major_faults += 300.0 * dt;
            self.counters.stalls += 20.0 * dt;
            self.counters.reclaimed_pages += 2000.0 * dt;
        }
    }

    fn swap_room(&self) -> f64 {
        (self.spec.swap_mib as f64 - self.swapped).max(0.0)
    }

    /// MemTotal in MiB: what is online and not in the balloon, less what the kernel took at boot.
    fn total(machine: &Machine) -> f64 {
        let modules: u64 = machine
            .modules
            .iter()
            .filter(|module| module.online)
            .map(|module| module.size)
            .sum();
        let inflated = machine
            .balloon
            .as_ref()
            .map_or(0, |balloon| balloon.inflated);
        let boot = machine.boot_memory as f64;
        let reserved = 100.0 * MIB as f64 + 0.016 * boot;
        ((boot + modules as f64 - inflated as f64 - reserved) / MIB as f64).max(0.0)
    }

    /// The kernel's own memory: an idle system, and 1.6 % of each module for its page structures.
    fn kernel(machine: &Machine) -> f64 {
        let plugged: u64 = machine.modules.iter().map(|module| module.size).sum();
        60.0 + 0.016 * plugged as f64 / MIB as f64
    }

    /// What processes and page cache can have.
    fn room(&self, machine: &Machine) -> f64 {
        (Self::total(machine) - Self::kernel(machine) - MIN_FREE_MIB).max(0.0)
    }

    /// Its memory now.
    pub(crate) fn memory(&self, machine: &Machine) -> Memory {
        let total = Self::total(machine);
        let used = Self::kernel(machine) + self.anonymous + self.shared - self.swapped;
        let free = (total - used - self.cache).max(0.0);
        let reserve = 64.0 + 0.005 * machine.ram() as f64 / MIB as f64;
        Memory {
            total,
            free,
            available: (free + self.cache - reserve).max(0.0).min(total),
            resident: (used + self.cache).min(total).max(0.0),
        }
    }

    /// Sends statistics if the device asks for them and it is time.
    pub(crate) fn report(&mut self, machine: &mut Machine, now: f64, unix_s: u64) {
        let memory = self.memory(machine);
        let Some(balloon) = machine.balloon.as_mut() else {
            return;
        };
        let talks = machine.running && self.spec.balloon_driver && self.spec.fresh_statistics;
        let due = self
            .polled_at
            .is_none_or(|at| now - at >= balloon.polling_s as f64);
        if balloon.polling_s == 0 || !talks || !due {
            return;
        }
        self.polled_at = Some(now);
        let bytes = |mib: f64| (mib.max(0.0) * MIB as f64) as u64 / 4096 * 4096;
        let counters = self.counters;
        balloon.statistics = Some(GuestStatistics {
            at: unix_s,
            total: bytes(memory.total),
            free: bytes(memory.free),
            available: bytes(memory.available),
            caches: bytes(self.cache + self.shared),
            swap_in: bytes(counters.swap_in_mib),
            swap_out: bytes(counters.swap_out_mib),
            major_faults: counters.major_faults as u64,
            minor_faults: counters.minor_faults as u64,
            oom_kills: self.oom_kills,
            alloc_stalls: counters.stalls as u64,
            direct_reclaims: counters.reclaimed_pages as u64,
        });
    }

    /// Major faults so far.
    pub(crate) fn major_faults(&self) -> u64 {
        self.counters.major_faults as u64
    }
}

fn set_online(machine: &mut Machine, id: &str) {
    for vcpu in &mut machine.vcpus {
        if vcpu.id.as_deref() == Some(id) {
            vcpu.online = true;
            vcpu.used_s = vcpu.used_s.max(BOOT_S);
        }
    }
    for module in &mut machine.modules {
        module.online |= module.id == id;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::machine::Config;
    use crate::node::scenario::Load;

    fn machine(lines: &[(&str, &str)]) -> Machine {
        let config: Config = lines
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Machine::start(&config, 20_000, 16).unwrap()
    }

    fn demand(memory_mib: f64) -> Demand {
        Demand::new(&Load {
            memory_mib: memory_mib.into(),
            files_mib: 0.0,
            ..Load::default()
        })
        .unwrap()
    }

    #[test]
    fn an_idle_guests_memory_is_that_of_the_recorded_one() {
        let mut machine = machine(&[("memory", "2048"), ("numa", "1"), ("hotplug", "memory")]);
        let guest = Guest::settled(GuestSpec::default(), &mut machine, &demand(0.0));
        let memory = guest.memory(&machine);
        // recordings/qmp-balloon-and-guest-stats.json, in MiB; its programs had 10 more in use.
        let recorded = [2_025_594_880.0, 1_951_756_288.0, 1_875_140_608.0].map(|b| b / 1_048_576.0);
        for (ours, theirs) in [memory.total, memory.free, memory.available]
            .into_iter()
            .zip(recorded)
        {
            assert!((ours - theirs).abs() < 16.0, "{ours} {theirs}");
        }
    }

    #[test]
    fn a_balloon_takes_free_memory_and_no_more() {
        let mut machine = machine(&[("memory", "4096"), ("balloon", "512")]);
        let mut guest = Guest::settled(GuestSpec::default(), &mut machine, &demand(1500.0));
        for step in 0..100 {
            let now = f64::from(step) * 0.1;
            guest.advance(&mut machine, &demand(1500.0), (now, 0.1, now));
        }
        assert!(machine.actual() > 1500 * MIB, "{}", machine.actual() / MIB);
        assert_eq!(guest.oom_kills, 0);
    }

    #[test]
    fn a_guest_without_a_driver_keeps_its_memory_and_tells_nothing() {
        let mut machine = machine(&[("memory", "4096"), ("balloon", "512")]);
        let spec = GuestSpec {
            balloon_driver: false,
            ..GuestSpec::default()
        };
        let mut guest = Guest::settled(spec, &mut machine, &demand(100.0));
        guest.report(&mut machine, 10.0, 1_800_000_000);
        assert_eq!(machine.actual(), 4096 * MIB);
        assert_eq!(machine.balloon.unwrap().statistics, None);
    }
}
