//! The dead-man's switch: a URL that is called while the agent is healthy, so that somebody else notices its silence.
//! Uptime Kuma ("push"), Healthchecks and the like expect a plain GET.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Url;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::channel::{Answer, Surroundings};
use super::desk::Desk;
use super::http;
use super::settings::Heartbeat;
use crate::record::EventKind;

/// Time limit for one call.
const LIMIT: Duration = Duration::from_secs(10);
/// Calls in a row that must fail before it is told: one lost call is nothing.
const PATIENCE: u32 = 3;
/// The problem's word.
const WHAT: &str = "notify-heartbeat";

/// Calls the URL as often as the settings say, but only if `healthy` was set since the last call.
pub(super) async fn run(
    settings: Heartbeat,
    around: Surroundings,
    healthy: Arc<AtomicBool>,
    desk: Arc<Desk>,
) {
    let mut ticks = interval(settings.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures: u32 = 0;
    loop {
        ticks.tick().await;
        if !healthy.swap(false, Ordering::Relaxed) {
            continue;
        }
        let answer = timeout(LIMIT, call(&settings, &around)).await;
        let answer = answer.unwrap_or_else(|_| Answer::retry("gave no answer within 10 s"));
        match answer.why() {
            None => {
                if failures >= PATIENCE {
                    let after = settings.every * failures;
                    desk.report(
                        WHAT,
                        EventKind::Recovered {
                            what: WHAT.to_owned(),
                            after,
                        },
                    );
                }
                failures = 0;
            }
            Some(why) => {
                failures = failures.saturating_add(1);
                if failures == PATIENCE {
                    tracing::warn!("the heartbeat {why}");
                    let why = format!("the heartbeat {why}");
                    desk.report(
                        WHAT,
                        EventKind::Degraded {
                            what: WHAT.to_owned(),
                            why,
                        },
                    );
                }
            }
        }
    }
}

/// One call.
pub(super) async fn call(settings: &Heartbeat, around: &Surroundings) -> Answer {
    match attempt(settings, around).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn attempt(settings: &Heartbeat, around: &Surroundings) -> Result<Answer, Answer> {
    let secret = settings.url.read(around.credentials()).await;
    let secret = secret.map_err(|error| Answer::refused(error.to_string()))?;
    let url: Url = secret
        .expose()
        .parse()
        .map_err(|_| Answer::refused("has no valid address as its url"))?;
    let client = http::client(&settings.http, &url).await?;
    let answered = http::exchange(client.get(url), &[secret]).await?;
    Ok(match answered.status.is_success() {
        true => Answer::Delivered,
        false => answered.failure(),
    })
}
