//! The files of one VM in /run, /proc and /sys/fs/cgroup, in the formats of QEMU, PVE and the kernel.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::cpu::parse_cpu_max;
use super::layout::Layout;
use super::machine::Config;
use super::vm::Vm;

/// Clock ticks per second (USER_HZ).
pub(crate) const HZ: f64 = 100.0;
/// Memory page in bytes.
const PAGE: u64 = 4096;

/// What systemd was told for a scope.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    /// In cores; none is unlimited.
    pub(crate) limit: Option<f64>,
    /// In µs.
    pub(crate) period: f64,
    /// `cpu.weight`.
    pub(crate) weight: f64,
}

impl Default for Quota {
    /// A scope for which nothing was set.
    fn default() -> Self {
        Self {
            limit: None,
            period: 100_000.0,
            weight: 100.0,
        }
    }
}

/// Makes the files that last as long as the VM runs. `boot` is the node's uptime at which QEMU started.
pub(crate) fn appear(layout: &Layout, vm: &Vm, config: &Config) -> Result<()> {
    let scope = layout.scope(vm.id);
    let process = layout.path(&format!("proc/{}", vm.pid));
    for dir in [&scope, &process] {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
    let pidfile = layout.runtime(vm.id, "pid");
    layout.replace_at(&process.join("cmdline"), &command_line(vm, &pidfile))?;
    layout.replace_at(&process.join("comm"), "kvm\n")?;
    layout.replace_at(
        &process.join("cgroup"),
        &format!("0::/qemu.slice/{}.scope\n", vm.id),
    )?;
    let number = |key: &str| config.get(key).and_then(|text| text.parse::<f64>().ok());
    let quota = number("cpulimit").filter(|limit| *limit > 0.0);
    let quota = quota.map_or("max".to_owned(), |limit| {
        format!("{}", (limit * 100.0).floor() * 1000.0)
    });
    let weight = number("cpuunits").unwrap_or(100.0).clamp(1.0, 10_000.0);
    for (name, text) in [
        ("cpu.max", format!("{quota} 100000\n")),
        ("cpu.weight", format!("{weight}\n")),
        ("cgroup.procs", format!("{}\n", vm.pid)),
        ("memory.max", "max\n".to_owned()),
        ("memory.swap.current", "0\n".to_owned()),
    ] {
        layout.replace_at(&scope.join(name), &text)?;
    }
    // The pid file last: who sees it, finds the rest.
    layout.replace_at(&pidfile, &format!("{}\n", vm.pid))
}

/// Takes them away.
pub(crate) fn vanish(layout: &Layout, vm: &Vm) {
    for file in ["pid", "qmp"] {
        fs::remove_file(layout.runtime(vm.id, file)).ok();
    }
    fs::remove_dir_all(layout.path(&format!("proc/{}", vm.pid))).ok();
    fs::remove_dir_all(layout.scope(vm.id)).ok();
}

/// The quota and weight that a VM's scope has now; nothing if a file is just being written.
pub(crate) fn quota(layout: &Layout, vm: u32) -> Option<Quota> {
    let scope = layout.scope(vm);
    let (limit, period) = parse_cpu_max(&fs::read_to_string(scope.join("cpu.max")).ok()?)?;
    let weight = fs::read_to_string(scope.join("cpu.weight")).ok()?;
    Some(Quota {
        limit,
        period,
        weight: weight.trim().parse().ok()?,
    })
}

/// Brings the files up to date that change all the time.
pub(crate) fn refresh(layout: &Layout, vm: &Vm, node_started: f64) -> Result<()> {
    let scope = layout.scope(vm.id);
    let charged = vm.charged();
    for (name, text) in [
        ("cpu.stat", vm.cpu_stat.text()),
        ("memory.current", format!("{charged}\n")),
        ("memory.stat", memory_stat(charged)),
        ("cpu.pressure", vm.cpu_pressure.text()),
        ("memory.pressure", vm.memory_pressure.text()),
        ("io.pressure", vm.io_pressure.text()),
    ] {
        layout.replace_at(&scope.join(name), &text)?;
    }
    refresh_process(layout, vm, node_started)
}

fn refresh_process(layout: &Layout, vm: &Vm, node_started: f64) -> Result<()> {
    let process = layout.path(&format!("proc/{}", vm.pid));
    let tasks = process.join("task");
    let started = ((vm.started - node_started) * HZ) as u64;
    let vcpu_time: f64 = vm.machine.vcpus.iter().map(|vcpu| vcpu.used_s).sum();
    let whole = Thread {
        id: vm.pid,
        name: "kvm",
        used_s: vcpu_time + vm.emulator_s,
    };
    let threads = vm.machine.vcpus.len() + 1;
    let stat = |thread: &Thread<'_>| stat_line(thread, (threads, started), vm);
    layout.replace_at(&process.join("stat"), &stat(&whole))?;
    layout.replace_at(&process.join("status"), &status(vm, threads))?;
    let main = Thread {
        used_s: vm.emulator_s,
        ..whole
    };
    write_task(layout, &tasks, &main, &stat(&main))?;
    for vcpu in &vm.machine.vcpus {
        let name = format!("CPU {}/KVM", vcpu.index);
        let thread = Thread {
            id: vcpu.tid,
            name: &name,
            used_s: vcpu.used_s,
        };
        write_task(layout, &tasks, &thread, &stat(&thread))?;
    }
    remove_ended_tasks(&tasks, vm)
}

/// One thread as /proc shows it.
struct Thread<'a> {
    id: u32,
    name: &'a str,
    used_s: f64,
}

