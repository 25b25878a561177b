//! Tells people: Gotify, e-mail, webhooks, Proxmox VE's notification system, a program of the admin's.
//!
//! ```text
//!               ┌ lane ─ worker ─ channel: gotify
//! tell(&Event) ─┼ lane ─ worker ─ channel: smtp        lane:    what waits, and what is sent next (pure)
//!   (no wait)   └ lane ─ worker ─ channel: webhook     worker:  one task each; retries, reports
//!                   │                                  channel: one attempt, one typed answer
//!                 spool: what a restart must not lose
//! ```
//!
//! Knows events and how to reach people. Never decides anything about a VM, and is never in the way of scaling: it is
//! fed by [`Notifier::tell`], which waits for nobody.

mod batch;
mod channel;
mod check;
mod command;
mod desk;
mod gotify;
mod heartbeat;
mod http;
mod lane;
mod mail;
mod message;
mod preset;
mod program;
mod pve;
mod secret;
mod settings;
mod smtp;
mod spool;
mod template;
#[cfg(test)]
mod testing;
mod topic;
mod webhook;
mod wording;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

pub use channel::{Answer, Surroundings};
pub use check::{Fault, faults, is_loopback};
pub use http::NO_TLS;
pub use lane::Counts;
pub use message::{Message, Told};
pub use preset::{PRESETS, Preset};
pub use secret::{Secret, SecretError, SecretSource};
pub use settings::{
    Address, ChannelSettings, Command, Gotify, Heartbeat, Http, Kind, Login, Method, Pve, Route,
    Settings, Signature, Smtp, SmtpTls, Templates, Webhook,
};
pub use template::TemplateError;
pub use topic::Topic;

use crate::domain::Moment;
use crate::record::Event;
use desk::Desk;
use lane::Rules;
use worker::{Order, Worker};

/// The telling of events. Cheap to share: every method takes `&self`.
pub struct Notifier {
    desk: Arc<Desk>,
    around: Surroundings,
    healthy: Arc<AtomicBool>,
    running: Mutex<Running>,
}

/// The tasks.
#[derive(Default)]
struct Running {
    workers: BTreeMap<String, (watch::Sender<Order>, JoinHandle<()>)>,
    heartbeat: Option<JoinHandle<()>>,
}

impl Notifier {
    /// Starts one task for each channel, and goes on with what an earlier run left in `spool_dir`. Must be called
    /// within a tokio runtime. A directory that cannot be written is said in the journal, and nothing else.
    pub fn start(settings: &Settings, spool_dir: &Path, around: Surroundings) -> Self {
        let notifier = Self {
            desk: Arc::new(Desk::new(around.node.clone(), spool_dir)),
            around,
            healthy: Arc::new(AtomicBool::new(false)),
            running: Mutex::new(Running::default()),
        };
        notifier.reload(settings);
        notifier
    }

    /// Hands in an event. Waits for no channel and no network; an important event is in a file when this returns.
    pub fn tell(&self, event: &Event) {
        self.desk.tell(event);
    }

    /// Says that a tick went well. Without it the heartbeat falls silent.
    pub fn healthy(&self) {
        self.healthy.store(true, Ordering::Relaxed);
    }

    /// Takes over new settings. What waits for a channel that keeps its name goes on waiting.
    pub fn reload(&self, settings: &Settings) {
        let mut running = self.running();
        let names: BTreeSet<String> = settings.channels.keys().cloned().collect();
        let gone = running
            .workers
            .extract_if(.., |name, _| !names.contains(name));
        for (_, (orders, _)) in gone {
            orders.send_replace(Order::Leave);
        }
        self.desk.keep_only(&names);
        for (name, channel) in &settings.channels {
            let predecessor = running.workers.remove(name).map(|(orders, task)| {
                orders.send_replace(Order::Leave);
                task
            });
            let worker = self.employ(name, channel, settings, predecessor);
            running.workers.insert(name.clone(), worker);
        }
        if let Some(old) = running.heartbeat.take() {
            old.abort();
        }
        running.heartbeat = settings.heartbeat.clone().map(|heartbeat| {
            let (around, healthy) = (self.around.clone(), Arc::clone(&self.healthy));
            tokio::spawn(heartbeat::run(
                heartbeat,
                around,
                healthy,
                Arc::clone(&self.desk),
            ))
        });
    }

