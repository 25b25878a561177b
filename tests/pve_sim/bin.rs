//! pve-sim: a Proxmox VE node that is not there.

mod faults;
mod tools;
mod vmconf;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args();
    let name = args.next().unwrap_or_default();
    let root = PathBuf::from(std::env::var_os("PVE_SIM_ROOT").unwrap_or_default());
    let args: Vec<String> = args.collect();
    match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some("pvesh") => tools::pvesh_main(root, args),
        _ => tools::qm_main(root, args),
    }
}
