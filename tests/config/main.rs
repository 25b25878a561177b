//! The configuration file as an admin meets it: faulty files with their messages, good files with what they mean.
//!
//! Each faulty file in `tests/data/config/bad` has beside it the text that it must give. After a deliberate change of
//! a message, `UPDATE=1 cargo test --test config` writes the texts anew; read the difference before committing it.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod layers;
mod properties;
mod schedule;

use std::fs;
use std::path::{Path, PathBuf};

use similar::TextDiff;
use vm_autoscale::cli::check_config::{self, CheckConfig, CheckResult};
use vm_autoscale::cli::output::OutputFormat;
use vm_autoscale::config::{self, LoadError, Selection, VmSettings};
use vm_autoscale::domain::{Cores, Mib, Percent, VmId};

fn data(path: &str) -> PathBuf {
    Path::new("tests/data/config").join(path)
}

fn yaml_files(dir: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(data(dir))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    files.sort();
    files
}

fn id(n: u32) -> VmId {
    VmId::try_from(n).unwrap()
}

/// What `check-config` prints for `file`, without colours and folders, and its result.
fn check(file: &Path, vm: Option<u32>, format: OutputFormat) -> (String, CheckResult) {
    let args = CheckConfig {
        vm: vm.map(id),
        file: Some(file.to_owned()),
        ..CheckConfig::default()
    };
    let mut out = anstream::StripStream::new(Vec::new());
    let result = check_config::run(&args, Path::new("/nowhere"), None, format, &mut out).unwrap();
    let text = String::from_utf8(out.into_inner()).unwrap();
    let folder = format!("{}/", file.parent().unwrap().display());
    (text.replace(&folder, ""), result)
}

/// Compares each printed text with the one kept beside its file, and shows all that differ.
fn compare(texts: Vec<(PathBuf, String)>) {
    let mut differing = String::new();
    for (file, text) in texts {
        let kept = file.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&kept, &text).unwrap();
        }
        let expected = fs::read_to_string(&kept).unwrap_or_default();
        if expected != text {
            let diff = TextDiff::from_lines(&expected, &text);
            let name = kept.display().to_string();
            differing += &diff.unified_diff().header(&name, "printed now").to_string();
        }
    }
    assert!(differing.is_empty(), "\n{differing}");
}

#[test]
fn each_faulty_file_gives_its_precise_errors() {
    let files = yaml_files("bad");
    assert!(files.len() >= 50, "only {} faulty files", files.len());
    let print = |file: PathBuf| {
        let (text, result) = check(&file, None, OutputFormat::Text);
        assert_eq!(result, CheckResult::Faulty, "{}", file.display());
        (file, text)
    };
    compare(files.into_iter().map(print).collect());
}

#[test]
fn each_questionable_file_gives_its_precise_warnings() {
    let print = |file: PathBuf| {
        let (text, result) = check(&file, None, OutputFormat::Text);
        assert_eq!(result, CheckResult::Warnings, "{}", file.display());
        (file, text)
    };
    compare(yaml_files("warn").into_iter().map(print).collect());
}

#[test]
fn the_journal_gets_one_line_a_fault_and_never_a_secret() {
    for file in yaml_files("bad") {
        let error = config::load(&file).unwrap_err();
        let text = error.to_string();
        let debug = format!("{error:?}");
        assert_eq!(text.lines().count(), error.faults().len(), "{text}");
        assert!(!text.contains("hunter"), "{text}");
        assert!(!debug.contains("hunter"), "{debug}");
        assert!(
            !text.chars().any(|c| c.is_control() && c != '\n'),
            "{text:?}"
        );
    }
}

#[test]
fn each_good_file_loads_without_a_warning() {
    for file in yaml_files("good") {
        let (text, result) = check(&file, None, OutputFormat::Text);
        assert_eq!(result, CheckResult::Valid, "{text}");
    }
}

#[test]
fn an_empty_file_means_every_default() {
    for file in ["good/empty.yaml", "good/comment.yaml"] {
        let loaded = config::load(&data(file)).unwrap();
        assert_eq!(loaded.settings, built_in(&loaded.settings));
    }
}

#[test]
fn a_section_whose_children_are_commented_out_is_empty() {
    let settings = config::load(&data("good/commented-out-children.yaml"))
        .unwrap()
        .settings;
    assert!(settings.select.tags.is_empty());
    assert_eq!(settings.profiles["default"], VmSettings::default());
    assert!(matches!(settings.of(id(101), &[]), Selection::Managed(_)));
}

#[test]
fn a_missing_file_says_what_to_do() {
    let error = config::load(Path::new("/nowhere/config.yaml")).unwrap_err();
    assert!(matches!(error, LoadError::Missing(_)));
    assert_eq!(
        error.to_string(),
        "/nowhere/config.yaml: no such file. Create it (an empty file is valid and means every default), or name \
         another one"
    );
}

