//! Each preset's request, for an event of a VM whose owner means harm.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::*;
use crate::notify::batch::{Batch, Item};
use crate::notify::message::Message;
use crate::notify::secret::{Secret, SecretSource};
use crate::notify::settings::{Http, Method, Templates};
use crate::notify::testing::{node, refused, shared, vm};
use crate::notify::webhook;

fn filled(preset: &Preset) -> Webhook {
    let mut hook = Webhook {
        url: SecretSource::Inline(Secret::new("https://example.com/hook")),
        method: Method::Post,
        headers: BTreeMap::new(),
        content_type: "application/json".to_owned(),
        body: None,
        fields: BTreeMap::new(),
        max_text: None,
        signature: None,
        http: Http::default(),
    };
    preset.fill(&mut hook);
    hook
}

fn message(why: &str) -> Message {
    let mut event = refused(101, why);
    event.vm = Some(vm(101, "<!channel> @everyone & \"co\""));
    let item = Item {
        id: 7,
        event: shared(event),
        more: 0,
    };
    let batch = Batch::new(vec![item], BTreeMap::new(), false);
    Message::compose(&batch, &node(), &TimeZone::UTC, &Templates::default()).unwrap()
}

fn body(preset: &Preset, why: &str) -> serde_json::Value {
    let fields: BTreeMap<String, String> = preset
        .fields
        .iter()
        .map(|name| ((*name).to_owned(), format!("the {name}")))
        .collect();
    let body = webhook::body(&filled(preset), &message(why), &fields).unwrap();
    serde_json::from_str(&body).unwrap()
}

#[test]
fn each_service_gets_the_request_that_it_documents() {
    let all: BTreeMap<&str, serde_json::Value> = PRESETS
        .iter()
        .map(|preset| (preset.name, body(preset, "no")))
        .collect();
    insta::assert_snapshot!("requests", serde_json::to_string_pretty(&all).unwrap());
}

#[test]
fn no_name_of_a_vm_calls_a_whole_channel() {
    let slack = body(Preset::named("slack").unwrap(), "no");
    let text = slack["text"].as_str().unwrap();
    assert!(
        text.contains("&lt;!channel&gt;") && !text.contains('<'),
        "{text}"
    );
    let discord = body(Preset::named("discord").unwrap(), "no");
    assert_eq!(
        discord["allowed_mentions"],
        serde_json::json!({"parse": []})
    );
}

#[test]
fn no_text_is_longer_than_its_service_takes() {
    for preset in PRESETS {
        let hook = filled(&preset);
        let mut message = message("no");
        message.text = "ä".repeat(100_000);
        let fields = [
            ("topic", "t"),
            ("chat_id", "1"),
            ("token", "t"),
            ("user", "u"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let body = webhook::body(&hook, &message, &fields).unwrap();
        let letters = body.chars().filter(|&c| c == 'ä').count();
        assert_eq!(letters, hook.max_text.unwrap() - 1, "{}", preset.name);
    }
}
