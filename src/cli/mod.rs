//! The command line: one file per command, printing and exit codes.
//!
//! Holds no logic that a room should own.

mod apply;
mod backtest;
pub mod check_config;
mod completions;
mod doctor;
mod explain;
mod history;
mod import_config;
mod logging;
mod notify_test;
pub mod output;
mod pause;
mod prepare;
mod release;
mod run;
mod status;
mod status_cluster;
mod table;
mod top;
mod words;

#[cfg(test)]
mod fixture;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use serde::Serialize;

use crate::cluster::{self, Mounted};
use crate::config::{Selection, VmSettings};
use crate::domain::{NodeName, VmId};
use crate::pve::{Layout, VmConfig, pmxcfs};

use check_config::CheckResult;
use output::OutputFormat;

/// How a command ended, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done: 0.
    Done,
    /// Failed; the reason is on stderr: 1.
    Failed,
    /// Done, and something needs attention: 3. (2 is a usage error, which clap reports.)
    Attention,
    /// The daemon's configuration is unusable: 78, `EX_CONFIG`. systemd does not restart on it.
    BadConfig,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::from(0),
            Exit::Failed => Self::from(1),
            Exit::Attention => Self::from(3),
            Exit::BadConfig => Self::from(78),
        }
    }
}

/// Gives each Proxmox VE guest that opted in the CPU and memory it needs now, live.
#[derive(Debug, Parser)]
#[command(
    name = "vm-autoscale",
    version,
    max_term_width = 100,
    propagate_version = true
)]
struct Cli {
    /// Take every system path under DIR: a simulated node, a test, a rescue system
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/",
        hide_default_value = true
    )]
    root: PathBuf,
    /// How reading commands print
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_default_value = true
    )]
    output_format: OutputFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch and scale this node's VMs (what the service runs)
    Run(run::Args),
    /// Show every managed VM: need, allocation, last change, and why
    Status(status::Args),
    /// The same live on a full screen, with sparklines of what each VM needs; without a terminal, `status`
    Top,
    /// Tell the story of the last decision about one VM
    Explain(explain::Args),
    /// Carry out what is recommended for a VM whose mode is not auto
    Apply(apply::Args),
    /// Show what happened: changes with their outcomes, problems and their ends
    History(history::Args),
    Backtest(backtest::Args),
    /// Tell what works live for each VM, and what one power cycle would unlock
    Doctor(doctor::Args),
    /// Make a VM ready for more: hotplug, NUMA, a higher ceiling
    Prepare(prepare::Args),
    /// Put back what a VM's settings were, and stop managing it
    Release(release::Args),
    /// Change nothing on this node, or in the whole cluster, until told otherwise
    Pause(pause::Args),
    /// Take back the order to change nothing
    Resume(pause::ResumeArgs),
    CheckConfig(check_config::CheckConfig),
    ImportConfig(import_config::Args),
    /// Send a test message through each notification channel
    NotifyTest(notify_test::Args),
    /// Print the completions for a shell
    Completions(completions::Args),
}

/// The whole command line, for its manual page.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line `args`, the program's name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Where even the message cannot be printed there is nobody to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    // Commands run in the directory /, so a path from here would lead elsewhere.
    let layout = match std::path::absolute(&cli.root) {
        Ok(root) => Layout::new(root),
        Err(e) => return fail(format_args!("--root {:?}: {e}", cli.root)).into(),
    };
    let exit = match cli.command {
        Command::Run(args) => run::run(args, layout),
        Command::Status(args) => status::run(&args, &layout, cli.output_format),
        Command::Top => top::run(&layout, cli.output_format),
        Command::Explain(args) => explain::run(&args, &layout, cli.output_format),
        Command::Apply(args) => apply::run(&args, &layout, cli.output_format),
        Command::History(args) => history::run(&args, &layout, cli.output_format),
        Command::Backtest(args) => backtest::run(&args, &layout, cli.output_format),
        Command::Doctor(args) => doctor::run(&args, &layout, cli.output_format),
        Command::Prepare(args) => prepare::run(&args, &layout, cli.output_format),
        Command::Release(args) => release::run(&args, &layout, cli.output_format),
        Command::Pause(args) => pause::pause(&args, &layout),
        Command::Resume(args) => pause::resume(&args, &layout),
        Command::CheckConfig(args) => check(&args, &layout, cli.output_format),
        Command::ImportConfig(args) => import_config::run(&args, &layout, cli.output_format),
        Command::NotifyTest(args) => notify_test::run(&args, &layout, cli.output_format),
        Command::Completions(args) => completions::run(&args),
    };
    exit.into()
}

/// Runs `work` to its end on a runtime of its own.
fn blocking<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("cannot start: {e}"))?;
    Ok(runtime.block_on(work))
}

/// The settings of `vm`, or the defaults if it did not opt in.
fn managed_settings(layout: &Layout, node: &NodeName, vm: VmId) -> Result<VmSettings, String> {
    let settings = cluster::settings_in_force(layout).map_err(|e| e.to_string())?;
    let text = pmxcfs::read_vm_config(layout, node, vm).map_err(|e| e.to_string())?;
    let tags = text
        .map(|text| VmConfig::parse(&text).tags)
        .unwrap_or_default();
    match settings.of(vm, &tags) {
        // A VM is made ready for the most that it is ever to have.
        Selection::Managed(own) => Ok(own.at_its_widest().into_owned()),
        Selection::No => Ok(VmSettings::default()),
        Selection::Unusable(why) => Err(why),
    }
}

/// Prints why a command failed, and how it ends.
fn fail(why: impl std::fmt::Display) -> Exit {
    anstream::eprintln!("vm-autoscale: {why}");
    Exit::Failed
}

/// Prints `data` in the format asked for; as text, what `text` makes of it.
fn show(format: OutputFormat, data: &impl Serialize, text: impl FnOnce() -> String) -> Exit {
    let mut out = anstream::stdout().lock();
    match format.print(&mut out, data, |out| out.write_all(text().as_bytes())) {
        Ok(()) => Exit::Done,
        // The reader has seen enough: `vm-autoscale status | head`.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
        Err(e) => fail(e),
    }
}

fn check(args: &check_config::CheckConfig, layout: &Layout, format: OutputFormat) -> Exit {
    let shared = match cluster::read_settings(&Mounted::new(layout.clone())) {
        Ok(shared) => shared,
        Err(why) => {
            anstream::eprintln!("vm-autoscale: checked without the cluster's settings: {why}");
            None
        }
    };
    let name = layout.pve().join(cluster::CONFIG);
    match check_config::run(
        args,
        &layout.config_file(),
        shared.as_deref().map(|text| (name.as_path(), text)),
        format,
        &mut anstream::stdout().lock(),
    ) {
        Ok(CheckResult::Valid) => Exit::Done,
        Ok(CheckResult::Warnings) => Exit::Attention,
        Ok(CheckResult::Faulty) => Exit::Failed,
        Err(e) => fail(e),
    }
}
