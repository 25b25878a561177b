//! Where histories come from: trace files, or what Proxmox VE recorded.

use std::path::Path;

use super::{Args, records};
use crate::backtest::run::History;
use crate::backtest::trace::Trace;
use crate::config::{Settings, VmSettings};
use crate::pve::Layout;

/// The histories that were asked for, and what must be known of them.
pub(super) struct Sources {
    /// One a VM, in the order in which they were named.
    pub(super) histories: Vec<History>,
    /// A sentence each.
    pub(super) notes: Vec<String>,
}

/// Reads the histories that were asked for.
///
/// # Errors
/// A file is no trace, or no VM has a record: as a sentence.
pub(super) fn read(args: &Args, layout: &Layout, settings: &Settings) -> Result<Sources, String> {
    if !args.vm.is_empty() {
        return records::read(args, layout, settings);
    }
    let mut sources = Sources {
        histories: Vec::new(),
        notes: Vec::new(),
    };
    for file in &args.trace {
        let trace = from_file(file)?;
        let history = History::new(trace, &with_methods(default(settings), args));
        sources.histories.push(history);
    }
    Ok(sources)
}

/// The methods of the command line instead of those of the configuration.
pub(super) fn with_methods(mut own: VmSettings, args: &Args) -> VmSettings {
    own.cpu.method = args.cpu_method.unwrap_or(own.cpu.method);
    if let Some(method) = args.memory_method {
        own.memory.method = method;
        own.memory.unplug = true;
    }
    own
}

/// The settings of a VM of which the configuration says nothing.
pub(super) fn default(settings: &Settings) -> VmSettings {
    let own = settings.profiles.get("default");
    own.cloned().unwrap_or_default()
}

fn from_file(file: &Path) -> Result<Trace, String> {
    let told = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let bytes = std::fs::read(file).map_err(|e| told(&e))?;
    let text = String::from_utf8(bytes).map_err(|_| told(&"not UTF-8 text; is it a trace?"))?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    Trace::parse(&name, &text).map_err(|e| told(&e))
}
