//! Processes killed in the middle of work: nothing committed is lost, nothing is sent that was not, ids stay.

use harness::{Answer, Cluster, ClusterOptions, Database, Receiver, Request, Worker, Writers};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

const MAX_IN_FLIGHT: usize = 64;
/// The most that the worker records in one transaction.
const RECORDER_BATCH: usize = 1_000;
/// Far longer than it takes to record an outcome, far shorter than the test.
const LAST_MOMENTS: Duration = Duration::from_secs(10);
/// A transaction of some size, so that deliveries pile up.
const EMIT_20: &str = "SELECT webhook_emit('a.b', jsonb_build_object('n', n)) FROM generate_series(1, 20) n";

async fn slow_endpoint(database: &Database, receiver: &Receiver) {
    receiver.answers(|_| Answer::status(200).after(Duration::from_millis(5)));
    let (endpoint, _) = database.endpoint(&receiver.url("/")).await;
    database
        .run(&format!("UPDATE webhook.endpoint SET max_in_flight = {MAX_IN_FLIGHT} WHERE id = {endpoint}"))
        .await;
}

/// Every event of the table has arrived, as it stands there, and nothing else; each of `committed` is in the table.
async fn assert_all_arrived(database: &Database, requests: &[Request], committed: &[String]) {
    let stored: HashMap<String, String> = database
        .rows("SELECT id, body FROM webhook.event")
        .await
        .into_iter()
        .filter_map(|row| row.split_once('|').map(|(id, body)| (id.to_owned(), body.to_owned())))
        .collect();
    let mut arrived = HashSet::new();
    for request in requests {
        assert_eq!(
            stored.get(request.id()),
            Some(&request.body),
            "what arrived is in the table, byte for byte"
        );
        arrived.insert(request.id());
    }
    assert_eq!(arrived.len(), stored.len(), "all that is in the table has arrived");
    let lost = committed.iter().filter(|id| !stored.contains_key(*id)).count();
    assert_eq!(lost, 0, "of {} events whose commit was confirmed", committed.len());
    let owed = database.number("SELECT count(*) FROM webhook.delivery WHERE status <> 'delivered'").await;
    assert_eq!(owed, 0);
}

/// How many requests were for events that had come before, and how far from a kill the first coming of those was.
fn repeated(requests: &[Request], killed: &[Instant]) -> (usize, Duration) {
    let mut first = HashMap::new();
    let (mut times, mut farthest) = (0, Duration::ZERO);
    for request in requests {
        let came = *first.entry(request.id()).or_insert(request.at);
        if came != request.at {
            times += 1;
            // What was on its way at the kill is seen a moment after it.
            let distance = killed.iter().map(|kill| came.max(*kill) - came.min(*kill)).min();
            farthest = farthest.max(distance.expect("there was a kill"));
        }
    }
    (times, farthest)
}

#[tokio::test]
async fn a_killed_worker_loses_nothing_and_repeats_only_its_last_moments() {
    const KILLS: usize = 2;
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    slow_endpoint(&database, &receiver).await;
    let writers = Writers::start(&database, 4, EMIT_20).await;
    let mut killed = Vec::new();
    for _ in 0..KILLS {
        let worker = Worker::start(&database).await;
        receiver.receives(receiver.count() + 1_000).await;
        // Enough is left over, however fast it is.
        database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 3000)").await;
        worker.kill().await;
        killed.push(Instant::now());
    }
    let committed = writers.stop().await;
    let _worker = Worker::start(&database).await;
    database.drained().await;
    let requests = receiver.requests();
    assert_all_arrived(&database, &requests, &committed).await;
    let (times, farthest) = repeated(&requests, &killed);
    assert!(times <= KILLS * (MAX_IN_FLIGHT + RECORDER_BATCH), "{times} of {} came again", requests.len());
    assert!(
        farthest < LAST_MOMENTS,
        "one that came again had come {farthest:?} before the worker was killed"
    );
}

/// Nothing but a commit that asks for it is flushed for a long time: a crash loses whatever else was committed.
async fn lazy_cluster() -> Cluster {
    let conf = [
        "synchronous_commit = off",
        "wal_writer_delay = 10s",
        "wal_writer_flush_after = 1GB",
        "autovacuum = off",
    ];
    Cluster::own(ClusterOptions { conf: conf.map(str::to_owned).to_vec() }).await
}

#[tokio::test]
async fn what_has_been_delivered_survives_a_crash_of_the_server_in_the_same_moment() {
    let cluster = lazy_cluster().await;
    let mut database = Database::in_cluster(&cluster).await;
    let name = database.name.clone();
    let receiver = Receiver::start().await;
    database.endpoint(&receiver.url("/")).await;
    database.run("CREATE TABLE orders (id serial); SELECT webhook_attach('orders'); CHECKPOINT").await;
    let worker = Worker::start(&database).await;
    for transaction in [
        "SELECT webhook_emit('a.b', '{}')",
        "INSERT INTO orders VALUES (default)",
        "BEGIN; SAVEPOINT s; SELECT webhook_emit('a.b', '{}'); RELEASE s; PREPARE TRANSACTION 'p'; COMMIT PREPARED 'p'",
    ] {
        let known = receiver.count();
        let writer = database.session().await;
        for statement in transaction.split("; ") {
            Database::run_in(&writer, statement).await;
        }
        let id = receiver.receives(known + 1).await[known].id().to_owned();
        cluster.kill().await;
        cluster.start().await;
        database = Database::open(&cluster, &name).await;
        let stored = database.number(&format!("SELECT count(*) FROM webhook.event WHERE id = '{id}'")).await;
        assert_eq!(stored, 1, "{transaction}");
        worker.ready().await;
        database.drained().await;
    }
}

#[tokio::test]
async fn a_killed_server_loses_nothing_under_load_and_the_worker_goes_on_by_itself() {
    const KILLS: usize = 2;
    let cluster = lazy_cluster().await;
    let mut database = Database::in_cluster(&cluster).await;
    let name = database.name.clone();
    let receiver = Receiver::start().await;
    slow_endpoint(&database, &receiver).await;
    database.run("CREATE TABLE orders (id serial); SELECT webhook_attach('orders'); CHECKPOINT").await;
    let worker = Worker::start(&database).await;
    let (mut committed, mut killed) = (Vec::new(), Vec::new());
    for _ in 0..KILLS {
        let emitters = Writers::start(&database, 3, EMIT_20).await;
        let inserters = Writers::start(&database, 3, "INSERT INTO orders VALUES (default)").await;
        receiver.receives(receiver.count() + 700).await;
        cluster.kill().await;
        killed.push(Instant::now());
        committed.extend(emitters.stop().await);
        inserters.stop().await;
        cluster.start().await;
        database = Database::open(&cluster, &name).await;
        worker.ready().await;
    }
    database.drained().await;
    let requests = receiver.requests();
    assert_all_arrived(&database, &requests, &committed).await;
    assert!(requests.iter().any(|request| request.json()["type"] == "orders.created"));
    let (times, farthest) = repeated(&requests, &killed);
    assert!(times <= KILLS * (MAX_IN_FLIGHT + RECORDER_BATCH), "{times} of {} came again", requests.len());
    assert!(
        farthest < LAST_MOMENTS,
        "one that came again had come {farthest:?} before the server was killed"
    );
    let said = worker.log().iter().filter(|line| line.contains("is unreachable")).count();
    assert_eq!(said, KILLS, "said once each time: {}", worker.log().join("\n"));
}
