//! The files that are made from the code: manual pages, completions, the configuration's schema, the copyright file.
//!
//! They are kept in the repository, so that building a package needs nothing but the files, and so that a change of
//! the command line shows in the manual in the same commit. After such a change:
//! `UPDATE=1 cargo test --test generated`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here fails the test"
)]

mod annotations;
mod command_page;
mod config_page;
mod copyright;
mod roff;
mod schema;

use std::env;
use std::fs;
use std::path::Path;

use clap_complete::Shell;

/// Compares `made` with the file at `path`, or writes it there if `UPDATE` is set.
fn holds(path: &str, made: &str) {
    if env::var_os("UPDATE").is_some() {
        fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        fs::write(path, made).unwrap();
        return;
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    let differs = kept
        .lines()
        .zip(made.lines())
        .find(|(kept, made)| kept != made);
    assert!(
        kept == made,
        "{path} is out of date: UPDATE=1 cargo test --test generated\nfirst difference: {differs:?}"
    );
}

#[test]
fn the_manual_page_of_the_command_is_up_to_date() {
    holds("docs/vm-autoscale.1", &command_page::page());
}

#[test]
fn the_manual_page_of_the_configuration_is_up_to_date() {
    holds("docs/vm-autoscale.yaml.5", &config_page::page());
}

#[test]
fn the_schema_of_the_configuration_is_up_to_date() {
    holds("docs/config.schema.json", &schema::text());
}

#[test]
fn the_completions_are_up_to_date() {
    let shells = [
        (Shell::Bash, "completions/vm-autoscale.bash"),
        (Shell::Zsh, "completions/_vm-autoscale"),
        (Shell::Fish, "completions/vm-autoscale.fish"),
    ];
    for (shell, path) in shells {
        let mut script = Vec::new();
        let mut command = vm_autoscale::cli::command();
        clap_complete::generate(shell, &mut command, "vm-autoscale", &mut script);
        holds(path, &String::from_utf8(script).unwrap());
    }
}

#[test]
fn the_copyright_file_names_every_crate_in_the_binary() {
    holds("debian/copyright", &copyright::text());
}

#[test]
fn every_key_is_described_in_the_annotated_example() {
    let described = annotations::of_the_examples();
    let silent = |key: &&String| {
        // Where a secret may stand instead is said once, at the head of examples/notify.yaml.
        if key.ends_with(".file") || key.ends_with(".credential") {
            return false;
        }
        let key = key.replacen("vms.VMID.", "profiles.NAME.", 1);
        let key = key.replacen("profiles.NAME.profile", "vms.VMID.profile", 1);
        !described.contains_key(&key)
    };
    let known = vm_autoscale::config::known_keys();
    let silent: Vec<&String> = known.keys().filter(silent).collect();
    assert!(
        silent.is_empty(),
        "the examples say nothing about {silent:?}"
    );
}