fn write_task(layout: &Layout, tasks: &Path, thread: &Thread<'_>, stat: &str) -> Result<()> {
    let dir = tasks.join(thread.id.to_string());
    if !dir.exists() {
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        layout.replace_at(&dir.join("comm"), &format!("{}\n", thread.name))?;
    }
    layout.replace_at(&dir.join("stat"), stat)
}

fn remove_ended_tasks(tasks: &Path, vm: &Vm) -> Result<()> {
    for entry in fs::read_dir(tasks)? {
        let entry = entry?;
        let id: Option<u32> = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let alive = |id| id == vm.pid || vm.machine.vcpus.iter().any(|vcpu| vcpu.tid == id);
        if !id.is_some_and(alive) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// `proc_pid_stat(5)`, all 52 fields. Guest time counts as user time, as KVM does it.
fn stat_line(thread: &Thread<'_>, (threads, started): (usize, u64), vm: &Vm) -> String {
    let ticks = (thread.used_s * HZ) as u64;
    let system = ticks / 10;
    let (user, guest) = (ticks - system, ticks - system);
    let pages = vm.charged() / PAGE;
    let size = vm.machine.ram() + (1 << 30);
    format!(
        "{} ({}) S 1 {} {} 0 -1 138412416 {pages} 0 0 0 {user} {system} 0 0 20 0 {threads} 0 {started} {size} {pages} \
         18446744073709551615 1 1 0 0 0 0 268444224 4096 16963 0 0 0 -1 0 0 0 0 {guest} 0 0 0 0 0 0 0 0 0\n",
        thread.id, thread.name, vm.pid, vm.pid,
    )
}

fn status(vm: &Vm, threads: usize) -> String {
    let kib = vm.charged() / 1024;
    format!(
        "Name:\tkvm\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t{pid}\nNgid:\t0\nPid:\t{pid}\nPPid:\t1\n\
         TracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t256\nGroups:\t\n\
         VmPeak:\t{size} kB\nVmSize:\t{size} kB\nVmLck:\t0 kB\nVmPin:\t0 kB\nVmHWM:\t{kib} kB\nVmRSS:\t{kib} kB\n\
         RssAnon:\t{kib} kB\nRssFile:\t0 kB\nRssShmem:\t0 kB\nVmSwap:\t0 kB\nThreads:\t{threads}\n",
        pid = vm.pid,
        size = vm.machine.ram() / 1024 + (1 << 20),
    )
}

fn memory_stat(resident: u64) -> String {
    let kernel = 8 << 20;
    let anonymous = resident.saturating_sub(kernel) / PAGE * PAGE;
    format!(
        "anon {anonymous}\nfile 0\nkernel {kernel}\nkernel_stack 98304\npagetables 4194304\nsec_pagetables 0\n\
         percpu 0\nsock 0\nvmalloc 0\nshmem 0\nzswap 0\nzswapped 0\nfile_mapped 0\nfile_dirty 0\n\
         file_writeback 0\nswapcached 0\nanon_thp 0\nfile_thp 0\nshmem_thp 0\ninactive_anon {anonymous}\n\
         active_anon 0\ninactive_file 0\nactive_file 0\nunevictable 0\nslab_reclaimable 131072\n\
         slab_unreclaimable 262144\nslab 393216\nworkingset_refault_anon 0\nworkingset_refault_file 0\n\
         pgscan 0\npgsteal 0\npgfault 0\npgmajfault 0\n"
    )
}

/// A kvm command line as PVE builds it, cut to what tells the VM apart, NUL-separated.
fn command_line(vm: &Vm, pidfile: &Path) -> String {
    let machine = &vm.machine;
    let qmp = pidfile.with_extension("qmp");
    let name = format!("{},debug-threads=on", vm.name);
    let chardev = format!("socket,id=qmp,path={},server=on,wait=off", qmp.display());
    let smp = format!(
        "{},sockets={},cores={},maxcpus={}",
        machine
            .vcpus
            .iter()
            .filter(|vcpu| vcpu.id.is_none())
            .count(),
        machine.sockets,
        machine.cores,
        machine.max_vcpus()
    );
    let id = vm.id.to_string();
    let pidfile = pidfile.display().to_string();
    let words = [
        "/usr/bin/kvm",
        "-id",
        &id,
        "-name",
        &name,
        "-no-shutdown",
        "-chardev",
        &chardev,
        "-mon",
        "chardev=qmp,mode=control",
        "-pidfile",
        &pidfile,
        "-daemonize",
        "-smp",
        &smp,
        "-nodefaults",
    ];
    words.map(|word| format!("{word}\0")).concat()
}
