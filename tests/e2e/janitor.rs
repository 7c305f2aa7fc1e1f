//! Rounds of housekeeping: they run beside everything else, and beside each other.

use crate::partition::{leaf_of, old_event, owe};
use harness::{DEADLINE, Database};
use tokio::time::timeout;

/// What a round of the janitor did, so many hours from now. It never waits for long.
pub async fn janitor(database: &Database, hours: i32) -> String {
    let sql = format!("SELECT webhook.janitor(now() + interval '{hours} hours')");
    timeout(DEADLINE, database.text(&sql)).await.expect("the janitor returns")
}

/// One number of it.
pub async fn round(database: &Database, hours: i32, key: &str) -> i64 {
    let done: serde_json::Value = serde_json::from_str(&janitor(database, hours).await).expect("it is JSON");
    done[key].as_i64().unwrap_or_else(|| panic!("no {key}: {done}"))
}

/// Emits in sessions of their own, one after the other.
pub async fn others_emit(database: &Database) {
    for _ in 0..5 {
        let client = database.session().await;
        let emit = client.batch_execute("SELECT webhook_emit('order.paid', '{}')");
        timeout(DEADLINE, emit).await.expect("it does not wait").expect("it commits");
    }
}

#[tokio::test]
async fn making_leaves_gives_up_behind_a_writer_in_the_default_leaf() {
    let database = Database::new().await;
    database.endpoint("http://127.0.0.1:9/").await;
    let name = &database.name;
    for (begin, end) in [
        ("BEGIN; SELECT webhook_emit('a', '{}')".to_owned(), "COMMIT".to_owned()),
        (
            format!("BEGIN; SELECT webhook_emit('a', '{{}}'); PREPARE TRANSACTION '{name}'"),
            format!("COMMIT PREPARED '{name}'"),
        ),
    ] {
        let writer = database.session().await;
        writer.batch_execute(&begin).await.expect("it writes");
        assert_eq!(round(&database, 0, "made").await, 0, "the janitor returns while the writer is there");
        others_emit(&database).await;
        writer.batch_execute(&end).await.expect("it commits");
    }
    assert_eq!(round(&database, 0, "made").await, 2, "and succeeds in the next round");
    assert_eq!(database.number("SELECT count(*) FROM webhook.queue").await, 12);
}

#[tokio::test]
async fn emits_and_rounds_of_two_janitors_at_once_all_succeed() {
    let database = Database::new().await;
    database.endpoint("http://127.0.0.1:9/").await;
    database.run("INSERT INTO webhook.setting (name, value) VALUES ('retention', '2 days')").await;
    let mut sessions = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let janitor = database.session().await;
        sessions.spawn(async move {
            for n in -27..13 {
                let sql = format!("SELECT webhook.janitor(now() + {n} * interval '3 hours')");
                janitor.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{error:?}"));
            }
        });
    }
    for _ in 0..2 {
        let emitter = database.session().await;
        sessions.spawn(async move {
            for _ in 0..100 {
                emitter
                    .batch_execute("SELECT webhook_emit('a', '{}')")
                    .await
                    .unwrap_or_else(|error| panic!("{error:?}"));
            }
        });
    }
    sessions.join_all().await;
    let doubled =
        database.rows("SELECT parent, from_id FROM webhook.leaf GROUP BY 1, 2 HAVING count(*) > 1").await;
    assert_eq!(doubled, [""; 0]);
    let owed = "SELECT count(*) FROM webhook.queue q JOIN webhook.event e ON e.id = q.event_id";
    assert_eq!(database.number(owed).await, 200, "each event is owed");
    assert_eq!(
        database.number("SELECT count(*) FROM webhook.leaf WHERE to_at < now() - interval '20 hours'").await,
        0
    );

    // While one is at work, another returns at once.
    let first = database.session().await;
    first.batch_execute("BEGIN; SELECT webhook.janitor()").await.expect("it runs");
    assert_eq!(janitor(&database, 0).await, "{\"busy\": true}");
    first.batch_execute("COMMIT").await.expect("it ends");
    assert_ne!(janitor(&database, 0).await, "{\"busy\": true}");
}

#[tokio::test]
async fn keys_and_notices_expire_and_the_default_leaf_is_trimmed() {
    let database = Database::new().await;
    database.endpoint("http://127.0.0.1:9/").await;
    let first = database.text("SELECT webhook_emit('a', '{}', idempotency_key => 'k')").await;
    database.run("SELECT webhook.raise_notice('endpoint.disabled', 1, NULL, 'for show')").await;
    let old = old_event(&database, "30 days", "order.old").await;
    let owed = old_event(&database, "29 days", "order.owed").await;
    owe(&database, &owed).await;
    database
        .run(&format!(
            "INSERT INTO webhook.attempt (event_id, id, endpoint_id, number, started_at, final, outcome) \
             VALUES ('{old}', gen_random_uuid(), 1, 1, now(), true, 'delivered')"
        ))
        .await;

    assert_eq!(round(&database, 0, "trimmed").await, 2, "the old event and its attempt");
    assert_eq!(leaf_of(&database, &old).await, "");
    assert_eq!(leaf_of(&database, &owed).await, "webhook.event_default", "not what has just expired");
    let counts = "SELECT (SELECT count(*) FROM webhook.idempotency), (SELECT count(*) FROM webhook.notice)";
    assert_eq!(database.rows(counts).await, ["1|1"]);
    assert_eq!(database.text("SELECT webhook_emit('a', '{}', idempotency_key => 'k')").await, first);
    assert_eq!(round(&database, 25, "trimmed").await, 0);
    assert_eq!(database.rows(counts).await, ["0|1"], "the key's window is a day");
    assert_eq!(round(&database, 24 * 13, "trimmed").await, 2, "the expired event and its row");
    assert_eq!(database.rows(counts).await, ["0|1"]);
    round(&database, 24 * 16, "trimmed").await;
    assert_eq!(database.rows(counts).await, ["0|0"], "the retention and a width are over");
}

#[tokio::test]
async fn housekeeping_with_an_old_snapshot_is_refused() {
    let (database, event) = crate::retirement::with_an_old_leaf().await;
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let client = database.session().await;
        client.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}")).await.expect("it begins");
        let error = Database::error_on(&client, "SELECT webhook.janitor()").await;
        assert_eq!(error.code, "55000");
        assert!(error.hint.contains("READ COMMITTED"), "{error:?}");
    }
    assert_ne!(leaf_of(&database, &event).await, "");
}

#[tokio::test]
async fn the_janitor_gives_a_secret_to_an_endpoint_without_one() {
    let database = Database::new().await;
    let (endpoint, _) = database.endpoint("http://127.0.0.1:9/").await;
    assert_eq!(round(&database, 0, "secrets_given").await, 0);
    database.run("DELETE FROM webhook.endpoint_secret").await;
    assert_eq!(round(&database, 0, "secrets_given").await, 1);
    let secret = database
        .text(&format!("SELECT secret FROM webhook.endpoint_secret WHERE endpoint_id = {endpoint}"))
        .await;
    assert!(secret.starts_with("whsec_"));
    assert_eq!(round(&database, 0, "secrets_given").await, 0);
}
