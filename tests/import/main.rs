//! Files of the predecessor, and what is made of each.
//!
//! Beside each file in `tests/data/import` are the new file (`.new`) and the report, or the refusal (`.txt`). The first
//! line can give options of the command. After a deliberate change, `UPDATE=1 cargo test --test import` writes the texts
//! anew; read the difference before committing it. `tls` holds those whose channels need TLS.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod command;
mod properties;

use std::fs;
use std::path::{Path, PathBuf};

use similar::TextDiff;
use vm_autoscale::config::import::{Fate, Import, ImportError, Options, import};
use vm_autoscale::config::{self, CpuMethod, Mode, PolicyKind, Selection, Settings, VmSettings};
use vm_autoscale::domain::{Cores, Mib, Percent, VmId};

const FOLDER: &str = "tests/data/import";

fn old_files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    files.sort();
    files
}

/// On the node pve1, with the options that the first line gives.
fn options(bytes: &[u8]) -> Options {
    let text = String::from_utf8_lossy(bytes);
    let first = text.lines().next().unwrap_or_default();
    let words: Vec<_> = first.split(' ').collect();
    let asked = words.windows(2).filter(|pair| pair[0] == "--host");
    Options {
        hosts: asked.map(|pair| pair[1].to_owned()).collect(),
        node: Some("pve1".to_owned()),
        secrets: PathBuf::from("/etc/vm-autoscale"),
    }
}

fn made(file: &Path) -> Result<Import, ImportError> {
    let bytes = fs::read(file).unwrap();
    import(
        &bytes,
        Path::new(file.file_name().unwrap()),
        &options(&bytes),
    )
}

fn settings(name: &str) -> Settings {
    let import = made(&Path::new(FOLDER).join(name)).unwrap();
    config::read(import.text.as_bytes(), Path::new("new"))
        .unwrap()
        .settings
}

fn vm(settings: &Settings, id: u32) -> &VmSettings {
    match settings.of(VmId::try_from(id).unwrap(), &[]) {
        Selection::Managed(vm) => vm,
        other => panic!("VM {id}: {other:?}"),
    }
}

/// What is kept beside the file: the new file, if there is one, and the report.
fn texts(file: &Path) -> Vec<(PathBuf, String)> {
    let text = |ext: &str, text: String| (file.with_extension(ext), text);
    match made(file) {
        Err(error) => vec![text("txt", format!("{error}\n"))],
        Ok(import) => {
            let report = import.lines.iter().map(|line| line.text() + "\n").collect();
            vec![text("new", import.text), text("txt", report)]
        }
    }
}

fn compare(files: Vec<PathBuf>) {
    assert!(!files.is_empty());
    let mut differing = String::new();
    for (kept, text) in files.iter().flat_map(|file| texts(file)) {
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&kept, &text).unwrap();
        }
        let expected = fs::read_to_string(&kept).unwrap_or_default();
        if expected != text {
            let diff = TextDiff::from_lines(&expected, &text);
            let name = kept.display().to_string();
            differing += &diff.unified_diff().header(&name, "made now").to_string();
        }
    }
    assert!(differing.is_empty(), "\n{differing}");
}

#[test]
fn each_old_file_gives_its_precise_new_file_and_report() {
    compare(old_files(FOLDER));
}

#[test]
#[cfg(feature = "tls")]
fn each_old_file_whose_channels_need_tls_gives_its_precise_new_file_and_report() {
    compare(old_files(&format!("{FOLDER}/tls")));
}

#[test]
fn every_new_file_loads_and_no_text_shows_a_secret() {
    let files = [FOLDER, &format!("{FOLDER}/tls")].map(old_files);
    let mut loaded = 0;
    for file in files.into_iter().flatten() {
        for (_, text) in texts(&file) {
            assert!(!text.contains("hunter2"), "{}: {text}", file.display());
            assert!(
                !text.chars().any(|c| c.is_control() && c != '\n'),
                "{text:?}"
            );
        }
        if let Ok(import) = made(&file) {
            config::read(import.text.as_bytes(), &file).unwrap();
            loaded += 1;
        }
    }
    assert!(loaded >= 7, "only {loaded} files were imported");
}

#[test]
fn a_vm_keeps_its_rule_its_limits_and_what_is_scaled_of_it() {
    let settings = settings("every-key.yaml");
    let web = vm(&settings, 101);
    assert_eq!(web.policy, PolicyKind::Threshold);
    assert_eq!(web.mode, Mode::Recommend);
    assert_eq!(
        (web.cpu.min, web.cpu.max),
        (Cores::whole(1), Cores::whole(4))
    );
    assert_eq!((web.memory.min, web.memory.max), (Mib::gib(2), Mib::gib(8)));
    assert_eq!(web.cpu.rule.high, Percent::whole(90));
    assert_eq!(web.memory.rule.low, Percent::whole(35));
    assert_eq!(web.cooldown.up.as_secs(), 900);
    assert_eq!(web.cooldown.down.as_secs(), 1800);
    assert_eq!(vm(&settings, 102).cpu.method, CpuMethod::Off);
    assert_eq!(settings.notify.repeat_after.as_secs(), 1800);
}

#[test]
fn only_vms_that_the_old_agent_scaled_on_this_node_are_selected() {
    let settings = settings("every-key.yaml");
    for id in [103, 104, 105] {
        let selection = settings.of(VmId::try_from(id).unwrap(), &[]);
        assert_eq!(selection, Selection::No, "VM {id}");
    }
}

#[test]
fn a_secret_is_handed_over_for_a_file_that_the_new_file_names() {
    let import = made(&Path::new(FOLDER).join("every-key.yaml")).unwrap();
    let [file] = import.secrets.as_slice() else {
        panic!("{:?}", import.secrets);
    };
    assert_eq!(file.path, Path::new("/etc/vm-autoscale/gotify.token"));
    assert_eq!(file.secret.expose(), "hunter2-token");
    assert!(
        import
            .text
            .contains("token: {file: \"/etc/vm-autoscale/gotify.token\"}")
    );
}

#[test]
fn a_channel_that_would_not_work_leaves_no_secret_behind() {
    let import = made(&Path::new(FOLDER).join("wrong-types.yaml")).unwrap();
    assert_eq!(import.secrets, []);
}

#[test]
fn a_huge_list_of_vms_is_imported_as_far_as_a_configuration_goes() {
    let mut old = "proxmox_hosts: [{name: pve1}]\nvirtual_machines:\n".to_owned();
    for id in 100..5_000 {
        old += &format!("- {{vm_id: {id}, proxmox_host: pve1, scaling_enabled: true}}\n");
    }
    let import = import(old.as_bytes(), Path::new("old"), &Options::default()).unwrap();
    let loaded = config::read(import.text.as_bytes(), Path::new("new")).unwrap();
    assert_eq!(loaded.settings.select.vms.len(), 4_096);
    let left_out = |line: &&config::import::Line| line.fate == Fate::LeftOut;
    assert_eq!(import.lines.iter().filter(left_out).count(), 1);
}

#[test]
fn nesting_without_end_is_refused() {
    let old = format!("scaling_limits: {}", "[".repeat(100_000));
    let error = import(old.as_bytes(), Path::new("old"), &Options::default()).unwrap_err();
    assert!(error.to_string().contains("not valid YAML"), "{error}");
}
