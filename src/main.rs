//! The agent and its commands: reads the command line and hands over to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    vm_autoscale::cli::main(std::env::args_os())
}
