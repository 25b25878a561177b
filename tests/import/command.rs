//! The command as an admin runs it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use vm_autoscale::config;

/// Runs `vm-autoscale import-config OLD args…`; gives its exit code, stdout and stderr.
#[allow(
    clippy::disallowed_methods,
    reason = "a test waits for the command that it tests"
)]
fn run(root: &Path, old: &str, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_vm-autoscale"))
        .arg("--root")
        .arg(root)
        .arg("import-config")
        .arg(Path::new("tests/data/import").join(old))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn an_admin_imports_the_old_file_on_the_node_and_looks_at_the_result() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/pve")).unwrap();
    std::os::unix::fs::symlink("nodes/pve1", root.path().join("etc/pve/local")).unwrap();
    let new = root.path().join("config.yaml");
    let token = root.path().join("gotify.token");

    // A look first: the new file on stdout, nothing on the disk.
    let (code, printed, report) = run(root.path(), "every-key.yaml", &[]);
    assert_eq!(code, 3, "two VMs have no host: {report}");
    assert!(printed.contains("vms: [101, 102]"), "{printed}");
    assert!(
        report.contains("gotify.token is still to be written"),
        "{report}"
    );
    assert!(!root.path().join("etc/vm-autoscale").exists());

    let output = new.to_str().unwrap();
    let (code, printed, report) = run(root.path(), "every-key.yaml", &["--output", output]);
    assert_eq!((code, printed.as_str()), (3, ""), "{report}");
    assert_eq!((mode(&new), mode(&token)), (0o640, 0o600));
    assert_eq!(fs::read_to_string(&token).unwrap(), "hunter2-token");
    assert!(
        report.contains(&format!("Wrote {}, mode 0600.", token.display())),
        "{report}"
    );
    assert!(!report.contains("hunter2"), "{report}");
    config::load(&new).unwrap();

    // What is there is not replaced unasked.
    fs::write(&new, "precious").unwrap();
    let (code, _, report) = run(root.path(), "every-key.yaml", &["--output", output]);
    assert_eq!(code, 1);
    assert!(report.contains("exists; --force replaces it"), "{report}");
    assert_eq!(fs::read_to_string(&new).unwrap(), "precious");
    let (code, _, report) = run(
        root.path(),
        "every-key.yaml",
        &["--output", output, "--force"],
    );
    assert_eq!(code, 3, "{report}");
    config::load(&new).unwrap();
    let left: Vec<_> = fs::read_dir(root.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn programs_get_the_report_as_json() {
    let root = tempfile::tempdir().unwrap();
    let secrets = root.path().to_str().unwrap();
    let args = [
        "--secrets",
        secrets,
        "--host",
        "a",
        "--host",
        "b",
        "--output-format",
        "json",
    ];
    let (code, printed, report) = run(root.path(), "cluster.yaml", &args);
    assert_eq!(code, 0, "{report}");
    assert!(printed.contains("vms: [101, 102]"), "{printed}");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let lines = report["lines"].as_array().unwrap();
    assert!(
        lines.iter().any(|line| line["fate"] == "other-host"),
        "{report}"
    );
}

#[test]
fn a_file_that_is_not_there_is_a_failure_with_a_reason() {
    let root = tempfile::tempdir().unwrap();
    let (code, printed, report) = run(root.path(), "nowhere.yaml", &[]);
    assert_eq!((code, printed.as_str()), (1, ""));
    assert!(report.contains("no such file"), "{report}");
    assert!(!report.contains("Create it"), "{report}");
}
