//! The simulated `qm` and `pvesh` against recordings of the real ones: the same call in the same state must give the
//! same exit code, the same texts, the same config file and the same QEMU.
//!
//! `tests/data/recordings/README.md` says what was recorded and how. A table of what was compared and what was not is
//! printed at the end; [`LEFT_OUT`] holds the reasons, and no file may be in neither list.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here fails the test"
)]

mod compare;
mod recording;
mod samples;
mod stage;
mod stories;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use recording::Recording;

/// Files that no test compares, by the beginning of their name, each with the reason.
const LEFT_OUT: &[(&str, &str)] = &[
    ("15-guest-dmesg-oom", "what a real guest's kernel wrote"),
    ("30-rrd", "/etc/pve: the node process, not the commands"),
    ("33d-tasks", "task lists: nothing here reads or writes them"),
    (
        "40-qmp-socket-dead-rrd",
        "/etc/pve: the node process, not the commands",
    ),
    ("50-vmlist", "/etc/pve: the node process, not the commands"),
    (
        "51-move-config",
        "/etc/pve: the node process, not the commands",
    ),
    ("52-ha-status-none", "ha-manager: nothing here runs it"),
    (
        "60-noquorum-fs",
        "/etc/pve: the node process, not the commands",
    ),
    (
        "60-noquorum-members",
        "/etc/pve: the node process, not the commands",
    ),
    (
        "60-noquorum-rrd",
        "/etc/pve: the node process, not the commands",
    ),
    ("README.md", "says what the others are"),
    ("pmxcfs-", "/etc/pve: the node process, not the commands"),
    ("qmp-", "QEMU: the node process, not the commands"),
    (
        "samples-base/cluster-options",
        "an API path that nothing here asks",
    ),
    (
        "samples-base/cluster-tasks",
        "task lists: nothing here reads or writes them",
    ),
    (
        "samples-base/etc-pve-",
        "/etc/pve: the node process, not the commands",
    ),
    ("samples-base/ha-", "an API path that nothing here asks"),
    (
        "samples-running-after-burn/",
        "the same answers as samples-base with other numbers",
    ),
];

/// Cases that run at the same time; each has a node process of its own.
const AT_ONCE: usize = 3;

#[test]
fn every_recorded_command_does_the_same_on_the_simulated_node() {
    let recordings: Vec<Recording> = recording::files()
        .iter()
        .filter_map(|path| Recording::read(path))
        .filter(|recording| !stories::covers(&recording.name))
        .collect();
    let next = AtomicUsize::new(0);
    let differing = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(recording) = recordings.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = compare::differences(recording);
                    if !found.is_empty() {
                        differing
                            .lock()
                            .unwrap()
                            .insert(recording.name.clone(), found);
                    }
                }
            });
        }
    });
    let differing = differing.into_inner().unwrap();
    report(recordings.len(), differing.len());
    let text: String = differing
        .iter()
        .map(|(name, found)| format!("{name}\n  {}\n", found.join("\n  ")))
        .collect();
    assert!(
        differing.is_empty(),
        "{} of {} differ:\n{text}",
        differing.len(),
        recordings.len()
    );
}

/// Prints the table, past the test harness, which would swallow it.
fn report(commands: usize, differing: usize) {
    let files = recording::files();
    let left_out = |start: &str| {
        let names = files
            .iter()
            .map(|path| path.strip_prefix(recording::directory()).unwrap());
        names
            .filter(|name| name.to_str().unwrap().starts_with(start))
            .count()
    };
    let mut text = format!(
        "\nrecorded commands compared one by one  {commands:>3}, differing {differing}\n\
         recorded answers compared              {:>3}\n\
         told as stories                        {:>3}\n",
        samples::count(),
        files
            .iter()
            .filter(|path| stories::covers(&name_of(path)))
            .count(),
    );
    for (start, reason) in LEFT_OUT {
        let count = left_out(start);
        if count > 0 {
            text.push_str(&format!("not compared {count:>3}  {start:<28} {reason}\n"));
        }
    }
    std::io::stderr().lock().write_all(text.as_bytes()).unwrap();
}

fn name_of(path: &Path) -> String {
    path.strip_prefix(recording::directory())
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

#[test]
fn no_recording_is_forgotten() {
    let forgotten: Vec<String> = recording::files()
        .into_iter()
        .filter(|path| Recording::read(path).is_none())
        .map(|path| name_of(&path))
        .filter(|name| !samples::covers(name) && !stories::covers(name))
        .filter(|name| !LEFT_OUT.iter().any(|(start, _)| name.starts_with(start)))
        .collect();
    assert_eq!(forgotten, Vec::<String>::new());
}
