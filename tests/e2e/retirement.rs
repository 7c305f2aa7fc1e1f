//! Retention, as days pass: what is owed ends, old leaves go, and nobody has to wait for it.

use crate::janitor::{janitor, others_emit, round};
use crate::partition::{days_pass, leaf_of, old_event, owe};
use harness::Database;

/// Sessions that wait for the whole of a table.
const BLOCKED: &str = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' \
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Those of them that are about to drop a leaf: they wait for its parent.
const DROP_BLOCKED: &str = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' \
                            AND relation = ANY ('{webhook.event, webhook.attempt}'::regclass[])";

/// Leaves from twenty days ago up to the present, of which the first is due to be retired now: it holds an event.
pub async fn with_an_old_leaf() -> (Database, String) {
    let database = Database::new().await;
    database.endpoint("http://127.0.0.1:9/").await;
    days_pass(&database, -20, -20).await;
    let event = old_event(&database, "19 days", "order.old").await;
    days_pass(&database, -19, -3).await;
    assert!(leaf_of(&database, &event).await.starts_with("webhook.event_2"));
    (database, event)
}

#[tokio::test]
async fn what_is_owed_past_the_retention_ends_as_expired_and_says_so() {
    let (database, late) = with_an_old_leaf().await;
    let in_time = old_event(&database, "13 days 23 hours", "order.young").await;
    owe(&database, &late).await;
    owe(&database, &in_time).await;
    assert_eq!(round(&database, 0, "expired").await, 1);
    let attempts = database
        .rows("SELECT event_id, endpoint_id, number, started_at, final, outcome, error FROM webhook.attempt")
        .await;
    assert_eq!(attempts, [format!("{late}|1|0||t|expired|still owed after the retention of 14 days")]);
    let status = database
        .rows(&format!("SELECT status, attempts FROM webhook.delivery WHERE event_id = '{late}'"))
        .await;
    assert_eq!(status, ["expired|0"]);
    assert_eq!(database.rows("SELECT event_id FROM webhook.queue").await, [in_time.as_str()]);
    assert_eq!(round(&database, 2, "expired").await, 1, "two hours later the other one as well");
}

#[tokio::test]
async fn a_leaf_is_emptied_and_dropped_one_width_after_the_retention() {
    let (database, event) = with_an_old_leaf().await;
    let leaf = leaf_of(&database, &event).await;
    let old_leaves = "SELECT count(*) FROM webhook.leaf WHERE to_at < now() - interval '15 days 18 hours'";
    assert!(database.number(old_leaves).await > 0);
    // The leaf ends a little more than 18 days and 6 hours ago; a width is 42 hours.
    assert_eq!(round(&database, -67, "emptied").await, 0);
    assert_eq!(leaf_of(&database, &event).await, leaf, "it can still be read");
    let done = janitor(&database, 0).await;
    assert!(done.contains("\"emptied\": 1"), "the attempts' leaf was empty before: {done}");
    assert_eq!(leaf_of(&database, &event).await, "");
    assert_eq!(database.number(old_leaves).await, 0, "leaves are gone: {done}");
}

#[tokio::test]
async fn what_expired_late_can_be_read_for_a_width_before_it_goes() {
    let (database, event) = with_an_old_leaf().await;
    owe(&database, &event).await;
    // The janitor was away since before the retention ended: it finds the leaf due and something owed of it.
    assert_eq!(round(&database, 0, "expired").await, 1);
    let read =
        format!("SELECT outcome FROM webhook.delivery_log WHERE event_id = '{event}' AND type = 'order.old'");
    for hours in [1, 20, 41] {
        assert_eq!(round(&database, hours, "emptied").await, 0, "hour {hours}");
        assert_eq!(database.rows(&read).await, ["expired"], "hour {hours}");
    }
    assert_eq!(round(&database, 43, "emptied").await, 2);
    assert_eq!(database.rows(&read).await, [""; 0]);
}

