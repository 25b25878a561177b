//! A VM that is a real QEMU with a real Linux, in software emulation: its monitor, balloon, hotplug and threads are the
//! real ones. The node only gives it the files that a VM has in /run, /proc and /sys/fs/cgroup.
//!
//! Source of the command line: `qemu-server: src/PVE/QemuServer.pm: config_to_command`, `QemuServer/Memory.pm: config`.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::files::HZ;
use super::layout::Layout;
use super::machine::{Config, MIB, Machine};
use super::scenario::RealSpec;

/// How long QEMU may take to open its monitor.
const PATIENCE: Duration = Duration::from_secs(20);
/// PVE has guests asked for statistics every 2 s (`QemuServer.pm: vm_start_nolock`).
const POLLING_S: u64 = 2;

/// A running QEMU.
#[derive(Debug)]
pub(crate) struct RealVm {
    id: u32,
    child: Child,
    /// When it started, in clock ticks since the node did.
    started: u64,
    /// CPU time at the last look, in seconds, and when that was.
    used_s: f64,
    looked_at: f64,
    /// CPU used since then, in cores.
    pub(crate) cpu_used: f64,
    /// Memory of the process, in bytes.
    pub(crate) resident: u64,
}

impl RealVm {
    /// Starts it from `config`. To the node it has run for `age` seconds already; `up` is the node's uptime.
    pub(crate) fn start(
        layout: &Layout,
        id: u32,
        config: &Config,
        spec: &RealSpec,
        (host_cpus, up, age): (u32, f64, f64),
    ) -> Result<Self> {
        // The model knows what PVE refuses and which modules a size is made of.
        let machine = Machine::start(config, 0, host_cpus)?;
        let log = fs::File::create(layout.state(&format!("qemu-{id}.log")))?;
        // It must not outlive this process, however that ends.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args(arguments(layout, id, config, &machine, spec))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("qemu-system-x86_64")?;
        let mut vm = Self {
            id,
            child,
            started: ((up - age) * HZ) as u64,
            used_s: 0.0,
            looked_at: up,
            cpu_used: 0.0,
            resident: 0,
        };
        vm.appear(layout, config)?;
        vm.prepare_balloon(layout, config)?;
        vm.refresh(layout, up)?;
        Ok(vm)
    }

    /// What PVE does at every start: statistics on, the balloon told its target.
    fn prepare_balloon(&mut self, layout: &Layout, config: &Config) -> Result<()> {
        let target = config
            .get("balloon")
            .and_then(|text| text.parse::<u64>().ok());
        let mut monitor = self.connect(layout)?;
        if target != Some(0) {
            let interval = json!({"path": "machine/peripheral/balloon0", "property": "guest-stats-polling-interval", "value": POLLING_S});
            ask(&mut monitor, "qom-set", interval)?;
        }
        if let Some(mib) = target.filter(|mib| *mib > 0) {
            ask(&mut monitor, "balloon", json!({"value": mib * MIB}))?;
        }
        Ok(())
    }

