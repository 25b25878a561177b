//! `vm-autoscale backtest`: what the agent would have done with a history, before it touches anything.

mod page;
mod plot;
mod progress;
mod records;
mod sources;
mod text;

use std::path::{Path, PathBuf};

use super::output::OutputFormat;
use super::table::terminal_width;
use super::{Exit, fail, show};
use crate::backtest::report::Report;
use crate::backtest::run;
use crate::cluster::{self, Known};
use crate::config::{self, CpuMethod, LoadError, MemoryMethod, Settings};
use crate::domain::{VmId, sanitize};
use crate::pve::{Layout, Timeframe};

/// Show what the agent would have done with a history, before it touches anything
///
/// Nothing is changed, and the daemon need not run. The same code that decides in the daemon is shown the history as it
/// would have seen it: CPU as means over a second or over the step of the history, memory at each decision, both cut off
/// by what the VM had, and never the future. A change takes effect one `check_interval` after it was decided. The mode is
/// taken to be auto, the node to have room for everything.
///
/// A trace is a CSV file. Its first line has the step and the VM's ceilings, which replace the maximum of the
/// configuration: "# step_s=60 max_cores=16 max_memory_mib=32768". Then "time_s,cpu_cores,memory_mib" or without memory,
/// and a line for each time at which the demand changes. One whose name is the number of a VM, or begins with it, such as
/// 101-web.csv, is sized by the section of that VM, where the configuration has one.
///
/// JSON: vms[] with trace, cpu [[seconds, cores], …] and memory [[seconds, MiB], …] (empty where the history has none),
/// from the first second on, and summary; total is the sum of the summaries.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("history").required(true).args(["trace", "vm"])))]
pub(super) struct Args {
    /// The configuration to try, instead of the node's, or of what is built in where the node has none. Either goes over
    /// the cluster's
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Histories from files, one VM each
    #[arg(long, value_name = "FILE", num_args = 1..)]
    trace: Vec<PathBuf>,
    /// What Proxmox VE recorded of these VMs
    #[arg(long, value_name = "VMID", num_args = 1..)]
    vm: Vec<VmId>,
    /// How far back the record goes
    #[arg(long, value_enum, default_value = "day", conflicts_with = "trace")]
    timeframe: Timeframe,
    /// Size the histories from files by this profile, instead of `default` or that of the VM whose number the name begins
    /// with
    #[arg(long, value_name = "NAME", conflicts_with = "vm")]
    profile: Option<String>,
    /// Move CPU by this lever, instead of what the configuration says
    #[arg(long, value_enum, value_name = "METHOD")]
    cpu_method: Option<CpuMethod>,
    /// Move memory by this lever, instead of what the configuration says; with dimm, modules are unplugged, too
    #[arg(long, value_enum, value_name = "METHOD")]
    memory_method: Option<MemoryMethod>,
    /// Also write a page with plots to FILE, to look at or to send to somebody
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn run(args: &Args, layout: &Layout, format: OutputFormat) -> Exit {
    let told = |file: &Path, e: std::io::Error| format!("{}: {e}", shown(file));
    if let Some(file) = &args.html
        && let Err(e) = may_be_written(file)
    {
        return fail(told(file, e));
    }
    let report = match report(args, layout) {
        Ok(report) => report,
        Err(why) => return fail(why),
    };
    let told_to = show(format, &report, || text::text(&report, terminal_width()));
    match &args.html {
        Some(file) => match std::fs::write(file, page::page(&report)) {
            Ok(()) => told_to,
            Err(e) => fail(told(file, e)),
        },
        None => told_to,
    }
}

/// Whether there can be a file of that name, which is told before a long run and not after it. Nothing is changed.
fn may_be_written(file: &Path) -> Result<(), std::io::Error> {
    match std::fs::OpenOptions::new().append(true).open(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let folder = file
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            folder.unwrap_or(Path::new(".")).metadata().map(|_| ())
        }
        other => other.map(|_| ()),
    }
}

/// The name of a file, as it may be printed.
fn shown(file: &Path) -> String {
    sanitize(&file.display().to_string(), 400)
}

fn report(args: &Args, layout: &Layout) -> Result<Report, String> {
    let settings = settings(args, layout).map_err(|e| e.to_string())?;
    let sources = sources::read(args, layout, &settings)?;
    let progress = progress::Progress::new(sources.histories.len(), "VMs");
    let reports = run::run(&sources.histories, &settings, |done| progress.show(done));
    progress.end();
    Ok(Report::of(reports, sources.notes))
}

/// The configuration that was named, else that of the node, else what is built in; over the cluster's, as in the daemon.
fn settings(args: &Args, layout: &Layout) -> Result<Settings, LoadError> {
    let file = args.config.clone().unwrap_or_else(|| layout.config_file());
    let own = match config::contents(&file) {
        Err(LoadError::Missing(_)) if args.config.is_none() => Vec::new(),
        own => own?,
    };
    let in_force = cluster::in_force_with(layout, &own, &file, &Known::now(layout))?;
    // Where Proxmox VE is not installed there is no cluster, and nothing is left out.
    if let Some(hold) = in_force.hold
        && layout.pve().is_dir()
    {
        let why = hold.reason;
        anstream::eprintln!("vm-autoscale: run without the cluster's settings: {why}");
    }
    Ok(in_force.loaded.settings)
}
