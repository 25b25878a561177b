//! The sentences: what happened, in figures, why, and what the reader can do.
//!
//! Built from the typed fields of an event. Whatever text came from outside is made one clean line here.

use jiff::tz::TimeZone;
use serde::Serialize;

use crate::act::{Done, Outcome};
use crate::decide::Change;
use crate::domain::{Amount, Lever, Moment, sanitize};
use crate::record::{Day, Event, EventKind, VmRef, span};

/// The longest foreign text that is told, in characters. An error of `qm` is one or two lines.
const FOREIGN: usize = 600;
/// The longest foreign text in a headline.
const HEADLINE: usize = 120;

/// The advice where nothing is to be done.
const NOTHING: &str = "nothing is needed; this is for your information.";

/// An event in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Words {
    /// One line that stands on its own, with the numbers.
    pub(super) headline: String,
    /// The details, each with its name.
    pub(super) facts: Vec<(&'static str, String)>,
    /// What the reader can do.
    pub(super) advice: String,
}

/// Puts `event` into words. Times are shown in `zone`.
pub(super) fn words(event: &Event, zone: &TimeZone) -> Words {
    let mut words = match &event.vm {
        Some(vm) => about_vm(vm, event, zone),
        None => about_node(event),
    };
    words.facts.push(("When", time(event.at, zone)));
    words.facts.push(("Node", event.node.to_string()));
    words
}

fn about_vm(vm: &VmRef, event: &Event, zone: &TimeZone) -> Words {
    let (who, id) = (name(vm), vm.id);
    match &event.kind {
        EventKind::Changed(done) => changed(&who, done),
        EventKind::WantsMore {
            resource,
            wants,
            limit,
            why,
        } => Words {
            headline: format!(
                "{who} wants more {resource} than it may have: {wants}, limit {limit}"
            ),
            facts: vec![("Wants", wants.to_string()), ("Limit", limit.to_string())],
            advice: format!(
                "{}. `vm-autoscale explain {id}` shows what limits it.",
                foreign(why)
            ),
        },
        EventKind::BreakerOpened { lever, until, why } => Words {
            headline: format!("{who}: {lever} failed repeatedly and rests"),
            facts: vec![
                ("Last failure", foreign(why)),
                ("Tried again", time(*until, zone)),
            ],
            advice: format!("`vm-autoscale doctor {id}` names what is in the way."),
        },
        EventKind::TakenOver { what } => Words {
            headline: format!("{who} is now sized by vm-autoscale"),
            facts: vec![("Before", foreign(what))],
            advice: format!(
                "nothing is needed; `vm-autoscale release {id}` puts the old settings back."
            ),
        },
        EventKind::Released { what } => Words {
            headline: format!("{who} is no longer sized by vm-autoscale"),
            facts: vec![("Now", foreign(what))],
            advice: NOTHING.to_owned(),
        },
        EventKind::Recovered { what, .. } => {
            let over = about_node(event);
            let headline = format!("{who}: recovered, {}", ended(what));
            Words { headline, ..over }
        }
        EventKind::Degraded { why, .. } => Words {
            headline: format!("{who}: {}", line(why, HEADLINE)),
            advice: format!("`vm-autoscale doctor {id}` names what to repair."),
            ..about_node(event)
        },
        _ => {
            let told = about_node(event);
            let headline = format!("{who}: {}", told.headline);
            let advice = format!("`vm-autoscale explain {id}` shows what is known of it.");
            Words {
                headline,
                advice,
                ..told
            }
        }
    }
}

