//! E-mail through a real SMTP server, and everything that can go wrong with one.

use vm_autoscale::notify::{
    Answer, Kind, Login, Notifier, Secret, SecretSource, Settings, Smtp, SmtpTls,
};

use super::servers::Server;
use super::{answer, around, eventually, only, refused, tell_through};

const PASSWORD: &str = "correct horse";

pub(crate) fn smtp(server: &Server) -> Smtp {
    Smtp {
        server: "127.0.0.1".to_owned(),
        port: server.port,
        tls: SmtpTls::None,
        login: None,
        from: Some("vm-autoscale on pve1 <pve1@example.com>".to_owned()),
        to: vec!["admin@example.com".to_owned()],
        ca_file: None,
    }
}

pub(crate) fn login(password: &str) -> Option<Login> {
    Some(Login {
        username: "pve1".to_owned(),
        password: SecretSource::Inline(Secret::new(password)),
    })
}

/// The value of a header of a raw mail, folded lines joined.
pub(crate) fn header(mail: &serde_json::Value, name: &str) -> Option<String> {
    let raw = mail["mail"].as_str().unwrap();
    let head = raw.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
    let mut lines = head.lines();
    lines.find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned))
}

fn settings(smtp: Smtp) -> Settings {
    only(Kind::Smtp(smtp))
}

#[tokio::test]
async fn a_mail_has_what_a_mail_must_have() {
    let Some(server) = Server::smtp(&[]) else {
        return;
    };
    let spool = tempfile::tempdir().unwrap();
    tell_through(
        &settings(smtp(&server)),
        spool.path(),
        &[refused(101, "web", "no")],
    )
    .await;
    let mail = server.single();
    assert_eq!(mail["from"], "pve1@example.com");
    assert_eq!(mail["to"][0], "admin@example.com");
    assert_eq!(
        header(&mail, "Date").unwrap(),
        "Tue, 24 Nov 2026 10:20:10 +0000"
    );
    let id = header(&mail, "Message-ID").unwrap();
    assert!(
        id.starts_with("<1795515610000000-pve1@") && id.ends_with('>'),
        "{id}"
    );
    assert_eq!(header(&mail, "Auto-Submitted").unwrap(), "auto-generated");
    assert_eq!(header(&mail, "X-VM-Autoscale-Severity").unwrap(), "warning");
    assert_eq!(header(&mail, "X-VM-Autoscale-Repeat"), None);
    let content_type = header(&mail, "Content-Type").unwrap();
    assert!(
        content_type.starts_with("multipart/alternative"),
        "{content_type}"
    );
    let raw = mail["mail"].as_str().unwrap();
    let plain = raw.find("Content-Type: text/plain; charset=utf-8").unwrap();
    let html = raw.find("Content-Type: text/html; charset=utf-8").unwrap();
    assert!(
        plain < html,
        "the richest part comes last (RFC 2046, 5.1.4)"
    );
}

#[tokio::test]
async fn one_unknown_recipient_does_not_keep_the_mail_from_the_others() {
    let Some(server) = Server::smtp(&["--unknown", "gone@example.com"]) else {
        return;
    };
    let spool = tempfile::tempdir().unwrap();
    let to = ["first@example.com", "gone@example.com", "last@example.com"];
    let three = Smtp {
        to: to.map(str::to_owned).into(),
        ..smtp(&server)
    };
    let notifier = Notifier::start(&settings(three), spool.path(), around());
    notifier.tell(&refused(101, "web", "no"));
    eventually("the fault is known", || {
        notifier.counts()["x"].failing.is_some()
    })
    .await;
    let why = notifier.counts()["x"].failing.clone().unwrap();
    assert!(
        why.contains("<gone@example.com>") && why.contains("550"),
        "{why}"
    );
    // Another attempt, which must not tell the others twice.
    notifier.stop(super::PATIENCE).await;
    let got: Vec<_> = server
        .record()
        .iter()
        .map(|mail| mail["to"][0].clone())
        .collect();
    assert_eq!(got, ["first@example.com", "last@example.com"]);
}

