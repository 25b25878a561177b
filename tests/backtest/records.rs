//! What Proxmox VE recorded, run within the limits of its VM.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::support::{Node, Vm};
use super::{backtest, node, pairs};

/// Two hours at one core and 2 GiB, of which half an hour in the middle was not recorded.
fn record(node: &Node) {
    record_of(node, 101, |_| 0.25);
}

/// The same of another VM, which uses in each minute this share of its four vCPUs.
fn record_of(node: &Node, vm: u32, used: impl Fn(u64) -> f64) {
    let minutes = (0..120).filter(|minute| !(40..70).contains(minute));
    let line = |minute: u64| {
        let time = 1_800_000_000 + minute * 60;
        format!(
            "{{\"time\":{time},\"cpu\":{},\"maxcpu\":4,\"mem\":2147483648,\"maxmem\":4294967296}}\n",
            used(minute)
        )
    };
    let lines: String = minutes.map(line).collect();
    node.write(&format!("var/lib/rrdcached/db/pve-vm-9.0/{vm}"), &lines);
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

#[test]
fn a_maximum_that_the_vm_cannot_have_while_it_runs_is_said() {
    for (max, said) in [(8, false), (12, true)] {
        let node = node();
        node.write_config(&format!("profiles:\n  default:\n    cpu: {{max: {max}}}\n"));
        record(&node);
        let text = backtest(&node, &["--vm", "101"]).stdout;
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let note = "101 web: run up to 12 cores, as the configuration allows; it is given no more than 8 (sockets × cores)";
        assert_eq!(text.contains(note), said, "{text}");
    }
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
#[allow(clippy::disallowed_methods, reason = "a test may wait for its process")]
fn a_root_may_be_given_from_where_one_stands() {
    let node = node();
    record(&node);
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_vm-autoscale"))
        .current_dir(node.path("var"))
        .args(["--root", "..", "backtest", "--vm", "101"])
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
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
fn a_vm_without_a_record_is_left_out_as_long_as_there_is_another() {
    let node = Node::with([101, 102, 103].map(|vm| Vm::new(vm).cores(4)));
    let asked = ["--vm", "101", "102", "103", "--output-format", "json"];
    let none = backtest(&node, &asked);
    assert_eq!(none.code, Some(1), "{none:?}");
    let told = "VMs 101, 102, 103: Proxmox VE recorded nothing of the last day; did they run";
    assert!(none.stderr.contains(told), "{none:?}");
    record_of(&node, 103, |_| 0.1);
    record_of(&node, 101, |_| 0.2);
    let run = backtest(&node, &asked);
    assert_eq!(run.code, Some(0), "{run:?}");
    let report = run.json();
    let names: Vec<&Value> = report["vms"].as_array().unwrap().iter().collect();
    assert_eq!(
        [&names[0]["trace"], &names[1]["trace"]],
        ["101 vm101", "103 vm103"]
    );
    let notes = report["notes"].to_string();
    assert!(
        notes.contains("VM 102: Proxmox VE recorded nothing"),
        "{notes}"
    );
}

#[test]
fn records_are_read_four_at_a_time() {
    let vms: Vec<u32> = (101..=109).collect();
    let node = Node::with(vms.iter().map(|vm| Vm::new(*vm).cores(4)));
    let meet = node.path("meet");
    std::fs::create_dir_all(&meet).unwrap();
    // Each waits until it has seen four at work, and leaves a mark where it sees five.
    let script = format!(
        "#!/bin/sh\ncd {} || exit 1\ntouch at-work.$$\ntries=0\n\
         until [ -e four ]; do\n\
         [ $(ls at-work.* | wc -l) -ge 4 ] && touch four\n\
         tries=$((tries + 1)); [ $tries -gt 500 ] && exit 1\n\
         sleep 0.05\ndone\n\
         [ $(ls at-work.* | wc -l) -gt 4 ] && touch five\n\
         rm at-work.$$\n\
         echo '[{{\"time\":1800000000,\"cpu\":0.5,\"maxcpu\":4,\"mem\":2147483648,\"maxmem\":4294967296}}]'\n",
        meet.display()
    );
    let pvesh = node.path("usr/bin/pvesh");
    std::fs::remove_file(&pvesh).unwrap();
    std::fs::write(&pvesh, script).unwrap();
    std::fs::set_permissions(&pvesh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let numbers = vms.iter().map(u32::to_string);
    let asked: Vec<String> = ["backtest".to_owned(), "--vm".to_owned()]
        .into_iter()
        .chain(numbers)
        .collect();
    let run = node.agent(asked);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stdout.contains("All 9 VMs"), "{run:?}");
    assert!(!node.path("meet/five").exists(), "a fifth was started");
}

#[test]
fn where_a_vm_used_all_that_it_had_its_need_is_said_to_be_unknown() {
    let node = node();
    record_of(&node, 101, |minute| if minute < 30 { 0.995 } else { 0.3 });
    let text = backtest(&node, &["--vm", "101"]).stdout;
    let told = "101 web: for 0.5 h it used 99 % or more of its vCPUs: its need was not known then";
    assert!(text.contains(told), "{text}");
    record(&node);
    let calm = backtest(&node, &["--vm", "101"]).stdout;
    assert!(!calm.contains("99 %"), "{calm}");
}