fn about_node(event: &Event) -> Words {
    let node = &event.node;
    let (headline, facts, advice) = match &event.kind {
        EventKind::HostLimit { resource, why } => (
            format!("Node {node} has no room for more {resource}"),
            vec![("Why", foreign(why))],
            "move a VM to another node, shut down what is not needed, or raise the limits under host: in /etc/vm-autoscale/config.yaml. `vm-autoscale status` shows who holds what.",
        ),
        EventKind::ConfigLoaded { what } => (
            format!("New configuration in force on {node}"),
            vec![("What", foreign(what))],
            NOTHING,
        ),
        EventKind::ConfigRejected { why } => (
            format!("Configuration rejected on {node}, the previous one stays in force"),
            vec![("Fault", foreign(why))],
            "correct the file; `vm-autoscale check-config` shows every fault with its line.",
        ),
        EventKind::Degraded { what, why } => (
            format!("Degraded: {}", line(why, HEADLINE)),
            vec![("Problem", foreign(what)), ("Why", foreign(why))],
            "`vm-autoscale status` shows what still works, `vm-autoscale doctor` what to repair.",
        ),
        EventKind::Recovered { what, after } => (
            format!("Recovered: {}", ended(what)),
            vec![("Problem", foreign(what)), ("Lasted", span(*after))],
            NOTHING,
        ),
        EventKind::Daily(day) => return daily(day),
        EventKind::Started { version, managed } => (
            format!("vm-autoscale {} started on {node}", foreign(version)),
            vec![("Managed VMs", managed.to_string())],
            NOTHING,
        ),
        EventKind::Stopped { why } => (
            format!("vm-autoscale stopped on {node}"),
            vec![("Why", foreign(why))],
            "nothing is scaled until it runs again: `systemctl start vm-autoscale`.",
        ),
        // Kinds of events that are about a VM, without one: its sentence says it all.
        other => (foreign(&other.to_string()), Vec::new(), NOTHING),
    };
    Words {
        headline,
        facts,
        advice: advice.to_owned(),
    }
}

fn daily(day: &Day) -> Words {
    let amiss = match day.faults {
        0 => "all is well".to_owned(),
        1 => "1 thing needs attention".to_owned(),
        n => format!("{n} things need attention"),
    };
    let mut facts = vec![
        ("Agents", format!("{} on {} nodes", day.agents, day.nodes)),
        ("VMs sized", day.vms.to_string()),
        ("Changes", day.changes.to_string()),
    ];
    facts.extend(
        day.attention
            .iter()
            .map(|fault| ("Attention", foreign(fault))),
    );
    let advice = match day.faults == 0 {
        true => NOTHING,
        false => "`vm-autoscale status --cluster` shows every node with its agent, and every VM.",
    };
    Words {
        headline: format!("The cluster's last day: {} changes, {amiss}", day.changes),
        facts,
        advice: advice.to_owned(),
    }
}

fn changed(who: &str, done: &Done) -> Words {
    let change = &done.change;
    let (from, to) = (
        sized(change.lever, change.from),
        sized(change.lever, change.to),
    );
    let now = done.now.get().map(|now| sized(change.lever, now));
    // As far as it got.
    let reached = |to: Amount| {
        Change {
            to,
            ..change.clone()
        }
        .to_string()
    };
    let id = change.vm;
    let (headline, advice) = match &done.outcome {
        Outcome::Applied => (
            change.to_string(),
            format!("nothing is needed; `vm-autoscale explain {id}` shows how it was decided."),
        ),
        Outcome::Partial(_) => (
            match done.now.get() {
                Some(now) => format!("{} ({to} asked for)", reached(now)),
                None => format!("{change}: only a part was reached"),
            },
            format!("`vm-autoscale doctor {id}` names what keeps the guest from the rest."),
        ),
        Outcome::Pending(_) => (
            format!("{change} waits for a power cycle"),
            format!(
                "shut the VM down and start it again, or see `vm-autoscale prepare {id}` for what would make it live."
            ),
        ),
        Outcome::Refused(_) | Outcome::Withheld(_) => (
            format!("{change} refused"),
            format!(
                "`vm-autoscale doctor {id}` names what is in the way. It is tried again later."
            ),
        ),
        Outcome::Unknown(_) => (
            format!("{change}, outcome unknown"),
            format!("look at the VM: `qm status {id} --verbose`, `vm-autoscale explain {id}`."),
        ),
    };
    let mut facts = vec![("Before", from)];
    if !matches!(done.outcome, Outcome::Applied) {
        facts.push(("Asked for", to));
    }
    facts.push((
        "Now",
        match now {
            Some(now) => format!("{now}, read back after {}", span(done.took)),
            None => "unknown, could not be read back".to_owned(),
        },
    ));
    facts.push(("Why", foreign(&change.reason.to_string())));
    if !matches!(done.outcome, Outcome::Applied) {
        facts.push(("Outcome", foreign(&done.outcome.to_string())));
    }
    Words {
        headline: format!("{who}: {headline}"),
        facts,
        advice,
    }
}

