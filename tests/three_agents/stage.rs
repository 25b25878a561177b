//! Three nodes, their agents and their VMs, and what an admin, PVE or fate does to them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use crate::NODES;
use crate::mount::Mount;
use crate::served::{Hang, Served, now_ms};
use crate::support::scenario::{Command, Curve, Load, STATE_DIR};
use crate::support::{Daemon, Node, Vm, eventually, in_memory};

/// The settings of the cluster, under /etc/pve.
pub(crate) const SETTINGS_FILE: &str = "vm-autoscale/config.yaml";
/// Short waits, and memory left alone: one resource tells all.
const SETTINGS: &str = "\
check_interval: 1s
profiles:
  default: {cpu: {max: 16}, memory: {min: 4GiB, max: 4GiB}, cooldown: {up: 5s, down: 5s}}
";
/// The cool-down of these settings, in milliseconds.
pub(crate) const COOLDOWN_MS: u64 = 5_000;

/// A cluster at work.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) served: Arc<Served>,
    machines: Vec<Machine>,
    /// What each VM wants, in cores: it takes its load along.
    loads: RefCell<BTreeMap<u32, Curve>>,
}

/// One node. The order is that in which they go.
#[derive(Debug)]
struct Machine {
    agent: RefCell<Option<Daemon>>,
    _etc_pve: Mount,
    node: Node,
}

/// A `qm set` that was begun.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Set {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// Which VM.
    pub(crate) vm: u32,
    /// On which node.
    pub(crate) node: usize,
}

impl Stage {
    /// A cluster with these VMs, by node, and no agents yet. Nothing where no FUSE can be mounted.
    pub(crate) fn with(vms: [Vec<Vm>; NODES.len()]) -> Option<Self> {
        if let Err(why) = own_mounts() {
            eprintln!("skipped: no FUSE mount here: {why}");
            return None;
        }
        let served = Arc::new(Served::default());
        let mut roots = Vec::new();
        for node in 0..NODES.len() {
            let root = in_memory();
            let at = root.path().join("etc/pve");
            fs::create_dir_all(&at).unwrap();
            match Mount::new(&served, node, &at) {
                Ok(mount) => roots.push((root, mount)),
                Err(why) if is_forbidden(&why) => {
                    eprintln!("skipped: no FUSE mount here: {why}");
                    return None;
                }
                Err(why) => panic!("mounting {}: {why}", at.display()),
            }
        }
        let mut machines = Vec::new();
        let mut loads = BTreeMap::new();
        for (((root, mount), name), vms) in roots.into_iter().zip(NODES).zip(vms) {
            for vm in &vms {
                let path = root.path().join(config(name, vm.id()));
                replace(&path, &vm.config()).unwrap();
                loads.insert(vm.id(), vm.wants());
            }
            let shape = |scenario: &mut crate::support::scenario::Scenario| {
                scenario.node.name = name.to_owned();
                scenario.node.shares_etc_pve = true;
                // Room for all VMs on any node.
                scenario.node.cpus = 64;
                scenario.node.memory_mib = 128 * 1024;
            };
            machines.push(Machine {
                agent: RefCell::new(None),
                _etc_pve: mount,
                node: Node::under(root, shape, vms),
            });
        }
        let stage = Self {
            served,
            machines,
            loads: RefCell::new(loads),
        };
        stage.change_settings(|_| SETTINGS.to_owned());
        Some(stage)
    }

    /// The simulated node.
    pub(crate) fn node(&self, node: usize) -> &Node {
        &self.machines[node].node
    }

    /// Replaces a file in /etc/pve, as seen on `node`.
    pub(crate) fn put(&self, node: usize, path: &str, text: &str) {
        replace(&self.node(node).path("etc/pve").join(path), text).unwrap();
    }

    /// Changes the settings of the cluster, on a node that answers.
    pub(crate) fn change_settings(&self, change: impl FnOnce(&str) -> String) {
        let able = (0..NODES.len()).find(|node| self.served.is_able(*node));
        let old = self.served.agreed(SETTINGS_FILE).unwrap_or_default();
        let new = change(&old);
        self.put(able.unwrap(), SETTINGS_FILE, &new);
        for node in (0..NODES.len()).filter(|node| self.served.is_able(*node)) {
            let file = self.node(node).path("etc/pve").join(SETTINGS_FILE);
            eventually("the node hears of it", || {
                fs::read_to_string(&file).is_ok_and(|text| text == new)
            });
        }
    }

    /// Starts the agents of all nodes, and waits until each has made its first decision.
    pub(crate) fn start_all(&self) {
        for node in 0..NODES.len() {
            self.start(node);
        }
        for node in 0..NODES.len() {
            eventually("the agent decides", || self.state(node).is_some());
        }
    }

