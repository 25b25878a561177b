//! By which settings a history is sized.

use super::{OFFICE, backtest, node, pairs, trace};

#[test]
fn the_configuration_that_is_named_decides() {
    let node = node();
    let file = trace(&node, "office.csv", OFFICE);
    let changes = |config: &str| {
        let config = trace(&node, "try.yaml", config);
        let run = backtest(
            &node,
            &[
                "--config",
                &config,
                "--trace",
                &file,
                "--output-format",
                "json",
            ],
        );
        let report = run.json();
        report["total"]["cpu"]["vm_autoscale"]["changes"]
            .as_u64()
            .unwrap()
    };
    let usual = changes("profiles:\n  default:\n    mode: observe\n");
    assert!(usual > 3, "asked is what would have been done");
    assert!(changes("profiles:\n  default:\n    cooldown: {down: 12h}\n") < usual);
    assert_eq!(
        changes("profiles:\n  default:\n    cpu: {method: off}\n"),
        0
    );
}

#[test]
fn the_clusters_settings_lie_below_the_configuration_that_is_named_and_below_that_of_the_node() {
    let node = node();
    let file = trace(&node, "office.csv", OFFICE);
    let held = |config: &[&str]| {
        let asked = [config, &["--trace", &file, "--output-format", "json"]].concat();
        let run = backtest(&node, &asked);
        let report = run.json();
        pairs(&report["vms"][0]["cpu"])
    };
    node.write_config("check_interval: 1s\n");
    assert!(held(&[]).len() > 1);
    std::fs::create_dir_all(node.path("etc/pve/vm-autoscale")).unwrap();
    let cluster = "profiles: {default: {cpu: {method: off}}}\n";
    node.write("etc/pve/vm-autoscale/config.yaml", cluster);
    assert_eq!(held(&[]), [(0.0, 1.0)], "the cluster switches CPU off");
    let other = trace(&node, "other.yaml", "host: {max_cpu: 70%}\n");
    assert_eq!(held(&["--config", &other]), [(0.0, 1.0)]);
    let on = trace(
        &node,
        "on.yaml",
        "profiles: {default: {cpu: {method: vcpus}}}\n",
    );
    assert!(
        held(&["--config", &on]).len() > 1,
        "this file says otherwise"
    );
    node.write("etc/pve/vm-autoscale/config.yaml", "nonsense: 1\n");
    let run = backtest(&node, &["--trace", &file]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let told = "run without the cluster's settings: its settings are faulty";
    assert!(run.stderr.contains(told), "{run:?}");
}

/// Two profiles, and a VM with a section of its own.
const OWN: &str = "profiles:\n  default: {cpu: {min: 2}}\n  large: {cpu: {min: 4}}\n\
    vms:\n  101: {memory: {min: 5GiB}}\n  102: {profile: large}\n";

#[test]
fn a_trace_that_is_called_by_a_vms_number_is_sized_by_that_vms_section() {
    let node = node();
    node.write_config(OWN);
    let run = |name: &str, more: &[&str]| {
        let file = trace(&node, name, OFFICE);
        let asked = [&["--trace", &file, "--output-format", "json"], more].concat();
        let report = backtest(&node, &asked).json();
        let least = |list: &str| {
            let course = pairs(&report["vms"][0][list]);
            course
                .iter()
                .map(|(_, amount)| *amount)
                .fold(f64::INFINITY, f64::min)
        };
        (least("cpu"), least("memory"), report["notes"].clone())
    };
    let note = |trace: &str, vm: &str, profile: &str| {
        let told = format!(
            "{trace}: sized by the settings of VM {vm} over the profile {profile}, up to the ceilings of the trace."
        );
        serde_json::json!([told])
    };
    let (cpu, memory, notes) = run("101-web.csv", &[]);
    assert_eq!((cpu, memory), (2.0, 5120.0));
    assert_eq!(notes, note("101-web", "101", "default"));
    let (cpu, memory, notes) = run("102.csv", &[]);
    assert!(cpu == 4.0 && memory < 5120.0, "{cpu} {memory}");
    assert_eq!(notes, note("102", "102", "large"));
    let (cpu, _, notes) = run("101.csv", &["--profile", "large"]);
    assert_eq!((cpu, notes), (4.0, note("101", "101", "large")));
    for nobody in ["1010.csv", "103-db.csv", "web-101.csv", "office.csv"] {
        let (cpu, memory, notes) = run(nobody, &[]);
        assert!(cpu == 2.0 && memory < 5120.0, "{nobody}: {cpu} {memory}");
        assert_eq!(notes, serde_json::json!([]), "{nobody}");
    }
    assert_eq!(run("office.csv", &["--profile", "large"]).0, 4.0);
}

#[test]
fn a_profile_that_does_not_exist_is_named_with_those_that_do() {
    let node = node();
    node.write_config(OWN);
    for name in ["office.csv", "101.csv"] {
        let file = trace(&node, name, OFFICE);
        let run = backtest(&node, &["--trace", &file, "--profile", "huge"]);
        assert_eq!(run.code, Some(1), "{run:?}");
        let told =
            "vm-autoscale: there is no profile \"huge\"; the configuration has: default, large\n";
        assert_eq!(run.stderr, told);
    }
    let recorded = backtest(&node, &["--vm", "101", "--profile", "large"]);
    assert_eq!(recorded.code, Some(2), "{recorded:?}");
}
