//! The node's own /proc: CPU time, memory, ARC, pressure. Pure text from numbers.

use super::cpu::Pressure;
use super::files::HZ;
use super::scenario::NodeSpec;

/// The node's counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Host {
    /// CPU time of VMs so far, in seconds.
    pub(crate) guest_s: f64,
    /// CPU time of everything else so far, in seconds.
    pub(crate) own_s: f64,
    /// Time so far, in seconds, since the node came up.
    pub(crate) uptime_s: f64,
    /// CPU used in the last step, in cores, VMs included.
    pub(crate) cpu_used: f64,
    /// CPU pressure.
    pub(crate) cpu_pressure: Pressure,
    /// Memory pressure.
    pub(crate) memory_pressure: Pressure,
    /// I/O pressure.
    pub(crate) io_pressure: Pressure,
    /// Memory in use by VMs, in KiB.
    pub(crate) vm_kib: u64,
}

impl Host {
    /// Counts `dt` seconds.
    pub(crate) fn advance(&mut self, spec: &NodeSpec, vms_used: f64, wanted: f64, dt: f64) {
        self.guest_s += vms_used * dt;
        self.own_s += spec.base_cpu * dt;
        self.uptime_s += dt;
        self.cpu_used = vms_used + spec.base_cpu;
        let missing = (wanted - vms_used).max(0.0) / wanted.max(1e-9);
        self.cpu_pressure.advance(missing, 0.0, dt);
        let short = self.memory_free_kib(spec) == 0;
        let stalled = if short { 0.5 } else { 0.0 };
        self.memory_pressure.advance(stalled, stalled / 2.0, dt);
        self.io_pressure.advance(0.0, 0.0, dt);
    }

    /// MemFree in KiB: what the node, its VMs and the ARC leave.
    pub(crate) fn memory_free_kib(&self, spec: &NodeSpec) -> u64 {
        let arc = spec.arc.map_or(0, |arc| arc.size_mib);
        let own = (spec.base_memory_mib + arc) * 1024;
        (spec.memory_mib * 1024).saturating_sub(own + self.vm_kib)
    }

    /// /proc/stat.
    pub(crate) fn stat(&self, spec: &NodeSpec, boot_unix_s: u64) -> String {
        let cpus = f64::from(spec.cpus.max(1));
        let line = |name: &str, share: f64| {
            let busy = (self.guest_s + self.own_s) * share;
            let user = ((self.guest_s + self.own_s * 0.6) * share * HZ) as u64;
            let system = (self.own_s * 0.4 * share * HZ) as u64;
            let idle = ((self.uptime_s * cpus * share - busy).max(0.0) * HZ) as u64;
            let guest = (self.guest_s * share * HZ) as u64;
            format!("{name} {user} 0 {system} {idle} 0 0 0 0 {guest} 0\n")
        };
        let mut text = line("cpu ", 1.0);
        for cpu in 0..spec.cpus {
            text += &line(&format!("cpu{cpu}"), 1.0 / cpus);
        }
        let ticks = (self.uptime_s * 1000.0) as u64;
        text += &format!(
            "intr {ticks} 0\nctxt {ticks}\nbtime {boot_unix_s}\nprocesses 20000\nprocs_running 1\nprocs_blocked 0\n\
             softirq {ticks} 0 0 0 0 0 0 0 0 0 0\n"
        );
        text
    }

    /// /proc/meminfo.
    pub(crate) fn meminfo(&self, spec: &NodeSpec) -> String {
        let total = spec.memory_mib * 1024;
        let free = self.memory_free_kib(spec);
        // The kernel counts page cache as available; the node's own files are a fifth of its base memory.
        let cached = (spec.base_memory_mib * 1024 / 5).min(total - free);
        let available = (free + cached * 3 / 4).min(total);
        let values = [
            ("MemTotal", total),
            ("MemFree", free),
            ("MemAvailable", available),
            ("Buffers", cached / 10),
            ("Cached", cached),
            ("SwapCached", 0),
            ("Active", cached / 2),
            ("Inactive", cached / 2),
            ("Unevictable", 0),
            ("Mlocked", 0),
            ("SwapTotal", 0),
            ("SwapFree", 0),
            ("Dirty", 0),
            ("Writeback", 0),
            ("AnonPages", self.vm_kib),
            ("Mapped", cached / 4),
            ("Shmem", 0),
            ("KReclaimable", cached / 8),
            ("Slab", cached / 4),
            ("SReclaimable", cached / 8),
            ("SUnreclaim", cached / 8),
            ("KernelStack", 16_384),
            ("PageTables", 16_384),
            ("CommitLimit", total / 2),
            ("Committed_AS", total - free),
            ("VmallocTotal", 34_359_738_367),
            ("VmallocUsed", 40_960),
            ("VmallocChunk", 0),
            ("HugePages_Total", 0),
            ("HugePages_Free", 0),
            ("Hugepagesize", 2048),
        ];
        values
            .iter()
            .map(|(name, kib)| match *name {
                "HugePages_Total" | "HugePages_Free" => {
                    format!("{:<15} {kib:>8}\n", format!("{name}:"))
                }
                _ => format!("{:<15} {kib:>8} kB\n", format!("{name}:")),
            })
            .collect()
    }

    /// /proc/loadavg.
    pub(crate) fn loadavg(&self) -> String {
        format!("{0:.2} {0:.2} {0:.2} 1/800 20000\n", self.cpu_used)
    }

    /// /proc/uptime.
    pub(crate) fn uptime(&self, spec: &NodeSpec) -> String {
        let idle = self.uptime_s * f64::from(spec.cpus) - self.guest_s - self.own_s;
        format!("{:.2} {:.2}\n", self.uptime_s, idle.max(0.0))
    }
}

/// /proc/cpuinfo, cut to what tools look at.
pub(crate) fn cpuinfo(spec: &NodeSpec) -> String {
    let cpu = |at: u32| {
        format!(
            "processor\t: {at}\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\n\
             model name\t: AMD EPYC 7763 64-Core Processor\ncpu MHz\t\t: 2445.404\nphysical id\t: 0\n\
             siblings\t: {cpus}\ncore id\t\t: {at}\ncpu cores\t: {cpus}\nflags\t\t: fpu vme de pse tsc msr\n\
             address sizes\t: 48 bits physical, 48 bits virtual\n\n",
            cpus = spec.cpus
        )
    };
    (0..spec.cpus).map(cpu).collect()
}

/// /proc/version.
pub(crate) const VERSION: &str = "Linux version 6.17.2-1-pve (build@proxmox) (gcc (Debian 14.2.0-19) 14.2.0, \
    GNU ld (GNU Binutils for Debian) 2.44) #1 SMP PREEMPT_DYNAMIC PMX 6.17.2-1 (2025-10-21T11:55Z)\n";

/// /proc/spl/kstat/zfs/arcstats, cut to the lines that tell the ARC's size and limits.
pub(crate) fn arcstats(spec: &NodeSpec) -> Option<String> {
    let arc = spec.arc?;
    let bytes = |mib: u64| mib * 1024 * 1024;
    Some(format!(
        "10 1 0x01 147 39984 5000000000 900000000000000\nname                            type data\n\
         c                               4    {size}\nc_min                           4    {min}\n\
         c_max                           4    {max}\nsize                            4    {size}\n",
        size = bytes(arc.size_mib),
        min = bytes(arc.min_mib),
        max = bytes(spec.memory_mib / 2),
    ))
}
