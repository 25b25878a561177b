//! The messages as people see them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::{self, TimeZone};

use super::*;
use crate::act::Outcome;
use crate::domain::{Lever, Mib, Resource};
use crate::notify::testing::{
    AT, degraded, event, memory, node, recovered, refused, shared, vcpus, vm, wants_more,
};
use crate::record::{Day, EventKind};

/// One hour east of Greenwich, as in the summers and winters of no place in particular.
fn zone() -> TimeZone {
    TimeZone::fixed(tz::offset(1))
}

fn batch(events: Vec<Event>) -> Batch {
    let items = events.into_iter().zip(7..);
    let items = items.map(|(event, id)| Item {
        id,
        event: shared(event),
        more: 0,
    });
    Batch::new(items.collect(), BTreeMap::new(), false)
}

fn compose(batch: &Batch) -> Message {
    Message::compose(batch, &node(), &zone(), &Templates::default()).unwrap()
}

fn shown(message: &Message) -> String {
    format!("Subject: {}\n\n{}", message.subject, message.text)
}

/// One of each kind.
fn each_kind() -> Vec<Event> {
    let web = || Some(vm(101, "web"));
    vec![
        vcpus(4, Some(4), Outcome::Applied),
        memory(Lever::Balloon, Mib(4096), Mib(2560), Outcome::Applied),
        vcpus(4, Some(2), Outcome::Partial("the guest brought 1 of 3 vCPUs online".to_owned())),
        memory(
            Lever::Dimm,
            Mib(4096),
            Mib(5120),
            Outcome::Pending("memory hotplug was off when the VM was started".to_owned()),
        ),
        vcpus(4, Some(1), Outcome::Refused("hotplug problem - 400 Parameter verification failed.\nvcpus: error unplugging vcpu".to_owned())),
        vcpus(4, None, Outcome::Unknown("qm set did not end within 30 s".to_owned())),
        wants_more(Resource::Cpu),
        event(
            None,
            EventKind::HostLimit {
                resource: Resource::Memory,
                why: "1.2 GiB of 64 GiB are left, 2 GiB are reserved; 3 VMs want 5.5 GiB more".to_owned(),
            },
        ),
        event(
            web(),
            EventKind::BreakerOpened {
                lever: Lever::Balloon,
                until: AT + Duration::from_secs(1800),
                why: "the balloon stayed at 4 GiB, 2 GiB were asked for".to_owned(),
            },
        ),
        event(
            web(),
            EventKind::TakenOver {
                what: "shares (unset), balloon 2 GiB".to_owned(),
            },
        ),
        event(
            web(),
            EventKind::Released {
                what: "shares (unset), balloon 2 GiB".to_owned(),
            },
        ),
        event(
            None,
            EventKind::ConfigLoaded {
                what: "/etc/vm-autoscale/config.yaml".to_owned(),
            },
        ),
        event(
            None,
            EventKind::ConfigRejected {
                why: "config.yaml:12:5: profiles.default.cpu.max: expected a number of cores such as 4 or 0.5".to_owned(),
            },
        ),
        degraded("quorum", "the cluster has no quorum; nothing is changed until it is back"),
        recovered("quorum", Duration::from_secs(754)),
        Event {
            vm: web(),
            ..degraded("vm-101-memory-unmeasured", "memory is left alone: the balloon driver does not answer")
        },
        Event {
            vm: web(),
            ..recovered("vm-101-memory-unmeasured", Duration::from_secs(3_600))
        },
        event(
            None,
            EventKind::Daily(Day {
                nodes: 3,
                agents: 2,
                vms: 12,
                changes: 34,
                faults: 2,
                attention: vec![
                    "pve3: agent is silent".to_owned(),
                    "VM 101: not taken over from pve3 yet".to_owned(),
                ],
            }),
        ),
        event(
            None,
            EventKind::Started {
                version: "0.1.0".to_owned(),
                managed: 12,
            },
        ),
        event(
            None,
            EventKind::Stopped {
                why: "SIGTERM".to_owned(),
            },
        ),
    ]
}

fn digest() -> Batch {
    let mut events = each_kind();
    events.extend((0..40).map(|n| refused(200 + n, "the guest said no")));
    let mut batch = batch(events);
    batch.items[20].more = 9_000;
    batch.dropped.insert(Severity::Warning, 120);
    batch.dropped.insert(Severity::Info, 1);
    batch.repeat = true;
    batch
}

#[test]
fn each_event_as_people_see_it() {
    let all: Vec<String> = each_kind()
        .into_iter()
        .map(|event| shown(&compose(&batch(vec![event]))))
        .collect();
    insta::assert_snapshot!("each_event", all.join("\n――――――――\n\n"));
}

#[test]
fn a_digest_as_people_see_it() {
    insta::assert_snapshot!("digest", shown(&compose(&digest())));
}

#[test]
fn a_repeated_event_as_people_see_it() {
    let mut batch = batch(vec![refused(101, "the guest said no")]);
    batch.items[0].more = 3;
    batch.repeat = true;
    insta::assert_snapshot!("repeat", shown(&compose(&batch)));
}

#[test]
fn the_test_message_as_people_see_it() {
    let templates = Templates::default();
    let message = Message::test("phone", &node(), AT, &zone(), &templates).unwrap();
    insta::assert_snapshot!("test", shown(&message));
}

#[test]
fn the_html_of_one_event_and_of_a_digest() {
    insta::assert_snapshot!(
        "event.html",
        compose(&batch(vec![each_kind().swap_remove(2)])).html
    );
    let mut small = each_kind();
    small.truncate(8);
    insta::assert_snapshot!("digest.html", compose(&batch(small)).html);
}

#[test]
fn the_json_that_webhooks_and_commands_get() {
    let message = compose(&batch(vec![vcpus(4, Some(4), Outcome::Applied)]));
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&message).unwrap());
}

#[test]
fn no_name_and_no_error_text_gets_out_of_its_place() {
    let hostile = "x\r\nBcc: all@example.com\n\n<script>alert(1)</script>{{ 7*7 }}\u{202e}\x1b[31m";
    let mut event = refused(101, &hostile.repeat(20_000));
    event.vm = Some(vm(101, hostile));
    let message = compose(&batch(vec![event]));
    assert!(
        !message.subject.contains(['\r', '\n', '\x1b', '\u{202e}']),
        "{}",
        message.subject
    );
    assert!(message.subject.chars().count() <= SUBJECT);
    assert!(message.text.len() < 4_000, "{} bytes", message.text.len());
    assert!(
        !message.text.lines().any(|line| line.starts_with("Bcc:")),
        "{}",
        message.text
    );
    assert!(!message.html.contains("<script>"), "{}", message.html);
    assert!(!message.html.contains("49") && !message.text.contains("49"));
}

#[test]
fn a_template_of_the_admin_replaces_the_text_and_is_escaped_in_html() {
    let templates = Templates {
        subject: Some("{{ node }}: VM {{ vmid }}\n{{ topic }}".to_owned()),
        text: Some("{{ headline }} <b>{{ severity }}</b>".to_owned()),
    };
    let batch = batch(vec![vcpus(4, Some(4), Outcome::Applied)]);
    let message = Message::compose(&batch, &node(), &zone(), &templates).unwrap();
    assert_eq!(message.subject, "pve1: VM 101 scaled_up");
    assert_eq!(message.text, "VM 101 (web): 1 → 4 vCPUs <b>info</b>");
    assert!(
        message.html.contains("&lt;b&gt;info&lt;&#x2f;b&gt;"),
        "{}",
        message.html
    );
}
