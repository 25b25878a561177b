//! A message as every channel gets it: subject, plain text and HTML, for one event or as a digest of many.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use minijinja::Value;
use minijinja::value::Serde;
use serde::Serialize;
use serde_json::json;

use super::batch::{Batch, Item};
use super::settings::Templates;
use super::template::{Makes, TemplateError, render};
use super::topic::Topic;
use super::wording::{Words, line, time, words};
use crate::domain::{Moment, NodeName, VmId};
use crate::record::{Event, Severity, VmRef};

/// The most events that a digest lists in its text; the rest is counted.
const LISTED: usize = 40;
/// The longest subject, in characters. Phones show about 40, mail programs about 120.
const SUBJECT: usize = 150;

/// What one channel is to deliver, the same over all attempts but for `repeat`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// The same at each attempt and after a restart: receivers can tell a repeat by it.
    pub id: String,
    /// An earlier attempt may have got through.
    pub repeat: bool,
    /// When the newest of its events happened.
    pub at: Moment,
    /// The node that sends it.
    pub node: NodeName,
    /// The highest severity of its events.
    pub severity: Severity,
    /// One line.
    pub subject: String,
    /// Plain text that goes with the subject, lines of any length.
    pub text: String,
    /// The same as an HTML document.
    #[serde(skip)]
    pub html: String,
    /// The events in it, oldest first.
    pub events: Vec<Told>,
    /// Events that happened but were dropped, by severity: too many waited.
    pub dropped: BTreeMap<Severity, u32>,
}

/// One event of a message.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    /// Its number: the same at each attempt and after a restart.
    pub id: u64,
    /// What it is about.
    pub topic: Topic,
    /// How much it matters.
    pub severity: Severity,
    /// One line that stands on its own.
    pub headline: String,
    /// What the reader can do.
    pub advice: String,
    /// How many more with the same meaning were left out.
    pub more: u32,
    /// The event itself, with its figures.
    #[serde(flatten)]
    pub event: Event,
    #[serde(skip)]
    facts: Vec<(&'static str, String)>,
}

impl Told {
    fn new(item: &Item, zone: &TimeZone) -> Self {
        let Words {
            headline,
            facts,
            advice,
        } = words(&item.event, zone);
        Self {
            id: item.id,
            topic: Topic::of(&item.event),
            severity: item.event.severity(),
            headline,
            advice,
            more: item.more,
            event: Event::clone(&item.event),
            facts,
        }
    }
}

impl Message {
    /// The message for `batch`, with times shown in `zone` and the admin's `templates` in force.
    ///
    /// # Errors
    /// If a template cannot be rendered.
    pub(super) fn compose(
        batch: &Batch,
        node: &NodeName,
        zone: &TimeZone,
        templates: &Templates,
    ) -> Result<Self, TemplateError> {
        let events: Vec<Told> = batch
            .items
            .iter()
            .map(|item| Told::new(item, zone))
            .collect();
        let severities = events.iter().map(|told| told.severity);
        let dropped = batch.dropped.keys().copied();
        let mut message = Self {
            id: format!("{}-{node}", batch.items.first().map_or(0, |item| item.id)),
            repeat: batch.repeat,
            at: events
                .iter()
                .map(|told| told.event.at)
                .max()
                .unwrap_or_default(),
            node: node.clone(),
            severity: severities.chain(dropped).max().unwrap_or(Severity::Info),
            subject: String::new(),
            text: String::new(),
            html: String::new(),
            events,
            dropped: batch.dropped.clone(),
        };
        message.subject = message.built_in_subject();
        message.finish(zone, templates)?;
        Ok(message)
    }

    /// A message that only shows that the channel `name` works.
    ///
    /// # Errors
    /// If a template cannot be rendered.
    pub(super) fn test(
        name: &str,
        node: &NodeName,
        at: Moment,
        zone: &TimeZone,
        templates: &Templates,
    ) -> Result<Self, TemplateError> {
        let mut message = Self {
            id: format!("test-{}-{node}", at.as_millis()),
            repeat: false,
            at,
            node: node.clone(),
            severity: Severity::Info,
            subject: format!("[{node}] Test: the channel {name} works"),
            text: String::new(),
            html: String::new(),
            events: Vec::new(),
            dropped: BTreeMap::new(),
        };
        message.finish(zone, templates)?;
        Ok(message)
    }

    /// Writes the texts, by the admin's templates where there are some.
    fn finish(&mut self, zone: &TimeZone, templates: &Templates) -> Result<(), TemplateError> {
        self.text = self.built_in_text(zone);
        if let Some(template) = &templates.subject {
            let subject = render(template, Makes::Text, self.values())?;
            self.subject = line(&subject, SUBJECT);
        }
        if let Some(template) = &templates.text {
            self.text = render(template, Makes::Text, self.values())?;
        }
        self.html = match &templates.text {
            Some(_) => render(PLAIN_HTML, Makes::Html, self.values())?,
            None => render(MAIL_HTML, Makes::Html, self.page(zone))?,
        };
        Ok(())
    }

    fn built_in_subject(&self) -> String {
        let subject = match self.events.as_slice() {
            [told] if self.dropped.is_empty() => told.headline.clone(),
            events => {
                let mut counts = self.dropped.clone();
                for told in events {
                    *counts.entry(told.severity).or_default() += 1 + told.more;
                }
                let total: u32 = counts.values().sum();
                format!("{total} events: {}", listed(&counts))
            }
        };
        line(&format!("[{}] {subject}", self.node), SUBJECT)
    }

