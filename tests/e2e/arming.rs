//! The clone guard: a restored copy sends nothing until webhook_arm(), and --arm-id ties a worker to one database.

use harness::{Database, Receiver, Worker};

const LOOPBACK: [&str; 2] = ["--allow-network", "127.0.0.0/8"];

async fn scene() -> (Database, Receiver) {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    database.endpoint(&receiver.url("/")).await;
    (database, receiver)
}

/// What a dump leaves out is made anew with the extension: this is what a restored database looks like.
async fn as_after_a_restore(database: &Database) {
    database.run("UPDATE webhook.installation SET id = gen_random_uuid()").await;
}

async fn arm_id(database: &Database) -> String {
    database.text("SELECT webhook.arm_id()").await
}

/// Ends with 6; returns what it said.
async fn refuses(worker: Worker) -> String {
    let (code, log) = worker.ended().await;
    assert_eq!(code, Some(6), "{log}");
    log
}

async fn tied_to(database: &Database, arm_id: &str) -> Worker {
    Worker::spawn(&database.environment(), &[&LOOPBACK[..], &["--arm-id", arm_id]].concat()).await
}

#[tokio::test]
async fn a_restored_database_sends_nothing_until_it_is_armed() {
    let (database, receiver) = scene().await;
    let running = Worker::start(&database).await;
    database.run("SELECT webhook_emit('from.original', '{}')").await;
    receiver.receives(1).await;
    database.drained().await;
    as_after_a_restore(&database).await;
    let log = refuses(running).await;
    assert!(log.contains("not armed") && log.contains("webhook_arm()"), "{log}");
    database.run("SELECT webhook_emit('from.copy', '{}')").await;
    let log = refuses(Worker::spawn(&database.environment(), &LOOPBACK).await).await;
    assert!(log.contains("not armed") && log.contains("webhook_arm()"), "{log}");
    let refused = tied_to(&database, &database.text("SELECT id FROM webhook.installation").await).await;
    refuses(refused).await;
    assert_eq!(receiver.count(), 1, "nothing was sent from the copy");
    assert_eq!(database.number("SELECT count(*) FROM webhook.queue").await, 1, "it is owed still");

    database.run("SELECT webhook_arm()").await;
    let _worker = Worker::start(&database).await;
    let requests = receiver.receives(2).await;
    assert_eq!(requests[1].json()["type"], "from.copy");
    database.drained().await;
}

#[tokio::test]
async fn a_worker_with_an_arm_id_serves_that_database_only() {
    let (database, receiver) = scene().await;
    let right = arm_id(&database).await;
    let log = refuses(tied_to(&database, "00000000-0000-4000-8000-000000000000").await).await;
    assert!(log.contains(&right) && log.contains("--arm-id"), "it tells the one there is: {log}");
    let worker = tied_to(&database, &right).await;
    worker.ready().await;
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    receiver.receives(1).await;
    database.drained().await;
    // The copy that takes over is armed: the original's worker has to let go.
    let renewed = database.text("SELECT webhook_arm()").await;
    assert_ne!(renewed, right);
    assert_eq!(renewed, arm_id(&database).await);
    let log = refuses(worker).await;
    assert!(log.contains(&renewed), "{log}");
    tied_to(&database, &renewed).await.ready().await;
}

#[tokio::test]
async fn a_worker_without_an_arm_id_goes_on_when_the_database_is_armed_again() {
    let (database, receiver) = scene().await;
    database.run("UPDATE webhook.endpoint SET status = 'paused'; SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 50)").await;
    let _worker = Worker::start(&database).await;
    database.run("SELECT webhook_arm()").await;
    database.run("UPDATE webhook.endpoint SET status = 'active'").await;
    database.drained().await;
    assert_eq!(receiver.count(), 50);
    assert_eq!(receiver.times_by_id().len(), 50);
}

#[tokio::test]
async fn a_fresh_database_is_armed() {
    let database = Database::new().await;
    let worker = Worker::start(&database).await;
    let before = arm_id(&database).await;
    database.endpoint("http://127.0.0.1:9/").await;
    assert_eq!(arm_id(&database).await, before, "the first endpoint changes nothing");
    assert!(worker.stop().await.success());
}

#[tokio::test]
async fn an_arm_id_that_is_none_is_refused() {
    let (code, log) = Worker::spawn(&[], &["--arm-id", "yes"]).await.ended().await;
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("--arm-id"), "{log}");
}
