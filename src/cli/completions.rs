//! `vm-autoscale completions SHELL`: what the shell needs to complete this command line. The package has them in place.

use clap_complete::Shell;

use super::{Exit, fail};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut super::command(),
        "vm-autoscale",
        &mut script,
    );
    match std::io::Write::write_all(&mut std::io::stdout(), &script) {
        Ok(()) => Exit::Done,
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
        Err(e) => fail(e),
    }
}
