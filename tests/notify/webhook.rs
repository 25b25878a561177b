//! Webhooks: what is sent, and what the answers of an awkward server mean.

use std::collections::BTreeMap;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use vm_autoscale::notify::{
    Answer, Http, Kind, Method, Preset, Secret, SecretSource, Signature, Surroundings, Webhook,
    test as test_channels,
};

use super::servers::Server;
use super::{answer, answer_within, around, only, refused, tell_through};

const TOKEN: &str = "Bearer s3cret-of-the-hook";

pub(crate) fn hook(url: &str) -> Webhook {
    Webhook {
        url: SecretSource::Inline(Secret::new(url)),
        method: Method::Post,
        headers: BTreeMap::from([(
            "Authorization".to_owned(),
            SecretSource::Inline(Secret::new(TOKEN)),
        )]),
        content_type: "application/json".to_owned(),
        body: None,
        fields: BTreeMap::new(),
        max_text: None,
        signature: None,
        http: Http::default(),
    }
}

fn kind(url: &str) -> Kind {
    Kind::Webhook(hook(url))
}

#[tokio::test]
async fn a_webhook_gets_its_headers_and_a_body_that_proves_who_sent_it() {
    let Some(server) = Server::http() else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("key"), "signing-key\n").unwrap();
    let signature = Signature {
        secret: SecretSource::Credential("key".to_owned()),
        header: "X-Signature-256".to_owned(),
    };
    let settings = only(Kind::Webhook(Webhook {
        signature: Some(signature),
        ..hook(&server.url("ok"))
    }));
    let around = Surroundings {
        credentials: Some(dir.path().to_owned()),
        ..around()
    };
    let answers = test_channels(&settings, None, &around).await.unwrap();
    assert_eq!(answers, [("x".to_owned(), Answer::Delivered)]);
    let request = server.single();
    assert_eq!(request["headers"]["authorization"], TOKEN);
    let body = request["body"].as_str().unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(b"signing-key").unwrap();
    mac.update(body.as_bytes());
    let expected: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(
        request["headers"]["x-signature-256"],
        format!("sha256={expected}")
    );
    let message: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(message["severity"], "info");
}

#[tokio::test]
async fn the_body_carries_every_figure_of_the_event() {
    let Some(server) = Server::http() else { return };
    let spool = tempfile::tempdir().unwrap();
    tell_through(
        &only(kind(&server.url("ok"))),
        spool.path(),
        &[refused(101, "web", "no")],
    )
    .await;
    let message: serde_json::Value =
        serde_json::from_str(server.single()["body"].as_str().unwrap()).unwrap();
    let told = &message["events"][0];
    assert_eq!(told["vm"]["id"], 101);
    assert_eq!(told["topic"], "refused");
    assert_eq!(told["change"]["to"]["cpu"], 4.0);
    assert_eq!(told["outcome"]["refused"], "no");
}

#[tokio::test]
async fn each_status_says_whether_to_try_again() {
    let Some(server) = Server::http() else { return };
    let status = |code: u16| {
        let url = server.url(&format!("status/{code}"));
        async move { answer(kind(&url)).await }
    };
    for code in [500, 502, 503, 408] {
        let answer = status(code).await;
        assert!(
            matches!(&answer, Answer::Retry { unsure: false, .. }),
            "{code}: {answer:?}"
        );
    }
    for code in [401, 403, 404, 405, 410] {
        let answer = status(code).await;
        assert!(
            matches!(&answer, Answer::Refused { .. }),
            "{code}: {answer:?}"
        );
    }
    for code in [400, 413, 415, 422] {
        let answer = status(code).await;
        assert!(
            matches!(&answer, Answer::Rejected { .. }),
            "{code}: {answer:?}"
        );
    }
    for code in [200, 201, 204] {
        assert_eq!(status(code).await, Answer::Delivered, "{code}");
    }
    let Answer::Retry { why, .. } = status(500).await else {
        panic!("500 is a fault of the moment");
    };
    assert_eq!(
        why,
        "answered 500 Internal Server Error: because of the test"
    );
}

#[tokio::test]
async fn a_server_that_is_asked_too_much_says_when_to_come_back() {
    let Some(server) = Server::http() else { return };
    let answer = answer(kind(&server.url("retry-after/429/7"))).await;
    let expected = Answer::Retry {
        why: "answered 429 Too Many Requests: slow down".to_owned(),
        after: Some(Duration::from_secs(7)),
        unsure: false,
    };
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_its_host_gets_no_secret() {
    let (Some(server), Some(thief)) = (Server::http(), Server::http()) else {
        return;
    };
    let to = format!("127.0.0.1:{}", thief.port);
    let answer = answer(kind(&server.url(&format!("redirect/{to}")))).await;
    let Answer::Refused { why } = answer else {
        panic!("{answer:?}");
    };
    assert!(
        why.contains(&format!("redirects to http://{to} ")) && !why.contains("stolen"),
        "{why}"
    );
    assert_eq!(server.record().len(), 1);
    assert_eq!(thief.record().len(), 0);
}

#[tokio::test]
async fn slow_and_half_answers_end_in_time_and_leave_it_open_whether_it_arrived() {
    let Some(server) = Server::http() else { return };
    let limit = Duration::from_secs(1);
    let silent = answer_within(kind(&server.url("silent")), limit).await;
    let expected = Answer::Retry {
        why: "gave no answer within 1.0 s".to_owned(),
        after: None,
        unsure: true,
    };
    assert_eq!(silent, expected);
    let half = answer(kind(&server.url("half"))).await;
    assert!(
        matches!(&half, Answer::Retry { unsure: true, .. }),
        "{half:?}"
    );
}

#[tokio::test]
async fn a_megabyte_of_rubbish_as_the_answer_becomes_one_clean_line_without_the_secret() {
    let Some(server) = Server::http() else { return };
    let answer = answer(kind(&server.url("megabyte"))).await;
    let why = answer.why().unwrap();
    assert!(
        why.chars().count() < 300,
        "{} characters",
        why.chars().count()
    );
    assert!(
        !why.contains(char::is_control) && !why.contains("s3cret"),
        "{why}"
    );
    assert!(why.contains("<redacted>"), "{why}");
}

#[tokio::test]
async fn the_configured_proxy_is_used() {
    let Some(proxy) = Server::http() else { return };
    let through = Webhook {
        http: Http {
            proxy: Some(proxy.url("").parse().unwrap()),
            ..Http::default()
        },
        ..hook("http://hooks.invalid/ok")
    };
    assert_eq!(answer(Kind::Webhook(through)).await, Answer::Delivered);
    assert_eq!(proxy.single()["path"], "http://hooks.invalid/ok");
}

#[tokio::test]
async fn ntfy_gets_its_topic_and_priority() {
    let Some(server) = Server::http() else { return };
    let mut ntfy = hook(&server.url("ok"));
    let topic = SecretSource::Inline(Secret::new("my-topic"));
    ntfy.fields.insert("topic".to_owned(), topic);
    Preset::named("ntfy").unwrap().fill(&mut ntfy);
    let spool = tempfile::tempdir().unwrap();
    tell_through(
        &only(Kind::Webhook(ntfy)),
        spool.path(),
        &[refused(101, "web", "no")],
    )
    .await;
    let body: serde_json::Value =
        serde_json::from_str(server.single()["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["topic"], "my-topic");
    assert_eq!(body["priority"], 4);
    assert_eq!(body["title"], "[pve1] VM 101 (web): 1 → 4 vCPUs refused");
}
