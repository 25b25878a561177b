//! `pve-sim`: a simulated Proxmox VE node under a root directory, for tests and the demo. No part of the product.
//!
//! Called through a link named `qm` or `pvesh` it is that command; `pve-sim node --root DIR` is the node, and
//! `pve-sim demo` shows the agent on one.

mod commands;
mod demo;
mod faults;
mod node;
mod tools;
mod vmconf;

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// A simulated Proxmox VE node.
#[derive(Debug, Parser)]
#[command(name = "pve-sim")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a node under a root directory until it is told to end.
    Node {
        /// The root directory; made if it does not exist.
        #[arg(long)]
        root: PathBuf,
        /// What the node looks like; by default DIR/var/lib/pve-sim/scenario.yaml.
        #[arg(long)]
        scenario: Option<PathBuf>,
        /// End when standard input ends, which it does when whoever started this has gone.
        #[arg(long)]
        with_parent: bool,
    },
    /// Shows the agent at work on a node whose VMs are under recorded loads.
    Demo {
        /// How long.
        #[arg(long, default_value_t = 60.0)]
        seconds: f64,
        /// Lines instead of a live table, as without a terminal.
        #[arg(long)]
        plain: bool,
    },
}

fn main() -> ExitCode {
    let called_as = PathBuf::from(env::args_os().next().unwrap_or_default());
    let name = called_as.file_name().and_then(OsStr::to_str);
    match name {
        Some("qm") => as_command("qm", &called_as, tools::qm_main),
        Some("pvesh") => as_command("pvesh", &called_as, tools::pvesh_main),
        Some("vm-autoscale") => as_agent(),
        _ => as_node(),
    }
}

/// This process is the agent of the demo, and ends with it.
fn as_agent() -> ExitCode {
    if let Err(error) = set_pdeathsig(Signal::SIGTERM) {
        eprintln!("pve-sim: the agent would outlive the demo: {error}");
        return ExitCode::FAILURE;
    }
    vm_autoscale::cli::main(env::args_os())
}

/// This process is a command of the node.
fn as_command(
    name: &str,
    called_as: &Path,
    command: fn(PathBuf, Vec<String>) -> ExitCode,
) -> ExitCode {
    let root = root_of(called_as);
    let words: Vec<String> = env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    commands::remember(&root, name, &words);
    command(root, words)
}

/// This process is the node, or something around it.
fn as_node() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Node {
            root,
            scenario,
            with_parent,
        } => node::run(&root, scenario.as_deref(), with_parent),
        Command::Demo { seconds, plain } => demo::run(seconds, plain),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pve-sim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the node that a command belongs to: `qm` is `ROOT/usr/sbin/qm`. Where the shell's PATH found it, its
/// name does not tell, and the environment's `PVE_SIM_ROOT` does.
fn root_of(called_as: &Path) -> PathBuf {
    match called_as.ancestors().nth(3) {
        Some(root) if root != Path::new("") => root.to_owned(),
        _ => env::var_os("PVE_SIM_ROOT").map_or_else(|| PathBuf::from("/"), PathBuf::from),
    }
}
