//! Five real services, each reproduced with rows and options alone: what docs/recipes sets up does what the service says of
//! itself. One file a service, one test a claim; docs/systems.md lists them.

mod internetivo;
mod iverton;
mod ivy;
mod vivoldi;
mod zivio;

use crate::docs::document;
use crate::mail::MailServer;
use harness::{Authority, Database, Receiver, Request, Worker};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt::Write;

/// A service as its recipe sets it up, its customer's receiver behind HTTPS, and a worker.
struct Service {
    database: Database,
    receiver: Receiver,
    secret: String,
    _worker: Worker,
}

impl Service {
    async fn start(page: &str) -> Service {
        Self::start_with(page, &[], &[]).await
    }

    /// With more arguments and environment for the worker.
    async fn start_with(page: &str, arguments: &[&str], environment: &[(&'static str, String)]) -> Service {
        let (database, authority) = (Database::new().await, Authority::new("Test"));
        let receiver = Receiver::start_tls(authority.certify(&["127.0.0.1"]).acceptor(&["http/1.1"])).await;
        for block in recipe(page) {
            database
                .run(&block.replace("hooks.example.com", &format!("127.0.0.1:{}", receiver.port())))
                .await;
        }
        let secret =
            database.text("SELECT secret FROM webhook.endpoint_secret WHERE expires_at IS NULL").await;
        let file = authority.file();
        let ca_file = file.path().to_str().expect("UTF-8");
        let mut all = vec!["--allow-network", "127.0.0.0/8", "--ca-file", ca_file];
        all.extend_from_slice(arguments);
        let mut variables = database.environment();
        variables.extend_from_slice(environment);
        let worker = Worker::spawn(&variables, &all).await;
        worker.ready().await;
        Service { database, receiver, secret, _worker: worker }
    }

    async fn emit(&self, event_type: &str, data: &str) -> String {
        self.database.text(&format!("SELECT webhook_emit('{event_type}', '{data}')")).await
    }

    /// Emits one event and returns the first request made for it.
    async fn request(&self, event_type: &str, data: &str) -> Request {
        let before = self.receiver.count();
        self.emit(event_type, data).await;
        self.receiver.receives(before + 1).await[before].clone()
    }

    /// Status and attempts of the one delivery, once it has ended.
    async fn ended(&self) -> String {
        self.database.drained().await;
        self.database.rows("SELECT status, attempts FROM webhook.delivery").await.join("; ")
    }

    /// Of the one delivery that is owed: the waits after its attempts, in seconds, each made to pass at once.
    async fn waits(&self) -> Vec<i64> {
        let mut waits = Vec::new();
        loop {
            let made = (waits.len() + 1).to_string();
            self.database.becomes("SELECT count(*) FROM webhook.attempt WHERE number > 0", &made).await;
            let wait = "SELECT coalesce((SELECT ceil(extract(epoch FROM due - (SELECT max(recorded_at) FROM webhook.attempt)))::bigint FROM webhook.queue), -1)";
            match self.database.number(wait).await {
                -1 => return waits,
                wait => waits.push(wait),
            }
            self.database.pass_time().await;
        }
    }
}

/// Waits for a mail with this word, and returns all, whole.
async fn until_mailed(mail: &MailServer, word: &str) -> Vec<String> {
    let mails = || mail.mails().iter().map(ToString::to_string).collect::<Vec<_>>();
    harness::until("a mail has come", async || mails().iter().any(|text| text.contains(word)).then_some(()))
        .await;
    mails()
}

/// The SQL of a recipe.
fn recipe(page: &str) -> Vec<String> {
    let text = document(&format!("docs/recipes/{page}.md"));
    let blocks = text.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(str::to_owned).collect()
}

fn hmac(key: &[u8], content: &[u8]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length");
    mac.chain_update(content).finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// docs/systems.md names every test, and every test it names is there.
#[test]
fn every_claim_has_its_test() {
    let table = document("docs/systems.md");
    let mut named = Vec::new();
    for line in table.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        let cell = line.rsplit('|').nth(1).unwrap_or_default();
        named.extend(cell.split('`').skip(1).step_by(2).map(str::to_owned));
    }
    let mut there = Vec::new();
    for service in ["internetivo", "iverton", "ivy", "vivoldi", "zivio"] {
        let source = document(&format!("tests/e2e/systems/{service}.rs"));
        for rest in source.split("#[tokio::test]\nasync fn ").skip(1) {
            there.push(format!("{service}::{}", rest.split('(').next().unwrap_or_default()));
        }
    }
    let unnamed: Vec<_> = there.iter().filter(|test| !named.contains(test)).collect();
    let missing: Vec<_> = named.iter().filter(|test| !there.contains(test)).collect();
    assert!(
        unnamed.is_empty() && missing.is_empty(),
        "not in the table: {unnamed:#?}; not a test: {missing:#?}"
    );
    assert!(there.len() >= 35, "{}", there.len());
}
