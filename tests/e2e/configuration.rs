//! What is configured is so at once, for sessions that were open before, and only when it is committed.

use harness::{Cluster, Database, Receiver, Worker};
use tokio_postgres::Client;

const EMIT: &str = "SELECT webhook_emit('order.paid', '{}')";

/// Endpoints that are owed an event this session emits, by name.
async fn wanted(session: &Client) -> String {
    let id = Database::text_in(session, EMIT).await;
    let owed = "SELECT coalesce(string_agg(coalesce(p.name, 'gone'), ' ' ORDER BY p.name), '')
      FROM webhook.queue q LEFT JOIN webhook.endpoint p ON p.id = q.endpoint_id WHERE q.event_id";
    // The snapshot of a REPEATABLE READ transaction has the event, and not the endpoint: names come from elsewhere.
    Database::text_in(session, &format!("{owed} = '{id}'")).await
}

/// How many deliveries an event this session emits has.
async fn owed(session: &Client) -> i64 {
    let id = Database::text_in(session, EMIT).await;
    let owed =
        Database::text_in(session, &format!("SELECT count(*) FROM webhook.queue WHERE event_id = '{id}'"))
            .await;
    owed.parse().expect("a number")
}

#[tokio::test]
async fn a_session_sees_changes_when_they_are_committed_and_not_before() {
    let database = Database::new().await;
    let (open, other) = (database.session().await, database.session().await);
    assert_eq!(wanted(&open).await, "");
    for (change, before, after) in [
        ("INSERT INTO webhook.endpoint (url, name) VALUES ('https://example.com/', 'a')", "", "a"),
        (
            "INSERT INTO webhook.endpoint (url, name, event_types) VALUES ('https://example.com/', 'b', '{order.sent}')",
            "a",
            "a",
        ),
        ("UPDATE webhook.endpoint SET event_types = '{order.*}' WHERE name = 'b'", "a", "a b"),
        ("UPDATE webhook.endpoint SET tenant = 'x' WHERE name = 'a'", "a b", "b"),
        ("UPDATE webhook.endpoint SET tenant = NULL, all_tenants = true WHERE name = 'a'", "b", "a b"),
        // What is owed to them waits, or ends as skipped: the worker sees to that.
        ("UPDATE webhook.endpoint SET status = 'paused' WHERE name = 'a'", "a b", "a b"),
        ("UPDATE webhook.endpoint SET status = 'disabled' WHERE name = 'a'", "a b", "a b"),
        ("DELETE FROM webhook.endpoint WHERE name = 'a'", "a b", "b"),
        ("DELETE FROM webhook.endpoint", "b", ""),
    ] {
        Database::run_in(&other, &format!("BEGIN; {change}; ROLLBACK")).await;
        assert_eq!(wanted(&open).await, before, "rolled back: {change}");
        Database::run_in(&other, &format!("BEGIN; {change}")).await;
        assert_eq!(wanted(&open).await, before, "not committed: {change}");
        Database::run_in(&other, "COMMIT").await;
        assert_eq!(wanted(&open).await, after, "committed: {change}");
    }
}

#[tokio::test]
async fn a_retention_that_changes_holds_for_sessions_that_know_the_old_one() {
    let database = Database::new().await;
    let (open, other) = (database.session().await, database.session().await);
    let emit = "SELECT webhook_emit('order.paid', '{}', deliver_at => now() + '20 days') IS NOT NULL";
    let refused = async || Database::error_on(&open, emit).await.message;
    assert!(refused().await.ends_with("is beyond the retention of 14 days"));
    let set = "INSERT INTO webhook.setting VALUES ('retention', '30 days')";
    Database::run_in(&other, &format!("BEGIN; {set}; ROLLBACK")).await;
    assert!(refused().await.ends_with("is beyond the retention of 14 days"), "rolled back");
    Database::run_in(&other, set).await;
    assert_eq!(Database::text_in(&open, emit).await, "t");
    Database::run_in(&other, "UPDATE webhook.setting SET value = '19 days'").await;
    assert!(refused().await.ends_with("is beyond the retention of 19 days"));
    Database::run_in(&other, "TRUNCATE webhook.setting").await;
    assert!(refused().await.ends_with("is beyond the retention of 14 days"));
}

