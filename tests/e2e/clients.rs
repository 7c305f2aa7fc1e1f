//! What other languages' libraries make of a delivery: the official ones for Rust, Node and Python, and webhook_verify.

use harness::{Database, Receiver, Request, Worker};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

/// A delivery as a receiver has it, or somebody made it.
#[derive(Clone)]
struct Delivery {
    secret: String,
    id: String,
    timestamp: String,
    signature: String,
    body: String,
}

impl Delivery {
    fn new(request: &Request, secret: &str) -> Delivery {
        Delivery {
            secret: secret.into(),
            id: request.id().into(),
            timestamp: request.header("webhook-timestamp").into(),
            signature: request.header("webhook-signature").into(),
            body: request.body.clone(),
        }
    }

    fn changed(&self, change: impl FnOnce(&mut Delivery)) -> Delivery {
        let mut delivery = self.clone();
        change(&mut delivery);
        delivery
    }

    fn headers(&self) -> Value {
        json!({
            "webhook-id": self.id, "webhook-timestamp": self.timestamp, "webhook-signature": self.signature,
        })
    }
}

/// Each delivery's verdict, by each library in turn.
async fn verdicts(database: &Database, deliveries: &[Delivery]) -> Vec<(&'static str, Vec<bool>)> {
    let mut by_sql = Vec::new();
    let by_rust = deliveries.iter().map(|delivery| {
        let mut headers = http::HeaderMap::new();
        for (name, value) in delivery.headers().as_object().into_iter().flatten() {
            let name = http::HeaderName::try_from(name).expect("a header");
            headers.insert(name, value.as_str().and_then(|value| value.parse().ok()).expect("a value"));
        }
        standardwebhooks::Webhook::new(&delivery.secret)
            .is_ok_and(|webhook| webhook.verify(delivery.body.as_bytes(), &headers).is_ok())
    });
    for delivery in deliveries {
        let sql = "SELECT webhook_verify($1, $2, ARRAY[$3])";
        let headers = delivery.headers();
        let row = database.client().query_one(sql, &[&headers, &delivery.body, &delivery.secret]).await;
        by_sql.push(row.expect("an answer").get(0));
    }
    vec![
        ("Rust", by_rust.collect()),
        ("SQL", by_sql),
        (
            "Python",
            verdicts_of(
                Command::new(python()).arg(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/verify.py")),
                deliveries,
            ),
        ),
        (
            "Node",
            verdicts_of(
                Command::new("node")
                    .env("NODE_PATH", node_modules())
                    .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/verify.cjs")),
                deliveries,
            ),
        ),
    ]
}

/// The program reads a JSON array of deliveries and writes one of booleans.
fn verdicts_of(program: &mut Command, deliveries: &[Delivery]) -> Vec<bool> {
    let mut child =
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap_or_else(
            |problem| panic!("{program:?}: {problem}; scripts/setup.sh test installs what it needs"),
        );
    let input: Vec<Value> = deliveries
        .iter()
        .map(|delivery| json!({"secret": delivery.secret, "headers": delivery.headers(), "body": delivery.body}))
        .collect();
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(Value::Array(input).to_string().as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?}: {said}; scripts/setup.sh test installs what it needs");
    serde_json::from_slice(&output.stdout).expect("an array of booleans")
}

pub fn python() -> String {
    let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/../.local/tools/python/bin/python");
    std::env::var("PG_WEBHOOK_TEST_PYTHON").unwrap_or_else(|_| installed.into())
}

pub fn node_modules() -> String {
    let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/../.local/tools/node/node_modules");
    std::env::var("NODE_PATH").unwrap_or_else(|_| installed.into())
}

async fn all_say(database: &Database, deliveries: &[(&str, Delivery)], expected: bool) {
    let plain: Vec<Delivery> = deliveries.iter().map(|(_, delivery)| delivery.clone()).collect();
    for (library, verdicts) in verdicts(database, &plain).await {
        assert_eq!(verdicts.len(), plain.len(), "{library}");
        for ((what, _), verdict) in deliveries.iter().zip(verdicts) {
            assert_eq!(verdict, expected, "{library}, {what}");
        }
    }
}

#[tokio::test]
async fn libraries_of_other_languages_accept_what_is_sent() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let (endpoint, first_secret) = database.endpoint(&receiver.url("/")).await;
    let _worker = Worker::start(&database).await;
    let mut deliveries = Vec::new();
    for (what, data) in [
        ("nothing", "{}"),
        ("other scripts", r#"{"name": "zwölf \"Äpfel\" 😀 日本語"}"#),
        ("escapes", r#"{"a": "\\ \/ \b \n \t \u00e9"}"#),
        ("numbers", r#"[1e400, -0.0, 12345678901234567890.123456789]"#),
        ("a long text", &format!("\"{}\"", "x".repeat(100_000))),
    ] {
        database
            .client()
            .execute("SELECT webhook_emit('a.b', $1::text::jsonb)", &[&data])
            .await
            .expect("emitted");
        let request = receiver.receives(deliveries.len() + 1).await.pop().expect("it came");
        deliveries.push((what, Delivery::new(&request, &first_secret)));
    }
    // While a secret is rotated out, requests carry a signature by either.
    let second_secret = database.text(&format!("SELECT webhook_rotate_secret({endpoint})")).await;
    database.run("SELECT webhook_emit('c.d', '{}')").await;
    let request = receiver.receives(deliveries.len() + 1).await.pop().expect("it came");
    deliveries.push(("the old secret", Delivery::new(&request, &first_secret)));
    deliveries.push(("the new secret", Delivery::new(&request, &second_secret)));
    all_say(&database, &deliveries, true).await;
}

#[tokio::test]
async fn libraries_of_other_languages_reject_what_was_altered() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let (_, secret) = database.endpoint(&receiver.url("/")).await;
    let (_, other_secret) = database.endpoint(&receiver.url("/other")).await;
    let _worker = Worker::start(&database).await;
    database.run("SELECT webhook_emit('a.b', '{\"amount\": 10}')").await;
    let requests = receiver.receives(2).await;
    let of = |path| requests.iter().find(|request| request.path == path).expect("it came");
    let (good, other) = (Delivery::new(of("/"), &secret), Delivery::new(of("/other"), &other_secret));
    let later = |by_s: i64| (good.timestamp.parse::<i64>().expect("seconds") + by_s).to_string();
    let hour_ago = later(-3600);
    let sign = format!(
        "SELECT webhook_sign('standard', '{secret}', '{}', to_timestamp({hour_ago}), $${}$$)->>'webhook-signature'",
        good.id, good.body
    );
    let signed_an_hour_ago = database.text(&sign).await;
    all_say(&database, &[("as sent", good.clone()), ("the other as sent", other.clone())], true).await;
    let altered = [
        ("another amount", good.changed(|it| it.body = it.body.replace("10", "11"))),
        ("a space more", good.changed(|it| it.body.push(' '))),
        ("no body", good.changed(|it| it.body.clear())),
        ("another id", good.changed(|it| it.id = "0198c0de-0000-7000-8000-000000000000".into())),
        ("an id in capitals", good.changed(|it| it.id = it.id.to_uppercase())),
        ("a second later", good.changed(|it| it.timestamp = later(1))),
        ("no time", good.changed(|it| it.timestamp = "soon".into())),
        ("another endpoint's secret", good.changed(|it| it.secret = other_secret.clone())),
        ("another endpoint's signature", good.changed(|it| it.signature = other.signature.clone())),
        (
            "another version of the signature",
            good.changed(|it| it.signature = it.signature.replace("v1,", "v2,")),
        ),
        ("half a signature", good.changed(|it| it.signature.truncate(20))),
        ("no signature", good.changed(|it| it.signature = "v1,".into())),
        (
            "signed an hour ago",
            good.changed(|it| {
                it.timestamp = hour_ago.clone();
                it.signature = signed_an_hour_ago.clone();
            }),
        ),
    ];
    all_say(&database, &altered, false).await;
}
