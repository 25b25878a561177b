//! `vm-autoscale backtest`: what the agent would have done with a history, before it touches anything.

use std::path::{Path, PathBuf};

use super::output::OutputFormat;
use super::{Exit, fail, show};
use crate::backtest::report::Report;
use crate::backtest::run::{self, History};
use crate::backtest::trace::Trace;
use crate::config::{self, CpuMethod, LoadError, MemoryMethod, Settings, VmSettings};
use crate::pve::Layout;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration to try, instead of the node's (or of what is built in where the node has none)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Histories from files, one VM each; the first line of a file has the VM's ceilings
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    trace: Vec<PathBuf>,
    /// Move CPU by this lever, instead of what the configuration says
    #[arg(long, value_enum, value_name = "METHOD")]
    cpu_method: Option<CpuMethod>,
    /// Move memory by this lever, instead of what the configuration says; with dimm, modules are unplugged, too
    #[arg(long, value_enum, value_name = "METHOD")]
    memory_method: Option<MemoryMethod>,
}

pub(super) fn run(args: &Args, layout: &Layout, format: OutputFormat) -> Exit {
    let settings = match settings(args, layout) {
        Ok(settings) => settings,
        Err(e) => return fail(e),
    };
    let own = settings
        .profiles
        .get("default")
        .cloned()
        .unwrap_or_default();
    let own = with_methods(own, args);
    let histories: Result<Vec<History>, String> = args
        .trace
        .iter()
        .map(|file| read_trace(file).map(|trace| History::new(trace, &own)))
        .collect();
    let histories = match histories {
        Ok(histories) => histories,
        Err(why) => return fail(why),
    };
    let report = Report::of(run::run(&histories, &settings, |_| {}), Vec::new());
    show(format, &report, String::new)
}

/// The configuration that was named, else that of the node, else what is built in.
fn settings(args: &Args, layout: &Layout) -> Result<Settings, LoadError> {
    match &args.config {
        Some(file) => config::load(file).map(|loaded| loaded.settings),
        None => match config::load(&layout.config_file()) {
            Ok(loaded) => Ok(loaded.settings),
            Err(LoadError::Missing(_)) => Ok(Settings::default()),
            Err(e) => Err(e),
        },
    }
}

fn with_methods(mut own: VmSettings, args: &Args) -> VmSettings {
    own.cpu.method = args.cpu_method.unwrap_or(own.cpu.method);
    if let Some(method) = args.memory_method {
        own.memory.method = method;
        own.memory.unplug = true;
    }
    own
}

fn read_trace(file: &Path) -> Result<Trace, String> {
    let told = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let bytes = std::fs::read(file).map_err(|e| told(&e))?;
    let text = String::from_utf8(bytes).map_err(|_| told(&"not UTF-8 text; is it a trace?"))?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    Trace::parse(&name, &text).map_err(|e| told(&e))
}