#[tokio::test]
async fn an_open_transaction_sees_them_too_whatever_its_isolation() {
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        let database = Database::new().await;
        let open = database.session().await;
        Database::run_in(&open, &format!("BEGIN ISOLATION LEVEL {level}")).await;
        assert_eq!(owed(&open).await, 0);
        database.endpoint("https://example.com/").await;
        assert_eq!(owed(&open).await, 1, "{level}: one more");
        database.run("UPDATE webhook.endpoint SET event_types = '{other}'").await;
        assert_eq!(owed(&open).await, 0, "{level}: not this type");
        database.run("UPDATE webhook.endpoint SET event_types = '{*}'").await;
        assert_eq!(owed(&open).await, 1, "{level}: this type");
        database.run("DELETE FROM webhook.endpoint").await;
        assert_eq!(owed(&open).await, 0, "{level}: gone");
        Database::run_in(&open, "COMMIT").await;
        assert_eq!(database.number("SELECT count(*) FROM webhook.event").await, 5);
    }
}

#[tokio::test]
async fn a_prepared_statement_in_an_open_transaction_sees_them_too() {
    let database = Database::new().await;
    database.run("CREATE TABLE orders (id int); SELECT webhook_attach('orders')").await;
    let open = database.session().await;
    let insert = open.prepare("INSERT INTO orders VALUES (1)").await.expect("prepared");
    let made = open.prepare("SELECT e.type, count(q.*) FROM webhook.event e LEFT JOIN webhook.queue q ON q.event_id = e.id GROUP BY e.id, e.type ORDER BY e.id DESC LIMIT 1").await.expect("prepared");
    let event = async || {
        open.execute(&insert, &[]).await.expect("inserted");
        let row = open.query_one(&made, &[]).await.expect("an event");
        format!("{} {}", row.get::<_, String>(0), row.get::<_, i64>(1))
    };
    Database::run_in(&open, "BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    for _ in 0..10 {
        assert_eq!(event().await, "orders.created 0");
    }
    database.run("UPDATE webhook.source SET event_names = '{\"insert\": \"order.placed\"}'").await;
    assert_eq!(event().await, "order.placed 0");
    database.endpoint("https://example.com/").await;
    assert_eq!(event().await, "order.placed 1");
    database.run("DELETE FROM webhook.endpoint").await;
    assert_eq!(event().await, "order.placed 0");
}

#[tokio::test]
async fn a_transaction_sees_its_own_changes_until_it_takes_them_back() {
    let database = Database::new().await;
    let session = database.session().await;
    let insert = "INSERT INTO webhook.endpoint (url, name) VALUES ('https://example.com/', ";
    assert_eq!(wanted(&session).await, "");
    Database::run_in(&session, &format!("BEGIN; {insert} 'a')")).await;
    assert_eq!(wanted(&session).await, "a");
    Database::run_in(
        &session,
        &format!("SAVEPOINT s; {insert} 'b'); DELETE FROM webhook.endpoint WHERE name = 'a'"),
    )
    .await;
    assert_eq!(wanted(&session).await, "b");
    Database::run_in(&session, "ROLLBACK TO s").await;
    assert_eq!(wanted(&session).await, "a");
    Database::run_in(
        &session,
        &format!("DO $$BEGIN {insert} 'c'); PERFORM webhook_emit('order.paid', '{{}}'); RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END$$"),
    )
    .await;
    assert_eq!(wanted(&session).await, "a");
    Database::run_in(&session, "ROLLBACK").await;
    assert_eq!(wanted(&session).await, "");
    // ABA: two transactions that change the same and take it back, with what the first one cached.
    for name in ["x", "y"] {
        Database::run_in(&session, &format!("BEGIN; {insert} '{name}')")).await;
        assert_eq!(wanted(&session).await, name);
        Database::run_in(&session, "ROLLBACK").await;
    }
    assert_eq!(wanted(&session).await, "");
}

