//! The simulated node in the state in which a command was recorded.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use serde_json::{Value, json};

use crate::recording::{Recording, directory};
use crate::support::scenario::{Ballooning, Command, Curve, MonitorState, Scenario, VmSpec};
use crate::support::{Node, eventually};

/// How many times quicker than PVE the commands wait. A vCPU's unplug has 0.6 s at this speed.
const SPEED: f64 = 10.0;
/// pvestatd stays out of the way: what it does to balloons is no effect of a command.
const NEVER_S: f64 = 1e9;
/// Where its report is what a command shows, it comes often.
const PVESTATD_S: f64 = 0.2;
/// With this seed VM 102 is connected before 101, as in recording 41b: the wait for a place in the queue of 101 then
/// costs 102 its time.
const HASH_SEED: u64 = 1;
/// How often the node moves on, in milliseconds: often enough for a guest's reaction within a scaled wait.
const UPDATE_MS: u64 = 30;

/// What was particular about a recording, beyond what its text says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Circumstances {
    /// The guest was paused.
    pub(crate) paused: bool,
    /// QEMU's monitor did not answer.
    pub(crate) monitor: Option<MonitorState>,
    /// So many earlier clients had given up that QEMU's queue of new ones was full.
    pub(crate) queue_full: bool,
    /// Another process held the VM's flock for so many seconds.
    pub(crate) flock_held_s: Option<f64>,
    /// The cluster had no quorum.
    pub(crate) no_quorum: bool,
    /// The VM ran although QEMU was not asked for its state.
    pub(crate) running: bool,
    /// A VM of another node existed.
    pub(crate) other_node: bool,
    /// What pvestatd reported is what the command shows.
    pub(crate) pvestatd: bool,
}

impl Circumstances {
    /// By the file's name; the README of the recordings says which are which.
    pub(crate) fn of(recording: &Recording) -> Self {
        let name = recording.name.as_str();
        let starts = |beginnings: &[&str]| beginnings.iter().any(|start| name.starts_with(start));
        Self {
            paused: starts(&["17-", "18-", "19-", "20-", "42f-"]),
            monitor: match name {
                _ if starts(&["40"]) => Some(MonitorState::Refuses),
                _ if starts(&["41", "42g-"]) => Some(MonitorState::Hangs),
                _ => None,
            },
            queue_full: starts(&["41b-", "41c-"]),
            flock_held_s: match name {
                _ if starts(&["31-"]) => Some(14.0),
                _ if starts(&["31b-"]) => Some(4.0),
                _ => None,
            },
            no_quorum: starts(&["60"]),
            running: starts(&["40", "41", "42g-", "60", "07-"]),
            other_node: starts(&["50"]),
            pvestatd: recording.command.contains(&"/cluster/resources".to_owned()),
        }
    }
}

/// A node in a recorded state.
pub(crate) struct Stage {
    pub(crate) node: Node,
    held: Option<mpsc::Sender<()>>,
}

impl Stage {
    /// Builds the node, starts its QEMUs in the recorded state, then puts the recorded config file in place, since the
    /// two may differ.
    pub(crate) fn set(recording: &Recording) -> Self {
        let circumstances = Circumstances::of(recording);
        let Some(vmid) = recording.vmid() else {
            return Self {
                node: node(&circumstances, |_| {}),
                held: None,
            };
        };
        let spec = recording.config_before.as_ref().map(|config| VmSpec {
            config: Some(start_config(config, recording.qemu_before.as_ref())),
            running: recording.qemu_before.is_some() || circumstances.running,
            paused: circumstances.paused,
            ..well_behaved()
        });
        let node = node(&circumstances, |vms| {
            vms.extend(spec.map(|spec| (vmid, spec)))
        });
        if let Some(config) = &recording.config_before {
            node.write(&format!("etc/pve/nodes/vm/qemu-server/{vmid}.conf"), config);
        }
        let held = circumstances
            .flock_held_s
            .map(|seconds| hold_flock(&node, vmid, seconds));
        if let Some(state) = circumstances.monitor {
            node.control(&Command::Monitor { vm: vmid, state });
            if state == MonitorState::Refuses {
                eventually("the monitor refuses", || connect_to(&node, vmid).is_err());
            }
        }
        if circumstances.queue_full {
            fill_queue(&node, vmid);
            // Waiting in the queue and waiting for an answer must keep their real ratio.
            set_delays(&node, 1.0, Some(HASH_SEED));
        }
        if circumstances.pvestatd {
            wait_for_pvestatd(&node);
        }
        if circumstances.no_quorum {
            node.control(&Command::Quorum { quorate: false });
        }
        Self { node, held }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            held.send(()).ok();
        }
    }
}

/// A node of the recorded shape, with VMs 101 to 104 as in `samples-base` unless `change` says otherwise.
pub(crate) fn node(
    circumstances: &Circumstances,
    change: impl FnOnce(&mut BTreeMap<u32, VmSpec>),
) -> Node {
    let sample = |vmid: u32, running: bool| {
        let file = directory().join(format!("samples-base/{vmid}.conf"));
        let config = Some(std::fs::read_to_string(file).unwrap());
        (
            vmid,
            VmSpec {
                config,
                running,
                ..well_behaved()
            },
        )
    };
    let shape = |scenario: &mut Scenario| {
        scenario.node.name = "vm".to_owned();
        scenario.node.cpus = 8;
        scenario.node.memory_mib = 24_105;
        scenario.node.update_ms = UPDATE_MS;
        let every_s = if circumstances.pvestatd {
            PVESTATD_S
        } else {
            NEVER_S
        };
        scenario.ballooning = Ballooning {
            every_s,
            ..Ballooning::default()
        };
        if circumstances.other_node {
            let far = [(201, "cores: 2\nname: far\ntags: autoscale;lab\n".to_owned())];
            scenario.elsewhere.insert("pve2".to_owned(), far.into());
        }
        scenario.vms = [
            sample(101, true),
            sample(102, true),
            sample(103, false),
            sample(104, false),
        ]
        .into();
        change(&mut scenario.vms);
    };
    let node = Node::shaped(shape, []);
    set_delays(&node, SPEED, None);
    node
}

