//! Stories of `vm-autoscale backtest`, with the real binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here fails the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod records;
mod settings;

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

#[test]
fn a_page_that_cannot_be_written_is_told_before_the_run_and_nothing_is_lost() {
    let node = node();
    let file = trace(&node, "office.csv", OFFICE);
    let page = path(&node, "missing/report.html");
    let run = backtest(&node, &["--trace", &file, "--html", &page]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    assert!(run.stderr.contains(&page), "{}", run.stderr);
    // A page of before is still there when a run fails.
    let page = trace(&node, "report.html", "before");
    let run = backtest(&node, &["--trace", "missing.csv", "--html", &page]);
    assert_eq!(run.code, Some(1));
    assert_eq!(std::fs::read_to_string(&page).unwrap(), "before");
}

#[test]
fn what_is_named_twice_would_count_twice() {
    let node = node();
    let file = trace(&node, "office.csv", OFFICE);
    for (args, what) in [
        (["--trace", &file, &file], file.as_str()),
        (["--vm", "101", "101"], "VM 101"),
    ] {
        let run = backtest(&node, &args);
        assert_eq!(run.code, Some(1));
        let told =
            format!("vm-autoscale: {what} is named twice, and would count twice; name it once\n");
        assert_eq!(run.stderr, told);
    }
}

#[test]
fn a_name_of_several_lines_is_told_on_one() {
    let node = node();
    let file = trace(&node, "of\nfice.csv", "no trace");
    let run = backtest(&node, &["--trace", &file]);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains("of?fice.csv"), "{}", run.stderr);
}
