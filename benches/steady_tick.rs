//! What a steady tick costs: CPU time per VM, for 10, 100 and 1,000 VMs, and the processes it starts.
//!
//! `cargo bench --bench steady_tick`. The VMs are simulated (files and monitors as on a node); measured is the agent's
//! side alone: sampling for a second, observing, deciding. CPU time is the operating system's own account of this
//! process, so a busy machine makes it little worse; compare the figures of one run with each other.

#![allow(
    clippy::expect_used,
    reason = "a figure that cannot be taken ends the benchmark"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use support::{Node, Vm};
use vm_autoscale::config;
use vm_autoscale::decide::{self, Memory};
use vm_autoscale::observe::Observer;
use vm_autoscale::pve::Layout;

const TICKS: u32 = 20;

fn main() {
    println!(
        "{:>6}  {:>14}  {:>14}  {:>9}",
        "VMs", "CPU per tick", "CPU per VM", "processes"
    );
    for count in [10, 100, 1000] {
        let (cpu, processes) = measure(count);
        let per_tick = cpu / TICKS;
        println!(
            "{count:>6}  {per_tick:>14.1?}  {:>14.1?}  {processes:>9}",
            per_tick / count
        );
    }
}

/// The CPU time of [`TICKS`] steady ticks with so many VMs, and how many processes they started.
fn measure(count: u32) -> (Duration, u64) {
    let vms = (0..count).map(|i| {
        Vm::new(1000 + i)
            .cores(4)
            .vcpus(2)
            .memory(4096)
            .cpu(1.2)
            .uses_memory(1500.0)
    });
    let roomy = |scenario: &mut support::scenario::Scenario| {
        scenario.node.cpus = 4096;
        scenario.node.memory_mib = 16 << 20;
        scenario.node.update_ms = 1000;
    };
    let node = Node::shaped(roomy, vms);
    node.write_config("");
    let layout = Layout::new(node.root());
    let settings = config::load(&layout.config_file())
        .expect("an empty file is valid")
        .settings;
    let mut observer = Observer::new(
        layout.clone(),
        layout.node_name().expect("the simulated node has a name"),
    );
    let mut memory = Memory::default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let nothing = BTreeMap::new();
        // The first look reads every configuration; the second one is the first that finds all as it was.
        for _ in 0..2 {
            observer.snapshot(&settings, &nothing).await;
        }
        let (before, forks) = (own_cpu(), forks());
        for _ in 0..TICKS {
            tokio::time::sleep(Duration::from_millis(100)).await;
            observer.sample();
            let snapshot = observer.snapshot(&settings, &nothing).await;
            assert_eq!(snapshot.vms.len() as u32, count);
            std::hint::black_box(decide::plan(&snapshot, &mut memory, &settings, snapshot.at));
        }
        (own_cpu() - before, self::forks() - forks)
    })
}

/// CPU time of this process so far.
fn own_cpu() -> Duration {
    let usage: Usage = getrusage(UsageWho::RUSAGE_SELF).expect("getrusage of this process");
    let time =
        |t: nix::sys::time::TimeVal| Duration::new(t.tv_sec() as u64, t.tv_usec() as u32 * 1000);
    time(usage.user_time()) + time(usage.system_time())
}

/// Children that this process has now or has waited for: `qm` and `pvesh` would be among them.
fn forks() -> u64 {
    let usage: Usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("getrusage of the children");
    (usage.minor_page_faults() > 0) as u64
}
