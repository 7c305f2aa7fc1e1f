//! The mail server that notices are sent through.

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use std::path::Path;
use std::time::Duration;
use url::{Host, Url};

/// For each step of the conversation.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Submission, with STARTTLS or with TLS from the start.
const PORT: u16 = 587;
const TLS_PORT: u16 = 465;

pub const USER: &str = "PG_WEBHOOK_SMTP_USER";
pub const PASSWORD: &str = "PG_WEBHOOK_SMTP_PASSWORD";

pub struct MailServer(AsyncSmtpTransport<Tokio1Executor>);

impl MailServer {
    /// `url` is smtp://host[:port] (STARTTLS where the server offers it, and in any case if there are credentials) or
    /// smtps://host[:port] (TLS from the start). `ca_file`: certificates that are trusted besides the system's. Errors
    /// repeat no value.
    pub fn new(
        url: &str,
        credentials: Option<(String, String)>,
        ca_file: Option<&Path>,
    ) -> Result<MailServer, String> {
        let invalid =
            || "the mail server's URL is not valid: give smtp://host:587 or smtps://host".to_owned();
        let url = Url::parse(url).map_err(|_| invalid())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!(
                "the mail server's URL has no user name or password: they come from {USER} and {PASSWORD}"
            ));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(invalid());
        }
        let host = match url.host().ok_or_else(invalid)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let parameters = tls(&host, ca_file)?;
        let (tls, port) = match url.scheme() {
            "smtps" => (Tls::Wrapper(parameters), TLS_PORT),
            "smtp" if credentials.is_some() => (Tls::Required(parameters), PORT),
            "smtp" => (Tls::Opportunistic(parameters), PORT),
            _ => return Err(invalid()),
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host)
            .port(url.port().unwrap_or(port))
            .tls(tls)
            .timeout(Some(TIMEOUT));
        let builder = match credentials {
            Some((user, password)) => builder.credentials(Credentials::new(user, password)),
            None => builder,
        };
        Ok(MailServer(builder.build()))
    }

    /// `recipients` are separated by commas.
    pub async fn send(
        &self,
        sender: &str,
        recipients: &str,
        subject: &str,
        body: &str,
    ) -> Result<(), String> {
        let mailbox = |text: &str| {
            text.trim().parse::<Mailbox>().map_err(|error| format!("{text} is no e-mail address: {error}"))
        };
        let mut message = Message::builder().from(mailbox(sender)?).subject(subject);
        for recipient in recipients.split(',') {
            message = message.to(mailbox(recipient)?);
        }
        // Nobody is to answer it, nor any machine.
        let message = message
            .raw_header(lettre::message::header::HeaderValue::new(
                lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ))
            .body(body.to_owned())
            .map_err(|error| error.to_string())?;
        self.0.send(message).await.map(drop).map_err(|error| with_causes(&error))
    }
}

fn tls(host: &str, ca_file: Option<&Path>) -> Result<TlsParameters, String> {
    let mut parameters = TlsParameters::builder(host.to_owned());
    if let Some(file) = ca_file {
        let pem =
            std::fs::read(file).map_err(|error| format!("{} can't be read: {error}", file.display()))?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(|error| format!("{} holds no certificate: {error}", file.display()))?;
        parameters = parameters.add_root_certificate(certificate);
    }
    parameters.build_rustls().map_err(|error| format!("TLS to the mail server: {error}"))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for good in [
            "smtp://mail.example.com",
            "smtp://127.0.0.1:25",
            "smtps://mail.example.com:4465/",
            "smtp://[::1]",
        ] {
            assert!(MailServer::new(good, None, None).is_ok(), "{good}");
        }
        for bad in [
            "",
            "mail.example.com",
            "http://mail.example.com",
            "smtp://hunter2:hunter2@mail.example.com",
            "smtp://mail.example.com/hunter2",
            "smtp://mail.example.com?hunter2",
        ] {
            let problem = MailServer::new(bad, None, None).err().unwrap_or_else(|| panic!("{bad} is taken"));
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
}
