//! The same idempotency key is the same event, whoever says it how often.

use harness::{Database, until};

const EMIT: &str = "SELECT webhook_emit('order.paid', '{\"a\": 1, \"b\": 2}', idempotency_key => 'once')";

async fn database() -> Database {
    let database = Database::new().await;
    database.endpoint("https://example.com/").await;
    database.run("UPDATE webhook.endpoint SET all_tenants = true").await;
    database
}

async fn counts(database: &Database) -> String {
    database.text("SELECT (SELECT count(*) FROM webhook.event) || ' events, ' || (SELECT count(*) FROM webhook.queue) || ' owed'").await
}

#[tokio::test]
async fn the_same_key_again_is_the_first_event() {
    let database = database().await;
    let first = database.text(EMIT).await;
    assert_eq!(database.text(EMIT).await, first);
    // jsonb has no order of keys and no white space.
    let same = "SELECT webhook_emit('order.paid', '{ \"b\":2, \"a\":1 }', NULL, 'another key', idempotency_key => 'once')";
    assert_eq!(database.text(same).await, first);
    let session = database.session().await;
    assert_eq!(Database::text_in(&session, EMIT).await, first);
    let again = database.text("SELECT count(DISTINCT webhook_emit('a', '1', idempotency_key => 'loop')) FROM generate_series(1, 5)").await;
    assert_eq!(again, "1");
    assert_eq!(counts(&database).await, "2 events, 2 owed");
}

#[tokio::test]
async fn tenants_have_keys_of_their_own() {
    let database = database().await;
    let mut ids = Vec::new();
    for tenant in ["NULL", "'a'", "'b'", "NULL", "'a'", "'b'"] {
        ids.push(
            database
                .text(&format!(
                    "SELECT webhook_emit('order.paid', '{{}}', tenant => {tenant}, idempotency_key => 'once')"
                ))
                .await,
        );
    }
    assert_eq!(ids[..3], ids[3..]);
    assert_eq!(counts(&database).await, "3 events, 3 owed");
}

#[tokio::test]
async fn the_same_key_for_something_else_is_refused() {
    let database = database().await;
    let first = database.text(EMIT).await;
    for other in [
        "SELECT webhook_emit('order.sent', '{\"a\": 1, \"b\": 2}', idempotency_key => 'once')",
        "SELECT webhook_emit('order.paid', '{\"a\": 1, \"b\": 3}', idempotency_key => 'once')",
    ] {
        let error = database.error(other).await;
        assert_eq!(error.code, "22023");
        assert!(error.message.contains(&first), "{error:?}");
    }
    assert_eq!(counts(&database).await, "1 events, 1 owed");
}

#[tokio::test]
async fn whoever_comes_second_waits_for_the_first_to_end() {
    for end in ["COMMIT", "ROLLBACK"] {
        let database = database().await;
        let first = database.session().await;
        Database::run_in(&first, "BEGIN").await;
        let first_id = Database::text_in(&first, EMIT).await;
        let second = database.session().await;
        let waiting = tokio::spawn(async move { Database::text_in(&second, EMIT).await });
        database.becomes("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", "1").await;
        Database::run_in(&first, end).await;
        let second_id = waiting.await.expect("it ends");
        assert_eq!(first_id == second_id, end == "COMMIT", "{end}");
        assert_eq!(counts(&database).await, "1 events, 1 owed");
        assert_eq!(database.text("SELECT id FROM webhook.event").await, second_id);
    }
}

#[tokio::test]
async fn many_at_once_make_one_event() {
    let database = database().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let session = database.session().await;
        tasks.spawn(async move { Database::text_in(&session, EMIT).await });
    }
    let mut ids = tasks.join_all().await;
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(counts(&database).await, "1 events, 1 owed");
}

#[tokio::test]
async fn what_is_rolled_back_leaves_the_key_free() {
    let database = database().await;
    let undone = "SELECT event_id FROM webhook.idempotency";
    database
        .run(&format!(
            "BEGIN; {EMIT}; ROLLBACK; BEGIN; SAVEPOINT a; {EMIT}; ROLLBACK TO a; {EMIT}; {EMIT}; COMMIT"
        ))
        .await;
    assert_eq!(counts(&database).await, "1 events, 1 owed");
    assert_eq!(database.text(undone).await, database.text("SELECT id FROM webhook.event").await);
    // What is not emitted takes no key.
    database.run("BEGIN; SET LOCAL pg_webhook.suppress = on; SELECT webhook_emit('a', '1', idempotency_key => 'silent'); COMMIT").await;
    assert_eq!(database.number("SELECT count(*) FROM webhook.idempotency").await, 1);
}

#[tokio::test]
async fn a_key_is_free_again_after_its_window() {
    let database = database().await;
    database.run("INSERT INTO webhook.setting VALUES ('idempotency_window', '1 hour')").await;
    let first = database.text(EMIT).await;
    let window = "SELECT expires_at - now() BETWEEN '59 min' AND '1 hour' FROM webhook.idempotency";
    assert_eq!(database.text(window).await, "t");
    database.run("UPDATE webhook.idempotency SET expires_at = now()").await;
    let second = database.text("SELECT webhook_emit('order.sent', '{}', idempotency_key => 'once')").await;
    assert_ne!(second, first);
    assert_eq!(counts(&database).await, "2 events, 2 owed");
    assert_eq!(database.text(window).await, "t", "and has a new one");
    database.run("UPDATE webhook.idempotency SET expires_at = now()").await;
    database.run("SELECT webhook.janitor()").await;
    until("the janitor has removed it", async || {
        (database.number("SELECT count(*) FROM webhook.idempotency").await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_older_snapshot_does_not_make_a_second_event() {
    let database = database().await;
    let session = database.session().await;
    Database::run_in(&session, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM webhook.event").await;
    database.run(EMIT).await;
    assert_eq!(Database::error_on(&session, EMIT).await.code, "40001", "as any other write would");
    Database::run_in(&session, "ROLLBACK").await;
    assert_eq!(counts(&database).await, "1 events, 1 owed");
}
