//! `vm-autoscale run`: the daemon, or one tick of it.

use tracing::Level;

use super::{Exit, fail, logging};
use crate::daemon;
use crate::pve::Layout;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Decide and act once, print what came of it, and end
    #[arg(long)]
    once: bool,
    /// Decide, but change nothing
    #[arg(long)]
    dry_run: bool,
    /// Also log what is done when nothing is changed
    #[arg(long, short)]
    verbose: bool,
}

pub(super) fn run(args: Args, layout: Layout) -> Exit {
    logging::start(if args.verbose {
        Level::DEBUG
    } else {
        Level::INFO
    });
    // Two workers: a read of /etc/pve that hangs must not stop the watchdog. More would only be idle.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return fail(format_args!("cannot start: {e}")),
    };
    let options = daemon::Options {
        once: args.once,
        dry_run: args.dry_run,
    };
    let end = runtime.block_on(daemon::run(layout, options));
    // A thread that hangs in /etc/pve cannot be ended; waiting for it would hang the stop as well.
    runtime.shutdown_background();
    match end {
        Ok(()) => Exit::Done,
        Err(error) => {
            tracing::error!("{error}");
            if error.is_config() {
                Exit::BadConfig
            } else {
                Exit::Failed
            }
        }
    }
}
