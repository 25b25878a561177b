//! Kill -9 at random instants, with a real process and a real server: what was told arrives, and what arrives twice says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use vm_autoscale::notify::{ChannelSettings, Kind, Notifier, Settings};

use super::servers::Server;
use super::webhook::hook;
use super::{around, eventually, only, refused, tell_through};

/// How often the process is killed.
const LIVES: u32 = 30;
/// What a life has to tell: all lives together less than what a channel keeps at most, 500, should none of them come to
/// send anything.
const EVENTS: u32 = 16;
/// The variables by which the process that is killed learns what to do.
const SPOOL: &str = "NOTIFY_KILL_SPOOL";
const URL: &str = "NOTIFY_KILL_URL";
const FIRST: &str = "NOTIFY_KILL_FIRST";

fn settings(url: &str) -> Settings {
    let mut settings = only(Kind::Webhook(hook(url)));
    settings
        .channels
        .values_mut()
        .for_each(|channel: &mut ChannelSettings| {
            channel.max_per_hour = u32::MAX;
        });
    settings
}

/// Tells one event after the other, says which it has told, and waits to be killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that the other test kills"]
async fn the_process_that_is_killed() {
    let variable = |name| std::env::var(name).unwrap();
    let spool = variable(SPOOL);
    let notifier = Notifier::start(&settings(&variable(URL)), Path::new(&spool), around());
    let first: u32 = variable(FIRST).parse().unwrap();
    for id in first..first + EVENTS {
        notifier.tell(&refused(id, "web", "no"));
        println!("told {id}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    std::future::pending().await
}

#[tokio::test]
async fn killed_at_any_instant_it_loses_nothing_that_was_told() {
    let Some(server) = Server::http() else { return };
    let dir = tempfile::tempdir().unwrap();
    // Slow, so that many die between the sending and the answer.
    let url = server.url("later/25");
    let mut told = BTreeSet::new();
    for life in 0..LIVES {
        let log = dir.path().join(format!("{life}.log"));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "kill::the_process_that_is_killed",
            ])
            .env(SPOOL, dir.path())
            .env(URL, &url)
            .env(FIRST, (10_000 * (life + 1)).to_string())
            .stdout(File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("it tells", || !told_in(&log).is_empty()).await;
        if life % 2 == 0 {
            // However long it takes to get ready to send: these die while they do.
            let sent = server.record().len();
            eventually("it sends", || server.record().len() > sent).await;
        }
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..80_000))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        told.extend(told_in(&log));
    }
    tell_through(&settings(&url), dir.path(), &[]).await;

    let mut seen = BTreeMap::new();
    for request in server.record() {
        let message: serde_json::Value =
            serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
        assert_eq!(message["dropped"], serde_json::json!({}));
        for event in message["events"].as_array().unwrap() {
            let times: &mut u32 = seen.entry(event["vm"]["id"].as_u64().unwrap()).or_default();
            *times += 1;
            assert!(
                *times == 1 || message["repeat"] == true,
                "not marked as a repeat: {message}"
            );
        }
    }
    let lost: Vec<&u64> = told.iter().filter(|id| !seen.contains_key(id)).collect();
    assert!(lost.is_empty(), "told and never sent: {lost:?}");
    assert!(
        told.len() as u32 > LIVES,
        "{} events in {LIVES} lives",
        told.len()
    );
    let twice = seen.values().filter(|times| **times > 1).count();
    println!(
        "{} events, {LIVES} kills, {twice} sent more than once",
        told.len()
    );
}

/// The events of which a process has said that it told them.
fn told_in(log: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let whole = text
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'));
    // The test runner writes on the same line before the first of them.
    whole
        .filter_map(|line| line.rsplit_once("told ")?.1.parse().ok())
        .collect()
}
