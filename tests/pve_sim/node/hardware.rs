//! What /proc tells of the node's hardware, kernel and load. Pure text from numbers.

use super::host::Host;
use super::scenario::NodeSpec;

/// Physical address bits of the node's CPUs: those of most servers, beyond the 40 that PVE's default CPU type uses.
const ADDRESS_BITS: u32 = 46;

/// /proc/version.
pub(crate) const VERSION: &str = "Linux version 6.17.2-1-pve (build@proxmox) (gcc (Debian 14.2.0-19) 14.2.0, \
     GNU ld (GNU Binutils for Debian) 2.44) #1 SMP PREEMPT_DYNAMIC PMX 6.17.2-1 (2025-10-21T11:55Z)\n";

/// /proc/cpuinfo: one socket of as many cores as the node has CPUs.
pub(crate) fn cpuinfo(spec: &NodeSpec) -> String {
    (0..spec.cpus)
        .map(|cpu| {
            format!(
                "processor\t: {cpu}\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 106\n\
                 model name\t: Intel(R) Xeon(R) Silver 4314 CPU @ 2.40GHz\ncpu MHz\t\t: 2400.000\n\
                 physical id\t: 0\nsiblings\t: {0}\ncore id\t\t: {cpu}\ncpu cores\t: {0}\n\
                 flags\t\t: fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat sse sse2 ht syscall \
                 nx lm constant_tsc vmx aes avx avx2 hypervisor\n\
                 address sizes\t: {ADDRESS_BITS} bits physical, 57 bits virtual\n\n",
                spec.cpus
            )
        })
        .collect()
}

/// /proc/loadavg, as if the load had been the present one for a quarter of an hour.
pub(crate) fn loadavg(host: &Host) -> String {
    let load = host.cpu_used;
    let running = load.ceil().max(1.0);
    format!("{load:.2} {load:.2} {load:.2} {running:.0}/400 20000\n")
}
