//! E-mail by SMTP. Each recipient gets the message in a transaction of its own, so that one wrong address does not
//! keep it from the others, and a second attempt goes to those only who have not got it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lettre::address::{Address, Envelope};
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{self, AsyncSmtpTransport};
use lettre::{AsyncTransport, Tokio1Executor};

use super::channel::{self, Answer, Sending, Surroundings};
use super::http::chain;
use super::mail;
use super::message::Message;
use super::secret::{Secret, blot};
use super::settings::{Smtp, SmtpTls};

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// An SMTP server and the recipients behind it.
pub(super) struct Channel {
    settings: Smtp,
    around: Surroundings,
    timeout: Duration,
    /// The message that was sent last, and who has got it.
    accepted: Mutex<(String, Vec<Address>)>,
}

impl Channel {
    pub(super) fn new(settings: Smtp, around: Surroundings, timeout: Duration) -> Self {
        Self {
            settings,
            around,
            timeout,
            accepted: Mutex::new((String::new(), Vec::new())),
        }
    }

    async fn attempt(&self, message: &Message) -> Result<Answer, Answer> {
        let from = match &self.settings.from {
            Some(from) => mailbox(from)?,
            None => mailbox(&format!("vm-autoscale@{}", self.around.node))?,
        };
        let to: Vec<Mailbox> = self
            .settings
            .to
            .iter()
            .map(|address| mailbox(address))
            .collect::<Result<_, _>>()?;
        let mail = mail::build(message, &from, &to).map_err(Answer::refused)?;
        let (transport, secrets) = self.transport().await?;
        let mut worst = Answer::Delivered;
        for recipient in to {
            if self.has_got(message, &recipient.email) {
                continue;
            }
            let envelope = Envelope::new(Some(from.email.clone()), vec![recipient.email.clone()]);
            let envelope = envelope.map_err(|error| Answer::refused(error.to_string()))?;
            match transport.send_raw(&envelope, &mail).await {
                Ok(_) => self.note(message, recipient.email),
                Err(error) => worst = worse(worst, meaning(&error, &recipient.email, &secrets)),
            }
        }
        Ok(worst)
    }

    async fn transport(&self) -> Result<(Transport, Vec<Secret>), Answer> {
        let server = &self.settings.server;
        let mut builder = Transport::builder_dangerous(server.as_str())
            .port(self.settings.port)
            .timeout(Some(self.timeout))
            .hello_name(ClientId::Domain(self.around.node.to_string()));
        if self.settings.tls != SmtpTls::None {
            builder = self.encrypt(builder).await?;
        }
        let mut secrets = Vec::new();
        if let Some(login) = &self.settings.login {
            let password = login.password.read(self.around.credentials()).await;
            let password = password.map_err(|error| Answer::refused(error.to_string()))?;
            let credentials = (login.username.clone(), password.expose().to_owned());
            builder = builder.credentials(Credentials::from(credentials));
            secrets.push(password);
        }
        Ok((builder.build(), secrets))
    }

    #[cfg(feature = "tls")]
    async fn encrypt(
        &self,
        builder: smtp::AsyncSmtpTransportBuilder,
    ) -> Result<smtp::AsyncSmtpTransportBuilder, Answer> {
        use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};

        let mut parameters = TlsParameters::builder(self.settings.server.clone());
        if let Some(file) = &self.settings.ca_file {
            let pem = super::http::read_pem(file).await?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem);
            let unusable = |why| Answer::refused(format!("its ca_file {} {why}", file.display()));
            if certificates.is_ok_and(|certificates| certificates.is_empty()) {
                return Err(unusable("holds no certificate in PEM"));
            }
            for certificate in blocks(&pem) {
                let certificate = Certificate::from_pem(&certificate)
                    .map_err(|_| unusable("holds a broken certificate"))?;
                parameters = parameters.add_root_certificate(certificate);
            }
        }
        let parameters = parameters
            .build()
            .map_err(|error| Answer::refused(chain(&error)))?;
        Ok(builder.tls(match self.settings.tls {
            SmtpTls::Implicit => Tls::Wrapper(parameters),
            SmtpTls::Starttls | SmtpTls::None => Tls::Required(parameters),
        }))
    }

    #[cfg(not(feature = "tls"))]
    async fn encrypt(
        &self,
        _: smtp::AsyncSmtpTransportBuilder,
    ) -> Result<smtp::AsyncSmtpTransportBuilder, Answer> {
        Err(Answer::refused(super::http::NO_TLS))
    }

    fn has_got(&self, message: &Message, recipient: &Address) -> bool {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.0 == message.id && accepted.1.contains(recipient)
    }

    fn note(&self, message: &Message, recipient: Address) {
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        if accepted.0 != message.id {
            *accepted = (message.id.clone(), Vec::new());
        }
        accepted.1.push(recipient);
    }
}

impl channel::Channel for Channel {
    fn send<'a>(&'a self, message: &'a Message) -> Sending<'a> {
        Box::pin(async { self.attempt(message).await.unwrap_or_else(|answer| answer) })
    }
}

/// The certificates of a PEM file, each on its own.
#[cfg(feature = "tls")]
fn blocks(pem: &[u8]) -> Vec<Vec<u8>> {
    const END: &str = "-----END CERTIFICATE-----";
    String::from_utf8_lossy(pem)
        .split_inclusive(END)
        .filter(|block| block.contains(END))
        .map(|block| block.as_bytes().to_vec())
        .collect()
}

fn mailbox(address: &str) -> Result<Mailbox, Answer> {
    address.parse().map_err(|error| {
        Answer::refused(format!(
            "cannot be used: {address:?} is no address ({error})"
        ))
    })
}

/// What an error of one recipient means.
fn meaning(error: &smtp::Error, recipient: &Address, secrets: &[Secret]) -> Answer {
    let why = blot(&format!("<{recipient}>: {}", chain(error)), secrets);
    let code = error.status().map(u16::from);
    match code {
        Some(400..500) => Answer::retry(why),
        // The login (RFC 4954: 530, 534, 535, 538) or the address (RFC 5321: 550, 551, 553, 555) is wrong.
        Some(530 | 534 | 535 | 538 | 550 | 551 | 553 | 555) => Answer::refused(why),
        Some(_) => Answer::Rejected { why },
        None if error.is_client() => Answer::refused(why),
        None if never_arrived(error) => Answer::retry(why),
        None => Answer::unsure(why),
    }
}

/// Whether the connection failed before anything could be sent.
fn never_arrived(error: &smtp::Error) -> bool {
    error.to_string().starts_with("Connection error")
}

/// Of two answers the one to act on: where a retry can help some recipient, it is made, else the fault is told.
fn worse(one: Answer, other: Answer) -> Answer {
    let weight = |answer: &Answer| match answer {
        Answer::Delivered => 0,
        Answer::Rejected { .. } => 1,
        Answer::Refused { .. } => 2,
        Answer::Retry { .. } => 3,
    };
    if weight(&other) > weight(&one) {
        other
    } else {
        one
    }
}
