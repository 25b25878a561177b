//! Gotify, its documented API field by field, and a server that answers awkwardly.

use serde_json::json;
use vm_autoscale::notify::{
    Address, Answer, Gotify, Http, Kind, Notifier, Secret, SecretSource, Settings,
};

use super::servers::Server;
use super::{answer, around, eventually, only, refused, tell_through};

const TOKEN: &str = "AbCdEf123456-token";

fn gotify(url: &str, token: &str) -> Kind {
    Kind::Gotify(Gotify {
        url: url.parse::<Address>().unwrap(),
        token: SecretSource::Inline(Secret::new(token)),
        http: Http::default(),
    })
}

fn settings(server: &Server, path: &str) -> Settings {
    only(gotify(&server.url(path), TOKEN))
}

#[tokio::test]
async fn gotify_gets_the_documented_message_field_by_field() {
    let Some(server) = Server::http() else { return };
    let spool = tempfile::tempdir().unwrap();
    let event = refused(101, "web", "the guest said no");
    tell_through(&settings(&server, "gotify"), spool.path(), &[event]).await;
    let request = server.single();
    assert_eq!(request["method"], "POST");
    assert_eq!(request["path"], "/gotify/message");
    assert_eq!(request["headers"]["x-gotify-key"], TOKEN);
    assert_eq!(request["headers"]["content-type"], "application/json");
    let body: serde_json::Value = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
    let mut keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["extras", "message", "priority", "title"]);
    assert_eq!(body["title"], "[pve1] VM 101 (web): 1 → 4 vCPUs refused");
    assert_eq!(body["priority"], 5);
    let display = &body["extras"]["client::display"];
    assert_eq!(*display, json!({"contentType": "text/plain"}));
    let text = body["message"].as_str().unwrap();
    assert!(
        text.contains("Outcome: refused: the guest said no"),
        "{text}"
    );
}

#[tokio::test]
async fn a_wrong_token_is_answered_in_the_servers_words_and_not_in_the_log() {
    let Some(server) = Server::http() else { return };
    let Answer::Refused { why } = answer(gotify(&server.url("gotify"), "wrong-token-1")).await
    else {
        panic!("a wrong token needs an admin");
    };
    assert!(why.starts_with("answered 401 Unauthorized"), "{why}");
    assert!(
        why.contains("valid access token") && !why.contains("wrong-token-1"),
        "{why}"
    );
}

#[tokio::test]
async fn a_server_that_answers_with_success_but_is_no_gotify_is_noticed() {
    let Some(server) = Server::http() else { return };
    let answer = answer(gotify(&server.url("login-page"), TOKEN)).await;
    let Answer::Refused { why } = answer else {
        panic!("{answer:?}");
    };
    assert!(
        why.contains("is http://127.0.0.1:") && why.contains("a Gotify server?"),
        "{why}"
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_leaves_it_open_whether_the_message_arrived() {
    let Some(server) = Server::http() else { return };
    let half = answer(gotify(&server.url("half-body"), TOKEN)).await;
    assert!(
        matches!(&half, Answer::Retry { unsure: true, .. }),
        "{half:?}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_has_got_nothing() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let answer = answer(gotify(&format!("http://127.0.0.1:{port}"), TOKEN)).await;
    let Answer::Retry {
        why, unsure: false, ..
    } = answer
    else {
        panic!("{answer:?}");
    };
    assert!(why.contains("Connection refused"), "{why}");
    assert!(!why.contains("/message"), "{why}");
}

#[tokio::test]
async fn while_the_server_is_away_nothing_is_lost_and_what_waited_comes_later() {
    let Some(server) = Server::http() else { return };
    let spool = tempfile::tempdir().unwrap();
    let away = only(gotify("http://127.0.0.1:1", TOKEN));
    let notifier = Notifier::start(&away, spool.path(), around());
    for id in 101..106 {
        notifier.tell(&refused(id, "web", "no"));
    }
    eventually("the channel fails", || {
        notifier.counts()["x"].failing.is_some()
    })
    .await;
    notifier.reload(&settings(&server, "gotify"));
    eventually("all is sent", || notifier.counts()["x"].waiting == 0).await;
    notifier.stop(super::PATIENCE).await;
    let texts: String = server
        .record()
        .iter()
        .map(|request| request["body"].to_string())
        .collect();
    for id in 101..106 {
        assert!(texts.contains(&format!("VM {id}")), "{id} in {texts}");
    }
}
