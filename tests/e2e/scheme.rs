//! Signature schemes as rows: what is sent is what the receivers of each service verify, with code of their own.

use harness::{Answer, Database, Receiver, Request, Worker};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

const SHIPPED: [&str; 6] = ["standard", "standard-ed25519", "github", "stripe", "shopify", "slack"];

/// The systems of the user's own, one statement each.
const OWN: [(&str, &str); 5] = [
    (
        "internetivo",
        r#"INSERT INTO webhook.signature_scheme (name, key_encoding, content, separator, headers)
           VALUES ('internetivo', 'raw', '{body}', '', '{"X-Internetivo-Signature": "{signatures}"}')"#,
    ),
    (
        "iverton",
        r#"INSERT INTO webhook.signature_scheme (name, key_encoding, content, signature, separator, headers)
           VALUES ('iverton', 'raw', '{body}', 'sha256={digest}', '', '{"X-Iverton-Signature": "{signatures}"}')"#,
    ),
    (
        "ivy",
        r#"INSERT INTO webhook.signature_scheme (name, key_encoding, content, separator, headers)
           VALUES ('ivy', 'raw', '{body}', '', '{"X-Ivy-Signature": "{signatures}"}')"#,
    ),
    (
        "vivoldi",
        r#"INSERT INTO webhook.signature_scheme (name, key_encoding, content, signature, separator, headers)
           VALUES ('vivoldi', 'raw', '{timestamp}.{body}', 't={timestamp},v1={digest},alg=hmac-sha256', '',
             '{"X-Vivoldi-Request-Id": "{attempt_id}", "X-Vivoldi-Event-Id": "{id}", "X-Vivoldi-Webhook-Type": "GLOBAL",
               "X-Vivoldi-Resource-Type": "{type_first}", "X-Vivoldi-Timestamp": "{timestamp}",
               "X-Content-SHA256": "{body_sha256_hex}", "X-Vivoldi-Signature": "{signatures}"}')"#,
    ),
    (
        "list",
        r#"INSERT INTO webhook.signature_scheme (name, key_encoding, content, separator, headers)
           VALUES ('list', 'raw', '{body}', ', ', '{"X-Signatures": "{signatures}"}')"#,
    ),
];

/// Makes an endpoint at /scheme; returns its id and what its receiver verifies with.
async fn endpoint(database: &Database, receiver: &Receiver, scheme: &str) -> (i32, String) {
    let row = database
        .client()
        .query_one(
            "SELECT endpoint_id, secret FROM webhook_endpoint_create($1, scheme => $2)",
            &[&receiver.url(&format!("/{scheme}")), &scheme],
        )
        .await
        .expect("the endpoint is made");
    let (id, secret) = (row.get(0), row.get::<_, String>(1));
    (id, key(database, secret).await)
}

/// The secret, or its public half where there is one.
async fn key(database: &Database, secret: String) -> String {
    let public = format!("SELECT coalesce(webhook.public_key('{secret}'), '{secret}')");
    database.text(&public).await
}

fn request(request: &Request, key: &str) -> Value {
    json!({"service": request.path.trim_start_matches('/'), "key": key, "headers": request.headers, "body": request.body})
}

/// Whether the receivers of the services accept the requests, by their own code.
fn verdicts(requests: &[Value]) -> Vec<bool> {
    let mut child = Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/scheme.cjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node; scripts/setup.sh test installs what it needs");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(json!(requests).to_string().as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    serde_json::from_slice(&output.stdout).expect("an array of booleans")
}

fn all_say(requests: &[(String, Value)], expected: bool) {
    let plain: Vec<Value> = requests.iter().map(|(_, request)| request.clone()).collect();
    let verdicts = verdicts(&plain);
    assert_eq!(verdicts.len(), requests.len());
    for ((what, request), verdict) in requests.iter().zip(verdicts) {
        assert_eq!(verdict, expected, "{what}: {request}");
    }
}

#[tokio::test]
async fn receivers_of_every_service_verify_what_is_sent_to_them() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let mut keys = Vec::new();
    for (_, insert) in OWN {
        database.run(insert).await;
    }
    for scheme in SHIPPED.into_iter().chain(OWN.map(|(name, _)| name)) {
        keys.push((format!("/{scheme}"), endpoint(&database, &receiver, scheme).await.1));
    }
    database.run("UPDATE webhook.endpoint SET retry_schedule = '{1 ms}', retry_jitter = 0").await;
    // The first attempt carries the signature made at enqueue, the second the worker's.
    receiver.answers(|_| Answer::status(500));
    let _worker = Worker::start(&database).await;
    database.run(r#"SELECT webhook_emit('deal.won', '{"name": "zwölf Äpfel 😀"}')"#).await;
    let arrived = receiver.receives(keys.len() * 2).await;

    let mut sent = Vec::new();
    for (path, key) in &keys {
        let of: Vec<&Request> = arrived.iter().filter(|request| request.path == *path).collect();
        assert_eq!(of.len(), 2, "{path}");
        sent.extend(of.iter().enumerate().map(|(n, it)| (format!("{path} {n}"), request(it, key))));
        if path == "/vivoldi" {
            let ids = |header| [of[0].header(header), of[1].header(header)];
            let [first, second] = ids("x-vivoldi-request-id");
            assert_ne!(first, second, "new per request");
            let [first, second] = ids("x-vivoldi-event-id");
            assert_eq!(first, second, "the same over retries");
        }
    }
    all_say(&sent, true);

    let change = |change: fn(&mut Value)| -> Vec<(String, Value)> {
        sent.iter()
            .cloned()
            .map(|(what, mut request)| {
                change(&mut request);
                (what, request)
            })
            .collect()
    };
    let body = |request: &mut Value| {
        let other = request["body"].as_str().expect("text").replace("zwölf", "dreizehn");
        request["body"] = other.into();
    };
    all_say(&change(body), false);
    let key = |request: &mut Value| {
        let other = match request["service"].as_str() {
            Some("standard-ed25519") => "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
            Some("standard") => "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            _ => "another",
        };
        request["key"] = other.into();
    };
    all_say(&change(key), false);
}