/// How quickly the commands wait, and in which order they walk hashes.
pub(crate) fn set_delays(node: &Node, speed: f64, hash_seed: Option<u64>) {
    let delays = json!({ "speed": speed, "hash_seed": hash_seed });
    node.write("var/lib/pve-sim/delays.yaml", &delays.to_string());
}

/// A guest that does at once what it is asked.
fn well_behaved() -> VmSpec {
    let mut spec = VmSpec::default();
    (spec.guest.vcpu_delay_s, spec.guest.memory_delay_s) = (0.0, 0.0);
    spec.guest.balloon_mib_per_s = 1e6;
    spec.load.memory_mib = Curve::Constant(64.0);
    spec.load.files_mib = 0.0;
    spec
}

/// The recorded config with the vCPUs, memory and balloon that QEMU really had, for QEMU to start from.
fn start_config(config: &str, qemu: Option<&Value>) -> String {
    let active = config.split("\n[").next().unwrap();
    let mut lines: Vec<String> = active.lines().map(str::to_owned).collect();
    let mut put = |key: &str, value: u64| {
        if let Some(line) = lines
            .iter_mut()
            .find(|line| line.starts_with(&format!("{key}: ")))
        {
            *line = format!("{key}: {value}");
        }
    };
    if let Some(qemu) = qemu {
        let mib = |value: &Value| value.as_u64().unwrap() / 1024 / 1024;
        let size = &qemu["query-memory-size-summary"];
        put(
            "memory",
            mib(&size["base-memory"]) + mib(&size["plugged-memory"]),
        );
        if qemu["query-balloon"]["actual"].is_u64() {
            put("balloon", mib(&qemu["query-balloon"]["actual"]));
        }
        let vcpus = qemu["query-cpus-fast"]
            .as_str()
            .unwrap()
            .split(' ')
            .next()
            .unwrap();
        put("vcpus", vcpus.parse().unwrap());
    }
    lines.join("\n") + "\n"
}

/// Holds the VM's flock from another thread until the time is over or the sender is used.
fn hold_flock(node: &Node, vmid: u32, seconds: f64) -> mpsc::Sender<()> {
    let path = node.path(&format!("var/lock/qemu-server/lock-{vmid}.conf"));
    let file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.lock().unwrap();
    let (sender, receiver) = mpsc::channel();
    let time = Duration::from_secs_f64(seconds / SPEED);
    std::thread::spawn(move || {
        receiver.recv_timeout(time).ok();
        drop(file);
    });
    sender
}

/// Connects without waiting for a place in the queue.
fn connect_to(node: &Node, vmid: u32) -> nix::Result<OwnedFd> {
    let address = UnixAddr::new(&node.path(&format!("run/qemu-server/{vmid}.qmp")))?;
    let client = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_NONBLOCK,
        None,
    )?;
    connect(client.as_raw_fd(), &address).map(|()| client)
}

/// Connects and leaves until QEMU's queue of clients is full; those who left stay in it. The one that is still taken
/// out of the queue by the hanging QEMU is replaced.
fn fill_queue(node: &Node, vmid: u32) {
    let full_for = Duration::from_millis(300);
    let mut since = Instant::now();
    while since.elapsed() < full_for {
        if connect_to(node, vmid).is_ok() {
            since = Instant::now();
        }
    }
}

/// Waits until pvestatd has reported all VMs of the node.
pub(crate) fn wait_for_pvestatd(node: &Node) {
    eventually("pvestatd has reported all VMs", || {
        let rrd = fs::read_to_string(node.path("etc/pve/.rrd")).unwrap_or_default();
        (101..=104).all(|vmid| rrd.contains(&format!("pve-vm-9.0/{vmid}:")))
    });
}

/// What QEMU says, in the form in which it was recorded.
pub(crate) fn qemu_state(node: &Node, vmid: u32) -> Value {
    let mut monitor = node.monitor(vmid);
    let balloon = monitor.ask("query-balloon", json!({})).unwrap();
    let balloon = balloon
        .get("return")
        .cloned()
        .unwrap_or(json!({ "error": balloon["error"] }));
    let places = monitor.get("query-hotpluggable-cpus", json!({}));
    let places = places.as_array().unwrap();
    let taken = places
        .iter()
        .filter(|place| place.get("qom-path").is_some())
        .count();
    let cpus = monitor
        .get("query-cpus-fast", json!({}))
        .as_array()
        .unwrap()
        .len();
    let modules = monitor.get("query-memory-devices", json!({}));
    let module = |device: &Value| {
        let data = &device["data"];
        json!([data["id"], data["size"], data["slot"], data["node"]])
    };
    json!({
        "query-memory-size-summary": monitor.get("query-memory-size-summary", json!({})),
        "query-balloon": balloon,
        "query-memory-devices": modules.as_array().unwrap().iter().map(module).collect::<Vec<_>>(),
        "query-hotpluggable-cpus": format!("{taken} of {} plugged", places.len()),
        "query-cpus-fast": format!("{cpus} cpus"),
    })
}