/// `VM 101 (web)`.
fn name(vm: &VmRef) -> String {
    match vm.name.as_str() {
        "" => format!("VM {}", vm.id),
        name => format!("VM {} ({name})", vm.id),
    }
}

/// An amount in the words of its lever: vCPUs are counted, a quota is cores.
fn sized(lever: Lever, amount: Amount) -> String {
    match (lever, amount) {
        (Lever::Vcpus, Amount::Cpu(_)) if bare(amount) == "1" => "1 vCPU".to_owned(),
        (Lever::Vcpus, Amount::Cpu(cores)) => format!("{cores} vCPUs"),
        _ => amount.to_string(),
    }
}

fn bare(amount: Amount) -> String {
    match amount {
        Amount::Cpu(cores) => cores.to_string(),
        Amount::Memory(mib) => mib.to_string(),
    }
}

/// What is true again, for the words that problems have (`record::watch`, and this room's own).
fn ended(what: &str) -> String {
    if let Some(channel) = what.strip_prefix("notify-") {
        return format!(
            "notification channel {} works again",
            line(channel, HEADLINE)
        );
    }
    let known = [
        ("quorum", "the cluster has quorum again"),
        ("host-cpu", "the node has room for more CPU again"),
        ("host-memory", "the node has room for more memory again"),
        ("-max", "it no longer wants more than it may have"),
        ("-ceiling", "it no longer wants more than it may have"),
        ("-unmeasured", "it can be measured again"),
        ("-unreadable", "its settings can be used again"),
    ];
    match known.iter().find(|(end, _)| what.ends_with(end)) {
        Some((_, sentence)) => (*sentence).to_owned(),
        None => format!("{} is over", line(what, HEADLINE)),
    }
}

/// Foreign text as it is told.
fn foreign(text: &str) -> String {
    line(text, FOREIGN)
}

/// Text as one clean line of at most `max` characters: it can start no header, no line and no markup of its own.
pub(super) fn line(text: &str, max: usize) -> String {
    // Only so much of the text is looked at: it can be a megabyte.
    let start: String = text.chars().take(4 * max).collect();
    let words: Vec<&str> = start.split_whitespace().collect();
    sanitize(&words.join(" "), max)
}

/// A point in time as people read it: `2026-11-24 11:20:10 +01:00`.
pub(super) fn time(at: Moment, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(at.as_millis()) {
        Ok(time) => {
            let local = time.to_zoned_datetime(zone.clone());
            local.strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
        }
        Err(_) => at.to_string(),
    }
}

/// The event with every foreign text cut to what is told of it, so that a waiting event is small.
pub(super) fn bounded(event: &Event) -> Event {
    let mut event = event.clone();
    let cut = |text: &mut String| *text = foreign(text);
    match &mut event.kind {
        EventKind::Changed(done) => match &mut done.outcome {
            Outcome::Applied => {}
            Outcome::Partial(why)
            | Outcome::Pending(why)
            | Outcome::Refused(why)
            | Outcome::Withheld(why)
            | Outcome::Unknown(why) => cut(why),
        },
        EventKind::WantsMore { why, .. }
        | EventKind::HostLimit { why, .. }
        | EventKind::BreakerOpened { why, .. }
        | EventKind::ConfigRejected { why }
        | EventKind::Stopped { why } => cut(why),
        EventKind::TakenOver { what }
        | EventKind::Released { what }
        | EventKind::ConfigLoaded { what }
        | EventKind::Recovered { what, .. } => cut(what),
        EventKind::Degraded { what, why } => {
            cut(what);
            cut(why);
        }
        EventKind::Daily(day) => day.attention.iter_mut().for_each(cut),
        EventKind::Started { version, .. } => cut(version),
    }
    if let Some(vm) = &mut event.vm {
        vm.tags.truncate(64);
        vm.tags.iter_mut().for_each(cut);
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_becomes_one_clean_line_of_bounded_length() {
        assert_eq!(
            foreign("unable to\n\tplug\r\nBcc: all@example.com\x1b[2J\u{202e}"),
            "unable to plug Bcc: all@example.com?[2J?"
        );
        let megabyte = "x".repeat(1 << 20);
        assert_eq!(foreign(&megabyte).chars().count(), FOREIGN);
    }
}
