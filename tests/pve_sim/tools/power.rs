//! Starting, stopping, pausing: PVE's checks, then a word to the node process, which runs the VMs.
//!
//! The word is a file in `var/lib/pve-sim/control/`. Pausing and resuming go over QMP, as they do in PVE.
//! Source: `qemu-server: src/PVE/QemuServer.pm: vm_start, vm_start_nolock, vm_stop, vm_reboot`,
//! `QemuServer/RunState.pm`.

use std::fs;
use std::time::Instant;

use serde_json::json;

use super::failure::{Done, Failure};
use super::memory;
use super::monitor::Monitor;
use super::session::Session;
use super::status;
use super::store;
use super::update::{apply_pending_cold, check_config_lock};
use crate::vmconf::VmConfig;

/// Seconds that the node process has for a start or a stop; PVE's own limit for a start is 30.
const PATIENCE_S: f64 = 30.0;

/// The checks before the worker task starts.
pub(crate) fn check(session: &Session, name: &str, vmid: u32) -> Done<()> {
    let running = store::running_pid(session, vmid).is_some();
    match name {
        "start" => {
            let writable = store::is_quorate(session);
            if writable {
                Ok(())
            } else {
                Err(Failure::died("cluster not ready - no quorum?"))
            }
        }
        "suspend" | "resume" | "reboot" if !running => {
            Err(Failure::died(format!("VM {vmid} not running")))
        }
        "shutdown" | "reboot" if running && is_paused(session, vmid) => {
            Err(Failure::died("VM is paused - cannot shutdown"))
        }
        _ => Ok(()),
    }
}

fn is_paused(session: &Session, vmid: u32) -> bool {
    let answer = Monitor::new(session, vmid).command("query-status", json!({}));
    answer.is_ok_and(|answer| {
        matches!(
            answer["status"].as_str(),
            Some("paused" | "prelaunch" | "suspended")
        )
    })
}

/// Does what the worker task does, holding the VM's lock.
pub(crate) fn change(session: &Session, name: &str, vmid: u32, skiplock: bool) -> Done<()> {
    let _lock = store::lock(session, vmid)?;
    let (config, _) = store::load(session, vmid)?;
    match name {
        "start" => start(session, vmid, config, skiplock),
        "suspend" => {
            if config.get("lock") != Some("backup") && !skiplock {
                check_config_lock(&config)?;
            }
            Monitor::new(session, vmid)
                .command("stop", json!({}))
                .map(|_| ())
        }
        "resume" => resume(session, vmid, &config, skiplock),
        "reboot" => {
            stop(session, vmid, &config, skiplock)?;
            let (config, _) = store::load(session, vmid)?;
            start(session, vmid, config, skiplock)
        }
        _ => stop(session, vmid, &config, skiplock),
    }
}

fn start(session: &Session, vmid: u32, mut config: VmConfig, skiplock: bool) -> Done<()> {
    if config.flag("template") {
        return Err(Failure::died("you can't start a vm if it's a template"));
    }
    if !skiplock {
        check_config_lock(&config)?;
    }
    if store::running_pid(session, vmid).is_some() {
        return Err(Failure::died(format!("VM {vmid} already running")));
    }
    apply_pending_cold(session, vmid, &mut config)?;
    let (sockets, cores) = config.topology();
    let allowed = status::host_cpus(session);
    if sockets * cores > allowed {
        return Err(Failure::died(format!(
            "MAX {allowed} vcpus allowed per VM on this node"
        )));
    }
    memory::check_at_start(session, &config)?;
    // QEMU itself refuses a CPU in a socket that the topology does not have, and more boot CPUs than `maxcpus`.
    if config
        .number("vcpus")
        .is_some_and(|vcpus| vcpus > sockets * cores)
    {
        return Err(Failure::died("start failed: QEMU exited with code 1"));
    }
    tell_node(session, vmid, "start")?;
    let socket = session.path(format!("run/qemu-server/{vmid}.qmp"));
    wait_until(session, || {
        store::running_pid(session, vmid).is_some() && socket.exists()
    })
    .map_err(|()| Failure::died("start failed: QEMU exited with code 1"))
}

fn stop(session: &Session, vmid: u32, config: &VmConfig, skiplock: bool) -> Done<()> {
    if store::running_pid(session, vmid).is_none() {
        return Ok(());
    }
    if !skiplock {
        check_config_lock(config)?;
    }
    tell_node(session, vmid, "stop")?;
    wait_until(session, || store::running_pid(session, vmid).is_none())
        .map_err(|()| Failure::died("VM quit/powerdown failed - got timeout"))?;
    // PVE cleans up after QEMU's end and makes pending changes active then.
    let (mut config, _) = store::load(session, vmid)?;
    apply_pending_cold(session, vmid, &mut config)
}

fn resume(session: &Session, vmid: u32, config: &VmConfig, skiplock: bool) -> Done<()> {
    let monitor = Monitor::new(session, vmid);
    let answer = monitor.command("query-status", json!({}))?;
    if config.flag("template") {
        return Err(Failure::died(format!(
            "VM {vmid} is a template and cannot be resumed!"
        )));
    }
    if answer["status"] == "running" {
        return Ok(());
    }
    if config.get("lock") != Some("backup") && !skiplock {
        check_config_lock(config)?;
    }
    monitor.command("cont", json!({})).map(|_| ())
}

fn tell_node(session: &Session, vmid: u32, word: &str) -> Done<()> {
    let directory = session.path("var/lib/pve-sim/control");
    let name = format!("qm-{word}-{vmid}-{}", std::process::id());
    let temporary = directory.join(format!("{name}.tmp"));
    let write = || {
        fs::create_dir_all(&directory)?;
        fs::write(&temporary, json!({ "do": word, "vm": vmid }).to_string())?;
        fs::rename(&temporary, directory.join(format!("{name}.json")))
    };
    write()
        .map_err(|error| Failure::died(format!("pve-sim: cannot reach the node process: {error}")))
}

fn wait_until(session: &Session, reached: impl Fn() -> bool) -> Result<(), ()> {
    let deadline = Instant::now() + session.delays().timeout(PATIENCE_S);
    while !reached() {
        if Instant::now() >= deadline {
            return Err(());
        }
        session.sleep(0.1);
    }
    Ok(())
}
