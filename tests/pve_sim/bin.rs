//! `pve-sim`: a simulated Proxmox VE node under a root directory, for tests and the demo. No part of the product.
//!
//! Called through a link named `qm` or `pvesh` it is that command; otherwise `pve-sim node --root DIR` is the node.

mod faults;
mod node;
mod tools;
mod vmconf;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    },
}

fn main() -> ExitCode {
    let mut words = env::args();
    let called_as = PathBuf::from(words.next().unwrap_or_default());
    match called_as.file_name().and_then(|name| name.to_str()) {
        Some("qm") => return tools::qm_main(root_of(&called_as), words.collect()),
        Some("pvesh") => return tools::pvesh_main(root_of(&called_as), words.collect()),
        _ => {}
    }
    let result = match Arguments::parse().command {
        Command::Node { root, scenario } => node::run(&root, scenario.as_deref()),
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
