//! HTTP for the channels that speak it: one client for one attempt, and what an answer means.
//!
//! No redirect is followed: it would carry a token to whatever host the answer names.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{LOCATION, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, redirect};

use super::channel::Answer;
use super::secret::{Secret, blot};
use super::settings::Http;
use super::wording::line;

/// Time limit for the connection, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// The most of an answer that is read.
const ANSWER: usize = 64 * 1024;
/// The most of an answer that is quoted, in characters.
const QUOTE: usize = 200;

/// Said where an encrypted connection is asked of a build that cannot make one.
pub const NO_TLS: &str = "this build of vm-autoscale has no TLS (it was built without the cargo feature `tls`); the Debian package has it";

/// A whole answer: its status and the beginning of its body.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) body: String,
    /// Whether the body came to its end.
    pub(super) whole: bool,
    pub(super) retry_after: Option<Duration>,
    location: Option<Url>,
}

/// A client for one attempt at `url`.
pub(super) async fn client(settings: &Http, url: &Url) -> Result<Client, Answer> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Answer::refused(format!(
            "its address begins with {}:, not with https: or http:",
            url.scheme()
        )));
    }
    if url.scheme() == "https" && !cfg!(feature = "tls") {
        return Err(Answer::refused(NO_TLS));
    }
    let mut builder = Client::builder()
        .user_agent(concat!("vm-autoscale/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT)
        .pool_max_idle_per_host(0);
    if let Some(proxy) = &settings.proxy {
        let proxy = reqwest::Proxy::all(proxy.0.clone());
        builder = builder.proxy(proxy.map_err(|error| Answer::refused(chain(&error)))?);
    }
    if let Some(file) = &settings.ca_file {
        builder = trust(builder, file).await?;
    }
    builder
        .build()
        .map_err(|error| Answer::refused(chain(&error.without_url())))
}

#[cfg(feature = "tls")]
async fn trust(
    builder: reqwest::ClientBuilder,
    file: &Path,
) -> Result<reqwest::ClientBuilder, Answer> {
    let pem = read_pem(file).await?;
    let unusable = |why| Answer::refused(format!("its ca_file {} {why}", file.display()));
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if certificates.is_empty() => Err(unusable("holds no certificate in PEM")),
        Ok(certificates) => Ok(builder.tls_certs_merge(certificates)),
        Err(_) => Err(unusable("holds a broken certificate")),
    }
}

#[cfg(not(feature = "tls"))]
async fn trust(_: reqwest::ClientBuilder, _: &Path) -> Result<reqwest::ClientBuilder, Answer> {
    Err(Answer::refused(NO_TLS))
}

/// The certificates in `file`, as text.
#[cfg(feature = "tls")]
pub(super) async fn read_pem(file: &Path) -> Result<Vec<u8>, Answer> {
    tokio::fs::read(file).await.map_err(|error| {
        Answer::refused(format!(
            "its ca_file {} cannot be read: {error}",
            file.display()
        ))
    })
}

/// Sends the request and reads the answer. Nothing of `secrets` gets into a text.
pub(super) async fn exchange(
    request: RequestBuilder,
    secrets: &[Secret],
) -> Result<Answered, Answer> {
    let response = request.send().await.map_err(|error| {
        // Up to the connection nothing was sent; after it, the server may have taken the message and failed to say so.
        let unsure = !(error.is_connect() || error.is_builder());
        let wrong = error.is_builder();
        let why = blot(
            &format!("cannot be reached: {}", chain(&error.without_url())),
            secrets,
        );
        match (wrong, unsure) {
            (true, _) => Answer::refused(why),
            (_, true) => Answer::unsure(why),
            _ => Answer::retry(why),
        }
    })?;
    let retry_after = seconds(&response);
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| response.url().join(text).ok());
    let status = response.status();
    let (body, whole) = body(response).await;
    Ok(Answered {
        status,
        body: blot(&body, secrets),
        whole,
        retry_after,
        location,
    })
}

/// The beginning of the body, and whether it came to its end.
async fn body(mut response: Response) -> (String, bool) {
    let mut bytes = Vec::new();
    let whole = loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() < ANSWER => bytes.extend_from_slice(&chunk),
            Ok(Some(_)) => break false,
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    bytes.truncate(ANSWER);
    (String::from_utf8_lossy(&bytes).into_owned(), whole)
}

/// `Retry-After` in seconds. Its other form, a date, depends on two clocks and is not heeded.
fn seconds(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

impl Answered {
    /// What an answer means that is no success.
    pub(super) fn failure(&self) -> Answer {
        let said = match line(&self.body, QUOTE) {
            quote if quote.is_empty() => String::new(),
            quote => format!(": {quote}"),
        };
        let why = format!("answered {}{said}", self.status);
        match self.status.as_u16() {
            300..=399 => Answer::refused(self.redirected()),
            // The token or the address is wrong (401, 403, 404, 405, 407, 410), whatever the message.
            401 | 403 | 404 | 405 | 407 | 410 => Answer::refused(why),
            408 | 425 | 429 | 500..=599 => Answer::Retry {
                why,
                after: self.retry_after,
                unsure: false,
            },
            _ => Answer::Rejected { why },
        }
    }

    fn redirected(&self) -> String {
        let to = match &self.location {
            Some(url) => format!("to {} ", origin(url)),
            None => String::new(),
        };
        format!(
            "answered {}: it redirects {to}and redirects are not followed, since they would pass the token on; correct the address",
            self.status
        )
    }
}

/// Scheme, host and port: the part of an address that holds no secret.
pub(super) fn origin(url: &Url) -> String {
    let port = url
        .port()
        .map_or_else(String::new, |port| format!(":{port}"));
    format!(
        "{}://{}{port}",
        url.scheme(),
        url.host_str().unwrap_or_default()
    )
}

/// An error with its causes, as one clean line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    line(&text, 2 * QUOTE)
}