    fn built_in_text(&self, zone: &TimeZone) -> String {
        let mut lines = Vec::new();
        if let [told] = self.events.as_slice()
            && self.dropped.is_empty()
        {
            lines.extend(
                told.facts
                    .iter()
                    .map(|(name, fact)| format!("{name}: {fact}")),
            );
            lines.push(String::new());
            lines.push(format!("What you can do: {}", told.advice));
        } else {
            for told in self.by_weight() {
                let at = time(told.event.at, zone);
                let more = repeated(told.more);
                lines.push(format!("{at} {}: {}{more}", told.severity, told.headline));
            }
        }
        let notes = self.notes();
        if !notes.is_empty() && !lines.is_empty() {
            lines.push(String::new());
        }
        lines.extend(notes);
        lines.join("\n") + "\n"
    }

    /// The events that a digest lists: the severest first, of those the oldest.
    fn by_weight(&self) -> Vec<&Told> {
        let mut events: Vec<&Told> = self.events.iter().collect();
        events.sort_by_key(|told| (std::cmp::Reverse(told.severity), told.id));
        events.truncate(LISTED);
        events
    }

    /// What is to be said besides the events.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.events.is_empty() {
            notes.push(
                "You asked for it with `vm-autoscale notify-test`: nothing happened.".to_owned(),
            );
        }
        if let Some(hidden @ 1..) = self.events.len().checked_sub(LISTED) {
            notes.push(format!(
                "{hidden} more are not listed here: `vm-autoscale history` has them all."
            ));
        }
        if !self.dropped.is_empty() {
            let dropped = listed(&self.dropped);
            notes.push(format!(
                "{dropped} could not be kept, since too much happened at once: `vm-autoscale history` has them."
            ));
        }
        if let [told] = self.events.as_slice()
            && told.more > 0
        {
            notes.push(format!(
                "{} more like this happened since it was last told.",
                told.more
            ));
        }
        if self.repeat {
            notes.push(
                "This may be a repeat: it could not be confirmed that an earlier attempt arrived."
                    .to_owned(),
            );
        }
        notes
    }

    /// What a template of the admin's can use.
    pub(super) fn values(&self) -> Value {
        let single = match self.events.as_slice() {
            [told] => Some(told),
            _ => None,
        };
        let vm: Option<&VmRef> = single.and_then(|told| told.event.vm.as_ref());
        Value::from(Serde(json!({
            "id": &self.id,
            "repeat": self.repeat,
            "at": self.at,
            "node": &self.node,
            "severity": self.severity,
            "priority": self.severity as u8 + 1,
            "subject": &self.subject,
            "text": &self.text,
            "events": &self.events,
            "dropped": self.dropped.values().sum::<u32>(),
            "topic": single.map(|told| told.topic),
            "headline": single.map(|told| told.headline.as_str()),
            "advice": single.map(|told| told.advice.as_str()),
            "vmid": vm.map(|vm| VmId::get(vm.id)),
            "vm_name": vm.map(|vm| vm.name.as_str()),
        })))
    }

    /// What the HTML page shows.
    fn page(&self, zone: &TimeZone) -> Value {
        let single = self.events.len() == 1 && self.dropped.is_empty();
        let rows: Vec<serde_json::Value> = self
            .by_weight()
            .into_iter()
            .map(|told| {
                json!({
                    "headline": &told.headline,
                    "facts": &told.facts,
                    "advice": &told.advice,
                    "at": time(told.event.at, zone),
                    "severity": told.severity,
                    "color": color(told.severity),
                    "more": repeated(told.more),
                })
            })
            .collect();
        Value::from(Serde(json!({
            "single": single,
            "rows": rows,
            "subject": &self.subject,
            "severity": self.severity,
            "color": color(self.severity),
            "node": &self.node,
            "notes": self.notes(),
            "version": env!("CARGO_PKG_VERSION"),
        })))
    }
}

/// The mail as people see it. Tables and inline styles, since that is what mail programs render.
const MAIL_HTML: &str = include_str!("mail.html");

/// The admin's own text, in a page.
const PLAIN_HTML: &str = "<!DOCTYPE html>\n<html><body><pre style=\"white-space:pre-wrap\">{{ text }}</pre></body></html>\n";

/// Colours that can be told apart and read on white.
fn color(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "#2f7d4f",
        Severity::Notice => "#2b6cb0",
        Severity::Warning => "#975a16",
        Severity::Error => "#c53030",
    }
}

/// `3 errors, 12 warnings`, the severest first.
fn listed(counts: &BTreeMap<Severity, u32>) -> String {
    let word = |severity| match severity {
        Severity::Info => "info",
        Severity::Notice => "notices",
        Severity::Warning => "warnings",
        Severity::Error => "errors",
    };
    let parts: Vec<String> = counts
        .iter()
        .rev()
        .map(|(severity, count)| match count {
            1 => format!("1 {severity}"),
            _ => format!("{count} {}", word(*severity)),
        })
        .collect();
    parts.join(", ")
}

fn repeated(more: u32) -> String {
    match more {
        0 => String::new(),
        _ => format!(" (and {more} more like it)"),
    }
}

#[cfg(test)]
mod tests;
