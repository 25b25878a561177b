//! A message as an e-mail (RFC 5322): headers and an alternative of plain text and HTML.

use std::time::{Duration, SystemTime};

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};

use super::message::Message;
use crate::domain::Moment;

/// The e-mail for `message`. The recipients are shown to each other in `To`.
///
/// # Errors
/// One sentence, if an address cannot be used.
pub(super) fn build(message: &Message, from: &Mailbox, to: &[Mailbox]) -> Result<Vec<u8>, String> {
    let mut builder = lettre::Message::builder()
        .from(from.clone())
        .subject(&message.subject)
        .date(system_time(message.at))
        // The same at each attempt, so that a mail program shows a repeat only once.
        .message_id(Some(format!("<{}@vm-autoscale>", message.id)))
        .raw_header(header("Auto-Submitted", "auto-generated"))
        .raw_header(header(
            "X-VM-Autoscale-Severity",
            &message.severity.to_string(),
        ));
    if message.repeat {
        builder = builder.raw_header(header("X-VM-Autoscale-Repeat", "yes"));
    }
    for mailbox in to {
        builder = builder.to(mailbox.clone());
    }
    let body = MultiPart::alternative_plain_html(message.text.clone(), message.html.clone());
    let mail = builder
        .multipart(body)
        .map_err(|error| format!("cannot be used: {error}"))?;
    Ok(mail.formatted())
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

fn system_time(at: Moment) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(at.as_millis().unsigned_abs())
}
