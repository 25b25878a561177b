//! The tick and its surroundings: timers, signals, reload, watchdog, shutdown.
//!
//! Everything else belongs to another room.

mod agent;
mod cluster;
mod configuration;
mod instance;
mod outlets;
mod store;

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::config;
use crate::pve::Layout;

use agent::Agent;

/// How often counters are sampled between decisions.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// How long a stop waits for the changes in hand: a little more than the time limit of one `qm set`. The unit's
/// `TimeoutStopSec` is above it.
const STOP_WITHIN: Duration = Duration::from_secs(130);

/// How the daemon is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// One decision, then end.
    pub once: bool,
    /// Decide, but change nothing.
    pub dry_run: bool,
}

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration is unusable.
    #[error("{0}")]
    Config(#[from] config::LoadError),
    /// Another instance runs.
    #[error("another vm-autoscale runs on this node ({0}); two would work against each other")]
    AnotherInstance(String),
    /// Something of the node that nothing works without.
    #[error("{0}")]
    Node(String),
}

impl DaemonError {
    /// Whether a restart without another configuration would be of no use.
    pub fn is_config(&self) -> bool {
        matches!(self, Self::Config(_))
    }
}

/// Runs until SIGTERM or SIGINT, or for one decision.
///
/// # Errors
/// [`DaemonError`], before anything was changed.
pub async fn run(layout: Layout, options: Options) -> Result<(), DaemonError> {
    // A dry run changes nothing and may look on beside the daemon.
    let _lock = if options.dry_run {
        None
    } else {
        Some(instance::lock(&layout)?)
    };
    let mut agent = Agent::new(layout, options).await?;
    if options.once {
        return agent.once().await;
    }
    let mut signals = Signals::new()?;
    agent.start().await;
    let why = serve(&mut agent, &mut signals).await;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    agent.stop(why, STOP_WITHIN).await;
    Ok(())
}

/// What the service manager and the admin may send.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn new() -> Result<Self, DaemonError> {
        let on = |kind| {
            signal(kind).map_err(|e| DaemonError::Node(format!("cannot listen for signals: {e}")))
        };
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            reload: on(SignalKind::hangup())?,
        })
    }
}

/// Samples, ticks and reloads until told to stop; returns what told it.
async fn serve(agent: &mut Agent, signals: &mut Signals) -> &'static str {
    let mut beat = interval(SAMPLE_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut next_tick = Instant::now();
    loop {
        tokio::select! {
            biased;
            _ = signals.terminate.recv() => return "SIGTERM",
            _ = signals.interrupt.recv() => return "SIGINT",
            _ = signals.reload.recv() => agent.reload(),
            Some(report) = agent.next_report() => agent.take(report),
            at = beat.tick() => {
                agent.follow_cluster().await;
                let urgent = agent.sample().await;
                if urgent || at >= next_tick {
                    agent.tick().await;
                    next_tick = at + agent.check_interval();
                }
                // Progress, not a timer, is what the watchdog is told of.
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
            }
        }
    }
}
