//! Whether a node has what the agent needs, told check by check.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::Serialize;

use super::{Layout, Pvesh, pmxcfs};
use crate::domain::sanitize;
use crate::host::file::read_bytes;

/// PVE's `memory` option has its present form since 8.0, and control groups are of version 2 by default.
const OLDEST: u32 = 8;

/// One check and what it found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Whether all is well.
    pub ok: bool,
    /// What was found, and what to do about it if it is not well.
    pub told: String,
}

impl Check {
    fn of(result: Result<String, String>) -> Self {
        match result {
            Ok(told) => Self { ok: true, told },
            Err(told) => Self { ok: false, told },
        }
    }
}

/// Looks at the node.
pub async fn checks(layout: &Layout, pvesh: &Pvesh) -> Vec<Check> {
    vec![
        Check::of(version(pvesh).await),
        Check::of(control_groups(layout)),
        Check::of(cluster_files(layout)),
        Check::of(journal(layout)),
        Check::of(config_file(&layout.config_file())),
        Check::of(other_autoscaler(layout)),
    ]
}

async fn version(pvesh: &Pvesh) -> Result<String, String> {
    let version = pvesh.version().await.map_err(|e| e.to_string())?;
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major >= OLDEST => Ok(format!("Proxmox VE {version}")),
        _ => Err(format!(
            "Proxmox VE {version} is older than {OLDEST}, the oldest that is supported"
        )),
    }
}

/// The file exists in the root of a version 2 hierarchy only.
fn control_groups(layout: &Layout) -> Result<String, String> {
    let path = layout.root().join("sys/fs/cgroup/cgroup.controllers");
    match path.exists() {
        true => Ok("control groups of version 2".to_owned()),
        false => Err(
            "control groups of version 1: CPU usage cannot be read; remove systemd.unified_cgroup_hierarchy=0 from the \
             kernel command line"
                .to_owned(),
        ),
    }
}

fn cluster_files(layout: &Layout) -> Result<String, String> {
    match pmxcfs::quorate(layout) {
        Ok(true) => Ok("/etc/pve is mounted and accepts changes".to_owned()),
        Ok(false) => {
            Err("/etc/pve cannot be written: the cluster has no quorum (pvecm status)".to_owned())
        }
        Err(e) => Err(e.to_string()),
    }
}

/// Under another root there is no journal to look for.
fn journal(layout: &Layout) -> Result<String, String> {
    let socket = layout.root().join("run/systemd/journal/socket");
    if socket.exists() || !layout.is_system() {
        return Ok("journald takes the agent's messages".to_owned());
    }
    Err("journald does not run: nobody keeps the agent's messages".to_owned())
}

/// It may hold secrets, and decides what root does.
fn config_file(path: &Path) -> Result<String, String> {
    let mode = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode() & 0o777,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(format!(
                "{} does not exist: every setting has its default",
                path.display()
            ));
        }
        Err(e) => return Err(format!("{} cannot be read: {e}", path.display())),
    };
    if mode & 0o027 == 0 {
        return Ok(format!(
            "{} is readable by root only (mode {mode:04o})",
            path.display()
        ));
    }
    let what = if mode & 0o022 != 0 { "changed" } else { "read" };
    Err(format!(
        "{path} can be {what} by others (mode {mode:04o}): chmod 0640 {path}",
        path = path.display()
    ))
}

/// The predecessor of this agent runs as `python3 …/autoscale.py`; two would work against each other.
fn other_autoscaler(layout: &Layout) -> Result<String, String> {
    let processes =
        fs::read_dir(layout.proc()).map_err(|e| format!("cannot list processes: {e}"))?;
    for entry in processes.flatten() {
        let number = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
        let Ok(line) = read_bytes(&entry.path().join("cmdline")) else {
            continue;
        };
        let words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let mut names = words.filter_map(|word| word.rsplit('/').next().map(str::to_owned));
        if number && names.any(|name| name == "autoscale.py") {
            let pid = sanitize(&entry.file_name().to_string_lossy(), 20);
            return Err(format!(
                "another autoscaler runs (autoscale.py, process {pid}): stop it, or the two work against each other"
            ));
        }
    }
    Ok("no other autoscaler runs".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_others_may_read_or_change_is_told_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        assert!(config_file(&path).is_ok(), "an absent file is no fault");
        fs::write(&path, "").unwrap();
        for (mode, told) in [
            (0o640, None),
            (0o644, Some("can be read")),
            (0o660, Some("can be changed")),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let result = config_file(&path);
            assert_eq!(result.is_ok(), told.is_none(), "{mode:o}: {result:?}");
            assert!(told.is_none_or(|told| result.unwrap_err().contains(told)));
        }
    }

    #[test]
    fn the_predecessor_is_found_by_its_command_line() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        for (pid, line) in [("10", "vim\0notes.py\0"), ("11", "bash\0")] {
            fs::create_dir_all(layout.proc().join(pid)).unwrap();
            fs::write(layout.proc().join(pid).join("cmdline"), line).unwrap();
        }
        assert!(other_autoscaler(&layout).is_ok());
        let line = "python3\0/usr/local/bin/vm_autoscale/autoscale.py\0";
        fs::create_dir_all(layout.proc().join("12")).unwrap();
        fs::write(layout.proc().join("12/cmdline"), line).unwrap();
        assert!(
            other_autoscaler(&layout)
                .unwrap_err()
                .contains("process 12")
        );
    }
}
