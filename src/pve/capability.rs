//! What each lever of a VM can do, by PVE's rules: from the active configuration and from what QEMU and the guest really
//! do. Where the two disagree, QEMU is right and the disagreement is said.
//!
//! Pure. Sources: qemu-server: QemuServer.pm: vmconfig_hotplug_pending, qemu_cpu_hotplug; Memory.pm: config;
//! pve-docs: qm.adoc.

use std::time::Duration;

use super::config_file::{Hotplug, VmConfig};
use super::ladder::Ladder;
use super::qmp::Answers;
use crate::domain::{Amount, Capabilities, Capability, Cores, Mib, Moment, Setting};

/// PVE has guests asked every 2 s (QemuServer.pm: vm_start_nolock); a driver that missed five of them does not answer.
const SILENT: Duration = Duration::from_secs(10);
/// vCPUs can be unplugged since this machine version (QemuServer.pm: qemu_cpu_hotplug).
const UNPLUG_SINCE: (u32, u32) = (2, 7);

/// What is known of a running VM.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    /// What its QEMU answered, or why it did not.
    pub answers: Result<&'a Answers, &'a str>,
    /// vCPUs that QEMU has, where that is known.
    pub vcpus: Option<u32>,
    /// The time.
    pub now: Moment,
    /// Address bits of the node's CPUs, where they are known.
    pub host_bits: Option<u32>,
}

/// How much the VM is to be able to have. It decides what is worth setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// CPU.
    pub cpu: Cores,
    /// Memory.
    pub memory: Mib,
    /// Logical CPUs of the node: PVE starts no VM with more vCPUs than that.
    pub host_cpus: u32,
}

/// What the levers of a VM can do. `wish` is what the admin allows it at most.
pub fn capabilities(config: &VmConfig, running: Option<Running<'_>>, wish: Wish) -> Capabilities {
    let Some(running) = running else {
        return Capabilities::none("the VM does not run");
    };
    let ladder = Ladder::of(config, running.host_bits);
    let (dimm, sizes) = dimm(config, &running, &ladder, wish);
    Capabilities {
        vcpus: vcpus(config, &running, wish),
        cpulimit: Capability::Now {
            least: Amount::Cpu(Cores::milli(100)),
            most: Amount::vcpus(running.vcpus.unwrap_or(config.plugged_vcpus())),
            shrinks: true,
        },
        balloon: balloon(config, &running),
        dimm,
        sizes,
        disagreements: disagreements(config, &running),
    }
}

/// What to set so that vCPUs can be plugged up to the wish; empty if they can.
pub fn vcpu_settings(config: &VmConfig, wish: Wish) -> Vec<Setting> {
    let mut set = Vec::new();
    if config.is_windows() || !is_x86(config) {
        return set;
    }
    if !config.hotplug.contains(&Hotplug::Cpu) {
        set.push(Setting::new(
            "hotplug",
            hotplug_with(config, &[Hotplug::Cpu]),
        ));
    }
    let wanted = wish.cpu.ceil().min(wish.host_cpus.max(1));
    if config.max_vcpus() < wanted {
        set.push(Setting::new(
            "cores",
            wanted.div_ceil(config.sockets.max(1)),
        ));
    }
    if !set.is_empty() && config.vcpus.is_none() {
        // Without it every core would be plugged at the next start.
        set.push(Setting::new("vcpus", config.plugged_vcpus()));
    }
    set
}

/// What to set so that memory modules can be plugged up to the wish; empty if they can, or never could.
pub fn memory_settings(config: &VmConfig, ladder: &Ladder, wish: Wish) -> Vec<Setting> {
    let mut set = Vec::new();
    let never = config.virtiofs || config.custom_numa || !is_x86(config);
    if never || config.hotplug.contains(&Hotplug::Memory) || wish.memory <= config.memory {
        return set;
    }
    set.push(Setting::new(
        "hotplug",
        hotplug_with(config, &[Hotplug::Memory]),
    ));
    if !config.numa {
        set.push(Setting::new("numa", 1));
    }
    match ladder.at_least(config.memory) {
        // PVE starts a VM with memory hotplug with a size of the ladder only.
        Some(size) if size != config.memory => set.push(Setting::new("memory", size.0)),
        _ => {}
    }
    set
}

