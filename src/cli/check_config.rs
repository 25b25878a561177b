//! `check-config`: whether the file is right, what is wrong with it, and what is in force with where it came from.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::output::OutputFormat;
use crate::config::{
    self, Effective, Fault, LoadError, Loaded, NoProfile, Origin, Scheduled, Source, Zone,
};
use crate::domain::{Moment, VmId};

/// Check the configuration file and show what is in force.
///
/// Shows every fault with its place and what to write instead. Exits with 0 if the file is right, with 1 if it has
/// faults, with 3 if it can be used but has warnings. The cluster's settings in /etc/pve/vm-autoscale/config.yaml, if
/// there are such, are checked with it: what the node's own file says goes over them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CheckConfig {
    /// Show the settings of this VM and where each comes from.
    #[arg(long, value_name = "VMID")]
    pub vm: Option<VmId>,
    /// With --vm: as if its tag picked this profile.
    #[arg(long, value_name = "NAME", requires = "vm")]
    pub profile: Option<String>,
    /// With --vm: what holds at this time instead of now, such as 2026-11-24T08:00 by the node's clock.
    #[arg(long, value_name = "TIME", requires = "vm")]
    pub at: Option<jiff::civil::DateTime>,
    /// Print nothing unless the file cannot be used; warnings then count as right. What `systemctl reload` asks.
    #[arg(long, short, conflicts_with_all = ["vm", "profile", "at"])]
    pub quiet: bool,
    /// The file to check, if not the one in use.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// What the check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckResult {
    /// Nothing to say against it.
    Valid,
    /// It can be used, but something is probably not meant so.
    Warnings,
    /// It cannot be used.
    Faulty,
}

impl CheckResult {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::Warnings => 3,
            Self::Faulty => 1,
        }
    }
}

/// What is printed, for programs.
#[derive(Debug, Serialize)]
struct Report<'a> {
    file: &'a Path,
    result: CheckResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    faults: &'a [Fault],
    warnings: &'a [Fault],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    effective: Vec<Effective>,
    /// The windows of one VM.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    windows: Vec<Scheduled>,
}

/// Why the command could not do what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The profile that `--profile` names does not exist.
    #[error("{0}; the file has: {1}")]
    NoProfile(NoProfile, String),
    /// Nothing could be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Checks `args.file`, or else `in_use`, over the cluster's settings (the name of their file, and its text), and prints the result to `out`. Colours are always written; a stream that
/// strips them where they are not wanted is the caller's part.
///
/// # Errors
/// The profile of `--profile` does not exist, or `out` cannot be written to.
pub fn run(
    args: &CheckConfig,
    in_use: &Path,
    cluster: Option<(&Path, &str)>,
    format: OutputFormat,
    out: &mut dyn Write,
) -> Result<CheckResult, CheckError> {
    let file = args.file.as_deref().unwrap_or(in_use);
    let load =
        |cluster| config::contents(file).and_then(|own| config::read_over(&own, file, cluster));
    match load(cluster) {
        Ok(_) if args.quiet => Ok(CheckResult::Valid),
        // A reload goes on with the cluster's last good file.
        Err(LoadError::Cluster(_)) if args.quiet && load(None).is_ok() => Ok(CheckResult::Valid),
        Ok(loaded) => usable(args, file, &loaded, format, out),
        Err(error) => {
            let report = Report {
                file,
                result: CheckResult::Faulty,
                error: error.faults().is_empty().then(|| error.to_string()),
                faults: error.faults(),
                warnings: &[],
                effective: Vec::new(),
                windows: Vec::new(),
            };
            format.print(out, &report, |out| print_faults(out, &error))?;
            Ok(CheckResult::Faulty)
        }
    }
}

fn usable(
    args: &CheckConfig,
    file: &Path,
    loaded: &Loaded,
    format: OutputFormat,
    out: &mut dyn Write,
) -> Result<CheckResult, CheckError> {
    let zone = &loaded.settings.zone;
    let asked = args.at.and_then(|time| zone.moment(time));
    let at = asked.unwrap_or_else(Moment::now);
    let (effective, windows) = match args.vm {
        None => (loaded.provenance.node().to_vec(), Vec::new()),
        Some(id) => {
            let vm = loaded.provenance.vm(id, args.profile.as_deref(), at);
            let vm = vm.map_err(|error| CheckError::NoProfile(error, profiles(loaded)))?;
            (vm.settings, vm.windows)
        }
    };
    let result = match loaded.warnings.is_empty() {
        true => CheckResult::Valid,
        false => CheckResult::Warnings,
    };
    let report = Report {
        file,
        result,
        error: None,
        faults: &[],
        warnings: &loaded.warnings,
        effective,
        windows,
    };
    format.print(out, &report, |out| {
        print_findings(out, &loaded.source, &loaded.warnings, "warning")?;
        print_summary(out, &report, loaded)?;
        print_heading(out, args, loaded)?;
        print_table(out, &report.effective)?;
        print_windows(out, &report.windows, zone, at)
    })?;
    Ok(result)
}