#[test]
fn a_folder_or_a_huge_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = config::load(dir.path()).unwrap_err();
    assert!(
        error.to_string().ends_with("is not a plain file"),
        "{error}"
    );
    let huge = dir.path().join("huge.yaml");
    fs::write(&huge, "#".repeat((1 << 20) + 1)).unwrap();
    let error = config::load(&huge).unwrap_err();
    assert!(error.to_string().contains("larger than 1 MiB"), "{error}");
    fs::write(&huge, "#".repeat(1 << 20)).unwrap();
    assert!(config::load(&huge).is_ok());
}

#[test]
fn a_vm_comes_before_its_profile_before_the_default_profile_before_what_is_built_in() {
    let settings = config::load(&data("good/layers.yaml")).unwrap().settings;
    let Selection::Managed(vm) = settings.of(id(101), &[]) else {
        panic!("VM 101 is listed")
    };
    assert_eq!(vm.profile, "big");
    assert_eq!(vm.memory.max, Mib::gib(32));
    assert_eq!(vm.memory.min, Mib::gib(4));
    assert_eq!(vm.cpu.max, Cores::whole(4));
    assert_eq!(vm.cpu.min, Cores::whole(1));
    assert_eq!(settings.host.max_memory, Percent::whole(85));
    assert_eq!(settings.host.max_cpu, Percent::whole(90));
}

#[test]
fn a_tag_picks_the_profile_below_a_vms_own_section() {
    let settings = config::load(&data("good/layers.yaml")).unwrap().settings;
    let of = |n, tag: &str| settings.of(id(n), &[tag.to_owned()]);
    let Selection::Managed(vm) = of(103, "autoscale-big") else {
        panic!("VM 103 is tagged")
    };
    assert_eq!((vm.priority, vm.memory.max), (5, Mib::gib(64)));
    let Selection::Managed(vm) = of(102, "autoscale") else {
        panic!("VM 102 is tagged")
    };
    assert_eq!((vm.cpu.max, vm.memory.max), (Cores::whole(4), Mib::gib(2)));
    let Selection::Unusable(why) = of(102, "autoscale-big") else {
        panic!("2 GiB at most do not fit 4 GiB at least")
    };
    assert_eq!(
        why,
        "its own section does not fit the profile \"big\": memory.min 4GiB is above memory.max 2GiB"
    );
    assert_eq!(of(102, "other"), Selection::No);
    assert!(matches!(of(102, "autoscale-gone"), Selection::Unusable(_)));
}

#[test]
fn check_config_shows_where_each_value_of_a_vm_comes_from() {
    let file = data("good/layers.yaml");
    let (text, result) = check(&file, Some(101), OutputFormat::Text);
    assert_eq!(result, CheckResult::Valid);
    compare(vec![(data("good/layers-vm-101.txt"), text)]);
    let (json, _) = check(&file, Some(101), OutputFormat::JsonPretty);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let max = json["effective"]
        .as_array()
        .unwrap()
        .iter()
        .find(|value| value["key"] == "memory.max")
        .unwrap();
    assert_eq!(
        *max,
        serde_json::json!({"key": "memory.max", "value": "32GiB",
            "from": {"file": {"scope": "node", "path": "vms.101.memory.max", "line": 13, "column": 19}}})
    );
}

#[test]
fn check_config_shows_the_profile_that_a_tag_would_pick() {
    let run = |profile: &str| {
        let args = CheckConfig {
            vm: Some(id(103)),
            profile: Some(profile.to_owned()),
            file: Some(data("good/layers.yaml")),
            ..CheckConfig::default()
        };
        let mut out = Vec::new();
        let result = check_config::run(
            &args,
            Path::new("/nowhere"),
            None,
            OutputFormat::Json,
            &mut out,
        );
        result.map(|_| serde_json::from_slice::<serde_json::Value>(&out).unwrap())
    };
    assert_eq!(
        run("big").unwrap()["effective"][0],
        serde_json::json!({"key": "profile", "value": "big", "from": "tag"})
    );
    assert_eq!(
        run("bg").unwrap_err().to_string(),
        "there is no profile \"bg\"; the file has: big, default"
    );
}

#[test]
fn a_quiet_check_speaks_only_of_what_makes_the_file_unusable() {
    let quiet = |file: PathBuf| {
        let args = CheckConfig {
            quiet: true,
            file: Some(file),
            ..CheckConfig::default()
        };
        let mut out = Vec::new();
        let text = OutputFormat::Text;
        let result = check_config::run(&args, Path::new("/nowhere"), None, text, &mut out).unwrap();
        (result.code(), out.is_empty())
    };
    for file in yaml_files("good").into_iter().chain(yaml_files("warn")) {
        assert_eq!(quiet(file.clone()), (0, true), "{}", file.display());
    }
    assert_eq!(quiet(data("bad/02-misspelt-key.yaml")), (1, false));
}

