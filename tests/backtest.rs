//! Stories of `vm-autoscale backtest`, with the real binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here fails the test"
)]

mod support;

use std::path::PathBuf;

use serde_json::Value;
use support::{Node, Run, Vm};

/// An office server: calm, a busy spell of ten minutes, calm again.
const OFFICE: &str = "# step_s=300 max_cores=6 max_memory_mib=6000\n\
    time_s,cpu_cores,memory_mib\n0,0.5,1500\n3600,3.5,3000\n4200,0.5,1500\n7200,0.5,1500\n";

fn node() -> Node {
    Node::with([Vm::new(101).name("web").cores(8).memory(4096)])
}

fn trace(node: &Node, name: &str, text: &str) -> String {
    node.write(name, text);
    path(node, name)
}

fn path(node: &Node, name: &str) -> String {
    node.path(name).display().to_string()
}

fn backtest(node: &Node, args: &[&str]) -> Run {
    node.agent(["backtest"].iter().chain(args))
}

fn pairs(list: &Value) -> Vec<(f64, f64)> {
    let pair = |pair: &Value| (pair[0].as_f64().unwrap(), pair[1].as_f64().unwrap());
    list.as_array().unwrap().iter().map(pair).collect()
}

#[test]
fn a_trace_gives_the_changes_in_time_order_from_time_zero_and_sums_of_them() {
    let node = node();
    let file = trace(&node, "office.csv", OFFICE);
    let run = backtest(
        &node,
        &[
            "--trace",
            &file,
            "--cpu-method",
            "vcpus",
            "--memory-method",
            "dimm",
            "--output-format",
            "json",
        ],
    );
    assert_eq!(run.code, Some(0), "{run:?}");
    let report = run.json();
    let vm = &report["vms"][0];
    assert_eq!(vm["trace"], "office");
    for (list, least, most, grain) in [
        (&vm["cpu"], 1.0, 6.0, 1.0),
        (&vm["memory"], 1024.0, 5632.0, 512.0),
    ] {
        let pairs = pairs(list);
        assert_eq!(pairs[0].0, 0.0);
        assert!(pairs.len() >= 2, "{pairs:?}");
        assert!(
            pairs
                .windows(2)
                .all(|w| w[0].0 < w[1].0 && w[0].1 != w[1].1),
            "{pairs:?}"
        );
        for (at, amount) in &pairs {
            assert!(
                (least..=most).contains(amount) && amount % grain == 0.0,
                "{amount}"
            );
            assert_eq!(at.fract(), 0.0, "it looks every second");
        }
    }
    let cpu = &report["total"]["cpu"];
    let hours = report["total"]["hours"].as_f64().unwrap();
    assert!((hours - 7500.0 / 3600.0).abs() < 1e-6, "{hours}");
    // Six cores, whatever is needed; and the four that the peak needs.
    assert!(
        (cpu["fixed_at_max"]["allocated_core_hours"]
            .as_f64()
            .unwrap()
            - 12.5)
            .abs()
            < 1e-6
    );
    assert!(
        (cpu["fixed_at_peak"]["slack_core_hours"].as_f64().unwrap() - 6.791_666_666).abs() < 1e-6
    );
    assert_eq!(cpu["fixed_at_peak"]["unmet_core_hours"], 0.0);
    let course = pairs(&vm["cpu"]);
    assert_eq!(cpu["vm_autoscale"]["changes"], course.len() - 1);
    // By the busy spell it is down to what is needed, and within it up again.
    let at = |time: f64| course.iter().rfind(|(start, _)| *start <= time).unwrap().1;
    assert!(
        at(3599.0) < 4.0 && at(3700.0) >= 4.0 && at(7400.0) < 4.0,
        "{course:?}"
    );
}

#[test]
fn the_report_for_programs_is_the_same_byte_for_byte() {
    let node = node();
    let file = trace(&node, "office.csv", OFFICE);
    let levers = ["--cpu-method", "vcpus", "--memory-method", "dimm"];
    let run = |format| {
        let asked = [
            &["--trace", &file][..],
            &levers,
            &["--output-format", format],
        ];
        backtest(&node, &asked.concat())
    };
    insta::assert_snapshot!("report_json_pretty", run("json-pretty").stdout);
    assert_eq!(run("json").json(), run("json-pretty").json());
    assert_eq!(run("json").stdout, run("json").stdout);
}

