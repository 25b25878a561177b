use super::*;
use crate::cli::fixture::{NOW, state};
use crate::observe::Pause;

fn plain(state: &State, width: usize) -> String {
    anstream::adapter::strip_str(&screen(state, NOW, width)).to_string()
}

#[test]
fn one_line_a_vm_at_80_columns() {
    insta::assert_snapshot!("at_80", plain(&state(), 80));
}

#[test]
fn one_line_a_vm_with_everything_at_200_columns() {
    insta::assert_snapshot!("at_200", plain(&state(), 200));
}

#[test]
fn no_line_of_the_table_is_longer_than_the_terminal_is_wide() {
    let mut state = state();
    state.vms[2].vmid = "999999999".parse().unwrap();
    state.vms[2].memory.min = Some(crate::domain::Resource::Memory.amount(1_234_567.0));
    for width in [1, 20, 40, 80, 100, 139, 140, 160, 200] {
        let text = plain(&state, width);
        let (_, table) = text.split_once("\n\n").unwrap();
        let (table, _) = table.split_once("\n\n").unwrap();
        assert_eq!(table.lines().count(), 7);
        for line in table.lines() {
            assert!(line.chars().count() <= width, "{width}: {line:?}");
        }
    }
}

#[test]
fn what_does_not_work_is_red_and_what_waits_is_yellow() {
    let text = screen(&state(), NOW, 80);
    let line = |name: &str| text.lines().find(|l| l.contains(name)).unwrap();
    assert!(line("windows").contains("\x1b[31m"), "{text:?}");
    assert!(line("mail").contains("\x1b[33m"), "{text:?}");
    assert!(!line("web").contains("\x1b["), "{text:?}");
}

#[test]
fn a_pause_an_old_state_and_a_faulty_file_come_before_the_table() {
    let mut state = state();
    state.at = NOW - std::time::Duration::from_secs(90);
    state.pause = Some(Pause {
        by: "root@pam".to_owned(),
        since: NOW - std::time::Duration::from_secs(600),
        reason: "maintenance".to_owned(),
        cluster: false,
    });
    state.agent.config_rejected = Some("line 3: unknown key".to_owned());
    let text = plain(&state, 80);
    let notices: Vec<&str> = text.lines().skip(1).take(3).collect();
    assert_eq!(
        notices,
        [
            "This is 90 s old: the daemon does not run or hangs (systemctl status vm-autoscale).",
            "Paused by root@pam 10 min ago: maintenance",
            "The configuration file is faulty, an earlier one is in force: line 3: unknown key",
        ]
    );
}

#[test]
fn with_no_vm_it_says_how_to_begin() {
    let mut state = state();
    state.vms.clear();
    let text = plain(&state, 80);
    assert!(text.ends_with("qm set VMID --tags autoscale\n"), "{text}");
}
