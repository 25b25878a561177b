use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::cli::fixture::{NOW, state};
use crate::domain::{Reading, Resource, Source};

/// The screen after a minute in which VM 102 needed more and more CPU.
fn after_a_minute() -> Top {
    let mut top = Top::new(state());
    for step in 1..=12_u32 {
        let mut next = state();
        next.at = next.at + Duration::from_secs(5 * u64::from(step));
        let need = Resource::Cpu.amount(f64::from(step) * 0.3);
        next.vms[1].cpu.need = Reading::known(need, next.at, Source::Cgroup);
        top.take(Ok(next));
    }
    top
}

fn shown(top: &Top, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let now = NOW + Duration::from_secs(60);
    terminal
        .draw(|frame| screen::draw(top, now, frame.area(), frame.buffer_mut()))
        .unwrap();
    terminal.backend().to_string()
}

fn press(top: &mut Top, keys: &[KeyCode]) -> Go {
    let gone = keys.iter().map(|key| top.press(KeyEvent::from(*key)));
    gone.last().unwrap()
}

#[test]
fn all_vms_at_80_columns() {
    insta::assert_snapshot!("at_80", shown(&after_a_minute(), 80, 24));
}

#[test]
fn all_vms_with_everything_at_200_columns() {
    insta::assert_snapshot!("at_200", shown(&after_a_minute(), 200, 20));
}

#[test]
fn enter_opens_the_story_of_the_selected_vm_and_escape_closes_it() {
    let mut top = after_a_minute();
    press(&mut top, &[KeyCode::Char('j'), KeyCode::Enter]);
    top.look_up(|_| Ok(Vec::new()));
    insta::assert_snapshot!("story", shown(&top, 80, 30));
    press(&mut top, &[KeyCode::Esc]);
    assert!(!shown(&top, 80, 30).contains("acts when"));
}

#[test]
fn the_selection_stays_in_the_list_and_scrolls_it() {
    let mut top = after_a_minute();
    press(&mut top, &[KeyCode::Up]);
    assert_eq!(top.row(), 0);
    press(&mut top, &[KeyCode::Down; 20]);
    assert_eq!(top.row(), 5);
    let small = shown(&top, 80, 7);
    assert!(small.contains("106 windows"), "{small}");
    assert!(!small.contains("101 web"), "{small}");
}

#[test]
fn the_selection_follows_its_vm_when_others_go() {
    let mut top = after_a_minute();
    press(&mut top, &[KeyCode::Down, KeyCode::Down]);
    let mut fewer = state();
    fewer.vms.remove(0);
    top.take(Ok(fewer));
    assert_eq!(top.state.vms[top.row()].vmid.get(), 103);
}

#[test]
fn q_and_control_c_leave_and_c_alone_does_not() {
    let mut top = after_a_minute();
    assert_eq!(press(&mut top, &[KeyCode::Char('q')]), Go::Away);
    assert_eq!(press(&mut top, &[KeyCode::Char('c')]), Go::On);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(top.press(control_c), Go::Away);
}

#[test]
fn a_state_that_cannot_be_read_is_told_and_the_last_one_stays() {
    let mut top = after_a_minute();
    top.take(Err("state.json cannot be read: no".to_owned()));
    let text = shown(&top, 80, 24);
    assert!(text.contains("state.json cannot be read: no"), "{text}");
    assert!(text.contains("101 web"), "{text}");
}

#[test]
fn an_unchanged_state_adds_nothing_to_the_sparklines() {
    let mut top = Top::new(state());
    top.take(Ok(state()));
    let vm = top.state.vms[0].vmid;
    assert_eq!(top.trail.of(vm, Resource::Cpu).count(), 1);
}

#[test]
fn no_size_of_the_terminal_is_too_small() {
    let mut top = after_a_minute();
    press(&mut top, &[KeyCode::Enter]);
    for (width, height) in [(1, 1), (3, 2), (20, 5), (79, 4)] {
        shown(&top, width, height);
    }
}
