//! `qm` and `pvesh` of the simulated node: the real argument forms, texts, exit codes, order of effects and delays.
//!
//! They work on files below the root and on QMP sockets, as the real ones do, and never on the model behind them.
//! They must not use the product's library: they are the witness against whom the product is held.

mod api;
mod cgroup;
mod cpus;
mod failure;
mod hotplug;
mod memory;
mod monitor;
mod node_info;
mod options;
mod output;
mod power;
mod pvesh;
mod qm;
mod resources;
mod rrd;
mod session;
mod status;
mod store;
mod update;

use std::path::PathBuf;
use std::process::ExitCode;

use failure::Done;
use session::Session;

use crate::faults::Point;

/// Exit code when the simulation itself is set up wrongly; no PVE command uses it.
const BROKEN_SETUP: u8 = 70;

/// Runs `qm ARGS` on the node under `root`.
pub(crate) fn qm_main(root: PathBuf, args: Vec<String>) -> ExitCode {
    run(root, "qm", args, qm::run)
}

/// Runs `pvesh ARGS` on the node under `root`.
pub(crate) fn pvesh_main(root: PathBuf, args: Vec<String>) -> ExitCode {
    run(root, "pvesh", args, pvesh::run)
}

fn run(
    root: PathBuf,
    name: &str,
    args: Vec<String>,
    command: fn(&Session, &[String]) -> Done<u8>,
) -> ExitCode {
    let session = match Session::new(root, name, &args) {
        Ok(session) => session,
        Err(error) => {
            eprintln!("pve-sim: {error:#}");
            return ExitCode::from(BROKEN_SETUP);
        }
    };
    session.sleep(session.delays().startup_s);
    match session
        .reach(Point::Start)
        .and_then(|()| command(&session, &args))
    {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            session.warn(&failure.text());
            ExitCode::from(failure.code())
        }
    }
}
