//! Notices by e-mail, to a real mail server: each one once, whatever the number of workers, and no secret in it.

use harness::{Answer, Authority, Database, Receiver, Worker, until};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// aiosmtpd, as tests/clients/smtp.py runs it.
pub struct MailServer {
    pub port: u16,
    mails: Arc<Mutex<Vec<Value>>>,
    _process: Child,
}

impl MailServer {
    pub async fn start(arguments: &[&str]) -> MailServer {
        let python = std::env::var("PG_WEBHOOK_TEST_PYTHON").expect("scripts/test.sh sets it");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/smtp.py");
        let mut process = Command::new(python)
            .arg(script)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python is there: scripts/setup.sh test");
        let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let port = lines.next_line().await.expect("a line").expect("its port").parse().expect("a number");
        let mails = Arc::new(Mutex::new(Vec::new()));
        let kept = mails.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                kept.lock().expect("no panic").push(serde_json::from_str(&line).expect("JSON"));
            }
        });
        MailServer { port, mails, _process: process }
    }

    pub fn mails(&self) -> Vec<Value> {
        self.mails.lock().expect("no panic").clone()
    }

    async fn receives(&self, count: usize) -> Vec<Value> {
        until(&format!("{count} e-mails have come"), async || (self.mails().len() >= count).then_some(()))
            .await;
        self.mails()
    }
}

/// A database whose one endpoint answers 500 and gives up at once, with recipients.
async fn scene() -> (Database, Receiver, i32) {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    receiver.answers(|_| Answer::status(500));
    let (endpoint, _) = database.endpoint(&receiver.url("/hooks/hunter2?token=hunter2")).await;
    database
        .run(&format!(
            "UPDATE webhook.endpoint SET name = 'billing', retry_schedule = '{{}}', headers = '{{\"X-Key\": \"hunter2\"}}' WHERE id = {endpoint};
             INSERT INTO webhook.setting VALUES ('notice_recipients', 'ops@example.com, dev@example.org'),
               ('notice_sender', 'webhooks@example.com')"
        ))
        .await;
    (database, receiver, endpoint)
}

async fn worker(database: &Database, url: &str, more: &[(&'static str, &str)], args: &[&str]) -> Worker {
    let mut environment = database.environment();
    environment.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let mut all = vec!["--allow-network", "127.0.0.0/8", "--smtp-url", url];
    all.extend(args);
    let worker = Worker::spawn(&environment, &all).await;
    worker.ready().await;
    worker
}

async fn emit(database: &Database) {
    database.run("SELECT webhook_emit('a.b', '{}')").await;
}

#[tokio::test]
async fn each_notice_is_sent_once_by_one_of_the_workers() {
    let (database, receiver, endpoint) = scene().await;
    let server = MailServer::start(&["0"]).await;
    let url = format!("smtp://127.0.0.1:{}", server.port);
    let one = worker(&database, &url, &[], &[]).await;
    let _other = worker(&database, &url, &[], &[]).await;
    emit(&database).await;
    let mails = server.receives(2).await;
    receiver.answers(|_| Answer::status(200));
    emit(&database).await;
    let all = server.receives(3).await;
    database
        .becomes("SELECT count(*) FROM webhook.notice WHERE mailed_at IS NOT NULL AND mail_due IS NULL", "3")
        .await;
    assert_eq!(server.mails().len(), 3, "none twice");

    assert_eq!(mails[0]["sender"], "webhooks@example.com");
    assert_eq!(mails[0]["to"], serde_json::json!(["ops@example.com", "dev@example.org"]));
    let failing = mails[0]["text"].as_str().expect("a text").replace("=\r\n", "");
    for part in [
        format!("endpoint {endpoint} is failing: status 500"),
        format!("{endpoint} billing http://127.0.0.1:{}", receiver.port()),
        format!("WHERE endpoint_id =3D {endpoint} ORDER BY")
            .replace("=3D", if failing.contains("=3D") { "=3D" } else { "=" }),
        "Since: ".to_owned(),
        format!("[{}]", database.name),
    ] {
        assert!(failing.contains(&part), "{part}: {failing}");
    }
    assert!(all[2]["text"].as_str().is_some_and(|text| text.contains("delivers again")), "{:?}", all[2]);
    assert!(all.iter().all(|mail| !mail.to_string().contains("hunter2")), "{all:?}");
    assert!(!one.log().join("\n").contains("hunter2"));
}

#[tokio::test]
async fn a_mail_server_that_is_away_or_refuses_delays_e_mails_and_nothing_else() {
    let (database, receiver, _) = scene().await;
    let server = MailServer::start(&["2"]).await;
    let nowhere = harness::free_port();
    let away = worker(&database, &format!("smtp://127.0.0.1:{nowhere}"), &[], &[]).await;
    emit(&database).await;
    away.says("a notice could not be sent by e-mail").await;
    receiver.answers(|_| Answer::status(200));
    emit(&database).await;
    database.drained().await;
    assert!(away.stop().await.success());
    let _worker = worker(&database, &format!("smtp://127.0.0.1:{}", server.port), &[], &[]).await;
    server.receives(3).await;
    database.becomes("SELECT count(*) FROM webhook.notice WHERE mailed_at IS NOT NULL", "3").await;
}

#[tokio::test]
async fn the_password_goes_over_tls_alone_and_is_never_said() {
    let (database, _receiver, _) = scene().await;
    let authority = Authority::new("mail");
    let identity = authority.certify(&["127.0.0.1"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (certificate, key) = (file("cert.pem", &identity.certificate), file("key.pem", &identity.key));
    let ca = file("ca.pem", &authority.certificate);
    let server = MailServer::start(&["0", &certificate, &key, "worker", "hunter2"]).await;
    let plain = MailServer::start(&["0"]).await;
    let secrets = [("PG_WEBHOOK_SMTP_USER", "worker"), ("PG_WEBHOOK_SMTP_PASSWORD", "hunter2")];
    emit(&database).await;
    let refused = worker(&database, &format!("smtp://127.0.0.1:{}", plain.port), &secrets, &[]).await;
    refused.says("a notice could not be sent by e-mail").await;
    assert!(plain.mails().is_empty(), "not without TLS");
    assert!(refused.stop().await.success());
    let url = format!("smtp://127.0.0.1:{}", server.port);
    let worker = worker(&database, &url, &secrets, &["--ca-file", &ca]).await;
    let mails = server.receives(2).await;
    assert!(mails.iter().all(|mail| mail["tls"] == true), "{mails:?}");
    assert!(!worker.log().join("\n").contains("hunter2"));
}

#[tokio::test]
async fn what_is_wrong_with_the_mail_server_is_said_at_the_start() {
    let database = Database::new().await;
    for url in ["smtp://u:hunter2@mail.example.com", "http://mail.example.com", "mail"] {
        let ended = Worker::spawn(&database.environment(), &["--smtp-url", url]).await.ended().await;
        assert!(ended.0 == Some(2) && ended.1.contains("mail server"), "{url}: {ended:?}");
        assert!(!ended.1.contains("hunter2"), "{ended:?}");
    }
}

#[tokio::test]
async fn without_recipients_nothing_is_sent_nor_kept_for_later() {
    let (database, _receiver, _) = scene().await;
    database.run("DELETE FROM webhook.setting").await;
    let _worker = Worker::start(&database).await;
    emit(&database).await;
    database.becomes("SELECT count(*) FROM webhook.notice", "2").await;
    assert_eq!(database.number("SELECT count(*) FROM webhook.notice WHERE mail_due IS NOT NULL").await, 0);
}
