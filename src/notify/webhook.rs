//! Any HTTP service: method, headers, a body made by a template, and a signature.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use minijinja::Value;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use sha2::Sha256;

use super::channel::{self, Answer, Sending, Surroundings};
use super::http;
use super::message::Message;
use super::secret::{Secret, SecretSource};
use super::settings::{Method, Webhook};
use super::template::{Makes, TemplateError, render};

/// Any HTTP service.
pub(super) struct Channel {
    settings: Webhook,
    around: Surroundings,
}

impl Channel {
    pub(super) fn new(settings: Webhook, around: Surroundings) -> Self {
        Self { settings, around }
    }

    async fn attempt(&self, message: &Message) -> Result<Answer, Answer> {
        let mut secrets = Vec::new();
        let url = self.read(&self.settings.url, &mut secrets).await?;
        let url: Url = url
            .parse()
            .map_err(|_| Answer::refused("its url is no valid address"))?;
        let client = http::client(&self.settings.http, &url).await?;
        let mut request = match self.settings.method {
            Method::Get => client.get(url),
            Method::Post => client.post(url),
            Method::Put => client.put(url),
        };
        for (name, source) in &self.settings.headers {
            let value = self.read(source, &mut secrets).await?;
            request = request.header(header_name(name)?, header_value(name, &value)?);
        }
        if self.settings.method != Method::Get {
            let mut fields = BTreeMap::new();
            for (name, source) in &self.settings.fields {
                fields.insert(name.clone(), self.read(source, &mut secrets).await?);
            }
            let body = body(&self.settings, message, &fields)
                .map_err(|error| Answer::refused(format!("cannot be used: its body {error}")))?;
            if let Some(signature) = &self.settings.signature {
                let key = self.read(&signature.secret, &mut secrets).await?;
                let name = header_name(&signature.header)?;
                request = request.header(name, sign(&key, body.as_bytes())?);
            }
            request = request
                .header(CONTENT_TYPE, self.settings.content_type.as_str())
                .body(body);
        }
        let answered = http::exchange(request, &secrets).await?;
        Ok(match answered.status.is_success() {
            true => Answer::Delivered,
            false => answered.failure(),
        })
    }

    /// Reads a value and notes it as something that no text may show.
    async fn read(
        &self,
        source: &SecretSource,
        secrets: &mut Vec<Secret>,
    ) -> Result<String, Answer> {
        let secret = source.read(self.around.credentials()).await;
        let secret = secret.map_err(|error| Answer::refused(error.to_string()))?;
        let text = secret.expose().to_owned();
        secrets.push(secret);
        Ok(text)
    }
}

impl channel::Channel for Channel {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        Box::pin(async { self.attempt(message).await.unwrap_or_else(|answer| answer) })
    }
}

/// The body for `message`. `fields` are the admin's own values for the template.
pub(super) fn body(
    settings: &Webhook,
    message: &Message,
    fields: &BTreeMap<String, String>,
) -> Result<String, TemplateError> {
    let Some(template) = &settings.body else {
        return serde_json::to_string(message)
            .map_err(|error| TemplateError::new(error.to_string()));
    };
    let mut message = message.clone();
    if let Some(max) = settings.max_text {
        message.text = shortened(&message.text, max);
    }
    let fields = Value::from(fields.clone());
    let values = minijinja::context! { fields => fields, ..message.values() };
    render(
        template,
        Makes::from_content_type(&settings.content_type),
        values,
    )
}

/// At most `max` characters, with an ellipsis where something is missing. Line ends stay.
fn shortened(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(max.saturating_sub(1)).collect();
    format!("{kept}…")
}

fn header_name(name: &str) -> Result<HeaderName, Answer> {
    name.parse()
        .map_err(|_| Answer::refused(format!("cannot be used: {name:?} is no name of a header")))
}

/// The value of a header, marked so that no log of ours shows it.
fn header_value(name: &str, value: &str) -> Result<HeaderValue, Answer> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        Answer::refused(format!(
            "cannot be used: the header {name} must be one line of ASCII text"
        ))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// `sha256=` and the HMAC-SHA-256 of `body` in hexadecimal, as GitHub and many after it sign theirs.
fn sign(key: &str, body: &[u8]) -> Result<String, Answer> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|_| {
        Answer::refused("cannot be used: the signature's secret has no usable length")
    })?;
    mac.update(body);
    let code = mac.finalize().into_bytes();
    let digits: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sha256={digits}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_published_test_vector() {
        // RFC 4231, test case 2.
        assert_eq!(
            sign("Jefe", b"what do ya want for nothing?").unwrap(),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_header_cannot_carry_a_second_one() {
        let answer = header_value("X-Token", "abc\r\nX-Other: 1").unwrap_err();
        assert!(!answer.why().unwrap().contains("abc"), "{answer:?}");
    }
}
