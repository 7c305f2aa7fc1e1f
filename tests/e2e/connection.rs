//! Connections to the database that end: the worker makes them anew by itself, and nothing is lost.

use harness::{Answer, Cluster, ClusterOptions, Database, Proxy, Receiver, Worker, Writers, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

const EMIT_20: &str = "SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 20)";

/// Cuts the worker's connections of this purpose (`%`: all at once); returns how many there were.
pub async fn cut(database: &Database, purpose: &str) -> i64 {
    let sql = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name LIKE 'pg-webhook-worker {purpose}'"
    );
    database.number(&sql).await
}

/// Waits until a notification has led to a look at the queue: what is emitted arrives without waiting for the sweep.
async fn notified(database: &Database, worker: &Worker) {
    let wakes = worker.metric("pg_webhook_wakes_total").await;
    until("a notification is heard", async || {
        database.run("SELECT webhook_emit('a.b', '{}')").await;
        (worker.metric("pg_webhook_wakes_total").await > wakes + 1.0).then_some(())
    })
    .await;
}

async fn all_arrived(database: &Database, receiver: &Receiver, at_most_again: usize) {
    database.drained().await;
    let events = database.number("SELECT count(*) FROM webhook.event").await;
    let times = receiver.times_by_id();
    assert_eq!(times.len() as i64, events, "every event has arrived");
    let again = receiver.count() - times.len();
    assert!(again <= at_most_again, "{again} of {events} came again");
    let log = database
        .rows("SELECT count(*), count(DISTINCT id), count(DISTINCT event_id) FROM webhook.attempt")
        .await;
    assert_eq!(log, [format!("{0}|{0}|{events}", receiver.count())], "the log has each request once");
}

#[tokio::test]
async fn whichever_connection_is_cut_under_load_delivery_goes_on_and_nothing_is_lost() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    database.endpoint(&receiver.url("/")).await;
    receiver.answers(|_| Answer::status(200).after(Duration::from_millis(3)));
    let worker = Worker::start(&database).await;
    notified(&database, &worker).await;
    let writers = Writers::start(&database, 2, EMIT_20).await;
    for purpose in ["listener", "owner", "tailer", "recorder", "reader", "%"] {
        receiver.receives(receiver.count() + 200).await;
        if purpose == "reader" {
            // More than it takes from the tail: it reads the rest from the backlog, on such a connection.
            database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 4000)").await;
            until("a backlog is read", async || {
                (worker.metric("pg_webhook_backlog_reads_total").await > 0.0).then_some(())
            })
            .await;
        }
        let cut = async || (cut(&database, purpose).await >= 1).then_some(());
        until(&format!("a connection of {purpose} is cut"), cut).await;
        receiver.receives(receiver.count() + 400).await;
    }
    writers.stop().await;
    all_arrived(&database, &receiver, 0).await;
    notified(&database, &worker).await;
    worker.ready().await;
}

#[tokio::test]
async fn a_server_restarted_in_an_orderly_way_is_found_again() {
    let cluster = Cluster::own(ClusterOptions::default()).await;
    let database = Database::in_cluster(&cluster).await;
    let receiver = Receiver::start().await;
    database.endpoint(&receiver.url("/")).await;
    receiver.answers(|_| Answer::status(200).after(Duration::from_millis(3)));
    let worker = Worker::start(&database).await;
    database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 2000)").await;
    receiver.receives(500).await;
    cluster.stop().await;
    until("/healthz tells", async || (worker.get("/healthz").await?.0 == 503).then_some(())).await;
    cluster.start().await;
    let database = Database::open(&cluster, &database.name).await;
    worker.ready().await;
    notified(&database, &worker).await;
    all_arrived(&database, &receiver, 0).await;
    for line in [
        "is unreachable, trying again until it is back",
        "outcomes can't be recorded",
        "outcomes are recorded again",
    ] {
        let said = worker.log().iter().filter(|said| said.contains(line)).count();
        assert!(said <= 1, "said once: {}", worker.log().join("\n"));
    }
}

/// As [`Database::environment`], but over TCP and this port.
fn environment_over(database: &Database, port: u16) -> Vec<(&'static str, String)> {
    let mut environment = database.environment();
    environment.retain(|(name, _)| !["PGHOST", "PGPORT"].contains(name));
    environment.extend([("PGHOST", "127.0.0.1".to_owned()), ("PGPORT", port.to_string())]);
    environment
}

#[tokio::test]
async fn connections_that_fall_silent_without_an_end_are_given_up() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    database.endpoint(&receiver.url("/")).await;
    let proxy = Proxy::start(Cluster::shared().await).await;
    let worker =
        Worker::spawn(&environment_over(&database, proxy.port()), &["--allow-network", "127.0.0.0/8"]).await;
    worker.ready().await;
    // Each purpose has its connection.
    database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 4000)").await;
    receiver.receives(4_000).await;
    database.drained().await;
    // What comes of these is recorded, but the worker is not told so.
    receiver.answers(|_| Answer::status(200).after(Duration::from_millis(300)));
    database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 50)").await;
    receiver.receives(4_016).await;
    proxy.silence();
    until("a beat is missed", async || (worker.get("/healthz").await?.0 == 503).then_some(())).await;
    database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 50)").await;
    receiver.receives(4_100).await;
    all_arrived(&database, &receiver, 16).await;
    worker.ready().await;
}

#[tokio::test]
async fn a_worker_started_before_its_database_says_so_once_and_delivers_when_it_comes() {
    let cluster = Cluster::own(ClusterOptions::default()).await;
    let database = Database::in_cluster(&cluster).await;
    let receiver = Receiver::start().await;
    database.endpoint(&receiver.url("/")).await;
    database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 3)").await;
    let environment = environment_over(&database, cluster.port());
    cluster.stop().await;
    // Who knocks at the server's port meanwhile is counted and sent away.
    let knocks = Arc::new(AtomicUsize::new(0));
    let porter = {
        let (listener, knocks) = (
            TcpListener::bind(("127.0.0.1", cluster.port())).await.expect("the port is free"),
            knocks.clone(),
        );
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                knocks.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let worker = Worker::spawn(&environment, &["--allow-network", "127.0.0.0/8"]).await;
    until("it has tried several times", async || (knocks.load(Ordering::Relaxed) >= 5).then_some(())).await;
    let log = worker.log();
    let said: Vec<&String> = log.iter().filter(|line| line.contains("unreachable")).collect();
    assert_eq!(said.len(), 1, "{log:?}");
    assert!(said[0].contains(&format!("{} at 127.0.0.1:{}", database.name, cluster.port())), "{}", said[0]);
    assert_eq!(worker.get("/healthz").await.map(|(status, _)| status), Some(503));
    porter.abort();
    let _ = porter.await;
    cluster.start().await;
    worker.says("connected to").await;
    receiver.receives(3).await;
    Database::open(&cluster, &database.name).await.drained().await;
}
