//! Notices: one for each change of state, as a row, a NOTIFY and an event, and never one for each failure.

use harness::{Answer, Database, Receiver, Worker, until};

async fn scene(policy: &str) -> (Database, Receiver, i32) {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let (endpoint, _) = database.endpoint(&receiver.url("/")).await;
    database.run(&format!("UPDATE webhook.endpoint SET {policy} WHERE id = {endpoint}")).await;
    (database, receiver, endpoint)
}

async fn emit(database: &Database, count: usize) {
    database.run(&format!("SELECT webhook_emit('a.b', '{{}}') FROM generate_series(1, {count})")).await;
}

const KINDS: &str = "SELECT string_agg(kind, ' ' ORDER BY id) FROM webhook.notice";

#[tokio::test]
async fn a_failing_endpoint_is_told_of_once_and_so_is_its_recovery() {
    let policy = "retry_schedule = array_fill('50 ms'::interval, '{100}'), retry_jitter = 0";
    let (database, receiver, endpoint) = scene(policy).await;
    receiver.answers(|_| Answer::status(503).body("out of order"));
    let _worker = Worker::start(&database).await;
    emit(&database, 1).await;
    database.becomes(KINDS, "endpoint.failing").await;
    let said = database.text("SELECT message FROM webhook.notice").await;
    assert_eq!(said, format!("endpoint {endpoint} is failing: status 503"));
    let after =
        "SELECT count(*) FROM webhook.attempt a, webhook.notice n WHERE a.recorded_at <= n.created_at";
    assert!(database.number(after).await >= 3, "not at the first failure");
    emit(&database, 20).await;
    receiver.receives(60).await;
    receiver.answers(|_| Answer::status(200));
    database.drained().await;
    database.becomes(KINDS, "endpoint.failing endpoint.recovered").await;
    // And again, the next time.
    receiver.answers(|_| Answer::status(503));
    emit(&database, 1).await;
    database.becomes(KINDS, "endpoint.failing endpoint.recovered endpoint.failing").await;
}

#[tokio::test]
async fn one_or_two_failures_are_not_worth_a_notice() {
    let (database, receiver, _) = scene("retry_schedule = '{10 ms,10 ms,10 ms}'").await;
    let failures = std::sync::atomic::AtomicUsize::new(0);
    receiver.answers(move |_| {
        let count = failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Answer::status(if count % 3 < 2 { 500 } else { 200 })
    });
    let _worker = Worker::start(&database).await;
    for _ in 0..4 {
        emit(&database, 1).await;
        database.drained().await;
    }
    assert_eq!(receiver.count(), 12);
    assert_eq!(database.number("SELECT count(*) FROM webhook.notice").await, 0);
}

#[tokio::test]
async fn dead_deliveries_by_the_hundred_are_one_notice() {
    // One after the other: no answer of before comes after the first success.
    let (database, receiver, endpoint) = scene("retry_schedule = '{}', max_in_flight = 1").await;
    receiver.answers(|_| Answer::status(500));
    let _worker = Worker::start(&database).await;
    emit(&database, 1).await;
    database.drained().await;
    emit(&database, 30).await;
    database.becomes("SELECT count(*) > 5 FROM webhook.dead_letter", "t").await;
    database.becomes(KINDS, "endpoint.failing delivery.exhausted").await;
    let told =
        "SELECT message FROM webhook.notice n JOIN webhook.dead_letter d USING (event_id, endpoint_id)";
    let told = database.text(told).await;
    assert!(told.contains("could not be delivered") && told.contains("status 500"), "{told}");
    receiver.answers(|_| Answer::status(200));
    database.drained().await;
    database.becomes(KINDS, "endpoint.failing delivery.exhausted endpoint.recovered").await;
    let recovered =
        database.text("SELECT message FROM webhook.notice WHERE kind = 'endpoint.recovered'").await;
    let failed = database.number("SELECT count(*) FROM webhook.dead_letter").await;
    assert_eq!(
        recovered,
        format!("endpoint {endpoint} delivers again; {failed} deliveries failed for good meanwhile")
    );
}