    /// Starts the agent of `node`.
    pub(crate) fn start(&self, node: usize) {
        // What counts is what the cluster's file says.
        self.node(node).write_config("");
        let daemon = self.node(node).daemon();
        self.machines[node].agent.replace(Some(daemon));
    }

    /// What the agent of `node` says it knows.
    pub(crate) fn state(&self, node: usize) -> Option<Value> {
        self.machines[node].agent.borrow().as_ref()?.state()
    }

    /// What the agent of `node` wrote so far.
    pub(crate) fn log(&self, node: usize) -> String {
        let agent = self.machines[node].agent.borrow();
        agent.as_ref().map(Daemon::log).unwrap_or_default()
    }

    /// What `status --cluster` shows on `node`, but for the time.
    pub(crate) fn overview(&self, node: usize) -> Value {
        let arguments = ["status", "--cluster", "--output-format", "json"];
        let mut shown = self.node(node).agent(arguments).succeeded().json();
        shown.as_object_mut().unwrap().remove("at");
        shown
    }

    /// When the agent of `node` decided last, in milliseconds since 1970; 0 before the first time.
    pub(crate) fn decided_at_ms(&self, node: usize) -> u64 {
        let state = self.state(node).unwrap_or_default();
        let at = state["at"].as_str().map(milliseconds);
        at.unwrap_or(0)
    }

    /// Why the agent of `node` does or does not change the CPU of `vm`, in its words; empty if it does not know the VM.
    pub(crate) fn why(&self, node: usize, vm: u32) -> String {
        let state = self.state(node).unwrap_or_default();
        let mut vms = state["vms"].as_array().into_iter().flatten();
        let of_vm = vms.find(|one| one["vmid"] == vm);
        let why = of_vm.and_then(|one| one["cpu"]["why"].as_str());
        why.unwrap_or_default().to_owned()
    }

    /// Whether `vm` has what it needs, by the agent of `node`, and was left alone for longer than a cool-down.
    pub(crate) fn rests(&self, node: usize, vm: u32) -> bool {
        let last = self.sets(vm).last().map_or(0, |set| set.at_ms);
        self.why(node, vm) == "fits" && now_ms() > last + COOLDOWN_MS + 1_000
    }

    /// Whether the agents agree on everything, and find nothing amiss.
    pub(crate) fn is_in_order(&self) -> bool {
        let first = self.overview(0);
        let all = ["nodes", "vms"].map(|what| first[what].as_array().cloned().unwrap());
        let calm = |one: &Value| one["attention"].as_array().is_some_and(Vec::is_empty);
        all.concat().iter().all(calm) && (1..NODES.len()).all(|node| self.overview(node) == first)
    }

    /// What the agents share of `vm`.
    pub(crate) fn facts(&self, vm: u32) -> Option<Value> {
        let text = self.served.agreed(&format!("vm-autoscale/vms/{vm}.json"))?;
        Some(serde_json::from_str(&text).unwrap())
    }

    /// vCPUs of `vm` on `node`; none if it does not run there.
    pub(crate) fn vcpus(&self, node: usize, vm: u32) -> u32 {
        let running = self.node(node).running_vm(vm);
        running.map_or(0, |vm| vm.vcpus_online)
    }

    /// Lets `vm`, which is on `node`, want so many cores.
    pub(crate) fn set_load(&self, node: usize, vm: u32, cores: f64) {
        self.set_wish(vm, cores);
        self.load(node, vm);
    }

    /// What `vm` will want where it is started next, in cores.
    pub(crate) fn set_wish(&self, vm: u32, cores: f64) {
        self.loads.borrow_mut().insert(vm, cores.into());
    }

    fn load(&self, node: usize, vm: u32) {
        let cpu = self.loads.borrow()[&vm].clone();
        let load = Load {
            cpu,
            ..Load::default()
        };
        self.node(node).control(&Command::Load { vm, load });
    }

    /// Moves `vm` live, in the order in which PVE does it (pve-facts 8.4).
    pub(crate) fn migrate(&self, vm: u32, to: usize) {
        let from = self.served.owner(vm).unwrap();
        let (here, there) = (config(NODES[from], vm), config(NODES[to], vm));
        // Held to the end: no `qm` of the node comes in between.
        let _lock = self.vm_lock(from, vm);
        let (source, target) = (self.node(from), self.node(to));
        let text = source.read(&here);
        replace(&source.path(&here), &format!("{text}lock: migrate\n")).unwrap();
        fs::rename(source.path(&here), source.path(&there)).unwrap();
        eventually("the target hears of it", || target.path(&there).exists());
        self.run(to, vm);
        source.control(&Command::Stop { vm });
        let _lock = self.vm_lock(to, vm);
        replace(&target.path(&there), &text).unwrap();
    }

    /// Starts a VM whose configuration is on `node`.
    fn run(&self, node: usize, vm: u32) {
        self.load(node, vm);
        self.node(node).control(&Command::Start { vm });
    }