    fn employ(
        &self,
        name: &str,
        channel: &ChannelSettings,
        settings: &Settings,
        predecessor: Option<JoinHandle<()>>,
    ) -> (watch::Sender<Order>, JoinHandle<()>) {
        let (sender, orders) = watch::channel(Order::Work);
        let rules = Rules {
            route: channel.route.clone(),
            max_per_hour: channel.max_per_hour,
            gather: settings.gather,
            repeat_after: settings.repeat_after,
        };
        let worker = Worker {
            desk: Arc::clone(&self.desk),
            post: self.desk.post(name, rules),
            channel: channel::open(channel, &self.around),
            templates: channel.templates.clone(),
            limit: channel.limit(),
            zone: TimeZone::system(),
            orders,
        };
        (sender, tokio::spawn(worker.run(predecessor)))
    }

    /// What each channel has sent, and how it is doing.
    pub fn counts(&self) -> BTreeMap<String, Counts> {
        self.desk.counts()
    }

    /// Sends what still waits, each channel once, until `deadline` at the latest. What is important and could not be
    /// sent is sent after the next start.
    pub async fn stop(&self, deadline: Duration) {
        let deadline = Instant::now() + deadline;
        let Running { workers, heartbeat } = std::mem::take(&mut *self.running());
        if let Some(heartbeat) = heartbeat {
            heartbeat.abort();
        }
        for (orders, _) in workers.values() {
            orders.send_replace(Order::Finish);
        }
        for (name, (orders, mut task)) in workers {
            if timeout_at(deadline, &mut task).await.is_err() {
                tracing::warn!(
                    "notification channel {name} was still sending when the agent stopped"
                );
                task.abort();
            }
            drop(orders);
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No channel has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no notification channel {name:?}; {known}")]
pub struct UnknownChannel {
    name: String,
    known: String,
}

/// Sends a test message through each channel, or through the one named `only`, and the heartbeat if there is one.
/// Returns each one's answer.
///
/// # Errors
/// If no channel is named `only`.
pub async fn test(
    settings: &Settings,
    only: Option<&str>,
    around: &Surroundings,
) -> Result<Vec<(String, Answer)>, UnknownChannel> {
    if let Some(name) = only
        && !settings.channels.contains_key(name)
        && !(name == HEARTBEAT && settings.heartbeat.is_some())
    {
        return Err(UnknownChannel {
            name: name.to_owned(),
            known: known(settings),
        });
    }
    let wanted = |name: &str| only.is_none_or(|only| only == name);
    let mut answers = Vec::new();
    for (name, channel) in settings.channels.iter().filter(|(name, _)| wanted(name)) {
        answers.push((name.clone(), test_one(name, channel, around).await));
    }
    if let Some(heartbeat) = &settings.heartbeat
        && wanted(HEARTBEAT)
    {
        let answer = heartbeat::call(heartbeat, around).await;
        answers.push((HEARTBEAT.to_owned(), answer));
    }
    Ok(answers)
}

/// The name under which the heartbeat can be tested. No channel can have it.
pub const HEARTBEAT: &str = "heartbeat";

fn known(settings: &Settings) -> String {
    match settings.channels.is_empty() {
        true => "the configuration has none: add one under notify.channels".to_owned(),
        false => {
            let names: Vec<&str> = settings.channels.keys().map(String::as_str).collect();
            format!("there are: {}", names.join(", "))
        }
    }
}

async fn test_one(name: &str, channel: &ChannelSettings, around: &Surroundings) -> Answer {
    let zone = TimeZone::system();
    let message = Message::test(name, &around.node, Moment::now(), &zone, &channel.templates);
    match message {
        Ok(message) => {
            let open = channel::open(channel, around);
            worker::attempt(&*open, &message, channel.limit()).await
        }
        Err(error) => Answer::refused(format!("cannot be used: its template {error}")),
    }
}
