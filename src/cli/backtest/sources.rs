//! Where histories come from: trace files, or what Proxmox VE recorded.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Args, records, shown};
use crate::backtest::run::History;
use crate::backtest::trace::Trace;
use crate::config::{Settings, VmEntry, VmSettings};
use crate::domain::{VmId, sanitize};
use crate::pve::Layout;

/// The profile of whatever names none.
const DEFAULT: &str = "default";

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
/// A file is no trace, a VM has no record, one of them is named twice, or there is no profile of that name: as a sentence.
pub(super) fn read(args: &Args, layout: &Layout, settings: &Settings) -> Result<Sources, String> {
    let twice =
        |what: String| format!("{what} is named twice, and would count twice; name it once");
    if let Some(id) = named_twice(&args.vm) {
        return Err(twice(format!("VM {id}")));
    }
    if let Some(file) = named_twice(&args.trace) {
        return Err(twice(shown(file)));
    }
    if !args.vm.is_empty() {
        return records::read(args, layout, settings);
    }
    let mut sources = Sources {
        histories: Vec::new(),
        notes: Vec::new(),
    };
    for file in &args.trace {
        let trace = from_file(file)?;
        let (own, note) = sized_by(&trace.name, args.profile.as_deref(), settings)?;
        let history = History::new(trace, &with_methods(own.clone(), args));
        sources.histories.push(history);
        sources.notes.extend(note);
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
    let own = settings.profiles.get(DEFAULT);
    own.cloned().unwrap_or_default()
}

fn named_twice<T: Ord>(names: &[T]) -> Option<&T> {
    let mut seen = BTreeSet::new();
    names.iter().find(|name| !seen.insert(*name))
}

fn from_file(file: &Path) -> Result<Trace, String> {
    let told = |why: &dyn std::fmt::Display| format!("{}: {why}", shown(file));
    let bytes = std::fs::read(file).map_err(|e| told(&e))?;
    let text = String::from_utf8(bytes).map_err(|_| told(&"not UTF-8 text; is it a trace?"))?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    Trace::parse(&name, &text).map_err(|e| told(&e))
}

/// The settings for the trace `name`, by the profile that was asked for or else its own; and which they are, where they
/// are those of one VM.
fn sized_by<'a>(
    name: &str,
    asked: Option<&str>,
    settings: &'a Settings,
) -> Result<(&'a VmSettings, Option<String>), String> {
    let vm = vm_called(name, settings);
    let own = vm.and_then(|(_, entry)| entry.profile.as_deref());
    let profile = asked.or(own).unwrap_or(DEFAULT);
    let missing = || no_profile(profile, settings);
    let Some((id, entry)) = vm else {
        let own = settings.profiles.get(profile).ok_or_else(missing)?;
        return Ok((own, None));
    };
    match entry.by_profile.get(profile) {
        Some(Ok(own)) => Ok((
            own,
            Some(format!(
                "{}: sized by the settings of VM {id} over the profile {profile}, up to the ceilings of the trace.",
                sanitize(name, 80)
            )),
        )),
        Some(Err(why)) => Err(format!("VM {id}: {why}")),
        None => Err(missing()),
    }
}

/// The VM whose number `name` is, or begins with, if the configuration has a section for it.
fn vm_called<'a>(name: &str, settings: &'a Settings) -> Option<(VmId, &'a VmEntry)> {
    let end = name.find(|c: char| !c.is_ascii_digit());
    let id: VmId = name[..end.unwrap_or(name.len())].parse().ok()?;
    Some((id, settings.vms.get(&id)?))
}

fn no_profile(name: &str, settings: &Settings) -> String {
    let names: Vec<&str> = settings.profiles.keys().map(String::as_str).collect();
    let names = names.join(", ");
    format!("there is no profile {name:?}; the configuration has: {names}")
}