#[tokio::test]
async fn a_disabled_endpoint_that_is_enabled_recovers_or_fails_anew() {
    let (database, receiver, endpoint) = scene("retry_schedule = '{10 ms,10 ms,10 ms,10 ms}'").await;
    receiver.answers(|_| Answer::status(410));
    let _worker = Worker::start(&database).await;
    emit(&database, 1).await;
    database.becomes(KINDS, "delivery.exhausted endpoint.disabled").await;
    receiver.answers(|_| Answer::status(500));
    database.run(&format!("UPDATE webhook.endpoint SET status = 'active' WHERE id = {endpoint}")).await;
    emit(&database, 1).await;
    database.becomes(KINDS, "delivery.exhausted endpoint.disabled endpoint.failing delivery.exhausted").await;
    receiver.answers(|_| Answer::status(200));
    emit(&database, 1).await;
    let all = "delivery.exhausted endpoint.disabled endpoint.failing delivery.exhausted endpoint.recovered";
    database.becomes(KINDS, all).await;
}

#[tokio::test]
async fn others_can_subscribe_and_the_endpoint_itself_is_left_out() {
    let (database, receiver, endpoint) = scene("retry_schedule = '{}', event_types = '{*,webhook.*}'").await;
    let (watcher, _) = database.endpoint(&receiver.url("/watcher")).await;
    let sql =
        format!("UPDATE webhook.endpoint SET event_types = '{{webhook.endpoint.*}}' WHERE id = {watcher}");
    database.run(&sql).await;
    // It would fail at what it is told, and recover at the next, without end.
    receiver.answers(|request| {
        let fails =
            request.path == "/" && !request.json()["type"].as_str().unwrap_or("").ends_with("failing");
        Answer::status(if fails { 500 } else { 200 })
    });
    let _worker = Worker::start(&database).await;
    emit(&database, 1).await;
    let watched = async || receiver.requests().into_iter().find(|request| request.path == "/watcher");
    let told = until("the watcher is told", watched).await.json();
    assert_eq!(told["type"], "webhook.endpoint.failing");
    assert_eq!(told["data"]["endpoint_id"], endpoint);
    database.drained().await;
    assert_eq!(receiver.count(), 2, "the endpoint got its event, the watcher the notice");
    assert_eq!(database.text(KINDS).await, "endpoint.failing delivery.exhausted");
}

#[tokio::test]
async fn a_notice_that_cannot_be_emitted_stops_nothing() {
    let (database, receiver, endpoint) = scene("retry_schedule = '{}'").await;
    let schema = "schema = '{\"required\": [\"x\"]}' WHERE name LIKE 'webhook.%'";
    database
        .run("INSERT INTO webhook.event_type (name, declared) VALUES ('webhook.endpoint.failing', false)")
        .await;
    let refused = database.error(&format!("UPDATE webhook.event_type SET {schema}")).await;
    assert_eq!(refused.code, "22023");
    assert!(refused.message.contains("webhook.* are pg_webhook's own"), "{refused:?}");
    // One is there nevertheless, as after a restore; and what the other notice says is too long.
    database.run(&format!("SET session_replication_role = replica; UPDATE webhook.event_type SET {schema}; RESET session_replication_role")).await;
    let (watcher, _) = database.endpoint(&receiver.url("/watcher")).await;
    database
        .run(&format!("UPDATE webhook.endpoint SET event_types = '{{webhook.*}}' WHERE id = {watcher}"))
        .await;
    let small = format!("ALTER DATABASE {} SET pg_webhook.max_body_bytes = 300", database.name);
    database.run(&small).await;
    receiver.answers(|_| Answer::status(500));
    let _worker = Worker::start(&database).await;
    emit(&database, 1).await;
    database.drained().await;
    database.becomes(KINDS, "endpoint.failing delivery.exhausted").await;
    receiver.answers(|_| Answer::status(200));
    emit(&database, 1).await;
    database.becomes(KINDS, "endpoint.failing delivery.exhausted endpoint.recovered").await;
    database.drained().await;
    let told: Vec<_> =
        receiver.requests().into_iter().filter(|r| r.path == "/watcher").map(|r| r.json()).collect();
    assert_eq!(told.len(), 1, "what could be emitted: {told:?}");
    assert_eq!(told[0]["type"], "webhook.endpoint.recovered");
    assert_eq!(told[0]["data"]["endpoint_id"], endpoint);
}
