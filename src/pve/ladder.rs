//! The sizes that a VM with memory hotplug can have: PVE plugs modules of fixed sizes in a fixed order
//! (qemu-server: Memory.pm: foreach_dimm, get_max_mem).

use super::config_file::{AddressBits, Hugepages, VmConfig};
use super::layout::Layout;
use crate::domain::Mib;
use crate::host::ReadError;
use crate::host::file::read_text;

/// Memory that is no module (Memory.pm: $STATICMEM).
const STATIC: Mib = Mib(1024);
/// The first modules; with huge pages of 1 GiB they are twice as large.
const FIRST: Mib = Mib(512);
/// So many modules of one size, then the size doubles.
const PER_SIZE: usize = 32;
/// QEMU is started with so many slots.
const SLOTS: usize = 255;
/// The most that PVE gives any VM.
const MOST: Mib = Mib(4_194_304);
/// PVE counts on so many address bits of CPU models other than the node's own.
const COMMON_BITS: u32 = 40;
/// Where the node's own cannot be read.
const FALLBACK_BITS: u32 = 36;

/// The ladder of one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder {
    fixed: Mib,
    first: Mib,
    most: Mib,
}

impl Ladder {
    /// The ladder of a VM with this configuration on a node whose CPUs have `host_bits` address bits.
    pub fn of(config: &VmConfig, host_bits: Option<u32>) -> Self {
        let (fixed, first) = match config.hugepages {
            Some(Hugepages::Gib1) => (
                Mib(STATIC.0.saturating_mul(config.sockets.into())),
                Mib(FIRST.0 * 2),
            ),
            _ => (STATIC, FIRST),
        };
        let host = host_bits.unwrap_or(FALLBACK_BITS);
        let bits = match config.address_bits {
            AddressBits::Common => host.min(COMMON_BITS),
            AddressBits::Host => host,
            AddressBits::Exactly(bits) => bits,
        };
        // PVE rounds down to an even number, and uses half of what the bits reach.
        let reach = 1u64
            .checked_shl((bits & !1).saturating_sub(21))
            .unwrap_or(MOST.0);
        Self {
            fixed,
            first,
            most: Mib(reach.min(MOST.0)),
        }
    }

    /// Memory that the VM has without any module.
    pub fn fixed(&self) -> Mib {
        self.fixed
    }

    /// The sizes, rising, from no module to the most.
    pub fn sizes(&self) -> impl Iterator<Item = Mib> + use<> {
        let (mut total, first, most) = (self.fixed, self.first, self.most);
        let plugged = (0..SLOTS).map(move |slot| {
            total = total + Mib(first.0 << (slot / PER_SIZE));
            total
        });
        std::iter::once(self.fixed)
            .chain(plugged)
            .take_while(move |size| *size <= most)
    }

    /// The least size that holds `memory`: what PVE makes of it when it grows a VM. `None` beyond the most.
    pub fn at_least(&self, memory: Mib) -> Option<Mib> {
        self.sizes().find(|size| *size >= memory)
    }

    /// Whether a VM with memory hotplug can be started with exactly `memory`.
    pub fn fits(&self, memory: Mib) -> bool {
        self.at_least(memory) == Some(memory)
    }
}

/// Address bits of the node's CPUs, as /proc/cpuinfo has them.
///
/// # Errors
/// When they cannot be read.
pub fn host_address_bits(layout: &Layout) -> Result<u32, ReadError> {
    let path = layout.proc().join("cpuinfo");
    let text = read_text(&path)?;
    let bits = text
        .lines()
        .find_map(|line| line.strip_prefix("address sizes"))
        .and_then(|rest| rest.trim_start_matches([' ', '\t', ':']).split(' ').next())
        .and_then(|bits| bits.parse().ok());
    bits.ok_or_else(|| {
        ReadError::content(&path, "expected a line 'address sizes : N bits physical'")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(config: &str) -> Ladder {
        Ladder::of(&VmConfig::parse(config), Some(46))
    }

    #[test]
    fn sizes_are_those_of_pves_table() {
        let sizes: Vec<u64> = ladder("memory: 2048\ncpu: host\n")
            .sizes()
            .map(|m| m.0)
            .collect();
        assert_eq!(sizes[..3], [1024, 1536, 2048]);
        for (after, total) in [
            (32, 17_408),
            (64, 50_176),
            (96, 115_712),
            (128, 246_784),
            (160, 508_928),
            (192, 1_033_216),
            (224, 2_081_792),
            (255, 4_178_944 - 65_536),
        ] {
            assert_eq!(sizes[after], total, "{after} modules");
        }
    }

    #[test]
    fn an_unaligned_size_is_rounded_up_as_pve_does_when_it_grows() {
        // Recorded in 14-memory-odd-2100.txt.
        assert_eq!(
            ladder("memory: 2048\n").at_least(Mib(2100)),
            Some(Mib(2560))
        );
        assert!(ladder("memory: 2048\n").fits(Mib(2560)));
        assert!(!ladder("memory: 2048\n").fits(Mib(2100)));
    }

    #[test]
    fn the_cpus_address_bits_bound_it() {
        let most = |config: &str, bits| {
            Ladder::of(&VmConfig::parse(config), bits)
                .sizes()
                .last()
                .unwrap()
                .0
        };
        assert!(most("cpu: host\n", Some(39)) <= 131_072);
        assert_eq!(most("cpu: kvm64\n", Some(46)), 508_928);
        assert_eq!(
            most("cpu: kvm64,phys-bits=host\n", Some(39)),
            115_712 + 3 * 4096
        );
        assert_eq!(
            most("cpu: kvm64,phys-bits=36\n", Some(46)),
            17_408 + 15 * 1024
        );
        assert_eq!(most("memory: 512\n", None), 17_408 + 15 * 1024);
    }

    #[test]
    fn huge_pages_of_1_gib_begin_with_1_gib_for_each_socket() {
        let sizes: Vec<u64> = ladder("sockets: 2\nhugepages: 1024\n")
            .sizes()
            .take(3)
            .map(|m| m.0)
            .collect();
        assert_eq!(sizes, [2048, 3072, 4096]);
    }
}