#[tokio::test]
async fn both_secrets_sign_for_every_receiver_that_takes_a_list_while_they_overlap() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    database.run(OWN[4].1).await;
    let schemes = ["standard", "standard-ed25519", "stripe", "list"];
    let mut endpoints = Vec::new();
    for scheme in schemes {
        let (id, old) = endpoint(&database, &receiver, scheme).await;
        let new = database.text(&format!("SELECT webhook_rotate_secret({id})")).await;
        endpoints.push((format!("/{scheme}"), id, old, key(&database, new).await));
    }
    database.run("UPDATE webhook.endpoint SET retry_schedule = '{1 ms}', retry_jitter = 0").await;
    receiver.answers(|_| Answer::status(500));
    let _worker = Worker::start(&database).await;
    database.run("SELECT webhook_emit('deal.won', '{}')").await;
    let mut sent = Vec::new();
    for it in receiver.receives(schemes.len() * 2).await {
        let (_, _, old, new) = endpoints.iter().find(|(path, ..)| *path == it.path).expect("an endpoint");
        sent.extend([(it.path.clone(), request(&it, old)), (it.path.clone(), request(&it, new))]);
    }
    all_say(&sent, true);

    // Without overlap the old ones end at once.
    let before = receiver.count();
    let mut rotated = Vec::new();
    for (path, id, _, last) in endpoints {
        let new = database.text(&format!("SELECT webhook_rotate_secret({id}, '0')")).await;
        rotated.push((path, last, key(&database, new).await));
    }
    database.run("SELECT webhook_emit('deal.won', '{}')").await;
    let (mut by_new, mut by_last) = (Vec::new(), Vec::new());
    for it in &receiver.receives(before + schemes.len() * 2).await[before..] {
        let (_, last, new) = rotated.iter().find(|(path, ..)| *path == it.path).expect("an endpoint");
        by_new.push((it.path.clone(), request(it, new)));
        by_last.push((it.path.clone(), request(it, last)));
    }
    all_say(&by_new, true);
    all_say(&by_last, false);
}

#[tokio::test]
async fn where_receivers_take_one_signature_it_is_made_with_the_newest_secret() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let (id, old) = endpoint(&database, &receiver, "github").await;
    let new = database.text(&format!("SELECT webhook_rotate_secret({id})")).await;
    let _worker = Worker::start(&database).await;
    database.run("SELECT webhook_emit('deal.won', '{}')").await;
    let it = receiver.receives(1).await.pop().expect("it came");
    assert_eq!(verdicts(&[request(&it, &old), request(&it, &new)]), [false, true]);
}

#[tokio::test]
async fn an_ed25519_secret_is_shown_once_and_its_public_key_may_be_read() {
    let database = Database::new().await;
    let made = database
        .text(
            "SELECT secret FROM webhook_endpoint_create('https://example.com/', scheme => 'standard-ed25519')",
        )
        .await;
    assert!(made.starts_with("whsk_") && made.len() == 93, "{made}");
    let reader = database.role("reader", "IN ROLE webhook_reader").await;
    let reader = database.session_as(&reader).await;
    let public = Database::text_in(&reader, "SELECT public_key FROM webhook.endpoint_secret_hint").await;
    assert!(public.starts_with("whpk_") && public.len() == 49, "{public}");

    // The vector of another implementation, with the secret and with its public half.
    let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", r#"{"test": 2432232314}"#);
    let secret =
        "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    let headers = database
        .text(&format!(
            "SELECT webhook_sign('standard-ed25519', '{secret}', '{id}', to_timestamp(1614265330), '{body}')"
        ))
        .await;
    let signature =
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==";
    assert_eq!(
        headers,
        format!(
            r#"{{"webhook-id": "{id}", "webhook-signature": "{signature}", "webhook-timestamp": "1614265330"}}"#
        )
    );
    for (key, body, at, verified) in [
        ("whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", body, 1_614_265_330, "t"),
        (secret, body, 1_614_265_330, "t"),
        (secret, body, 1_614_265_631, "f"),
        (&public, body, 1_614_265_330, "f"),
        (secret, "{}", 1_614_265_330, "f"),
    ] {
        let sql = format!(
            "SELECT webhook_verify('{headers}', '{body}', '{{{key}}}', 'standard-ed25519', at => to_timestamp({at}))"
        );
        assert_eq!(database.text(&sql).await, verified, "{sql}");
    }
    assert_eq!(
        database.number("SELECT count(*) FROM webhook.endpoint_secret_hint WHERE hint LIKE '%whsk%'").await,
        0
    );
}
