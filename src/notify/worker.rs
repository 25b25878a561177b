//! One task for each channel: it sends what its lane hands out, and hands back the answers. A channel that hangs delays
//! no other.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::batch::Batch;
use super::channel::{Answer, Channel};
use super::desk::{Desk, Post};
use super::lane::{News, Next, Settled};
use super::message::Message;
use super::settings::Templates;
use crate::record::{EventKind, span};

/// What a worker is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Send what there is to send, for ever.
    Work,
    /// Send what waits, once, and end.
    Finish,
    /// End after the attempt that is under way; another worker takes over the lane.
    Leave,
}

/// The task of one channel.
pub(super) struct Worker {
    pub(super) desk: Arc<Desk>,
    pub(super) post: Arc<Post>,
    pub(super) channel: Box<dyn Channel>,
    pub(super) templates: Templates,
    pub(super) limit: Duration,
    pub(super) zone: TimeZone,
    pub(super) orders: watch::Receiver<Order>,
}

impl Worker {
    /// Works until it is told to end. `predecessor` is the worker that had the lane before.
    pub(super) async fn run(mut self, predecessor: Option<JoinHandle<()>>) {
        if let Some(predecessor) = predecessor {
            // It ends after its attempt. Whether it panicked does not matter to us.
            let _ = predecessor.await;
        }
        // Without the notifier there is nobody to work for.
        while self.orders.has_changed().is_ok() {
            let order = *self.orders.borrow_and_update();
            match order {
                Order::Work => {}
                Order::Finish => self.post.lane().hurry(),
                Order::Leave => return,
            }
            let next = self.post.lane().next(Instant::now());
            match next {
                Next::Send(batch) => {
                    let delivered = self.send(&batch).await;
                    if order == Order::Finish && !delivered {
                        return;
                    }
                }
                Next::Idle | Next::At(_) if order == Order::Finish => return,
                Next::Idle => self.wait(None).await,
                Next::At(moment) => self.wait(Some(moment)).await,
            }
        }
    }

    async fn wait(&mut self, until: Option<Instant>) {
        let until = async {
            match until {
                Some(moment) => sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = until => {}
            () = self.post.bell.notified() => {}
            _ = self.orders.changed() => {}
        }
    }

    /// Makes one attempt. Returns whether it was delivered.
    async fn send(&self, batch: &Batch) -> bool {
        self.desk.spool().trying(&self.post.name, batch.ids());
        let answer = self.attempt(batch).await;
        let settled = self.post.lane().settle(&answer, Instant::now());
        let Settled { done, news } = settled;
        let dealt = self.post.dealt(done);
        self.desk.spool().done(vec![dealt]);
        if let Some(news) = news {
            self.announce(news);
        }
        answer == Answer::Delivered
    }

    async fn attempt(&self, batch: &Batch) -> Answer {
        let message = Message::compose(batch, &self.desk.node, &self.zone, &self.templates);
        match message {
            Ok(message) => attempt(&*self.channel, &message, self.limit).await,
            Err(error) => Answer::refused(format!("cannot be used: its template {error}")),
        }
    }

    /// Says in the journal, and through the other channels, how this one is doing.
    fn announce(&self, news: News) {
        let name = &self.post.name;
        let what = format!("notify-{name}");
        match news {
            News::Failing(why) => {
                tracing::warn!("notification channel {name} {why}; what it was to tell waits");
                let why = format!("notification channel {name} {why}");
                self.desk.report(name, EventKind::Degraded { what, why });
            }
            News::Works(after) => {
                tracing::info!(
                    "notification channel {name} works again after {}",
                    span(after)
                );
                self.desk.report(name, EventKind::Recovered { what, after });
            }
            News::GaveUp(events, why) => {
                tracing::warn!("notification channel {name} gave up on {events} events: {why}");
            }
        }
    }
}

/// One attempt within its time limit.
pub(super) async fn attempt(channel: &dyn Channel, message: &Message, limit: Duration) -> Answer {
    match timeout(limit, channel.send(message)).await {
        Ok(answer) => answer,
        Err(_) => Answer::unsure(format!("gave no answer within {}", span(limit))),
    }
}