/// What to set so that the VM has a balloon whose size is given, not shared out; empty if it has a device.
pub fn balloon_settings(config: &VmConfig) -> Vec<Setting> {
    if config.has_balloon() {
        return Vec::new();
    }
    vec![
        Setting::new("balloon", config.memory.0),
        Setting::new("shares", 0),
    ]
}

/// All settings for vCPUs and modules together, `hotplug` once.
pub fn all_settings(config: &VmConfig, ladder: &Ladder, wish: Wish) -> Vec<Setting> {
    let mut all: Vec<Setting> = Vec::new();
    let both = vcpu_settings(config, wish)
        .into_iter()
        .chain(memory_settings(config, ladder, wish));
    let mut features = Vec::new();
    for setting in both {
        match setting.option.as_str() {
            "hotplug" if setting.value.contains("memory") => features.push(Hotplug::Memory),
            "hotplug" => features.push(Hotplug::Cpu),
            _ => all.push(setting),
        }
    }
    if !features.is_empty() {
        all.insert(0, Setting::new("hotplug", hotplug_with(config, &features)));
    }
    all
}

fn vcpus(config: &VmConfig, running: &Running<'_>, wish: Wish) -> Capability {
    if !is_x86(config) {
        return Capability::no("PVE plugs vCPUs on x86_64 only");
    }
    if !config.hotplug.contains(&Hotplug::Cpu) {
        let why = "it was started without CPU hotplug";
        return after_power_cycle(why, vcpu_settings(config, wish));
    }
    if config.max_vcpus() == 1 {
        return after_power_cycle("it has one core in all", vcpu_settings(config, wish));
    }
    match running.vcpus {
        Some(vcpus) if vcpus > config.plugged_vcpus() => {
            Capability::no(vcpu_disagreement(config, vcpus))
        }
        _ => Capability::Now {
            least: Amount::vcpus(1),
            most: Amount::vcpus(config.max_vcpus()),
            // The docs promise vCPU hotplug for Linux only (pve-docs: qm.adoc: vCPU hot-plug): a Windows guest may add
            // them, and is not asked for any back.
            shrinks: !config.is_windows()
                && machine_version(config).is_none_or(|v| v >= UNPLUG_SINCE),
        },
    }
}

fn balloon(config: &VmConfig, running: &Running<'_>) -> Capability {
    if !config.has_balloon() {
        return after_power_cycle(
            "it has no balloon device (balloon: 0)",
            balloon_settings(config),
        );
    }
    if config.hugepages.is_some() {
        return Capability::no("its memory is in huge pages, which a balloon cannot give back");
    }
    if config.passthrough {
        return Capability::no("a device is passed through to it, which pins its memory");
    }
    let answers = match running.answers {
        Ok(answers) => answers,
        Err(why) => return Capability::no(why),
    };
    let told = match &answers.guest_stats {
        Ok(Some(stats)) => stats.last_update,
        Ok(None) => return Capability::no("QEMU has no balloon device"),
        Err(why) => return Capability::no(why.clone()),
    };
    match told.map(|at| running.now.since(at)) {
        None => return Capability::no("the guest's balloon driver does not answer"),
        Some(age) if age > SILENT => {
            let age = age.as_secs();
            return Capability::no(format!(
                "the guest's balloon driver has been silent for {age} s"
            ));
        }
        Some(_) => {}
    }
    match &answers.memory {
        Ok(memory) => Capability::Now {
            least: Amount::Memory(Mib(16)),
            most: Amount::Memory(memory.total()),
            shrinks: true,
        },
        Err(why) => Capability::no(why.clone()),
    }
}

