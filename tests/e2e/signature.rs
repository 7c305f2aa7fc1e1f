//! Signatures: made in the transaction and in SQL, accepted by the official library, and by nobody once altered.

use harness::Database;

/// The vector of Standard Webhooks' own libraries.
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
const AT: i64 = 1_649_367_553;
const BODY: &str = r#"{"email":"test@example.com","username":"test_user"}"#;
const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";

/// A scheme of the user's own.
const OWN: &str = "INSERT INTO webhook.signature_scheme (name, key_encoding, content, signature, headers)
  VALUES ('own', 'raw', '{body}', 'sha256={digest}', '{\"X-Own-Signature\": \"{signatures}\"}')";

#[tokio::test]
async fn the_published_vectors_hold() {
    let database = Database::new().await;
    let signed = database
        .text(&format!("SELECT webhook_sign('standard', '{SECRET}', '{ID}', to_timestamp({AT}), '{BODY}')"))
        .await;
    let expected = format!(
        r#"{{"webhook-id": "{ID}", "webhook-signature": "{SIGNATURE}", "webhook-timestamp": "{AT}"}}"#
    );
    assert_eq!(signed, expected);
    let github = "SELECT webhook_sign('github', 'It''s a Secret to Everybody', 'any', now(), 'Hello, World!') \
                  ->> 'X-Hub-Signature-256'";
    let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(database.text(github).await, expected);
    let verify = format!(
        r#"SELECT webhook_verify('{{"X-Hub-Signature-256": "{expected}"}}', 'Hello, World!', '{{It''s a Secret to Everybody}}', 'github')"#
    );
    assert_eq!(database.text(&verify).await, "t");
}