    fn connect(&mut self, layout: &Layout) -> Result<BufReader<UnixStream>> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(layout.state(&format!("qemu-{}.log", self.id)));
                bail!("QEMU ended ({status}): {}", log.unwrap_or_default());
            }
            match UnixStream::connect(layout.runtime(self.id, "qmp")) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    let mut monitor = BufReader::new(stream);
                    monitor.read_line(&mut String::new())?;
                    ask(&mut monitor, "qmp_capabilities", json!({}))?;
                    return Ok(monitor);
                }
                Err(error) if Instant::now() >= until => {
                    return Err(error).context("QEMU's monitor");
                }
                Err(_) => pause(),
            }
        }
    }

    /// The files that last as long as it runs.
    fn appear(&self, layout: &Layout, config: &Config) -> Result<()> {
        let (scope, pid) = (layout.scope(self.id), self.child.id());
        let process = layout.path(&format!("proc/{pid}"));
        fs::create_dir_all(&scope)?;
        fs::create_dir_all(process.join("task"))?;
        let limit = config
            .get("cpulimit")
            .and_then(|text| text.parse::<f64>().ok());
        let quota = limit.filter(|limit| *limit > 0.0);
        let quota = quota.map_or("max".to_owned(), |limit| {
            format!("{}", (limit * 100_000.0) as u64)
        });
        for (name, text) in [
            ("cpu.max", format!("{quota} 100000\n")),
            ("cpu.weight", "100\n".to_owned()),
            ("cgroup.procs", format!("{pid}\n")),
            ("memory.max", "max\n".to_owned()),
            ("memory.swap.current", "0\n".to_owned()),
        ] {
            layout.replace_at(&scope.join(name), &text)?;
        }
        layout.replace_at(&layout.runtime(self.id, "pid"), &format!("{pid}\n"))
    }

    /// Brings its files up to date, from what the kernel says of the process. An error is a process that ended.
    pub(crate) fn refresh(&mut self, layout: &Layout, up: f64) -> Result<()> {
        let pid = self.child.id();
        let (real, shown) = (format!("/proc/{pid}"), layout.path(&format!("proc/{pid}")));
        let stat = fs::read_to_string(format!("{real}/stat"))?;
        layout.replace_at(&shown.join("stat"), &self.as_started_here(&stat))?;
        let command_line = fs::read_to_string(format!("{real}/cmdline"))?;
        layout.replace_at(&shown.join("cmdline"), &command_line)?;
        let mut threads = Vec::new();
        for entry in fs::read_dir(format!("{real}/task"))? {
            let (entry, thread) = (entry?, shown.join("task"));
            let (name, thread) = (entry.file_name(), thread.join(entry.file_name()));
            let read = |file: &str| fs::read_to_string(entry.path().join(file));
            let (Ok(comm), Ok(stat)) = (read("comm"), read("stat")) else {
                continue;
            };
            fs::create_dir_all(&thread)?;
            layout.replace_at(&thread.join("comm"), &comm)?;
            layout.replace_at(&thread.join("stat"), &stat)?;
            threads.push(name);
        }
        for entry in fs::read_dir(shown.join("task"))? {
            let entry = entry?;
            if !threads.contains(&entry.file_name()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        self.refresh_scope(layout, &stat, up)
    }

    fn refresh_scope(&mut self, layout: &Layout, stat: &str, up: f64) -> Result<()> {
        let scope = layout.scope(self.id);
        let number = |field: usize| field_of(stat, field).and_then(|text| text.parse::<u64>().ok());
        let ticks = |field| number(field).unwrap_or(0) as f64;
        let used_s = (ticks(14) + ticks(15)) / HZ;
        if up > self.looked_at {
            self.cpu_used = (used_s - self.used_s) / (up - self.looked_at);
        }
        (self.used_s, self.looked_at) = (used_s, up);
        self.resident = number(24).unwrap_or(0) * 4096;
        let usage = (used_s * 1e6) as u64;
        let pressure = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        for (name, text) in [
            (
                "cpu.stat",
                format!(
                    "usage_usec {usage}\nuser_usec {usage}\nsystem_usec 0\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n"
                ),
            ),
            ("memory.current", format!("{}\n", self.resident)),
            ("memory.stat", format!("anon {}\nfile 0\n", self.resident)),
            ("cpu.pressure", pressure.to_owned()),
            ("memory.pressure", pressure.to_owned()),
            ("io.pressure", pressure.to_owned()),
        ] {
            layout.replace_at(&scope.join(name), &text)?;
        }
        Ok(())
    }

    /// `stat` with the start time by the simulated node's clock (field 22 of proc_pid_stat(5)).
    fn as_started_here(&self, stat: &str) -> String {
        let Some((name, rest)) = stat.rsplit_once(") ") else {
            return stat.to_owned();
        };
        let mut fields: Vec<String> = rest.split(' ').map(str::to_owned).collect();
        if let Some(started) = fields.get_mut(22 - 3) {
            *started = self.started.to_string();
        }
        format!("{name}) {}", fields.join(" "))
    }

    /// Ends it and takes its files away.
    pub(crate) fn stop(mut self, layout: &Layout) {
        self.child.kill().ok();
        self.child.wait().ok();
        for file in ["pid", "qmp", "serial0"] {
            fs::remove_file(layout.runtime(self.id, file)).ok();
        }
        fs::remove_dir_all(layout.path(&format!("proc/{}", self.child.id()))).ok();
        fs::remove_dir_all(layout.scope(self.id)).ok();
    }
}

/// A field of proc_pid_stat(5), counted from 1.
fn field_of(stat: &str, field: usize) -> Option<&str> {
    stat.rsplit_once(") ")?.1.split(' ').nth(field - 3)
}

fn ask(monitor: &mut BufReader<UnixStream>, command: &str, arguments: Value) -> Result<()> {
    let request = json!({"execute": command, "arguments": arguments});
    monitor
        .get_mut()
        .write_all(format!("{request}\n").as_bytes())?;
    loop {
        let mut line = String::new();
        if monitor.read_line(&mut line)? == 0 {
            bail!("QEMU closed its monitor");
        }
        let reply: Value = serde_json::from_str(&line)?;
        if let Some(error) = reply.get("error") {
            bail!("{command}: {error}");
        }
        if reply.get("return").is_some() {
            return Ok(());
        }
    }
}

/// QEMU's command line for this configuration.
fn arguments(
    layout: &Layout,
    id: u32,
    config: &Config,
    machine: &Machine,
    spec: &RealSpec,
) -> Vec<String> {
    let socket = |name: &str| {
        format!(
            "path={},server=on,wait=off",
            layout.runtime(id, name).display()
        )
    };
    let boot = machine.boot_memory / MIB;
    let (sockets, cores, most) = (machine.sockets, machine.cores, machine.max_vcpus());
    let plugged = machine.vcpus.iter().filter(|vcpu| vcpu.id.is_some());
    let at_boot = machine
        .vcpus
        .iter()
        .filter(|vcpu| vcpu.id.is_none())
        .count();
    // A thread for each vCPU, as with KVM, only where vCPUs come and go: QEMU 7.2 tends to crash in that mode.
    let threads = match at_boot + plugged.clone().count() < most as usize {
        true => "multi",
        false => "single",
    };
    let mut words: Vec<String> = [
        "-name",
        &format!("vm{id},debug-threads=on"),
        "-pidfile",
        &layout.runtime(id, "pid").display().to_string(),
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-accel",
        &format!("tcg,thread={threads}"),
        "-machine",
        "pc",
        "-cpu",
        "qemu64",
        "-smp",
        &format!("{at_boot},sockets={sockets},cores={cores},maxcpus={most}"),
        "-chardev",
        &format!("socket,id=qmp,{}", socket("qmp")),
        "-mon",
        "chardev=qmp,mode=control",
        "-chardev",
        &format!("socket,id=serial0,{}", socket("serial0")),
        "-serial",
        "chardev:serial0",
        "-serial",
        &format!(
            "file:{}",
            layout.state(&format!("console-{id}.log")).display()
        ),
        "-kernel",
        &spec.kernel.display().to_string(),
        "-initrd",
        &spec.initrd.display().to_string(),
        "-append",
        "console=ttyS1 quiet panic=-1 memhp_default_state=online",
        "-drive",
        &format!(
            "file={},if=none,id=disk,format=raw,readonly=on",
            spec.disk.display()
        ),
        "-device",
        "virtio-blk-pci,drive=disk",
    ]
    .map(str::to_owned)
    .into();
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    if machine.memory_hotplug {
        add("-m", format!("size={boot},slots=255,maxmem=524288M"));
        add(
            "-object",
            format!("memory-backend-ram,id=ram-node0,size={boot}M"),
        );
        add(
            "-numa",
            format!("node,nodeid=0,cpus=0-{},memdev=ram-node0", most - 1),
        );
        for module in &machine.modules {
            add(
                "-object",
                format!(
                    "memory-backend-ram,id={},size={}",
                    module.memdev, module.size
                ),
            );
            add(
                "-device",
                format!("pc-dimm,id={},memdev={},node=0", module.id, module.memdev),
            );
        }
    } else {
        add("-m", boot.to_string());
    }
    for vcpu in plugged {
        let (socket, core) = (vcpu.index / cores, vcpu.index % cores);
        let id = vcpu.id.as_deref().unwrap_or_default();
        add(
            "-device",
            format!("qemu64-x86_64-cpu,id={id},socket-id={socket},core-id={core},thread-id=0"),
        );
    }
    if config.get("balloon").is_none_or(|size| size != "0") {
        add("-device", "virtio-balloon-pci,id=balloon0".to_owned());
    }
    words
}

#[expect(
    clippy::disallowed_methods,
    reason = "the simulated node has one thread, and nothing to do before QEMU answers"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}
