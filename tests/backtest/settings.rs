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
