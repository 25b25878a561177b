//! What a VM looks like before its node starts.

use std::collections::BTreeMap;

use super::scenario::{Curve, GuestSpec, Load, MonitorState, VmSpec};

/// A VM to be: its configuration file, its load, its guest.
///
/// Unless told otherwise it is one that an admin prepared well: 4 cores of which 1 is plugged, 4 GiB that the balloon
/// may shrink to 1 GiB, hotplug of CPU and memory, NUMA on, tagged `autoscale`, running an idle Linux.
#[derive(Debug, Clone)]
pub(crate) struct Vm {
    id: u32,
    keys: BTreeMap<String, String>,
    sections: String,
    spec: VmSpec,
}

impl Vm {
    /// A well-prepared VM.
    pub(crate) fn new(id: u32) -> Self {
        let vm = Self {
            id,
            keys: BTreeMap::new(),
            sections: String::new(),
            spec: VmSpec::default(),
        };
        vm.set("name", format!("vm{id}"))
            .set("boot", "order=scsi0")
            .set("hotplug", "disk,network,usb,memory,cpu")
            .set("numa", 1)
            .set("ostype", "l26")
            .set("sockets", 1)
            .set("tags", "autoscale")
            .cores(4)
            .vcpus(1)
            .memory(4096)
            .balloon(1024)
    }

    /// Sets a key of the active configuration.
    pub(crate) fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.keys.insert(key.to_owned(), value.to_string());
        self
    }

    /// Leaves a key out.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.keys.remove(key);
        self
    }

    /// Adds text after the active configuration: `[PENDING]`, snapshots.
    pub(crate) fn section(mut self, text: &str) -> Self {
        self.sections += &format!("\n{text}\n");
        self
    }

    /// Its name.
    pub(crate) fn name(self, name: &str) -> Self {
        self.set("name", name)
    }

    /// Cores of its one socket: the most vCPUs it can have.
    pub(crate) fn cores(self, cores: u32) -> Self {
        self.set("cores", cores)
    }

    /// vCPUs that are plugged.
    pub(crate) fn vcpus(self, vcpus: u32) -> Self {
        self.set("vcpus", vcpus)
    }

    /// Memory in MiB.
    pub(crate) fn memory(self, mib: u64) -> Self {
        self.set("memory", mib)
    }

    /// The balloon's minimum, or target with `shares: 0`, in MiB; 0 takes the device away.
    pub(crate) fn balloon(self, mib: u64) -> Self {
        self.set("balloon", mib)
    }

    /// No hotplug of CPU or memory, as PVE's own default has it.
    pub(crate) fn without_hotplug(self) -> Self {
        self.without("hotplug").without("numa").without("vcpus")
    }

    /// Tags, separated by semicolons; empty for none.
    pub(crate) fn tags(self, tags: &str) -> Self {
        if tags.is_empty() {
            self.without("tags")
        } else {
            self.set("tags", tags)
        }
    }

    /// CPU demand: cores, or a curve.
    pub(crate) fn cpu(self, cores: impl Into<Curve>) -> Self {
        let cores = cores.into();
        self.load(|load| load.cpu = cores)
    }

    /// Memory of its processes: MiB, or a curve.
    pub(crate) fn uses_memory(self, mib: impl Into<Curve>) -> Self {
        let mib = mib.into();
        self.load(|load| load.memory_mib = mib)
    }

    /// Changes its load.
    pub(crate) fn load(mut self, change: impl FnOnce(&mut Load)) -> Self {
        change(&mut self.spec.load);
        self
    }

    /// Changes its guest's behaviour.
    pub(crate) fn guest(mut self, change: impl FnOnce(&mut GuestSpec)) -> Self {
        change(&mut self.spec.guest);
        self
    }

    /// How its QEMU answers from the start.
    pub(crate) fn monitor(mut self, state: MonitorState) -> Self {
        self.spec.monitor = state;
        self
    }

    /// How long it has run when the node starts, in seconds.
    pub(crate) fn up_for(mut self, seconds: f64) -> Self {
        self.spec.uptime_s = seconds;
        self
    }

    /// A real QEMU with a real Linux, in software emulation.
    pub(crate) fn real(mut self, turn: &super::guest::Turn) -> Self {
        self.spec.real = Some(turn.spec.clone());
        self.set("kvm", 0)
    }

    /// It does not run.
    pub(crate) fn stopped(mut self) -> Self {
        self.spec.running = false;
        self
    }

    /// It is paused from the start.
    pub(crate) fn paused(mut self) -> Self {
        self.spec.paused = true;
        self
    }

    /// It is a template.
    pub(crate) fn template(self) -> Self {
        self.set("template", 1).stopped()
    }

    /// The text of its configuration file: keys in the order in which PVE writes them.
    pub(crate) fn config(&self) -> String {
        let lines = self
            .keys
            .iter()
            .map(|(key, value)| format!("{key}: {value}\n"));
        lines.collect::<String>() + &self.sections
    }

    /// Its VMID.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The CPU that it wants, in cores.
    pub(crate) fn wants(&self) -> Curve {
        self.spec.load.cpu.clone()
    }

    /// VMID and what the scenario says of it.
    pub(crate) fn into_spec(self) -> (u32, VmSpec) {
        let config = Some(self.config());
        (
            self.id,
            VmSpec {
                config,
                ..self.spec
            },
        )
    }
}