#[test]
fn several_traces_may_follow_one_flag_and_memory_may_be_absent() {
    let node = node();
    let one = trace(&node, "one.csv", OFFICE);
    let two = trace(
        &node,
        "two.csv",
        "# step_s=60 max_cores=2\ntime_s,cpu_cores\n0,0.1\n",
    );
    let three = trace(&node, "three.csv", OFFICE);
    let run = backtest(
        &node,
        &[
            "--trace",
            &one,
            &two,
            "--trace",
            &three,
            "--output-format",
            "json",
        ],
    );
    let report = run.json();
    let names: Vec<&str> = report["vms"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|vm| vm["trace"].as_str())
        .collect();
    assert_eq!(names, ["one", "two", "three"]);
    assert_eq!(report["vms"][1]["memory"], serde_json::json!([]));
    assert!(report["vms"][1]["summary"].get("memory").is_none());
    let yaml = backtest(&node, &["--trace", &two, "--output-format", "yaml"]);
    assert!(
        yaml.stdout.starts_with("vms:\n- trace: two\n"),
        "{}",
        yaml.stdout
    );
}

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

#[test]
fn what_cannot_be_run_is_said_with_its_place() {
    let node = node();
    let bad = trace(
        &node,
        "bad.csv",
        "# step_s=60 max_cores=2\ntime_s,cpu_cores\n0,0.1\n60,much\n",
    );
    let run = backtest(&node, &["--trace", &bad]);
    assert_eq!(run.code, Some(1));
    let told = format!(
        "vm-autoscale: {bad}: line 4: cpu_cores must be a number of 0 or more, got \"much\"\n"
    );
    assert_eq!(run.stderr, told);

    let empty = trace(&node, "empty.csv", "");
    assert!(
        backtest(&node, &["--trace", &empty])
            .stderr
            .contains("the file is empty")
    );
    let missing = backtest(&node, &["--trace", "/nowhere.csv"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("/nowhere.csv"), "{missing:?}");
    let config = backtest(&node, &["--config", "/nowhere.yaml", "--trace", &bad]);
    assert_eq!(config.code, Some(1));
    assert!(config.stderr.contains("/nowhere.yaml"), "{config:?}");

    for usage in [
        &[][..],
        &["--trace", &bad, "--vm", "101"],
        &["--trace", &bad, "--timeframe", "week"],
        &["--vm", "101", "--timeframe", "decade"],
    ] {
        assert_eq!(backtest(&node, usage).code, Some(2), "{usage:?}");
    }
    let unknown = backtest(&node, &["--vm", "999"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("there is no VM 999"), "{unknown:?}");
}

/// Two hours at one core and 2 GiB, of which half an hour in the middle was not recorded.
fn record(node: &Node) {
    let minutes = (0..120).filter(|minute| !(40..70).contains(minute));
    let line = |minute: u64| {
        let time = 1_800_000_000 + minute * 60;
        format!(
            "{{\"time\":{time},\"cpu\":0.25,\"maxcpu\":4,\"mem\":2147483648,\"maxmem\":4294967296}}\n"
        )
    };
    let lines: String = minutes.map(line).collect();
    node.write("var/lib/rrdcached/db/pve-vm-9.0/101", &lines);
}

#[test]
fn what_proxmox_recorded_is_run_and_its_gaps_are_said() {
    let node = node();
    node.write_config("profiles:\n  default:\n    cpu: {max: 3}\n");
    record(&node);
    let run = backtest(
        &node,
        &[
            "--vm",
            "101",
            "--timeframe",
            "day",
            "--output-format",
            "json",
        ],
    );
    assert_eq!(run.code, Some(0), "{run:?}");
    let report = run.json();
    let vm = &report["vms"][0];
    assert_eq!(vm["trace"], "101 web");
    assert_eq!(vm["max_cores"], 3.0, "as the configuration has it");
    let close =
        |value: &Value, to: f64| assert!((value.as_f64().unwrap() - to).abs() < 1e-6, "{value}");
    close(&vm["summary"]["hours"], 1.5);
    close(&vm["summary"]["unknown_hours"], 0.5);
    close(&vm["summary"]["cpu"]["demand_core_hours"], 1.5);
    close(&vm["summary"]["memory"]["demand_gib_hours"], 3.0);
    let text = backtest(&node, &["--vm", "101"]).stdout;
    assert!(text.contains("means over a minute and longer"), "{text}");
    assert!(
        text.contains("101 web: 0.5 h are not in the record"),
        "{text}"
    );
}

/// What VM 101 would have had under these limits: one core and 2 GiB are used all the time.
fn limited(limits: &str) -> Value {
    let node = node();
    node.write_config(&format!("profiles: {{default: {{{limits}}}}}\n"));
    record(&node);
    let run = backtest(&node, &["--vm", "101", "--output-format", "json"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    run.json()["vms"][0].clone()
}

#[test]
fn the_limits_of_a_vm_hold_in_the_steps_of_its_lever() {
    let quota = limited("cpu: {min: 0.5, max: 0.8, method: cpulimit}");
    assert_eq!(quota["max_cores"], 0.8);
    assert_eq!(pairs(&quota["cpu"]), [(0.0, 0.8)], "it needs more");
    let small = limited("memory: {min: 256MiB, max: 512MiB, method: balloon}");
    assert_eq!(small["max_memory_mib"], 512.0);
    assert_eq!(pairs(&small["memory"]), [(0.0, 512.0)]);
    let balloon = limited("memory: {max: 2304MiB, method: balloon}");
    assert_eq!(balloon["max_memory_mib"], 2304.0);
    let vcpus = limited("cpu: {min: 2, max: 2.5, method: vcpus}");
    assert_eq!(vcpus["max_cores"], 2.0, "a half vCPU cannot be given");
    assert_eq!(pairs(&vcpus["cpu"]), [(0.0, 2.0)]);
    let much = limited("memory: {min: 3GiB}");
    let begun = pairs(&much["memory"]);
    assert_eq!(begun, [(0.0, 3072.0)], "it begins within its limits");
}

#[test]
fn a_window_that_raises_the_limits_counts() {
    let office = "schedule: {all: {from: '00:00', to: '24:00', cpu: {min: 6, max: 8}}}";
    let raised = limited(&format!("cpu: {{max: 3}}, {office}"));
    assert_eq!(raised["max_cores"], 8.0);
    assert_eq!(pairs(&raised["cpu"]), [(0.0, 6.0)]);
    let closed = office.replace("'00:00'", "'23:00'");
    let usual = limited(&format!("cpu: {{max: 3}}, {closed}"));
    let most = pairs(&usual["cpu"]).into_iter().map(|(_, cores)| cores);
    assert!(most.fold(0.0, f64::max) <= 3.0, "{usual}");
}

#[test]
fn a_vm_without_a_record_is_named() {
    let node = node();
    let run = backtest(&node, &["--vm", "101", "--timeframe", "week"]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr
            .contains("VM 101: Proxmox VE recorded nothing of the last week"),
        "{run:?}"
    );
}

#[test]
fn the_page_needs_nothing_else_and_no_name_can_break_it() {
    let node = node();
    let hostile = "<script src=x>&\"'.csv";
    let file = trace(&node, hostile, OFFICE);
    let page = path(&node, "report.html");
    let run = backtest(&node, &["--trace", &file, "--html", &page]);
    assert_eq!(run.code, Some(0), "{run:?}");
    let html = std::fs::read_to_string(PathBuf::from(page)).unwrap();
    assert!(
        html.contains("&lt;script src=x&gt;&amp;&quot;&#39;"),
        "{html}"
    );
    for outside in ["<script", "src=\"", "href=", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert_eq!(html.matches("<svg ").count(), 2);
    assert!(html.contains("prefers-color-scheme:dark"));
}