    /// Destroys a VM, as `qm destroy` does.
    pub(crate) fn destroy(&self, vm: u32) {
        let node = self.served.owner(vm).unwrap();
        let _lock = self.vm_lock(node, vm);
        self.node(node).control(&Command::Stop { vm });
        fs::remove_file(self.node(node).path(&config(NODES[node], vm))).unwrap();
    }

    /// Makes a VM on `node` and starts it.
    pub(crate) fn create(&self, node: usize, vm: &Vm) {
        let path = self.node(node).path(&config(NODES[node], vm.id()));
        replace(&path, &vm.config()).unwrap();
        self.loads.borrow_mut().insert(vm.id(), vm.wants());
        self.run(node, vm.id());
    }

    /// Kills the agent of `node`, as the kernel does when memory runs out.
    pub(crate) fn kill_agent(&self, node: usize) {
        let agent = self.machines[node].agent.take();
        agent.expect("an agent runs there").crash();
    }

    /// The node goes dark, with its agent and its VMs.
    pub(crate) fn power_off(&self, node: usize) {
        self.kill_agent(node);
        for vm in self.node(node).truth().vms.into_keys() {
            self.node(node).control(&Command::Stop { vm });
        }
        self.served.rewire(|fs| fs.set_up(node, false));
    }

    /// It is back, with no VM of its own.
    pub(crate) fn power_on(&self, node: usize) {
        self.served.rewire(|fs| fs.set_up(node, true));
        self.start(node);
    }

    /// Takes `vm` over from a node that is down and starts it on another, as HA's manager does (pve-facts 8.3).
    pub(crate) fn recover(&self, vm: u32, to: usize) {
        let from = self.served.owner(vm).unwrap();
        let [here, there] = [from, to].map(|node| self.node(to).path(&config(NODES[node], vm)));
        fs::rename(here, there).unwrap();
        self.run(to, vm);
    }

    /// The lock that PVE's own commands hold while they work on a VM.
    fn vm_lock(&self, node: usize, vm: u32) -> fs::File {
        let file = format!("var/lock/qemu-server/lock-{vm}.conf");
        let path = self.node(node).path(&file);
        let file = fs::File::options().create(true).append(true).open(path);
        let file = file.unwrap();
        file.lock().unwrap();
        file
    }

    /// Every `qm set` of `vm` that was begun so far, in order of time.
    pub(crate) fn sets(&self, vm: u32) -> Vec<Set> {
        let all = (0..NODES.len()).flat_map(|node| self.sets_on(node));
        let mut sets: Vec<Set> = all.filter(|set| set.vm == vm).collect();
        sets.sort_by_key(|set| set.at_ms);
        sets
    }

    /// Every `qm set` that was begun on `node` so far.
    pub(crate) fn sets_on(&self, node: usize) -> Vec<Set> {
        let log = self.node(node).path(&format!("{STATE_DIR}/commands.log"));
        let log = fs::read_to_string(log).unwrap_or_default();
        let set = |line: &str| {
            let started: Value = serde_json::from_str(line).unwrap();
            let argv = &started["argv"];
            (argv[0] == "qm" && argv[1] == "set").then(|| Set {
                at_ms: started["at_ms"].as_u64().unwrap(),
                vm: argv[2].as_str().unwrap().parse().unwrap(),
                node,
            })
        };
        log.lines().filter_map(set).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A process that waits for an answer cannot even be killed.
        for node in 0..NODES.len() {
            self.served.hang(node, Hang::None);
        }
    }
}

/// A VM of 16 cores with one vCPU, which wants so many.
pub(crate) fn busy(id: u32, cores: f64) -> Vm {
    let memory_stays = Vm::new(id).balloon(4096).set("shares", 0);
    memory_stays.cores(16).vcpus(1).cpu(cores)
}

/// A moment as files tell it, in milliseconds since 1970.
pub(crate) fn milliseconds(moment: &str) -> u64 {
    let moment: jiff::Timestamp = moment.parse().unwrap();
    u64::try_from(moment.as_millisecond()).unwrap()
}

/// A VM's configuration file.
pub(crate) fn config(node: &str, vm: u32) -> String {
    format!("etc/pve/nodes/{node}/qemu-server/{vm}.conf")
}

/// Replaces a file as everyone does in /etc/pve.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap())?;
    let temporary = path.with_extension("tmp.by-test");
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)
}

/// Gives this thread, and what it starts, mounts of its own: they end with it.
fn own_mounts() -> io::Result<()> {
    if !Path::new("/dev/fuse").exists() {
        return Err(io::Error::other("there is no /dev/fuse"));
    }
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    Ok(mount(none, "/", none, private, none)?)
}

fn is_forbidden(why: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied};
    matches!(why.kind(), NotFound | PermissionDenied)
}