/// What modules can do, and the sizes that they reach.
fn dimm(
    config: &VmConfig,
    running: &Running<'_>,
    ladder: &Ladder,
    wish: Wish,
) -> (Capability, Vec<Mib>) {
    let no = |why: &str| (Capability::no(why), Vec::new());
    if config.virtiofs {
        return no("memory hotplug does not work together with virtiofs");
    }
    if config.custom_numa {
        return no(
            "memory hotplug does not work with a NUMA topology of one's own (numa0 to numa7)",
        );
    }
    if !is_x86(config) {
        return no("memory modules are plugged on x86_64 only");
    }
    let after = |why: &str| {
        (
            after_power_cycle(why, memory_settings(config, ladder, wish)),
            Vec::new(),
        )
    };
    if !config.hotplug.contains(&Hotplug::Memory) {
        return after("it was started without memory hotplug");
    }
    let memory = match running.answers {
        Err(why) => return no(why),
        Ok(answers) => match &answers.memory {
            Ok(memory) => *memory,
            Err(why) => return no(why),
        },
    };
    if memory.base != ladder.fixed() {
        return after("QEMU was started before memory hotplug was switched on");
    }
    if memory.total() != config.memory {
        return no(&memory_disagreement(config, memory.total()));
    }
    let sizes: Vec<Mib> = ladder.sizes().collect();
    let most = sizes.last().copied().unwrap_or(memory.total());
    let now = Capability::Now {
        least: Amount::Memory(ladder.fixed()),
        most: Amount::Memory(most),
        shrinks: !config.is_windows(),
    };
    (now, sizes)
}

fn after_power_cycle(why: &str, set: Vec<Setting>) -> Capability {
    if set.is_empty() {
        return Capability::no(why);
    }
    Capability::AfterPowerCycle {
        why: why.to_owned(),
        set,
    }
}

fn disagreements(config: &VmConfig, running: &Running<'_>) -> Vec<String> {
    let vcpus = running
        .vcpus
        .filter(|vcpus| *vcpus != config.plugged_vcpus());
    let memory = running
        .answers
        .ok()
        .and_then(|answers| answers.memory.as_ref().ok());
    let memory = memory
        .map(|memory| memory.total())
        .filter(|total| *total != config.memory);
    let vcpus = vcpus.map(|vcpus| vcpu_disagreement(config, vcpus));
    let memory = memory.map(|total| memory_disagreement(config, total));
    vcpus.into_iter().chain(memory).collect()
}

/// With more in the configuration, `qm set --vcpus` to what QEMU has puts it right (recorded in
/// 22-vcpus-1-after-divergence.txt). With fewer, PVE refuses every plug and waits in vain at every unplug.
fn vcpu_disagreement(config: &VmConfig, vcpus: u32) -> String {
    format!(
        "the configuration says {} vCPUs, QEMU has {vcpus}: a power cycle makes them agree",
        config.plugged_vcpus()
    )
}

/// PVE counts modules from the configuration: a change now would remove one too many (recorded in
/// 23-memory-2048-after-divergence.txt).
fn memory_disagreement(config: &VmConfig, total: Mib) -> String {
    format!(
        "the configuration says {} of memory, QEMU has {total}: a power cycle makes them agree",
        config.memory
    )
}

/// PVE's other architectures have the machine type `virt`.
fn is_x86(config: &VmConfig) -> bool {
    !config
        .machine
        .as_deref()
        .is_some_and(|machine| machine.starts_with("virt"))
}

/// The version in a machine type such as `pc-i440fx-9.2+pve1`; `None` is the newest.
fn machine_version(config: &VmConfig) -> Option<(u32, u32)> {
    let version = config.machine.as_deref()?.rsplit('-').next()?;
    let (major, rest) = version.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn hotplug_with(config: &VmConfig, more: &[Hotplug]) -> String {
    let mut features = config.hotplug.clone();
    features.extend(more);
    let words = features.iter().map(|feature| match feature {
        Hotplug::Network => "network",
        Hotplug::Disk => "disk",
        Hotplug::Cpu => "cpu",
        Hotplug::Memory => "memory",
        Hotplug::Usb => "usb",
        Hotplug::CloudInit => "cloudinit",
    });
    words.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