#[tokio::test]
async fn a_leaf_that_a_writer_holds_is_left_alone_and_nobody_waits() {
    let (database, _) = with_an_old_leaf().await;
    let writer = database.session().await;
    writer.batch_execute("BEGIN; CREATE TEMP TABLE late (id uuid)").await.expect("it begins");
    writer
        .batch_execute(
            "WITH e AS (INSERT INTO webhook.event (id, type, body, created_at) VALUES \
               (webhook.first_id_at(now() - interval '19 days'), 'order.late', '{}', now() - interval '19 days') RETURNING id), \
             q AS (INSERT INTO webhook.queue (endpoint_id, event_id) SELECT 1, id FROM e) \
             INSERT INTO late SELECT id FROM e",
        )
        .await
        .expect("it writes");
    assert_eq!(
        round(&database, 0, "emptied").await,
        0,
        "the janitor gives up by itself, with the writer still there"
    );

    // Now it does not give up: it waits for as long as the writer is there, and nobody else does.
    database.run("ALTER FUNCTION webhook.janitor_retire(timestamptz) SET lock_timeout = 0").await;
    let session = database.session().await;
    let retirement =
        tokio::spawn(async move { session.query_one("SELECT webhook.janitor()->>'emptied'", &[]).await });
    database.becomes(BLOCKED, "1").await;
    others_emit(&database).await;
    assert_eq!(database.number(BLOCKED).await, 1, "the others committed while the retirement was blocked");
    writer.batch_execute("COMMIT").await.expect("the writer ends");
    let emptied: String = retirement.await.expect("no panic").expect("the janitor succeeds").get(0);
    assert_eq!(emptied, "0", "what the writer left is owed: the leaf stays");

    let late = "SELECT status FROM webhook.delivery WHERE type = 'order.late'";
    assert_eq!(database.rows(late).await, ["pending"]);
    assert_eq!(round(&database, 1, "expired").await, 1, "it ends in the next round");
    assert_eq!(database.rows(late).await, ["expired"], "and can be seen");
    assert_eq!(round(&database, 44, "emptied").await, 1, "then the leaf goes");
    assert_eq!(database.rows(late).await, [""; 0]);
}

#[tokio::test]
async fn a_leaf_stays_while_a_delivery_of_it_is_being_recorded() {
    let (database, event) = with_an_old_leaf().await;
    owe(&database, &event).await;
    let worker = database.session().await;
    worker.batch_execute("BEGIN; SELECT FROM webhook.queue FOR UPDATE").await.expect("the row is held");
    let done = janitor(&database, 0).await;
    assert!(done.contains("\"expired\": 0") && done.contains("\"emptied\": 0"), "{done}");
    assert_ne!(leaf_of(&database, &event).await, "");
    worker
        .batch_execute(
            "INSERT INTO webhook.attempt (event_id, id, endpoint_id, number, started_at, final, outcome) \
               SELECT event_id, gen_random_uuid(), 1, 1, now(), true, 'delivered' FROM webhook.queue; \
             DELETE FROM webhook.queue; COMMIT",
        )
        .await
        .expect("recorded");
    let done = janitor(&database, 0).await;
    assert!(done.contains("\"expired\": 0") && done.contains("\"emptied\": 2"), "{done}");
}

#[tokio::test]
async fn an_open_reader_stops_neither_the_janitor_nor_others() {
    let (database, event) = with_an_old_leaf().await;
    let reader = database.session().await;
    reader
        .batch_execute("BEGIN; SELECT count(*) FROM webhook.event, webhook.event_body, webhook.attempt")
        .await
        .expect("it reads");
    for _ in 0..3 {
        let done = janitor(&database, 0).await;
        assert!(done.contains("\"emptied\": 0") && done.contains("\"dropped\": 0"), "{done}");
        others_emit(&database).await;
        assert_ne!(leaf_of(&database, &event).await, "", "reading goes on");
    }
    // Now it does not give up dropping an empty leaf. Still nobody waits who emits.
    database.run("ALTER FUNCTION webhook.janitor_drop(timestamptz) SET lock_timeout = 0").await;
    let session = database.session().await;
    let drop = tokio::spawn(async move { session.batch_execute("SELECT webhook.janitor()").await });
    database.becomes(DROP_BLOCKED, "1").await;
    others_emit(&database).await;
    assert_eq!(database.number(DROP_BLOCKED).await, 1, "the others committed while the drop was blocked");

    reader.batch_execute("COMMIT").await.expect("it ends");
    drop.await.expect("no panic").expect("the janitor succeeds");
    let done = janitor(&database, 0).await;
    assert!(done.contains("\"emptied\": 1") && !done.contains("\"dropped\": 0"), "{done}");
}
