//! Notifications against real servers, as real processes on the loopback interface: Python's http.server and aiosmtpd.
//!
//! Debian's `python3-aiosmtpd` and `openssl` are needed; without them the tests that need them say so and skip, except
//! in CI, where they fail. TLS needs the cargo feature `tls`.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod gotify;
mod kill;
mod programs;
mod servers;
mod smtp;
mod telling;
#[cfg(feature = "tls")]
mod trust;
mod webhook;

use std::path::Path;
use std::time::{Duration, Instant};

use vm_autoscale::act::{Done, Outcome};
use vm_autoscale::decide::{Change, Reason};
use vm_autoscale::domain::{Amount, Cores, Lever, Moment, Reading, Source, VmId, VmName};
use vm_autoscale::notify::{
    Answer, ChannelSettings, Kind, Notifier, Settings, Surroundings, test as test_channels,
};
use vm_autoscale::record::{Event, EventKind, VmRef};

/// Long, since a busy machine is no fault.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so.
async fn eventually(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "never came to be: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn around() -> Surroundings {
    Surroundings {
        node: "pve1".parse().unwrap(),
        root: "/".into(),
        credentials: None,
    }
}

/// One channel named `x`, told everything at once.
fn only(kind: Kind) -> Settings {
    let mut settings = Settings {
        gather: Duration::ZERO,
        ..Settings::default()
    };
    settings
        .channels
        .insert("x".to_owned(), ChannelSettings::new(kind));
    settings
}

/// What a test message through this channel is answered.
async fn answer(kind: Kind) -> Answer {
    answer_within(kind, PATIENCE).await
}

/// The same, with a time limit for the attempt.
async fn answer_within(kind: Kind, timeout: Duration) -> Answer {
    let mut settings = only(kind);
    for channel in settings.channels.values_mut() {
        channel.timeout = timeout;
    }
    let answers = test_channels(&settings, Some("x"), &around())
        .await
        .unwrap();
    answers.into_iter().next().unwrap().1
}

/// Starts, tells, and waits until all is sent.
async fn tell_through(settings: &Settings, spool: &Path, events: &[Event]) {
    let notifier = Notifier::start(settings, spool, around());
    for event in events {
        notifier.tell(event);
    }
    notifier.stop(PATIENCE).await;
}

/// The guest of VM `id` refuses more vCPUs.
fn refused(id: u32, name: &str, why: &str) -> Event {
    let (id, name) = (VmId::try_from(id).unwrap(), VmName::new(name));
    let at = Moment::from_millis(1_795_515_610_000);
    let change = Change {
        vm: id,
        name: name.clone(),
        lever: Lever::Vcpus,
        from: Amount::Cpu(Cores::whole(1)),
        to: Amount::Cpu(Cores::whole(4)),
        reason: Reason::NeedsMore {
            need: Amount::Cpu(Cores::from_f64(3.6)),
        },
    };
    let done = Done {
        change,
        outcome: Outcome::Refused(why.to_owned()),
        now: Reading::known(Amount::Cpu(Cores::whole(1)), at, Source::Qemu),
        at,
        took: Duration::from_millis(1_230),
    };
    Event {
        at,
        node: "pve1".parse().unwrap(),
        vm: Some(VmRef {
            id,
            name,
            tags: Vec::new(),
        }),
        kind: EventKind::Changed(Box::new(done)),
    }
}
