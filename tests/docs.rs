//! What README.md and docs/*.md name exists, and what exists is named there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here fails the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use vm_autoscale::{cli, config};

/// The written pages. The manual pages are made from the code, and tests/generated holds them to it.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap();
    let mut paths: Vec<_> = docs.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "md"));
    paths.push(root.join("README.md"));
    let page = |path: std::path::PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.display().to_string(), text)
    };
    paths.into_iter().map(page).collect()
}

/// What stands as code on a page: the lines of its fenced blocks and the spans between backticks.
fn code(text: &str) -> Vec<&str> {
    let mut code = Vec::new();
    for (i, block) in text.split("```").enumerate() {
        if i % 2 == 1 {
            code.extend(block.lines().map(str::trim));
        } else {
            code.extend(block.split('`').skip(1).step_by(2));
        }
    }
    code
}

fn all_code() -> Vec<(String, String)> {
    let all = pages().into_iter().flat_map(|(page, text)| {
        let found: Vec<_> = code(&text).into_iter().map(str::to_owned).collect();
        found.into_iter().map(move |code| (page.clone(), code))
    });
    all.collect()
}

/// Words of lower-case letters, digits and `joint`, which is in each of them.
fn is_word(word: &str, joint: char) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.split(joint).all(|part| !part.is_empty())
        && word
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == joint)
        && word.contains(joint)
}

/// The words after `vm-autoscale` where a code begins with it, up to what ends the command.
fn call(code: &str) -> Option<Vec<&str>> {
    let mut words = code.split_whitespace();
    (words.next() == Some("vm-autoscale")).then(|| {
        words
            .take_while(|word| !["#", "|", "&&", ";"].contains(word))
            .collect()
    })
}

#[test]
fn every_command_and_option_on_a_page_exists() {
    let command = cli::command();
    let mut calls = 0;
    for (page, code) in all_code() {
        let Some(words) = call(&code) else { continue };
        let Some(name) = words.first().filter(|word| !word.starts_with('-')) else {
            continue;
        };
        calls += 1;
        let sub = command.find_subcommand(name);
        let sub = sub.unwrap_or_else(|| panic!("{page}: no command `{name}` ({code})"));
        for option in words.iter().filter_map(|word| word.strip_prefix("--")) {
            let known = |c: &clap::Command| c.get_arguments().any(|a| a.get_long() == Some(option));
            assert!(
                known(sub) || known(&command),
                "{page}: `{name}` has no --{option}"
            );
        }
    }
    assert!(
        calls >= 5,
        "found only {calls} calls: the test reads nothing"
    );
}

#[test]
fn every_command_is_on_a_page() {
    let named: BTreeSet<String> = all_code()
        .iter()
        .filter_map(|(_, code)| Some(call(code)?.first()?.to_string()))
        .collect();
    for command in cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(named.contains(name), "no page names `vm-autoscale {name}`");
    }
}

#[test]
fn every_configuration_key_on_a_page_exists() {
    let keys = config::known_keys();
    let sections: BTreeSet<&str> = keys.keys().filter_map(|k| k.split('.').next()).collect();
    let mut checked = 0;
    for (page, code) in all_code() {
        let section = code.split('.').next().unwrap_or_default();
        if !is_word(&code, '.') || !sections.contains(section) {
            continue;
        }
        checked += 1;
        assert!(
            keys.contains_key(&code),
            "{page}: the configuration has no `{code}`"
        );
    }
    assert!(
        checked >= 3,
        "found only {checked} keys: the test reads nothing"
    );
}

#[test]
fn every_section_of_the_configuration_is_on_a_page() {
    let code = all_code();
    for key in config::known_keys().keys() {
        let section = key.split('.').next().unwrap_or_default();
        let named = code.iter().any(|(_, code)| {
            code.strip_prefix(section)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ':']))
        });
        assert!(named, "no page names the section `{section}`");
    }
}

/// Events, outcomes, keys and the like are one snake_case word wherever they are named.
#[test]
fn every_snake_case_word_on_a_page_is_in_the_code() {
    let mut sources = String::new();
    // Tests are named by what they show, also on pages.
    let mut directories = ["src", "tests"]
        .map(|d| Path::new(env!("CARGO_MANIFEST_DIR")).join(d))
        .to_vec();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                sources += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let words: BTreeSet<&str> = sources
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .collect();
    for (page, code) in all_code() {
        for word in code.split(['.', ' ', ':']).filter(|w| is_word(w, '_')) {
            // Files of the repository may be named as well; they are not words of the code.
            let is_file = code.contains('/') || code.contains(".rs");
            assert!(
                is_file || words.contains(word) || code.starts_with("cargo "),
                "{page}: `{word}` is nowhere in the code"
            );
        }
    }
}
