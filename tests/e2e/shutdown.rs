//! A worker that is told to stop: what is under way finishes and is recorded, nothing new is begun, nothing is left.

use harness::{Answer, Cluster, Database, Gate, Receiver, Worker, until};
use std::time::{Duration, Instant};

const SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'pg-webhook-worker%'";

/// A receiver whose answers are held back until the gate is opened, and an endpoint that may call it four times at once.
async fn scene() -> (Database, Receiver, Gate) {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    database.endpoint(&receiver.url("/")).await;
    database.run("UPDATE webhook.endpoint SET max_in_flight = 4").await;
    let gate = Gate::default();
    let held = gate.clone();
    receiver.answers(move |_| Answer::status(200).held_by(&held));
    (database, receiver, gate)
}

async fn emit(database: &Database, count: usize) {
    database.run(&format!("SELECT webhook_emit('a.b', '{{}}') FROM generate_series(1, {count})")).await;
}

async fn worker(database: &Database, args: &[&str]) -> Worker {
    let all = [&["--allow-network", "127.0.0.0/8"], args].concat();
    Worker::start_with(database, &all).await
}

/// Owed still, attempts recorded.
async fn owed_and_made(database: &Database) -> String {
    database.text("SELECT (SELECT count(*) FROM webhook.queue) || ' owed, ' || (SELECT count(*) FROM webhook.attempt) || ' made'").await
}

#[tokio::test]
async fn requests_under_way_finish_and_are_recorded_and_no_other_is_begun() {
    let (database, receiver, gate) = scene().await;
    emit(&database, 10).await;
    let first = worker(&database, &[]).await;
    receiver.receives(4).await;
    first.terminate();
    until("it says that it is stopping", async || {
        let (_, health) = first.get("/healthz").await?;
        health.contains("\"state\":\"stopping\"").then_some(())
    })
    .await;
    assert!(database.number(SESSIONS).await >= 1, "it still has to record");
    gate.open();
    let (code, log) = first.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(owed_and_made(&database).await, "6 owed, 4 made");
    assert_eq!(receiver.count(), 4);
    database.becomes(SESSIONS, "0").await;
    receiver.answers(|_| Answer::status(200));
    let _next = worker(&database, &[]).await;
    database.drained().await;
    assert_eq!(receiver.times_by_id().len(), 10);
    assert_eq!(receiver.count(), 10, "each once");
}

#[tokio::test]
async fn requests_that_take_longer_than_the_shutdown_timeout_are_owed_still() {
    let (database, receiver, _gate) = scene().await;
    let id = database.text("SELECT webhook_emit('a.b', '{}')").await;
    let first = worker(&database, &["--shutdown-timeout", "1s"]).await;
    receiver.receives(1).await;
    let told = Instant::now();
    first.terminate();
    let (code, log) = first.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!((1..12).contains(&told.elapsed().as_secs()), "{:?}", told.elapsed());
    assert!(log.contains("1 requests are cut off"), "{log}");
    assert_eq!(owed_and_made(&database).await, "1 owed, 0 made");
    database.becomes(SESSIONS, "0").await;
    receiver.answers(|_| Answer::status(200));
    let _next = worker(&database, &[]).await;
    database.drained().await;
    assert!(receiver.requests().iter().all(|request| request.id() == id));
    assert_eq!(database.text("SELECT status || attempts FROM webhook.delivery").await, "delivered1");
}

#[tokio::test]
async fn told_twice_it_stops_at_once() {
    let (database, receiver, _gate) = scene().await;
    emit(&database, 1).await;
    let worker = worker(&database, &[]).await;
    receiver.receives(1).await;
    let told = Instant::now();
    worker.terminate();
    worker.says("stopping").await;
    worker.terminate();
    let (code, log) = worker.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    assert!(log.contains("told twice"), "{log}");
    assert_eq!(owed_and_made(&database).await, "1 owed, 0 made");
    database.becomes(SESSIONS, "0").await;
}

#[tokio::test]
async fn what_waits_holds_nobody_up() {
    let (database, receiver, _gate) = scene().await;
    // Paused, put off, to be retried, and nothing to do at all.
    for policy in [
        "status = 'paused'",
        "event_types = '{late.*}'",
        "retry_schedule = '{1 h}'",
        "event_types = '{no.*}'",
    ] {
        let (endpoint, _) = database.endpoint(&receiver.url("/fails")).await;
        database.run(&format!("UPDATE webhook.endpoint SET {policy} WHERE id = {endpoint}")).await;
    }
    receiver.answers(|request| Answer::status(if request.path == "/fails" { 500 } else { 200 }));
    let worker = worker(&database, &[]).await;
    emit(&database, 20).await;
    database.run("SELECT webhook_emit('late.one', '{}', deliver_at => now() + '1 h')").await;
    database.becomes("SELECT count(DISTINCT endpoint_id) FROM webhook.attempt", "2").await;
    database.becomes("SELECT count(*) FROM webhook.queue WHERE endpoint_id = 1 AND due IS NULL", "0").await;
    let told = Instant::now();
    assert!(worker.stop().await.success());
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
}

#[tokio::test]
async fn it_stops_while_the_database_is_away() {
    let environment = vec![
        ("PGHOST", "127.0.0.1".to_owned()),
        ("PGPORT", harness::free_port().to_string()),
        ("PGUSER", "nobody".to_owned()),
    ];
    let worker = Worker::spawn(&environment, &[]).await;
    worker.says("is unreachable").await;
    let told = Instant::now();
    assert!(worker.stop().await.success());
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());

    // And when it went away after it had been there.
    let (database, _receiver, _gate) = scene().await;
    let worker = self::worker(&database, &[]).await;
    let postgres = Cluster::shared().await.connect("postgres").await.expect("a session");
    let name = &database.name;
    Database::run_in(&postgres, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await;
    let cut = SESSIONS.replace("count(*)", "count(pg_terminate_backend(pid))");
    assert!(database.number(&cut).await >= 1);
    worker.says("is unreachable").await;
    let told = Instant::now();
    assert!(worker.stop().await.success());
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
}
