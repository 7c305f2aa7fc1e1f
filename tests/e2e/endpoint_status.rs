//! Endpoints are paused, resumed, disabled and enabled through functions, which say what becomes of what waits.

use crate::lifecycle::Scene;
use harness::{Database, Receiver, Worker, until};

#[tokio::test]
async fn pausing_holds_deliveries_and_resuming_makes_them() {
    let scene = Scene::new().await;
    scene.emit(8).await;
    scene.receiver.receives(1).await;
    scene.change(&format!("SELECT webhook_pause({0}), webhook_pause({0})", scene.endpoint)).await;
    scene.gate.open();
    scene
        .database
        .becomes("SELECT count(*) FROM webhook.delivery WHERE status = 'delivered' AND endpoint_id = 1", "1")
        .await;
    scene.change("SELECT").await;
    assert_eq!(scene.outcomes().await, ["delivered|1", "pending|7"]);
    scene.change(&format!("SELECT webhook_resume({0}), webhook_resume({0})", scene.endpoint)).await;
    scene.database.drained().await;
    assert_eq!(scene.outcomes().await, ["delivered|8"]);
    assert_eq!(scene.receiver.count(), 8, "each once");
}

#[tokio::test]
async fn disabling_skips_at_once_what_waits_and_records_what_is_under_way() {
    let scene = Scene::new().await;
    scene.set("max_in_flight = 3").await;
    scene.emit(40).await;
    scene.receiver.receives(3).await;
    let disable = format!("SELECT webhook_disable({})", scene.endpoint);
    scene.database.run("BEGIN").await;
    let skipped = scene.database.number(&disable).await;
    assert_eq!(scene.outcomes().await, ["skipped: endpoint disabled|40"], "in the same transaction");
    scene.database.run("COMMIT").await;
    assert_eq!(skipped, 40);
    // The worker has some in hand, and ends them as well.
    scene.emit(2).await;
    scene.change("SELECT").await;
    scene.gate.open();
    scene
        .database
        .becomes("SELECT count(*) FROM webhook.attempt WHERE endpoint_id = 1 AND number = 1", "3")
        .await;
    scene.database.drained().await;
    assert_eq!(scene.outcomes().await, ["delivered|3", "skipped: endpoint disabled|39"]);
    assert_eq!(scene.receiver.count(), 3);
    let log =
        "SELECT outcome, count(*) FROM webhook.delivery_log WHERE endpoint_id = 1 GROUP BY 1 ORDER BY 1";
    assert_eq!(scene.database.rows(log).await, ["delivered|3", "skipped|42"], "each is written once");
    assert_eq!(scene.database.number(&format!("SELECT webhook_enable({})", scene.endpoint)).await, 0);
    scene.emit(1).await;
    scene.receiver.receives(4).await;
}

#[tokio::test]
async fn what_a_worker_skips_at_an_endpoint_that_was_enabled_is_delivered_all_the_same() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    database.endpoint(&receiver.url("/")).await;
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    // As of a worker that has not heard of it.
    let skipped = "SELECT webhook.worker_record(ARRAY[endpoint_id], ARRAY[event_id], ARRAY[xid::text::bigint], '{0}', '{skipped}', '{NULL}',
        '{0}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{endpoint disabled}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}', '{NULL}')
        FROM webhook.queue";
    database.run(skipped).await;
    assert_eq!(
        database.rows("SELECT attempts, step, due <= clock_timestamp() FROM webhook.queue").await,
        ["0|0|t"]
    );
    assert_eq!(database.number("SELECT count(*) FROM webhook.attempt").await, 0);
    database.run("UPDATE webhook.endpoint SET status = 'disabled'").await;
    database.run(skipped).await;
    let outcomes = "SELECT status, last_error FROM webhook.delivery";
    assert_eq!(database.rows(outcomes).await, ["skipped|endpoint disabled"]);
    database.run("UPDATE webhook.endpoint SET status = 'active'; SELECT webhook_emit('a.b', '{}')").await;
    database.run(skipped).await;
    let _worker = Worker::start(&database).await;
    database.drained().await;
    assert_eq!(receiver.receives(1).await.len(), 1);
}

