//! The demo runs by itself, with real processes, and ends with a summary.

mod support;

use std::process::Command;

use support::Run;

#[test]
fn the_demo_shows_changes_and_ends_with_a_summary() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_pve-sim"));
    demo.args(["demo", "--seconds", "12", "--plain"]);
    let run = Run::of(demo, "pve-sim demo").succeeded();
    let says = |words: &str| assert!(run.stdout.contains(words), "no {words:?} in {run:?}");
    says("6 VMs managed");
    says("VM 105 (legacy): cpulimit 2 →");
    says("CPU, cores");
    says("Summary");
    says("applied");
    says("qm and 0 pvesh were started");
    assert!(
        !run.stdout.contains('\u{1b}'),
        "no escapes without a terminal"
    );
}