#[tokio::test]
async fn what_is_altered_is_not_verified() {
    let database = Database::new().await;
    let id = format!(r#""webhook-id": "{ID}""#);
    let at = format!(r#""webhook-timestamp": "{AT}""#);
    let signature = format!(r#""webhook-signature": "{SIGNATURE}""#);
    let good = format!("{{{id}, {at}, {signature}}}");
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let late = |seconds: i64| AT + seconds;
    // headers, body, secrets, time of receipt, tolerance, whether it is verified
    let cases: Vec<(String, &str, String, i64, &str, &str)> = vec![
        (good.clone(), BODY, SECRET.into(), late(0), "5 min", "t"),
        (
            good.to_uppercase()
                .replace(&signature.to_uppercase(), &signature)
                .replace(&id.to_uppercase(), &id),
            BODY,
            SECRET.into(),
            late(0),
            "5 min",
            "t",
        ),
        (good.clone(), BODY, format!("{other},{SECRET}"), late(0), "5 min", "t"),
        (good.replace("v1,", "v1,AAAA v1a,BBBB v1,"), BODY, SECRET.into(), late(0), "5 min", "t"),
        (good.clone(), BODY, SECRET.into(), late(300), "5 min", "t"),
        (good.clone(), BODY, SECRET.into(), late(-300), "5 min", "t"),
        (good.clone(), BODY, SECRET.into(), late(301), "5 min", "f"),
        (good.clone(), BODY, SECRET.into(), late(-301), "5 min", "f"),
        (good.clone(), BODY, SECRET.into(), late(301), "6 min", "t"),
        (good.clone(), BODY, SECRET.into(), late(1), "0", "f"),
        (good.clone(), BODY, other.into(), late(0), "5 min", "f"),
        (good.clone(), BODY, String::new(), late(0), "5 min", "f"),
        (good.clone(), &BODY[1..], SECRET.into(), late(0), "5 min", "f"),
        (
            good.clone(),
            r#"{"email": "test@example.com","username":"test_user"}"#,
            SECRET.into(),
            late(0),
            "5 min",
            "f",
        ),
        (good.clone(), "", SECRET.into(), late(0), "5 min", "f"),
        (good.replace(ID, "msg_27UH4WbU6Z5A5EzD8u03UvzRbpl"), BODY, SECRET.into(), late(0), "5 min", "f"),
        (good.replace(&AT.to_string(), &(AT + 1).to_string()), BODY, SECRET.into(), late(0), "5 min", "f"),
        (good.replace(&AT.to_string(), &format!("0{AT}")), BODY, SECRET.into(), late(0), "5 min", "f"),
        (good.replace("tZ1I", "tZ1J"), BODY, SECRET.into(), late(0), "5 min", "f"),
        (good.replace("v1,", "v2,"), BODY, SECRET.into(), late(0), "5 min", "f"),
        (good.replace("v1,", ""), BODY, SECRET.into(), late(0), "5 min", "f"),
        (format!("{{{id}, {at}}}"), BODY, SECRET.into(), late(0), "5 min", "f"),
        (format!("{{{id}, {signature}}}"), BODY, SECRET.into(), late(0), "5 min", "f"),
        (format!("{{{at}, {signature}}}"), BODY, SECRET.into(), late(0), "5 min", "f"),
        (
            format!("{{{id}, \"webhook-timestamp\": {AT}, {signature}}}"),
            BODY,
            SECRET.into(),
            late(0),
            "5 min",
            "f",
        ),
    ];
    for (headers, body, secrets, at, tolerance, verified) in cases {
        let sql = format!(
            "SELECT webhook_verify('{headers}', '{body}', '{{{secrets}}}', tolerance => '{tolerance}', at => to_timestamp({at}))"
        );
        assert_eq!(database.text(&sql).await, verified, "{sql}");
    }
}

/// The delivery that is owed: id, time of signature, stored signature, body.
async fn owed(database: &Database, endpoint: i32) -> [String; 4] {
    let row = database
        .client()
        .query_one(
            "SELECT e.id::text, floor(extract(epoch FROM q.signed_at))::text, q.signature, e.body
             FROM webhook.queue q JOIN webhook.event e ON e.id = q.event_id WHERE q.endpoint_id = $1 ORDER BY e.id DESC LIMIT 1",
            &[&endpoint],
        )
        .await
        .expect("a delivery is owed");
    [0, 1, 2, 3].map(|i| row.get::<_, String>(i))
}

/// What the official library says to a delivery sent as it is stored.
fn official([id, at, signature, body]: &[String; 4], secret: &str) -> bool {
    let mut headers = http::HeaderMap::new();
    for (name, value) in [("webhook-id", id), ("webhook-timestamp", at), ("webhook-signature", signature)] {
        headers.insert(name, value.parse().expect("a header's value"));
    }
    standardwebhooks::Webhook::new(secret).expect("a secret").verify(body.as_bytes(), &headers).is_ok()
}

#[tokio::test]
async fn what_is_stored_is_what_the_official_library_verifies() {
    let database = Database::new().await;
    let (endpoint, secret) = database.endpoint("https://example.com/").await;
    database
        .run("CREATE TABLE orders (id int PRIMARY KEY, note text); SELECT webhook_attach('orders')")
        .await;
    for make in [
        r#"SELECT webhook_emit('order.paid', '{"id": 1}')"#,
        r#"SELECT webhook_emit('order.paid', '"é\u2028 \"quoted\" \\ 😀"', 'tenant')"#,
        "SELECT webhook_emit('order.paid', 'null')",
        "INSERT INTO orders VALUES (1, E'tab\\t and\\nline')",
        "UPDATE orders SET note = repeat('ü', 100000)",
    ] {
        database.run(make).await;
        if make.contains("tenant") {
            continue;
        }
        let delivery = owed(&database, endpoint).await;
        assert!(official(&delivery, &secret), "{make}");
        let [id, at, signature, body] = &delivery;
        let headers =
            serde_json::json!({"webhook-id": id, "webhook-timestamp": at, "webhook-signature": signature});
        let verified = "SELECT webhook_verify($1, $2, ARRAY[$3])";
        let row = database.client().query_one(verified, &[&headers, body, &secret]).await.expect("verified");
        assert!(row.get::<_, bool>(0), "{make}");
        assert!(!official(&[id.clone(), at.clone(), signature.clone(), format!("{body} ")], &secret));
    }
}

#[tokio::test]
async fn both_secrets_sign_while_they_overlap() {
    let database = Database::new().await;
    let (endpoint, first) = database.endpoint("https://example.com/").await;
    let second = database.text(&format!("SELECT webhook_rotate_secret({endpoint})")).await;
    let sign = async || {
        database.run("SELECT webhook_emit('order.paid', '{}')").await;
        let delivery = owed(&database, endpoint).await;
        let count = delivery[2].split(' ').count();
        (delivery, count)
    };
    let (delivery, count) = sign().await;
    assert_eq!((count, official(&delivery, &first), official(&delivery, &second)), (2, true, true));

    // The old one's time is over.
    database
        .run("UPDATE webhook.endpoint_secret SET expires_at = clock_timestamp() WHERE expires_at IS NOT NULL")
        .await;
    let (delivery, count) = sign().await;
    assert_eq!((count, official(&delivery, &first), official(&delivery, &second)), (1, false, true));

    let third = database.text(&format!("SELECT webhook_rotate_secret({endpoint}, '0')")).await;
    let (delivery, count) = sign().await;
    assert_eq!((count, official(&delivery, &second), official(&delivery, &third)), (1, false, true));
    assert_eq!(
        database.number("SELECT count(*) FROM webhook.endpoint_secret").await,
        2,
        "what had expired before is gone"
    );

    let given = database.text(&format!("SELECT webhook_rotate_secret({endpoint}, '1 h', '{SECRET}')")).await;
    assert_eq!(given, SECRET);
    let (delivery, _) = sign().await;
    assert!(official(&delivery, SECRET) && official(&delivery, &third));
}

#[tokio::test]
async fn an_expired_secret_stops_signing_without_any_change_of_configuration() {
    let database = Database::new().await;
    let (endpoint, first) = database.endpoint("https://example.com/").await;
    database.run(&format!("SELECT webhook_rotate_secret({endpoint}, '300 ms')")).await;
    harness::until("the old secret no longer signs", async || {
        database.run("SELECT webhook_emit('order.paid', '{}')").await;
        (!official(&owed(&database, endpoint).await, &first)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stored_signature_is_void_when_what_it_was_made_with_changes() {
    let database = Database::new().await;
    database.run(OWN).await;
    let (endpoint, _) = database.endpoint("https://example.com/").await;
    database.endpoint("https://example.com/other").await;
    let generation = format!("SELECT generation FROM webhook.endpoint WHERE id = {endpoint}");
    let others = format!("SELECT generation FROM webhook.endpoint WHERE id <> {endpoint}");
    let other = database.text(&others).await;
    let mut known = vec![database.text(&generation).await];
    for (change, voids) in [
        (format!("INSERT INTO webhook.endpoint_secret VALUES ({endpoint}, '{SECRET}')"), true),
        (
            format!(
                "UPDATE webhook.endpoint_secret SET expires_at = now() + '1 h' WHERE endpoint_id = {endpoint}"
            ),
            true,
        ),
        (format!("DELETE FROM webhook.endpoint_secret WHERE secret = '{SECRET}'"), true),
        (format!("SELECT webhook_rotate_secret({endpoint})"), true),
        (format!("UPDATE webhook.endpoint SET scheme = 'own' WHERE id = {endpoint}"), true),
        ("UPDATE webhook.signature_scheme SET signature = 'sha={digest}' WHERE name = 'own'".into(), true),
        (format!("UPDATE webhook.endpoint SET generation = {} WHERE id = {endpoint}", known[0]), true),
        (
            format!(
                "UPDATE webhook.endpoint SET url = 'https://example.org/', status = 'paused' WHERE id = {endpoint}"
            ),
            false,
        ),
        (format!("BEGIN; SELECT webhook_rotate_secret({endpoint}); ROLLBACK"), false),
        (format!("SELECT webhook_rotate_secret({endpoint})"), true),
    ] {
        database.run(&change).await;
        let now = database.text(&generation).await;
        assert_eq!(!known.contains(&now), voids, "{change}: {now} of {known:?}");
        known.push(now);
    }
    assert_eq!(database.text(&others).await, other, "the other endpoint's");
}

#[tokio::test]
async fn a_secret_is_made_as_the_scheme_writes_keys() {
    let database = Database::new().await;
    database.run(OWN).await;
    database.run("INSERT INTO webhook.signature_scheme (name, key_encoding, content, headers) VALUES ('base64', 'base64', '{body}', '{\"X\": \"{signatures}\"}')").await;
    for (scheme, begins) in [("standard", true), ("github", false), ("base64", false)] {
        let made = database
            .text(&format!(
                "SELECT secret FROM webhook_endpoint_create('https://example.com/', scheme => '{scheme}')"
            ))
            .await;
        assert_eq!(made.starts_with("whsec_"), begins, "{made}");
        database.run(&format!("SELECT webhook_sign('{scheme}', '{made}', 'id', now(), 'body')")).await;
    }
    let given = database.text("SELECT secret FROM webhook_endpoint_create('https://example.com/', scheme => 'base64', secret => 'aHVudGVyMg==')").await;
    assert_eq!(given, "aHVudGVyMg==");
}