#[tokio::test]
async fn a_disabled_endpoint_that_keeps_delivers_what_waits_when_it_is_enabled() {
    let scene = Scene::new().await;
    scene.emit(20).await;
    scene.receiver.receives(1).await;
    let owed = scene.database.number(&format!("SELECT webhook_disable({}, 'keep')", scene.endpoint)).await;
    assert_eq!(owed, 20, "the one under way is owed still");
    scene.change("SELECT").await;
    scene.gate.open();
    scene.emit(5).await;
    scene.database.becomes("SELECT count(*) FROM webhook.queue WHERE endpoint_id = 1", "24").await;
    scene.change("SELECT").await;
    assert_eq!(scene.outcomes().await, ["delivered|1", "pending|24"]);
    assert_eq!(scene.receiver.count(), 1);
    // What is owed is given up after all.
    scene.database.run("BEGIN").await;
    assert_eq!(
        scene.database.number(&format!("SELECT webhook_disable({}, 'skip')", scene.endpoint)).await,
        24
    );
    scene.database.run("ROLLBACK").await;
    assert_eq!(scene.database.number(&format!("SELECT webhook_enable({})", scene.endpoint)).await, 24);
    scene.database.drained().await;
    assert_eq!(scene.outcomes().await, ["delivered|25"]);
    assert_eq!(scene.receiver.times_by_id().len(), 25);
}

#[tokio::test]
async fn an_endpoint_can_be_enabled_without_what_waited() {
    let scene = Scene::new().await;
    scene.gate.open();
    scene.change(&format!("SELECT webhook_disable({}, 'keep')", scene.endpoint)).await;
    scene.emit(30).await;
    // The worker has read them: what it reads in this very moment may still be sent.
    scene.change("SELECT").await;
    assert_eq!(
        scene.database.number(&format!("SELECT webhook_enable({}, 'skip')", scene.endpoint)).await,
        30
    );
    scene.emit(3).await;
    scene.database.drained().await;
    assert_eq!(scene.outcomes().await, ["delivered|3", "skipped: skipped when the endpoint was enabled|30"]);
    assert_eq!(scene.receiver.count(), 3);
}

#[tokio::test]
async fn pausing_and_disabling_under_load_loses_nothing_and_records_nothing_twice() {
    let scene = Scene::new().await;
    scene.gate.open();
    scene.set("max_in_flight = 8").await;
    let id = scene.endpoint;
    let writer = scene.database.session().await;
    let load = tokio::spawn(async move {
        for _ in 0..60 {
            Database::run_in(&writer, "SELECT webhook_emit('load.came', '{}') FROM generate_series(1, 50)")
                .await;
        }
    });
    let mut skipped = 0;
    while !load.is_finished() {
        scene.database.run(&format!("SELECT webhook_pause({id})")).await;
        scene.database.run(&format!("SELECT webhook_resume({id})")).await;
        skipped += scene.database.number(&format!("SELECT webhook_disable({id}, 'skip')")).await;
        scene.database.run(&format!("SELECT webhook_enable({id})")).await;
        scene.database.run(&format!("SELECT webhook_disable({id}, 'keep')")).await;
        skipped += scene.database.number(&format!("SELECT webhook_enable({id}, 'skip')")).await;
    }
    load.await.expect("the load comes");
    scene.database.drained().await;
    assert!(skipped > 0, "something waited");
    let deliveries = "SELECT count(*), count(DISTINCT event_id) FROM webhook.delivery WHERE endpoint_id = 1";
    assert_eq!(scene.database.rows(deliveries).await, ["3000|3000"]);
    let twice = "SELECT event_id, number FROM webhook.attempt WHERE endpoint_id = 1 GROUP BY 1, 2 HAVING count(*) > 1";
    assert_eq!(scene.database.rows(twice).await, [""; 0]);
    let recorded = "SELECT count(*) FROM webhook.attempt WHERE endpoint_id = 1 AND number > 0";
    // What was under way when it was skipped is recorded after the queue is empty.
    until("every request is in the log", async || {
        (scene.database.number(recorded).await == scene.receiver.count() as i64).then_some(())
    })
    .await;
}
