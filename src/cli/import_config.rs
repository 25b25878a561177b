//! `vm-autoscale import-config OLD`: makes our configuration from the predecessor's, and says what became of each line.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::output::OutputFormat;
use super::{Exit, fail};
use crate::config;
use crate::config::import::{Fate, Import, Line, Options, import};
use crate::pve::Layout;

/// Make a configuration from that of proxmox-vm-autoscale
///
/// Prints the new file, or writes it with --output, and says on stderr what became of each line of the old one: what
/// means the same, what means something else here, what has no use on the node, what was wrong. Exits with 3 if
/// something was left out.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The old file, usually /usr/local/bin/vm_autoscale/config.yaml
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// Write the new file here instead of printing it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write tokens and passwords to files in DIR, readable by root only; without it beside FILE
    #[arg(long, value_name = "DIR")]
    secrets: Option<PathBuf>,
    /// Which of the old file's hosts this node is; repeat it for the other nodes of its cluster
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Replace files that exist
    #[arg(long)]
    force: bool,
}

/// What is told, for programs.
#[derive(Debug, Serialize)]
struct Told<'a> {
    old: &'a Path,
    output: Option<&'a Path>,
    secrets: Vec<&'a Path>,
    secrets_written: bool,
    lines: &'a [Line],
}

pub(super) fn run(args: &Args, layout: &Layout, format: OutputFormat) -> Exit {
    match make(args, layout).and_then(|import| {
        deliver(args, &import)?;
        tell(args, &import, format)?;
        Ok(import)
    }) {
        Ok(import) if import.lines.iter().any(|line| line.fate == Fate::LeftOut) => Exit::Attention,
        Ok(_) => Exit::Done,
        Err(why) => fail(format_args!("{why:#}")),
    }
}

fn make(args: &Args, layout: &Layout) -> anyhow::Result<Import> {
    let beside = args.output.as_deref().and_then(Path::parent);
    let directory = match (&args.secrets, beside) {
        (Some(directory), _) => directory.clone(),
        (None, Some(beside)) => Path::new(".").join(beside),
        (None, None) => layout.config_dir(),
    };
    let options = Options {
        hosts: args.hosts.clone(),
        node: layout.node_name().ok().map(|node| node.to_string()),
        secrets: std::path::absolute(directory)?,
    };
    let bytes = config::contents(&args.old)?;
    Ok(import(&bytes, &args.old, &options)?)
}

impl Args {
    /// A look at what would come out writes no secrets anywhere.
    fn writes_secrets(&self) -> bool {
        self.output.is_some() || self.secrets.is_some()
    }
}

/// Writes the files, the secrets first: a configuration that names them comes when they are there.
fn deliver(args: &Args, import: &Import) -> anyhow::Result<()> {
    let secrets = import.secrets.iter().filter(|_| args.writes_secrets());
    let secrets = secrets.map(|file| (file.path.as_path(), file.secret.expose(), 0o600));
    let output = args
        .output
        .iter()
        .map(|file| (file.as_path(), import.text.as_str(), 0o640));
    let files: Vec<_> = secrets.chain(output).collect();
    // Asked for all of them before the first is written, so that a refusal leaves nothing behind.
    if let Some((path, ..)) = files.iter().find(|(path, ..)| !args.force && path.exists()) {
        anyhow::bail!("{} exists; --force replaces it", path.display());
    }
    for (path, content, mode) in files {
        write(path, content, mode, args.force)
            .map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))?;
    }
    if args.output.is_none() {
        anstream::stdout().write_all(import.text.as_bytes())?;
    }
    Ok(())
}

/// Writes a file whole or not at all, and only for those whom `mode` names, from its first byte on.
fn write(path: &Path, content: &str, mode: u32, replace: bool) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = PathBuf::from(name);
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| {
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.write_all(content.as_bytes())?;
            file.sync_all()?;
            match replace {
                true => fs::rename(&temporary, path),
                // Unlike a rename, a link never replaces what came to be there in the meantime.
                false => fs::hard_link(&temporary, path),
            }
        });
    if written.is_err() || !replace {
        // What stays behind has no use; what went wrong before counts more.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn tell(args: &Args, import: &Import, format: OutputFormat) -> io::Result<()> {
    let told = Told {
        old: &args.old,
        output: args.output.as_deref(),
        secrets: import
            .secrets
            .iter()
            .map(|file| file.path.as_path())
            .collect(),
        secrets_written: args.writes_secrets() && !import.secrets.is_empty(),
        lines: &import.lines,
    };
    let mut err = anstream::stderr().lock();
    format.print(&mut err, &told, |err| {
        for line in told.lines {
            writeln!(err, "{}", line.text())?;
        }
        writeln!(err)?;
        for path in &told.secrets {
            match told.secrets_written {
                true => writeln!(err, "Wrote {}, mode 0600.", path.display())?,
                false => writeln!(
                    err,
                    "{} is still to be written, with mode 0600: --output or --secrets does so.",
                    path.display()
                )?,
            }
        }
        if let Some(output) = told.output {
            let output = output.display();
            writeln!(err, "Wrote {output}. Next: vm-autoscale check-config {output}")?;
        }
        writeln!(
            err,
            "Two agents must not scale the same VM: systemctl disable --now vm_autoscale, where the old one runs."
        )
    })
}