#[tokio::test]
async fn a_change_of_configuration_is_not_prepared() {
    let database = Database::new().await;
    let (open, name) = (database.session().await, &database.name);
    assert_eq!(owed(&open).await, 0);
    Database::run_in(&open, "BEGIN; INSERT INTO webhook.endpoint (url) VALUES ('https://example.com/')")
        .await;
    assert_eq!(owed(&open).await, 1);
    // PostgreSQL can't prepare a NOTIFY, and workers are told of every change.
    let error = Database::error_on(&open, &format!("PREPARE TRANSACTION '{name}'")).await;
    assert!(error.code == "0A000" && error.message.contains("NOTIFY"), "{error:?}");
    assert_eq!(owed(&open).await, 0);
}

#[tokio::test]
async fn an_endpoint_with_plain_http_is_kept_and_no_new_one_is_made_when_it_is_no_longer_allowed() {
    let database = Database::new().await;
    let (endpoint, _) = database.endpoint("http://example.com/").await;
    database.run("SET pg_webhook.allow_http = off").await;
    database
        .run(&format!(
            "SELECT webhook_rotate_secret({endpoint}); UPDATE webhook.endpoint SET status = 'disabled'"
        ))
        .await;
    for wrong in [
        "UPDATE webhook.endpoint SET url = 'http://example.com/other'",
        "INSERT INTO webhook.endpoint (url) VALUES ('http://example.com/')",
    ] {
        assert_eq!(database.error(wrong).await.code, "22023");
    }
    assert_eq!(database.text("SELECT url FROM webhook.endpoint").await, "http://example.com/");
}

#[tokio::test]
async fn an_endpoint_with_plain_http_gets_nothing_where_it_is_not_allowed() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let (endpoint, _) = database.endpoint(&receiver.url("/")).await;
    database.run("UPDATE webhook.endpoint SET retry_schedule = '{}'").await;
    let set = |value: &str| format!("ALTER DATABASE {} SET pg_webhook.allow_http = {value}", database.name);
    database.run(&set("off")).await;
    let worker = Worker::start(&database).await;
    let event = database.text("SELECT webhook_emit('a.b', '{}')").await;
    database.drained().await;
    let error = database.text("SELECT last_error FROM webhook.delivery").await;
    assert!(error.contains("plain http and pg_webhook.allow_http is off"), "{error}");
    assert!(worker.stop().await.success());
    database.run(&set("on")).await;
    let _worker = Worker::start(&database).await;
    database.run(&format!("SELECT webhook_resend('{event}', {endpoint})")).await;
    receiver.receives(1).await;
    database.drained().await;
    assert_eq!(receiver.count(), 1, "the one that was allowed");
}

#[tokio::test]
async fn endpoints_match_by_pattern_and_tenant() {
    let database = Database::new().await;
    let endpoints = [
        ("all", "{*}", "NULL", false),
        ("exact", "{order.paid}", "NULL", false),
        ("prefix", "{order.*}", "NULL", false),
        ("either", "{invoice.paid,order.*}", "NULL", false),
        ("case", "{Order.Paid}", "NULL", false),
        ("of_a", "{*}", "'a'", false),
        ("of_b", "{*}", "'b'", false),
        ("everyone", "{*}", "NULL", true),
        ("everyone_s_orders", "{order.*}", "NULL", true),
    ];
    for (name, types, tenant, all) in endpoints {
        database.run(&format!("INSERT INTO webhook.endpoint (url, name, event_types, tenant, all_tenants) VALUES ('https://example.com/', '{name}', '{types}', {tenant}, {all})")).await;
    }
    for (event_type, tenant, expected) in [
        ("order.paid", "NULL", "all either everyone everyone_s_orders exact prefix"),
        ("order.paid.late", "NULL", "all either everyone everyone_s_orders prefix"),
        ("order", "NULL", "all everyone"),
        ("orders.paid", "NULL", "all everyone"),
        ("Order.Paid", "NULL", "all case everyone"),
        ("invoice.paid", "NULL", "all either everyone"),
        ("invoice.sent", "NULL", "all everyone"),
        ("order.paid", "'a'", "everyone everyone_s_orders of_a"),
        ("order.paid", "'A'", "everyone everyone_s_orders"),
        ("invoice.paid", "'b'", "everyone of_b"),
    ] {
        let id = database.text(&format!("SELECT webhook_emit('{event_type}', '{{}}', {tenant})")).await;
        let owed = format!(
            "SELECT string_agg(p.name, ' ' ORDER BY p.name) FROM webhook.queue q JOIN webhook.endpoint p ON p.id = q.endpoint_id WHERE q.event_id = '{id}'"
        );
        assert_eq!(database.text(&owed).await, expected, "{event_type} of {tenant}");
    }
}

