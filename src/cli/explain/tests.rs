use super::*;
use crate::act::Outcome;
use crate::cli::fixture::{NOW, done, state};
use crate::decide::KnownPeak;
use crate::domain::Resource;
use crate::record::VmRef;

fn told(number: u32, changes: &[Event]) -> String {
    let state = state();
    let vm = state.vms.iter().find(|vm| vm.vmid.get() == number).unwrap();
    story(&state, vm, changes, NOW)
}

#[test]
fn a_growing_vm_has_a_story_with_its_numbers() {
    let state = state();
    let vm = &state.vms[1];
    let change = Event {
        at: NOW - std::time::Duration::from_secs(300),
        node: state.node.clone(),
        vm: Some(VmRef {
            id: vm.vmid,
            name: vm.name.clone(),
            tags: Vec::new(),
        }),
        kind: EventKind::Changed(Box::new(done(vm, Outcome::Applied, 300))),
    };
    insta::assert_snapshot!("growing", told(102, &[change]));
}

#[test]
fn the_limit_that_bit_is_named() {
    insta::assert_snapshot!("at_maximum", told(103, &[]));
}

#[test]
fn what_is_unknown_is_told_with_its_reason() {
    let text = told(106, &[]);
    assert!(text.contains("needs      unknown: the balloon driver does not answer"));
    assert!(text.contains("acts when  it can be read"));
}

#[test]
fn a_recommendation_names_the_command_that_applies_it() {
    assert!(told(104, &[]).contains("acts when  you run `vm-autoscale apply 104`"));
}

#[test]
fn a_hostile_word_cannot_move_the_cursor() {
    let mut state = state();
    state.vms[0].cpu.why = "\x1b[2Jfine\rall good".to_owned();
    let text = story(&state, &state.vms[0], &[], NOW);
    assert!(!text.contains(['\x1b', '\r']), "{text:?}");
}

#[test]
fn the_peaks_of_the_day_are_told_and_what_is_done_about_them() {
    let mut state = state();
    let peak = |at: &str, followed| KnownPeak {
        at: at.to_owned(),
        days: "mon tue wed".to_owned(),
        needs: Resource::Cpu.amount(5.2),
        followed,
    };
    state.vms[0].cpu.peaks = vec![peak("09:00", true), peak("13:05", false)];
    let text = story(&state, &state.vms[0], &[], NOW);
    assert!(
        text.contains(
            "  peak       5.2 cores from about 09:00, mon tue wed: made ready for\n  \
             peak       5.2 cores from about 13:05, mon tue wed: only watched\n"
        ),
        "{text}"
    );
}