fn profiles(loaded: &Loaded) -> String {
    let names: Vec<_> = loaded.settings.profiles.keys().cloned().collect();
    names.join(", ")
}

fn print_faults(out: &mut dyn Write, error: &LoadError) -> io::Result<()> {
    match error {
        LoadError::Invalid(invalid) | LoadError::Cluster(invalid) => {
            let source = &invalid.source_text;
            print_findings(out, source, &invalid.faults, "fault")?;
            let count = counted(invalid.faults.len(), "fault");
            let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
            writeln!(out, "{red}{}: {count}{red:#}", invalid.file.display())
        }
        other => writeln!(out, "{other}"),
    }
}

fn print_findings(
    out: &mut dyn Write,
    source: &Source,
    findings: &[Fault],
    kind: &str,
) -> io::Result<()> {
    let color = match kind {
        "fault" => AnsiColor::Red,
        _ => AnsiColor::Yellow,
    };
    for finding in findings.iter().take(config::SHOWN) {
        writeln!(out, "{}", source.render(finding, color))?;
    }
    match findings.len().checked_sub(config::SHOWN) {
        Some(more @ 1..) => writeln!(out, "and {more} more\n"),
        _ => Ok(()),
    }
}

fn print_summary(out: &mut dyn Write, report: &Report<'_>, loaded: &Loaded) -> io::Result<()> {
    let (color, word) = match report.result {
        CheckResult::Valid => (AnsiColor::Green, "valid".to_owned()),
        _ => {
            let count = counted(report.warnings.len(), "warning");
            (AnsiColor::Yellow, format!("usable, with {count}"))
        }
    };
    let style = Style::new().bold().fg_color(Some(color.into()));
    let profiles = counted(loaded.settings.profiles.len(), "profile");
    let vms = match loaded.settings.vms.len() {
        1 => "1 VM with a section of its own".to_owned(),
        n => format!("{n} VMs with a section of their own"),
    };
    let file = report.file.display();
    writeln!(out, "{style}{file}: {word}{style:#} ({profiles}, {vms})")
}

fn print_heading(out: &mut dyn Write, args: &CheckConfig, loaded: &Loaded) -> io::Result<()> {
    match args.vm {
        None => writeln!(
            out,
            "\nThe node's own settings (one VM's: --vm VMID; profiles: {}):",
            profiles(loaded)
        ),
        Some(id) => {
            writeln!(out, "\nVM {id}, if it is selected:")?;
            if loaded.settings.select.exclude.contains(&id) {
                writeln!(out, "(it is not: select.exclude lists it)")?;
            }
            let own = loaded.settings.vms.get(&id);
            let open = own.is_none_or(|vm| vm.profile.is_none()) && args.profile.is_none();
            if open && loaded.settings.profiles.len() > 1 {
                writeln!(out, "(its tag may pick another profile: --profile NAME)")?;
            }
            Ok(())
        }
    }
}

fn print_table(out: &mut dyn Write, effective: &[Effective]) -> io::Result<()> {
    let width = |text: fn(&Effective) -> &str| {
        let widths = effective.iter().map(|e| text(e).chars().count());
        widths.max().unwrap_or(0)
    };
    let (keys, values) = (width(|e| &e.key), width(|e| &e.value));
    for Effective { key, value, from } in effective {
        let style = match from {
            Origin::BuiltIn => Style::new().dimmed(),
            Origin::Tag | Origin::File { .. } => Style::new(),
        };
        writeln!(
            out,
            "  {key:keys$}  {value:values$}  {style}{from}{style:#}"
        )?;
    }
    Ok(())
}

/// The windows, a line each, and which of them are open.
fn print_windows(
    out: &mut dyn Write,
    windows: &[Scheduled],
    zone: &Zone,
    at: Moment,
) -> io::Result<()> {
    if windows.is_empty() {
        return Ok(());
    }
    let clock = zone.clock(at);
    writeln!(out, "\nIts windows ({zone}, where it is {clock}):")?;
    let width = |text: &dyn Fn(&Scheduled) -> String| {
        let widths = windows.iter().map(|w| text(w).chars().count());
        widths.max().unwrap_or(0)
    };
    let (names, times) = (
        width(&|w| w.window.name.clone()),
        width(&|w| w.window.to_string()),
    );
    for scheduled in windows {
        let (name, when) = (&scheduled.window.name, scheduled.window.to_string());
        let (style, open) = match scheduled.open_until {
            Some(until) => (
                Style::new().bold(),
                format!("; open until {}", zone.clock(until)),
            ),
            None => (Style::new().dimmed(), String::new()),
        };
        let (sets, from) = (&scheduled.window.sets, &scheduled.from);
        writeln!(
            out,
            "  {style}{name:names$}  {when:times$}  {sets}{open}{style:#}  {from}"
        )?;
    }
    Ok(())
}

fn counted(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}
