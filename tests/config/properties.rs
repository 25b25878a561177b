//! Whatever the file holds, reading it ends in settings that hold together, or in faults that lie within the file.

use std::path::Path;

use anstyle::AnsiColor;
use proptest::prelude::*;
use proptest::sample::Index;
use vm_autoscale::config::{self, LoadError, Settings, VmSettings};

/// Reads `text` and checks what must be true of the result, whatever it is.
fn read(text: &str) {
    let file = Path::new("config.yaml");
    match config::read(text.as_bytes(), file) {
        Ok(loaded) => {
            holds_together(&loaded.settings);
            for warning in &loaded.warnings {
                within(text, warning.place);
                loaded.source.render(warning, AnsiColor::Yellow);
            }
        }
        Err(LoadError::Invalid(invalid)) => {
            assert!(!invalid.faults.is_empty());
            for fault in &invalid.faults {
                within(text, fault.place);
                invalid.source_text.render(fault, AnsiColor::Red);
                let line = fault.to_string();
                assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
        Err(other) => panic!("text can only be invalid: {other}"),
    }
}

fn holds_together(settings: &Settings) {
    assert!(settings.profiles.contains_key("default"));
    let own = settings.vms.values().flat_map(|vm| vm.by_profile.values());
    let all = settings.profiles.values().chain(own.flatten());
    for VmSettings { cpu, memory, .. } in all {
        assert!(cpu.min <= cpu.max && memory.min <= memory.max);
        assert!(cpu.rule.low < cpu.rule.high && memory.rule.low < memory.rule.high);
    }
}

fn within(text: &str, place: config::Place) {
    // For YAML a lone carriage return ends a line, too; behind the last line there is none.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines = text.lines().count().max(1);
    assert!((1..=lines).contains(&place.line), "{place:?}");
    assert!(place.column >= 1, "{place:?}");
}

/// A change of a text: what is removed and what is put there.
#[derive(Debug, Clone)]
struct Edit {
    at: Index,
    remove: usize,
    insert: String,
}

fn edit() -> impl Strategy<Value = Edit> {
    let piece = prop_oneof![
        Just("  ".to_owned()),
        Just("\n".to_owned()),
        Just(": ".to_owned()),
        Just("\n  - ".to_owned()),
        Just("*base".to_owned()),
        Just("&base ".to_owned()),
        Just("<<: ".to_owned()),
        Just("!tag ".to_owned()),
        Just("---\n".to_owned()),
        Just("101: ".to_owned()),
        Just("default: ".to_owned()),
        Just("4GB".to_owned()),
        Just("-1".to_owned()),
        "[\\[\\]{}:,#&*!|>'\"%@`~?-]",
        "\\PC{0,4}",
        any::<char>().prop_map(String::from),
    ];
    (any::<Index>(), 0..6_usize, piece).prop_map(|(at, remove, insert)| Edit { at, remove, insert })
}

fn edited(text: &str, edits: &[Edit]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for edit in edits {
        let start = edit.at.index(chars.len() + 1);
        let end = (start + edit.remove).min(chars.len());
        chars.splice(start..end, edit.insert.chars());
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_gives_settings_or_faults_within_it(text in "\\PC*|(\\PC|\n|\t|\r| ){0,80}|[ \n:,\\-\\[\\]{}&*!|>'\"#a-c]{0,60}") {
        read(&text);
    }

    #[test]
    fn a_damaged_file_gives_settings_or_faults_within_it(
        original in prop_oneof![
            Just(include_str!("../data/config/good/layers.yaml")),
            Just(include_str!("../data/config/good/anchors.yaml")),
            Just(include_str!("../data/config/bad/48-everything-at-once.yaml")),
            Just(include_str!("../../examples/config.yaml")),
        ],
        edits in prop::collection::vec(edit(), 1..8),
    ) {
        read(&edited(original, &edits));
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Err(error) = config::read(&bytes, Path::new("config.yaml")) {
            prop_assert!(error.faults().iter().all(|fault| fault.place.line >= 1));
        }
    }
}
