//! `pve-sim`: a simulated Proxmox VE node under a root directory, for tests and the demo. No part of the product.
//!
//! Called through a link named `qm` or `pvesh` it is that command; otherwise `pve-sim node --root DIR` is the node.

mod node;

use std::path::PathBuf;
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