#[tokio::test]
async fn settings_override_defaults_until_they_are_deleted() {
    let database = Database::new().await;
    let open = database.session().await;
    let late = "SELECT webhook_emit('a', '{}', deliver_at => now() + '20 days')";
    assert_eq!(Database::error_on(&open, late).await.code, "22023");
    database.run("INSERT INTO webhook.setting VALUES ('retention', '30 days')").await;
    Database::run_in(&open, late).await;
    database.run("UPDATE webhook.setting SET value = '10 days'").await;
    assert_eq!(Database::error_on(&open, late).await.code, "22023");
    assert_eq!(database.text("SELECT webhook.setting('retention')").await, "10 days");
    database.run("DELETE FROM webhook.setting").await;
    assert_eq!(database.text("SELECT webhook.setting('retention')").await, "14 days");
    // A due time that has passed is as soon as possible; one to come is kept.
    database.endpoint("https://example.com/").await;
    database.run("SELECT webhook_emit('a', '{}', deliver_at => now() - interval '1 h'), webhook_emit('b', '{}', deliver_at => now() + interval '1 h')").await;
    let due = "SELECT e.type, q.due IS NULL, q.signature IS NULL FROM webhook.queue q JOIN webhook.event e ON e.id = q.event_id ORDER BY e.type";
    assert_eq!(database.rows(due).await, ["a|t|f", "b|f|t"]);
}

#[tokio::test]
async fn a_source_s_settings_hold_for_the_next_statement() {
    let database = Database::new().await;
    let open = database.session().await;
    database.run("CREATE TABLE orders (id int PRIMARY KEY, amount int)").await;
    Database::run_in(&open, "INSERT INTO orders VALUES (0, 0)").await;
    let insert = async |n: i32| {
        let count = async || {
            Database::text_in(
                &open,
                "SELECT coalesce(string_agg(type, ' ' ORDER BY id), '') FROM webhook.event",
            )
            .await
        };
        Database::run_in(&open, "BEGIN ISOLATION LEVEL REPEATABLE READ; TRUNCATE webhook.event").await;
        Database::run_in(&open, &format!("INSERT INTO orders VALUES ({n}, {n})")).await;
        let types = count().await;
        Database::run_in(&open, "ROLLBACK").await;
        types
    };
    assert_eq!(insert(1).await, "");
    database.run("SELECT webhook_attach('orders')").await;
    assert_eq!(insert(1).await, "orders.created");
    database.run("UPDATE webhook.source SET event_names = '{\"insert\": \"order.placed\"}'").await;
    assert_eq!(insert(1).await, "order.placed");
    database.run("UPDATE webhook.source SET condition = 'new.amount > 5'").await;
    assert_eq!((insert(1).await, insert(6).await), (String::new(), "order.placed".into()));
    database
        .run("SELECT webhook_attach('orders', 'second', event_names => '{\"insert\": \"order.seen\"}')")
        .await;
    assert_eq!((insert(1).await, insert(6).await), ("order.seen".into(), "order.placed order.seen".into()));
    database.run("SELECT webhook_detach('orders')").await;
    assert_eq!(insert(6).await, "");
}

#[tokio::test]
async fn a_session_outlives_the_extension() {
    let database = Database::new().await;
    let open = database.session().await;
    Database::run_in(&open, "CREATE TABLE orders (id int); SELECT webhook_attach('orders')").await;
    for round in 1..=2 {
        database.endpoint("https://example.com/").await;
        assert_eq!(owed(&open).await, 1, "round {round}");
        Database::run_in(&open, "INSERT INTO orders VALUES (1)").await;
        database.run("DROP EXTENSION pg_webhook CASCADE").await;
        assert_eq!(Database::error_on(&open, EMIT).await.code, "42883");
        Database::run_in(&open, "INSERT INTO orders VALUES (1)").await;
        let said = Cluster::shared().await.psql(&database.name, "DROP SCHEMA IF EXISTS webhook CASCADE; CREATE EXTENSION pg_webhook; SELECT webhook_attach('orders');");
        assert!(!said.contains("ERROR"), "{said}");
    }
}
