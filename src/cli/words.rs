//! The words and numbers that `status`, `top` and `explain` share: short for a column, whole for a sentence.

use std::time::Duration;

use crate::decide::Reason;
use crate::domain::{Amount, Moment, Reading, VmId};
use crate::record::{ResourceState, span};

/// How urgent a word is; each screen has its own colour for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    /// All is as it should be.
    Calm,
    /// Something is being changed.
    Acts,
    /// Something waits: for time, for room within the limits, for the admin.
    Waits,
    /// Something does not work.
    Stuck,
}

/// A bare number: cores, or gibibytes.
pub(super) fn number(amount: Amount) -> String {
    let value = match amount {
        Amount::Cpu(cores) => cores.as_f64(),
        Amount::Memory(mib) => mib.as_f64() / 1024.0,
    };
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `3.6/4`: what is needed, of what is there.
pub(super) fn need_and_has(state: &ResourceState) -> String {
    let known = |reading: &Reading<Amount>| reading.get().map_or("?".to_owned(), number);
    format!("{}/{}", known(&state.need), known(&state.allocation))
}

/// `1–8`: the least and the most that it may be given.
pub(super) fn limits(state: &ResourceState) -> String {
    match (state.min, state.max) {
        (Some(min), Some(max)) => format!("{}–{}", number(min), number(max)),
        _ => "-".to_owned(),
    }
}

/// The share of the allocation that is needed; `None` if either is unknown.
pub(super) fn share(state: &ResourceState) -> Option<f64> {
    let has = state.allocation.get()?.value();
    (has > 0.0).then_some(state.need.get()?.value() / has)
}

/// The next step, or in a few words why there is none.
pub(super) fn next(state: &ResourceState, now: Moment) -> (Tone, String) {
    let lever = state.lever.map_or(String::new(), |l| format!("{l} "));
    match (state.target, state.recommended) {
        (Some(target), _) => (Tone::Acts, format!("{lever}→ {}", number(target))),
        (None, Some(to)) => (Tone::Waits, format!("apply? → {}", number(to))),
        (None, None) => short(&state.reason, now),
    }
}

fn short(reason: &Reason, now: Moment) -> (Tone, String) {
    let (tone, text) = match reason {
        Reason::NeedsMore { .. }
        | Reason::Saturated { .. }
        | Reason::ShortOfMemory { .. }
        | Reason::AboveThreshold { .. }
        | Reason::CalmedDown { .. }
        | Reason::BelowThreshold { .. }
        | Reason::GivesWay { .. }
        | Reason::OutsideLimits { .. } => (Tone::Acts, "just changed"),
        Reason::PeakAhead { .. } => (Tone::Acts, "peak ahead"),
        Reason::Fits => (Tone::Calm, "fits"),
        Reason::AtMax { .. } => (Tone::Waits, "at maximum"),
        Reason::AtMin { .. } => (Tone::Calm, "at minimum"),
        Reason::AtCeiling { .. } => (Tone::Waits, "at ceiling"),
        Reason::FirstLowReading => (Tone::Calm, "low once"),
        Reason::OneThread { .. } => (Tone::Waits, "one thread"),
        Reason::GuestIgnores { .. } => (Tone::Stuck, "guest ignores"),
        Reason::Booting { .. } => (Tone::Waits, "just started"),
        Reason::HighAvailability { state } => return (Tone::Waits, format!("HA: {state}")),
        Reason::HandOver { .. } => (Tone::Waits, "hand-over"),
        Reason::InProgress => (Tone::Acts, "changing"),
        Reason::CoolingDown { until } => {
            return (Tone::Waits, format!("cools {}", left(*until, now)));
        }
        Reason::EnoughChanges { until, .. } => {
            return (Tone::Waits, format!("capped {}", left(*until, now)));
        }
        Reason::HostFull { .. } => (Tone::Stuck, "node is full"),
        Reason::WaitsForRoom { .. } => (Tone::Waits, "node was full"),
        Reason::FitsNowhereElse { .. } => (Tone::Waits, "fits only here"),
        Reason::Unmeasured { .. } => (Tone::Stuck, "not measured"),
        Reason::NoLever { .. } => (Tone::Stuck, "no lever"),
        Reason::Resting { until, .. } => {
            return (Tone::Stuck, format!("rests {}", left(*until, now)));
        }
        Reason::KeepsMargin { .. } => (Tone::Calm, "keeps margin"),
        Reason::NotAutomatic { .. } => (Tone::Waits, "waits for apply"),
        Reason::OtherNode { node } => return (Tone::Calm, format!("on {node}")),
        Reason::NotRunning => (Tone::Calm, "not running"),
        Reason::NotExecuting { state } => return (Tone::Calm, format!("QEMU {state}")),
        Reason::Template => (Tone::Calm, "template"),
        Reason::Locked { lock } => return (Tone::Waits, format!("locked: {lock}")),
        Reason::Unreadable { .. } => (Tone::Stuck, "unreadable"),
        Reason::BadSettings { .. } => (Tone::Stuck, "bad settings"),
        Reason::NoQuorum => (Tone::Stuck, "no quorum"),
        Reason::Paused { .. } => (Tone::Waits, "paused"),
    };
    (tone, text.to_owned())
}

/// Why, as the rest of a sentence. Times are told as people count them: from now.
pub(super) fn because(state: &ResourceState, now: Moment) -> String {
    match &state.reason {
        Reason::CoolingDown { until } => format!("cooling down for {}", left(*until, now)),
        Reason::Resting { lever, until } => {
            format!(
                "{lever} failed repeatedly and rests for {}",
                left(*until, now)
            )
        }
        Reason::EnoughChanges { most, per, until } => {
            let left = left(*until, now);
            format!("no more than {most} changes per {per}; waits for {left}")
        }
        _ => state.why.clone(),
    }
}

/// The next step with its reason, or why there is none.
pub(super) fn next_and_why(state: &ResourceState, now: Moment) -> String {
    let why = because(state, now);
    match state.target {
        Some(_) => format!("{}: {why}", next(state, now).1),
        None => why,
    }
}

/// What would make the agent act, as the end of a sentence: "Acts when …".
pub(super) fn acts_when(vm: VmId, state: &ResourceState, now: Moment) -> String {
    let resource = state.resource;
    let text = match &state.reason {
        _ if state.target.is_some() => "now: the change is on its way",
        Reason::NeedsMore { .. }
        | Reason::Saturated { .. }
        | Reason::ShortOfMemory { .. }
        | Reason::AboveThreshold { .. }
        | Reason::CalmedDown { .. }
        | Reason::BelowThreshold { .. }
        | Reason::GivesWay { .. }
        | Reason::OutsideLimits { .. }
        | Reason::Fits => "the policy asks for a whole step more or less than it has",
        Reason::PeakAhead { .. } => "the peak needs more, or does not come",
        Reason::AtMax { .. } => {
            return format!(
                "its maximum is raised; `vm-autoscale check-config --vm {vm}` shows where it is set"
            );
        }
        Reason::AtMin { .. } => "the need grows, or its minimum is lowered",
        Reason::AtCeiling { .. } => {
            return format!("the VM is configured with more {resource} and power cycled");
        }
        Reason::FirstLowReading => "the next reading is low as well",
        Reason::OneThread { .. } => "more than one of its threads has work",
        Reason::GuestIgnores { .. } => "the guest brings its vCPUs online",
        Reason::Booting { .. } => "the guest has been up for a while",
        Reason::HighAvailability { .. } => "its HA state is started (`ha-manager status`)",
        Reason::HandOver { .. } => "its file under /etc/pve/vm-autoscale/vms names this node",
        Reason::InProgress => "the change in hand has ended",
        Reason::CoolingDown { until } => {
            return format!("the cool-down ends, in {}", left(*until, now));
        }
        Reason::EnoughChanges { until, .. } => {
            return format!(
                "the caps under `changes` allow one, in {}",
                left(*until, now)
            );
        }
        Reason::HostFull { .. } => {
            return format!(
                "another VM gives {resource} back, or the limits under `host` allow more"
            );
        }
        Reason::WaitsForRoom { wanted, .. } => {
            return format!("{wanted} are free on the node, or it has not been full for 5 minutes");
        }
        Reason::FitsNowhereElse { .. } => {
            return format!(
                "another node has more {resource} free, or `host.fit_elsewhere` does not ask for it"
            );
        }
        Reason::Unmeasured { .. } | Reason::Unreadable { .. } => "it can be read",
        Reason::NoLever { .. } => "what the reason names is changed",
        Reason::Resting { until, .. } => {
            return format!("the lever is tried again, in {}", left(*until, now));
        }
        Reason::KeepsMargin { .. } => "the guest needs less",
        Reason::NotAutomatic { .. } => {
            return format!("you run `vm-autoscale apply {vm}`, or its profile has mode: auto");
        }
        Reason::OtherNode { node } => {
            return format!("never on this node; run this command on {node}");
        }
        Reason::NotRunning => "it is started",
        Reason::NotExecuting { .. } => "the guest executes again",
        Reason::Template => "never: a template does not run",
        Reason::Locked { .. } => "the task that locked it has ended",
        Reason::BadSettings { .. } => "its tags and its settings are put right",
        Reason::NoQuorum => "the cluster is quorate again (`pvecm status`)",
        Reason::Paused { .. } => "the pause is over",
    };
    text.to_owned()
}

/// How long until `until`, in whole seconds. What is over but not decided anew yet has a second left.
fn left(until: Moment, now: Moment) -> String {
    let seconds = until.since(now).as_millis().div_ceil(1000).max(1);
    span(Duration::from_secs(
        u64::try_from(seconds).unwrap_or(u64::MAX),
    ))
}
