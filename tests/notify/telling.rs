//! What many channels, many events and restarts make of it.

use std::time::Duration;

use vm_autoscale::notify::{
    ChannelSettings, Heartbeat, Http, Kind, Notifier, Secret, SecretSource, Settings,
};

use super::servers::Server;
use super::webhook::hook;
use super::{around, eventually, only, refused, tell_through};

fn through(url: &str) -> ChannelSettings {
    ChannelSettings::new(Kind::Webhook(hook(url)))
}

/// The messages that a server got.
fn messages(server: &Server) -> Vec<serde_json::Value> {
    let bodies = server
        .record()
        .into_iter()
        .map(|request| request["body"].as_str().unwrap().to_owned());
    bodies
        .map(|body| serde_json::from_str(&body).unwrap())
        .collect()
}

#[tokio::test]
async fn ten_thousand_events_become_one_digest() {
    let Some(server) = Server::http() else { return };
    let spool = tempfile::tempdir().unwrap();
    let settings = Settings {
        gather: super::PATIENCE,
        ..only(Kind::Webhook(hook(&server.url("ok"))))
    };
    let notifier = Notifier::start(&settings, spool.path(), around());
    for n in 0..10_000 {
        notifier.tell(&refused(100 + n, "web", "no"));
        assert!(notifier.counts()["x"].waiting <= 500);
    }
    notifier.stop(super::PATIENCE).await;
    let digest = &messages(&server)[..];
    assert_eq!(digest.len(), 1);
    assert_eq!(digest[0]["subject"], "[pve1] 10000 events: 10000 warnings");
    assert_eq!(digest[0]["events"].as_array().unwrap().len(), 500);
    assert_eq!(digest[0]["dropped"]["warning"], 9_500);
    let left = std::fs::metadata(spool.path().join("notify.jsonl"))
        .unwrap()
        .len();
    assert!(left < 4 << 20, "{left} bytes in the spool");
}

#[tokio::test]
async fn a_failing_channel_is_reported_through_the_others_once() {
    let (Some(good), Some(bad)) = (Server::http(), Server::http()) else {
        return;
    };
    let spool = tempfile::tempdir().unwrap();
    let mut settings = only(Kind::Webhook(hook(&bad.url("status/401"))));
    settings
        .channels
        .insert("other".to_owned(), through(&good.url("ok")));
    // The other channel is told errors only, and the report all the same.
    for channel in settings.channels.values_mut() {
        channel.route.events = ["config_rejected", "refused"].map(topic).into();
    }
    let notifier = Notifier::start(&settings, spool.path(), around());
    notifier.tell(&refused(101, "web", "no"));
    eventually("the failure is reported", || messages(&good).len() == 2).await;
    let subjects: Vec<String> = messages(&good)
        .iter()
        .map(|message| message["subject"].to_string())
        .collect();
    let report = subjects
        .iter()
        .find(|subject| subject.contains("notification channel x"))
        .unwrap();
    assert!(report.contains("answered 401"), "{report}");
    // Its token is put right: the end of the problem is told where its beginning was.
    settings
        .channels
        .insert("x".to_owned(), through(&bad.url("ok")));
    notifier.reload(&settings);
    eventually("the end is reported", || messages(&good).len() == 3).await;
    notifier.stop(super::PATIENCE).await;
    let last = messages(&good)[2]["subject"].to_string();
    assert!(
        last.contains("notification channel x works again"),
        "{last}"
    );
    assert_eq!(messages(&good).len(), 3);
}

fn topic(word: &str) -> vm_autoscale::notify::Topic {
    serde_json::from_value(word.into()).unwrap()
}

#[tokio::test]
async fn what_could_not_be_sent_before_the_stop_is_sent_after_the_start() {
    let Some(server) = Server::http() else { return };
    let spool = tempfile::tempdir().unwrap();
    let away = only(Kind::Webhook(hook("http://127.0.0.1:1/ok")));
    tell_through(&away, spool.path(), &[refused(101, "web", "no")]).await;
    let back = only(Kind::Webhook(hook(&server.url("ok"))));
    tell_through(&back, spool.path(), &[]).await;
    let sent = messages(&server);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["events"][0]["vm"]["id"], 101);
    tell_through(&back, spool.path(), &[]).await;
    assert_eq!(messages(&server).len(), 1, "nothing is sent a second time");
}

#[tokio::test]
async fn the_heartbeat_beats_only_while_all_is_well() {
    let Some(server) = Server::http() else { return };
    let spool = tempfile::tempdir().unwrap();
    let settings = Settings {
        heartbeat: Some(Heartbeat {
            url: SecretSource::Inline(Secret::new(server.url("push/abc?status=up"))),
            every: Duration::from_millis(10),
            http: Http::default(),
        }),
        ..Settings::default()
    };
    let notifier = Notifier::start(&settings, spool.path(), around());
    for beats in 1..=3 {
        notifier.healthy();
        eventually("it beats", || server.record().len() == beats).await;
    }
    notifier.stop(super::PATIENCE).await;
    let first = &server.record()[0];
    assert_eq!(first["method"], "GET");
    assert_eq!(first["path"], "/push/abc?status=up");
    assert_eq!(
        server.record().len(),
        3,
        "without a word of health there is silence"
    );
}