#[tokio::test]
async fn a_greylisted_mail_arrives_at_the_next_attempt() {
    let Some(server) = Server::smtp(&["--greylist", "1"]) else {
        return;
    };
    let spool = tempfile::tempdir().unwrap();
    let notifier = Notifier::start(&settings(smtp(&server)), spool.path(), around());
    notifier.tell(&refused(101, "web", "no"));
    eventually("it was put off", || {
        notifier.counts()["x"].failing.is_some()
    })
    .await;
    let why = notifier.counts()["x"].failing.clone().unwrap();
    assert!(why.contains("Greylisted"), "{why}");
    notifier.stop(super::PATIENCE).await;
    assert_eq!(header(&server.single(), "X-VM-Autoscale-Repeat"), None);
}

#[tokio::test]
async fn a_connection_lost_in_the_middle_of_the_mail_is_tried_again_and_marked() {
    let Some(server) = Server::smtp(&["--drop-in-data", "1"]) else {
        return;
    };
    let spool = tempfile::tempdir().unwrap();
    let notifier = Notifier::start(&settings(smtp(&server)), spool.path(), around());
    notifier.tell(&refused(101, "web", "no"));
    eventually("it broke off", || notifier.counts()["x"].failing.is_some()).await;
    notifier.stop(super::PATIENCE).await;
    assert_eq!(
        header(&server.single(), "X-VM-Autoscale-Repeat").unwrap(),
        "yes"
    );
}

#[tokio::test]
async fn a_mail_that_arrived_without_a_word_comes_twice_with_the_same_id_and_a_mark() {
    let Some(server) = Server::smtp(&["--drop-after-data", "1"]) else {
        return;
    };
    let spool = tempfile::tempdir().unwrap();
    let notifier = Notifier::start(&settings(smtp(&server)), spool.path(), around());
    notifier.tell(&refused(101, "web", "no"));
    eventually("it broke off", || notifier.counts()["x"].failing.is_some()).await;
    notifier.stop(super::PATIENCE).await;
    let mails = server.record();
    assert_eq!(mails.len(), 2);
    assert_eq!(
        header(&mails[0], "Message-ID"),
        header(&mails[1], "Message-ID")
    );
    let marks: Vec<_> = mails
        .iter()
        .map(|mail| header(mail, "X-VM-Autoscale-Repeat"))
        .collect();
    assert_eq!(marks, [None, Some("yes".to_owned())]);
}

#[tokio::test]
async fn a_refused_login_needs_an_admin_and_shows_no_password() {
    let Some(server) = Server::smtp(&["--login", &format!("pve1:{PASSWORD}")]) else {
        return;
    };
    let with = |password: &str| {
        Kind::Smtp(Smtp {
            login: login(password),
            ..smtp(&server)
        })
    };
    let Answer::Refused { why } = answer(with("wrong-password")).await else {
        panic!("a wrong password needs an admin");
    };
    assert!(
        why.contains("535") && !why.contains("wrong-password"),
        "{why}"
    );
    assert!(server.record().is_empty());
    assert_eq!(answer(with(PASSWORD)).await, Answer::Delivered);
    assert_eq!(server.single()["user"], "pve1");
}

#[tokio::test]
async fn a_vm_whose_name_is_a_header_adds_none() {
    let Some(server) = Server::smtp(&[]) else {
        return;
    };
    let spool = tempfile::tempdir().unwrap();
    let name = "web\r\nBcc: everybody@example.com\r\n\r\n<script>alert(1)</script>";
    let why = "no\r\n.\r\nMAIL FROM:<evil@example.com>\r\n".repeat(30_000);
    tell_through(
        &settings(smtp(&server)),
        spool.path(),
        &[refused(101, name, &why)],
    )
    .await;
    let mail = server.single();
    assert_eq!(mail["to"].as_array().unwrap().len(), 1);
    assert_eq!(header(&mail, "Bcc"), None);
    let raw = mail["mail"].as_str().unwrap();
    assert!(raw.len() < 40_000, "{} bytes", raw.len());
    let (_, html) = raw.split_once("Content-Type: text/html").unwrap();
    assert!(
        html.contains("&lt;script&gt;") && !html.contains("<script>"),
        "{html}"
    );
    assert!(
        !raw.lines()
            .any(|line| line.starts_with("Bcc") || line.starts_with("MAIL FROM"))
    );
}
