//! The simulated node: keeps everything under a root directory that the kernel, QEMU, pmxcfs and pvestatd would keep
//! on a real one. It shares no code with the product, so that a wrong belief of one does not hide in the other.
//!
//! `run` is the edge: it moves the model by the time that passed, writes files, answers sockets. The model itself
//! (`machine`, `guest`, `cpu`, `vm`, `ballooning`, `monitor`, `load`) is pure.

mod ballooning;
pub(crate) mod clock;
mod control;
mod cpu;
mod files;
mod guest;
mod host;
pub(crate) mod layout;
mod load;
mod machine;
mod monitor;
mod pmxcfs;
mod qmp;
mod real;
mod report;
pub(crate) mod scenario;
mod start;
mod state;
pub(crate) mod truth;
mod vm;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use layout::Layout;
use scenario::{STATE_DIR, Scenario};
use state::Node;
use vm::Vm;

/// The node, shared by the loop and the sockets. All of it runs in one thread.
#[derive(Debug)]
pub(crate) struct Shared(RefCell<Node>);

impl Shared {
    /// Does something to a running VM at the node's present time.
    fn with_vm<T>(&self, id: u32, does: impl FnOnce(&mut Vm, f64) -> T) -> Option<T> {
        let mut node = self.0.borrow_mut();
        let now = node.now();
        node.vm_mut(id).map(|vm| does(vm, now))
    }
}

/// Runs the node under `root` until SIGTERM or SIGINT, or until standard input ends if it is to end with its parent.
pub(crate) fn run(root: &Path, scenario: Option<&Path>, with_parent: bool) -> Result<()> {
    let scenario = read_scenario(root, scenario)?;
    let binary = std::env::current_exe().context("the path of this binary")?;
    let layout = Layout::new(root, &scenario.node.name);
    layout.create(&binary)?;
    if !scenario.node.shares_etc_pve {
        layout.create_etc_pve()?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended =
        tokio::task::LocalSet::new().block_on(&runtime, live(layout, scenario, with_parent));
    // A read of standard input that has not come back cannot be ended.
    runtime.shutdown_background();
    ended
}

/// The scenario that was named, or else the one of the root, or else an empty node.
fn read_scenario(root: &Path, path: Option<&Path>) -> Result<Scenario> {
    let of_root = root.join(STATE_DIR).join("scenario.yaml");
    let path = match path {
        Some(path) => path,
        None if of_root.exists() => &of_root,
        None => return Ok(Scenario::default()),
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    serde_yaml::from_str(&text).with_context(|| format!("{}", path.display()))
}

async fn live(layout: Layout, scenario: Scenario, with_parent: bool) -> Result<()> {
    let step = Duration::from_millis(scenario.node.update_ms.max(10));
    let shared = Rc::new(Shared(RefCell::new(Node::new(layout, scenario)?)));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut timer = tokio::time::interval(step);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let orphaned = end_of_input(with_parent);
    tokio::pin!(orphaned);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = &mut orphaned => break,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
        shared.0.borrow_mut().tick()?;
        attend_sockets(&shared)?;
    }
    shared.0.borrow_mut().shut_down();
    Ok(())
}

/// Comes back when standard input has ended; never, if that is not to be waited for.
async fn end_of_input(with_parent: bool) {
    if !with_parent {
        return std::future::pending().await;
    }
    let (ended, end) = tokio::sync::oneshot::channel();
    // A thread of its own: a read of standard input cannot be called off, and must not hold up the end.
    std::thread::spawn(move || {
        // What is written there means nothing, and an error is an end too.
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
        ended.send(()).ok();
    });
    end.await.ok();
}

/// Opens the sockets of VMs that should have one and do not, and closes the others.
fn attend_sockets(shared: &Rc<Shared>) -> Result<()> {
    let missing = shared.0.borrow_mut().socket_changes();
    for (id, path) in missing {
        let handle = qmp::serve(shared, id, &path)?;
        shared.0.borrow_mut().keep_socket(id, handle);
    }
    Ok(())
}