#[test]
fn programs_get_the_faults_as_data() {
    let (json, result) = check(&data("bad/02-misspelt-key.yaml"), None, OutputFormat::Json);
    assert_eq!((json.lines().count(), result.code()), (1, 1));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["faults"],
        serde_json::json!([{"scope": "node", "line": 4, "column": 7, "path": "profiles.default.cpu",
            "message": "unknown key \"mx\"", "hint": "did you mean \"max\"?"}])
    );
    let (yaml, _) = check(&data("bad/02-misspelt-key.yaml"), None, OutputFormat::Yaml);
    assert!(yaml.contains("result: faulty"), "{yaml}");
}

#[test]
fn anchors_and_merges_are_understood() {
    let settings = config::load(&data("good/anchors.yaml")).unwrap().settings;
    let cpu = |profile: &str| {
        let cpu = &settings.profiles[profile].cpu;
        (cpu.min, cpu.max)
    };
    assert_eq!(cpu("copy"), (Cores::whole(2), Cores::whole(6)));
    assert_eq!(cpu("part"), (Cores::whole(2), Cores::whole(12)));
}

#[test]
fn the_annotated_examples_have_every_key_and_only_known_ones() {
    let mut written = Vec::new();
    for file in ["examples/config.yaml", "examples/notify.yaml"] {
        let text = fs::read_to_string(file).unwrap();
        let value: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        collect("", &value, &mut written);
    }
    let known = config::known_keys();
    for key in known.keys() {
        // A VM's section has the keys of a profile, which the example shows once.
        let in_profile = key.replacen("vms.VMID", "profiles.NAME", 1);
        // Each secret can stand in a file or a credential, which the example shows once.
        let source = [".file", ".credential"]
            .iter()
            .any(|end| key.ends_with(end));
        let shown = written.contains(key) || written.contains(&in_profile) || source;
        assert!(shown, "the examples lack {key}");
    }
    // That they have only known keys is what loading them says; here, that each is found under its own name.
    for key in &written {
        let free = FREE
            .iter()
            .any(|(path, name)| *key == format!("{path}.{name}"));
        assert!(free || known.contains_key(key), "{key} is not known");
    }
}

/// The sections whose keys are free to choose, and what stands for such a key in documentation.
const FREE: [(&str, &str); 6] = [
    ("profiles", "NAME"),
    ("profiles.NAME.schedule", "NAME"),
    ("vms", "VMID"),
    ("notify.channels", "NAME"),
    ("notify.channels.NAME.headers", "NAME"),
    ("notify.channels.NAME.fields", "NAME"),
];

/// The paths of all keys, with the placeholders that documentation uses.
fn collect(path: &str, value: &serde_yaml::Value, keys: &mut Vec<String>) {
    for (key, value) in value.as_mapping().into_iter().flatten() {
        let key = match FREE.iter().find(|(free, _)| *free == path) {
            Some((_, name)) => (*name).to_owned(),
            None => key.as_str().unwrap().to_owned(),
        };
        let path = match path {
            "" => key,
            path => format!("{path}.{key}"),
        };
        collect(&path, value, keys);
        keys.push(path);
    }
}

#[test]
#[cfg(feature = "tls")]
fn the_annotated_notify_section_loads_and_shows_the_built_in_values() {
    use vm_autoscale::notify;
    let loaded = config::load(Path::new("examples/notify.yaml")).unwrap();
    assert_eq!(loaded.warnings, []);
    let (shown, built_in) = (loaded.settings.notify, notify::Settings::default());
    assert_eq!(shown.gather, built_in.gather);
    assert_eq!(shown.repeat_after, built_in.repeat_after);
    let phone = &shown.channels["phone"];
    let usual = notify::ChannelSettings::new(phone.kind.clone());
    assert_eq!(phone.max_per_hour, usual.max_per_hour);
    assert_eq!(phone.timeout, usual.timeout);
    assert_eq!(phone.route.severities, usual.route.severities);
}

#[test]
fn the_shipped_files_load_without_a_warning() {
    for file in ["etc/vm-autoscale/config.yaml", "examples/config.yaml"] {
        let (text, result) = check(Path::new(file), None, OutputFormat::Text);
        assert_eq!(result, CheckResult::Valid, "{text}");
    }
}

#[test]
fn the_annotated_example_shows_the_built_in_values() {
    let shown = config::load(Path::new("examples/config.yaml"))
        .unwrap()
        .settings;
    let built_in = config::Settings::default();
    assert_eq!(shown.check_interval, built_in.check_interval);
    assert_eq!(shown.select.tags, built_in.select.tags);
    let shown_without_windows = VmSettings {
        schedule: Vec::new(),
        ..shown.profiles["default"].clone()
    };
    assert_eq!(shown_without_windows, built_in.profiles["default"]);
    assert_eq!(shown.host, built_in.host);
}

#[test]
fn the_shipped_file_says_what_is_built_in() {
    let loaded = config::load(Path::new("etc/vm-autoscale/config.yaml")).unwrap();
    assert_eq!(loaded.settings, built_in(&loaded.settings));
}

/// What is built in, on the node where `settings` were read.
fn built_in(settings: &config::Settings) -> config::Settings {
    config::Settings {
        zone: settings.zone.clone(),
        ..config::Settings::default()
    }
}
