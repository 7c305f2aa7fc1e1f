//! Endpoints with a taste of their own: a filter, an envelope, a transform; and who gets an event and why.

use harness::{Answer, Database, Receiver, Worker};
use serde_json::json;

const ENVELOPE: &str = r#"{"id": "evt_{id}", "type": "{type}", "created_at": "{timestamp}", "api_version": "2024-01-01",
  "at_s": "{timestamp_s}", "tenant": "{tenant}", "data": "{data}", "before": "{previous}", "changed": "{changed}"}"#;

async fn endpoint(database: &Database, receiver: &Receiver, name: &str, settings: &str) -> (i32, String) {
    let (id, secret) = database.endpoint(&receiver.url(&format!("/{name}"))).await;
    if !settings.is_empty() {
        database.run(&format!("UPDATE webhook.endpoint SET {settings} WHERE id = {id}")).await;
    }
    (id, secret)
}

#[tokio::test]
async fn a_filter_decides_who_gets_an_event_and_never_fails_a_writer() {
    let database = Database::new().await;
    for (filter, matches) in [
        ("$.data.amount > 100", vec!["large"]),
        ("$.data.items[*] ? (@.price > 10)", vec!["dear"]),
        ("$.data.paid", vec!["large", "paid"]),
        (r#"$.type == "order.sent""#, vec!["sent"]),
        (r#"$.data.name like_regex "^A""#, vec!["a"]),
        ("strict $.data.items[0].price > 10", vec!["dear"]),
        ("$.data.amount / $.data.zero > 1", vec![]),
        ("$.data.at.datetime() < \"2024-01-01\".datetime()", vec!["old"]),
        ("!exists($.data.items)", vec!["a", "large", "odd", "old", "paid", "sent", "zero"]),
    ] {
        let url = "https://example.com/";
        database
            .client()
            .execute(
                "INSERT INTO webhook.endpoint (url, name, filter) VALUES ($1, $2::text, $2::text::jsonpath)",
                &[&url, &filter],
            )
            .await
            .expect("a filter");
        for (name, event_type, data) in [
            ("large", "order.paid", r#"{"amount": 101, "paid": "yes"}"#),
            ("paid", "order.paid", r#"{"amount": 100, "paid": true}"#),
            ("dear", "order.paid", r#"{"items": [{"price": 11}], "paid": false}"#),
            ("cheap", "order.paid", r#"{"items": [{"price": 10}], "paid": null}"#),
            ("sent", "order.sent", "{}"),
            ("a", "order.paid", r#"{"name": "Ann"}"#),
            ("zero", "order.paid", r#"{"amount": 1, "zero": 0}"#),
            ("old", "order.paid", r#"{"at": "2023-12-31T23:59:59+05:00"}"#),
            ("odd", "order.paid", r#""text""#),
        ] {
            let emit = format!("SELECT webhook_emit('{event_type}', '{data}', key => '{name}')");
            database.run(&format!("SET timezone = 'Asia/Tokyo'; {emit}")).await;
        }
        let got = database
            .rows("SELECT e.key FROM webhook.queue q JOIN webhook.event e ON e.id = q.event_id ORDER BY 1")
            .await;
        assert_eq!(got, matches, "{filter}");
        database
            .run("DELETE FROM webhook.queue; DELETE FROM webhook.event; DELETE FROM webhook.endpoint")
            .await;
    }
}

#[tokio::test]
async fn what_is_no_jsonb_ends_as_skipped_where_a_filter_would_read_it() {
    let database = Database::new().await;
    database.run("INSERT INTO webhook.endpoint (url, filter) VALUES ('https://example.com/', '$.data.a == 1'), ('https://example.com/', NULL)").await;
    database.run("CREATE TABLE notes (id int PRIMARY KEY, doc json); SELECT webhook_attach('notes')").await;
    database.run(r#"INSERT INTO notes VALUES (1, '{"text": "\u0000"}')"#).await;
    assert_eq!(database.rows("SELECT endpoint_id FROM webhook.queue").await, ["2"]);
    let skipped = database.rows("SELECT endpoint_id, status, attempts, last_error FROM webhook.delivery WHERE status <> 'pending'").await;
    assert_eq!(skipped, ["1|skipped|0|filter failed: unsupported Unicode escape sequence"]);
}

#[tokio::test]
async fn an_envelope_writes_the_body_as_the_receiver_expects_it() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let envelope = format!("envelope = '{ENVELOPE}'");
    let (plain, _) = endpoint(&database, &receiver, "plain", "").await;
    let (first, secret) = endpoint(&database, &receiver, "first", &envelope).await;
    let (second, other_secret) = endpoint(&database, &receiver, "second", &envelope).await;
    database
        .run(&format!("UPDATE webhook.endpoint SET all_tenants = true, retry_schedule = '{{1 ms}}' WHERE id IN ({first}, {second})"))
        .await;
    // The signature made at enqueue, and the worker's.
    receiver.answers(|request| Answer::status(if request.path == "/plain" { 200 } else { 500 }));
    let _worker = Worker::start(&database).await;
    database.run("CREATE TABLE deal (id int PRIMARY KEY, stage text); SELECT webhook_attach('deal', tenant => 'COALESCE(new.stage, old.stage)')").await;
    database.run("INSERT INTO deal VALUES (1, 'new'); UPDATE deal SET stage = 'won'").await;
    database.drained().await;
    let arrived = receiver.receives(8).await;
    assert_eq!(
        arrived.len(),
        8,
        "two events, two attempts, two endpoints; the tenants' are not for the plain one"
    );
    for request in &arrived {
        request.verify(if request.path == "/first" { &secret } else { &other_secret }).expect("it is signed");
        let body = request.json();
        let id = request.id();
        let event = database.text(&format!("SELECT body FROM webhook.event WHERE id = '{id}'")).await;
        let event: serde_json::Value = serde_json::from_str(&event).expect("JSON");
        let at = event["timestamp"].as_str().expect("a time");
        let seconds = database.text(&format!("SELECT floor(extract(epoch FROM timestamptz '{at}'))")).await;
        let is_update = event["type"] == "deal.updated";
        let stage = if is_update { "won" } else { "new" };
        let mut expected = format!(
            r#"{{"id":"evt_{id}","type":{},"created_at":"{at}","api_version":"2024-01-01","at_s":{seconds},"tenant":"{stage}","data":{{"id":1,"stage":"{stage}"}}"#,
            event["type"]
        );
        if is_update {
            expected += r#","before":{"stage":"new"},"changed":["stage"]"#;
        }
        expected.push('}');
        assert_eq!(request.body, expected);
        assert_eq!(body["data"], event["data"]);
        let logged = format!(
            "SELECT DISTINCT request_body FROM webhook.delivery_log WHERE event_id = '{id}' AND endpoint_id <> {plain}"
        );
        assert_eq!(database.rows(&logged).await, [expected], "the log shows what was sent");
    }
    let stored = "SELECT count(*), min(cardinality(endpoint_ids)) FROM webhook.event_body";
    assert_eq!(database.rows(stored).await, ["2|2"], "once per event, not per endpoint");

    // What was sent is sent again, however the endpoint is configured by then.
    let id = arrived[0].id();
    database.run(&format!("UPDATE webhook.endpoint SET envelope = NULL WHERE id = {first}")).await;
    database.run(&format!("SELECT webhook_resend('{id}', {first}), webhook_resend('{id}', {plain})")).await;
    let again = &receiver.receives(10).await[8..];
    for request in again.iter().take(2) {
        if request.path == "/plain" {
            let body = database.text(&format!("SELECT body FROM webhook.event WHERE id = '{id}'")).await;
            assert_eq!(request.body, body);
        } else {
            assert_eq!(request.body, arrived[0].body);
        }
    }
}

#[tokio::test]
async fn a_resend_to_an_endpoint_made_later_is_written_as_it_wants_it() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let event = database.text("SELECT webhook_emit('order.paid', '{\"n\": 1}')").await;
    let (id, _) =
        endpoint(&database, &receiver, "late", r#"envelope = '{"event": "{type}", "data": "{data}"}'"#).await;
    let _worker = Worker::start(&database).await;
    assert_eq!(database.text(&format!("SELECT webhook_resend('{event}', {id})")).await, "t");
    assert_eq!(receiver.receives(1).await[0].body, r#"{"event":"order.paid","data":{"n": 1}}"#);
}

#[tokio::test]
async fn a_transform_makes_the_body_with_the_rights_of_who_configured_it() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let admin = database.role("admin", "IN ROLE webhook_admin").await;
    let emitter = database.role("emitter", "IN ROLE webhook_emitter").await;
    database
        .run(&format!(
            "CREATE SCHEMA app AUTHORIZATION {admin};
             CREATE TABLE app.customer (id int, name text); INSERT INTO app.customer VALUES (7, 'Ann');
             REVOKE ALL ON app.customer FROM PUBLIC; ALTER TABLE app.customer OWNER TO {admin};
             CREATE FUNCTION app.enrich(body jsonb) RETURNS jsonb LANGUAGE sql AS $$
               SELECT CASE WHEN body #>> '{{data,customer}}' IS NOT NULL THEN jsonb_build_object('event', body ->> 'type', 'customer', c.name,
                 'who', current_user, 'path', current_setting('search_path'), 'zone', current_setting('timezone')) END
               FROM (SELECT) one LEFT JOIN app.customer c ON c.id = (body #>> '{{data,customer}}')::int $$;
             ALTER FUNCTION app.enrich OWNER TO {admin}"
        ))
        .await;
    let (id, secret) = endpoint(&database, &receiver, "enriched", "").await;
    let admins = database.session_as(&admin).await;
    Database::run_in(
        &admins,
        &format!("UPDATE webhook.endpoint SET transform = 'app.enrich' WHERE id = {id}"),
    )
    .await;
    let by = format!("SELECT configured_by FROM webhook.endpoint WHERE id = {id}");
    assert_eq!(database.text(&by).await, admin);
    database.run(&format!("UPDATE webhook.endpoint SET max_in_flight = 3 WHERE id = {id}")).await;
    assert_eq!(database.text(&by).await, admin, "who changes something else does not lend his rights");

    let _worker = Worker::start(&database).await;
    let emitters = database.session_as(&emitter).await;
    Database::run_in(
        &emitters,
        "SET timezone = 'Asia/Tokyo'; SELECT webhook_emit('order.paid', '{\"customer\": 7}')",
    )
    .await;
    let request = receiver.receives(1).await.remove(0);
    request.verify(&secret).expect("it is signed");
    let expected = json!({"event": "order.paid", "customer": "Ann", "who": admin, "path": "pg_catalog, pg_temp", "zone": "UTC"});
    assert_eq!(request.json(), expected);

    // NULL: not for this endpoint.
    let declined = Database::text_in(&emitters, "SELECT webhook_emit('order.paid', '{}')").await;
    let deliveries = format!("SELECT count(*) FROM webhook.delivery WHERE event_id = '{declined}'");
    assert_eq!(database.number(&deliveries).await, 0);
    assert_eq!(database.text(&format!("SELECT webhook_resend('{declined}', {id})")).await, "f");

    // From a captured table as well, and under somebody else's rights for the rows.
    database
        .run("CREATE TABLE visit (id int PRIMARY KEY, customer int); SELECT webhook_attach('visit')")
        .await;
    database.run("INSERT INTO visit SELECT n, 7 FROM generate_series(1, 3) n").await;
    let arrived = receiver.receives(4).await;
    assert!(
        arrived[1..].iter().all(|it| it.json()["event"] == "visit.created" && it.json()["customer"] == "Ann")
    );
}

#[tokio::test]
async fn a_failing_transform_fails_the_statement_or_ends_its_own_delivery() {
    let database = Database::new().await;
    database
        .run(
            "CREATE FUNCTION public.broken(body jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
             BEGIN IF body #>> '{data,ok}' IS NULL THEN RAISE EXCEPTION 'no price' USING ERRCODE = 'P0001'; END IF; RETURN body; END $$;
             INSERT INTO webhook.endpoint (url, transform, event_types) VALUES ('https://example.com/', 'public.broken', '{*,webhook.*}');
             INSERT INTO webhook.endpoint (url) VALUES ('https://example.com/')",
        )
        .await;
    let error = database.error("SELECT webhook_emit('order.paid', '{}')").await;
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("P0001", "transform public.broken of endpoint 1 failed: no price")
    );
    assert!(error.hint.contains("on_error = 'skip'"), "{}", error.hint);
    assert_eq!(database.number("SELECT count(*) FROM webhook.event").await, 0);
    database.run("SELECT webhook_emit('order.paid', '{\"ok\": 1}')").await;
    assert_eq!(database.number("SELECT count(*) FROM webhook.queue").await, 2);

    // pg_webhook's own notices come through whatever the policy is.
    database.run("SELECT webhook.raise_notice('endpoint.disabled', 2, NULL, 'test')").await;
    let skipped = "SELECT e.type, a.endpoint_id, a.outcome, a.number, a.error FROM webhook.attempt a JOIN webhook.event e ON e.id = a.event_id ORDER BY e.id";
    let failed = "transform public.broken failed: no price";
    assert_eq!(database.rows(skipped).await, [format!("webhook.endpoint.disabled|1|skipped|0|{failed}")]);

    database.run("UPDATE webhook.endpoint SET on_error = 'skip' WHERE id = 1").await;
    database.run("CREATE TABLE t (id int PRIMARY KEY, ok int); SELECT webhook_attach('t'); INSERT INTO t VALUES (1, NULL), (2, 2)").await;
    let rows = database.rows("SELECT endpoint_id, status, last_error FROM webhook.delivery WHERE type = 't.created' ORDER BY 1, 2, event_id").await;
    assert_eq!(rows, ["1|pending|", &format!("1|skipped|{failed}"), "2|pending|", "2|pending|"]);

    // A configurer who is gone is a failure like any other.
    let gone = database.role("gone", "SUPERUSER").await;
    let session = database.session_as(&gone).await;
    Database::run_in(&session, "CREATE FUNCTION public.fine(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1'; UPDATE webhook.endpoint SET transform = 'public.fine' WHERE id = 1").await;
    drop(session);
    database.run(&format!("REASSIGN OWNED BY {gone} TO postgres; DROP OWNED BY {gone}; DROP ROLE {gone}; SELECT webhook_emit('a.gone', '{{}}')")).await;
    let row = database
        .text("SELECT last_error FROM webhook.delivery WHERE type = 'a.gone' AND endpoint_id = 1")
        .await;
    assert!(row.contains("no longer exists"), "{row}");
}

#[tokio::test]
async fn nobody_lends_rights_through_a_transform() {
    let database = Database::new().await;
    let admin = database.role("admin", "IN ROLE webhook_admin").await;
    let other = database.role("other", "").await;
    database
        .run(&format!(
            "CREATE FUNCTION public.theirs(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1'; ALTER FUNCTION public.theirs OWNER TO {other};
             INSERT INTO webhook.endpoint (url) VALUES ('https://example.com/')"
        ))
        .await;
    for user in [admin.as_str(), "postgres"] {
        let session = database.session_as(user).await;
        let error =
            Database::error_on(&session, "UPDATE webhook.endpoint SET transform = 'public.theirs'").await;
        assert_eq!(error.code, "42501", "{error:?}");
        assert!(error.message.contains("would run with the rights of"), "{}", error.message);
    }
    let session = database.session_as(&admin).await;
    Database::run_in(
        &session,
        "UPDATE webhook.endpoint SET transform = 'pg_catalog.jsonb_strip_nulls', configured_by = 'postgres'",
    )
    .await;
    assert_eq!(database.text("SELECT configured_by FROM webhook.endpoint").await, admin);
    let file = format!("/tmp/{}.copy", database.name);
    database
        .run(&format!(
            "GRANT pg_read_server_files TO {admin};
             COPY (SELECT 'https://example.com/', 'pg_catalog.jsonb_strip_nulls', 'postgres') TO '{file}'"
        ))
        .await;
    let copy = format!("COPY webhook.endpoint (url, transform, configured_by) FROM '{file}'");
    let error = Database::error_on(&session, &copy).await;
    database.run(&format!("COPY (SELECT) TO PROGRAM 'cat >/dev/null; rm {file}'")).await;
    assert_eq!(error.code, "42501");
    assert!(error.message.contains("only a superuser's restore"), "{}", error.message);
}

#[tokio::test]
async fn explain_says_who_gets_an_event_and_which_rule_says_no() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    database
        .run("CREATE FUNCTION public.none(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb'")
        .await;
    for (name, settings) in [
        ("all", ""),
        ("sent", "event_types = '{order.sent,invoice.*}'"),
        ("tenant", "tenant = 'acme'"),
        ("filter", "filter = '$.data.n > 5'"),
        ("passes", "filter = '$.data.n < 5'"),
        ("none", "transform = 'public.none'"),
        ("paused", "status = 'paused'"),
        ("deleted", ""),
    ] {
        endpoint(&database, &receiver, name, settings).await;
    }
    let event = database.text("SELECT webhook_emit('order.paid', '{\"n\": 1}')").await;
    database.run("DELETE FROM webhook.endpoint WHERE url LIKE '%deleted'").await;
    let (late, _) = endpoint(&database, &receiver, "late", "").await;
    receiver.answers(|request| Answer::status(if request.path == "/passes" { 500 } else { 200 }));
    let _worker = Worker::start(&database).await;
    receiver.receives(2).await;
    database.becomes("SELECT count(*) FROM webhook.attempt WHERE number > 0", "2").await;
    database.becomes("SELECT count(*) FROM webhook.attempt WHERE outcome = 'skipped'", "1").await;
    let explain = format!(
        "SELECT endpoint_id, matched, reason, status, attempts, next_attempt IS NOT NULL FROM webhook_explain('{event}')"
    );
    assert_eq!(
        database.rows(&explain).await,
        [
            "1|t|event type order.paid matches *|delivered|1|f",
            "2|f|event type order.paid matches none of order.sent, invoice.*|||f",
            "3|f|its tenant is \"acme\", the event's is none|||f",
            "4|f|its filter declines it|||f",
            "5|t|status 500|retrying|1|t",
            "6|f|its transform returned NULL|||f",
            "7|t|the endpoint is paused|pending|0|f",
            "8|t|the endpoint was deleted|skipped|0|f",
            "9|f|the endpoint was made after the event|||f",
        ]
    );
    database.run(&format!("SELECT webhook_resend('{event}', {late})")).await;
    database.run("UPDATE webhook.endpoint SET event_types = '{a.b}' WHERE id = 1; UPDATE webhook.endpoint SET filter = NULL WHERE id = 4").await;
    database
        .becomes(
            &format!("SELECT status FROM webhook_explain('{event}') WHERE endpoint_id = {late}"),
            "delivered",
        )
        .await;
    let rows = database.rows(&explain).await;
    assert_eq!(
        rows[0],
        "1|t|event type order.paid matches none of a.b, but did not when it was owed the event|delivered|1|f"
    );
    assert_eq!(rows[3], "4|f|event type order.paid matches *, but did not when the event was made|||f");
    assert_eq!(rows[8], "9|t|event type order.paid matches *|delivered|1|f");

    let error = database.error("SELECT * FROM webhook_explain('0198c0de-0000-7000-8000-000000000000')").await;
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("42704", "there is no event 0198c0de-0000-7000-8000-000000000000")
    );
    let reader = database.role("reader", "IN ROLE webhook_reader").await;
    let reader = database.session_as(&reader).await;
    assert_eq!(
        Database::text_in(&reader, &format!("SELECT count(*) FROM webhook_explain('{event}')")).await,
        "9"
    );
}

#[tokio::test]
async fn bodies_are_retired_with_their_events() {
    let database = Database::new().await;
    database
        .run("INSERT INTO webhook.endpoint (url, envelope) VALUES ('https://example.com/', '{\"id\": \"{id}\"}')")
        .await;
    let left = "SELECT count(*) FROM webhook.event UNION ALL SELECT count(*) FROM webhook.event_body";
    for (leaf, ahead) in
        [("event_body_2%", "SELECT webhook.janitor(now() - interval '1 hour')"), ("event_body_default", "")]
    {
        database.run(ahead).await;
        database.run("SELECT webhook_emit('order.paid', '{}')").await;
        let place = "SELECT split_part(tableoid::regclass::text, '.', 2) FROM webhook.event_body";
        assert_eq!(database.text(&format!("SELECT ({place}) LIKE '{leaf}'")).await, "t", "{leaf}");
        database.run("SELECT webhook.janitor(now() + interval '10 days')").await;
        assert_eq!(database.rows(left).await, ["1", "1"], "{leaf}: kept as long as the event");
        database.run("DELETE FROM webhook.queue; SELECT webhook.janitor(now() + interval '30 days')").await;
        assert_eq!(database.rows(left).await, ["0", "0"], "{leaf}");
    }
}
