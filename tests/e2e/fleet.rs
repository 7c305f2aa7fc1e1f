//! Several workers share the endpoints; whatever becomes of one of them, an endpoint is served by one at a time.

use harness::{Answer, Database, Gate, Receiver, Worker, Writers, until};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many slots each worker's session holds, the most first.
const SHARES: &str = "SELECT string_agg(n::text, ' ' ORDER BY n DESC) FROM (
    SELECT count(*) AS n FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.objsubid = 4 GROUP BY l.pid) s";

/// Enough that every worker has some of them, wherever the slots fall.
const ENDPOINTS: usize = 24;

async fn scene() -> (Database, Receiver) {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    for n in 0..ENDPOINTS {
        database.endpoint(&receiver.url(&format!("/{n}"))).await;
    }
    (database, receiver)
}

/// Two events every few hundredths of a second, each to every endpoint.
const LOAD: &str = "SELECT webhook_emit('load.came', '{}') FROM pg_sleep(0.025), generate_series(1, 2)";

/// When each delivery came, by endpoint and webhook-id.
fn arrivals(receiver: &Receiver) -> HashMap<(String, String), Vec<Instant>> {
    let mut arrivals: HashMap<_, Vec<_>> = HashMap::new();
    for request in receiver.requests() {
        arrivals.entry((request.path.clone(), request.id().to_owned())).or_default().push(request.at);
    }
    arrivals
}

async fn delivered(worker: &Worker) -> f64 {
    worker.metric("pg_webhook_recorded_total").await
}

#[tokio::test]
async fn workers_share_the_slots() {
    let database = Database::new().await;
    // What is owed to paused endpoints, and waits, keeps no slot back.
    for _ in 0..ENDPOINTS {
        database.endpoint("http://127.0.0.1:9/").await;
    }
    database.run("UPDATE webhook.endpoint SET status = 'paused'; SELECT webhook_emit('a.b', '{}')").await;
    let first = Worker::start(&database).await;
    database.becomes(SHARES, "64").await;
    let second = Worker::start(&database).await;
    database.becomes(SHARES, "32 32").await;
    let third = Worker::start(&database).await;
    database.becomes(SHARES, "22 22 20").await;
    until("each says that there are three", async || {
        let told = async |worker: &Worker| Some(worker.get("/healthz").await?.1.contains("\"members\":3"));
        (told(&first).await? && told(&second).await? && told(&third).await?).then_some(())
    })
    .await;
    assert!(first.stop().await.success());
    database.becomes(SHARES, "32 32").await;
    second.kill().await;
    database.becomes(SHARES, "64").await;
}

#[tokio::test]
async fn each_delivery_is_made_exactly_once_while_workers_come_and_go() {
    let (database, receiver) = scene().await;
    let first = Worker::start(&database).await;
    let load = Writers::start(&database, 1, LOAD).await;
    receiver.receives(200).await;
    let second = Worker::start(&database).await;
    database.becomes(SHARES, "32 32").await;
    let third = Worker::start(&database).await;
    database.becomes(SHARES, "22 22 20").await;
    until("each of them delivers", async || {
        (delivered(&second).await > 100.0 && delivered(&third).await > 100.0).then_some(())
    })
    .await;
    assert!(second.stop().await.success());
    database.becomes(SHARES, "32 32").await;
    assert!(first.stop().await.success());
    database.becomes(SHARES, "64").await;
    let emitted = load.stop().await.len();
    database.drained().await;
    let arrivals = arrivals(&receiver);
    assert_eq!(arrivals.len(), emitted * ENDPOINTS, "every event reached every endpoint");
    assert!(arrivals.values().all(|times| times.len() == 1), "none came twice");
}

#[tokio::test]
async fn another_number_of_slots_is_taken_up_without_a_duplicate() {
    let (database, receiver) = scene().await;
    let _workers = (Worker::start(&database).await, Worker::start(&database).await);
    database.becomes(SHARES, "32 32").await;
    let load = Writers::start(&database, 1, LOAD).await;
    receiver.receives(200).await;
    database.run("INSERT INTO webhook.setting (name, value) VALUES ('slots', '6')").await;
    database.becomes(SHARES, "3 3").await;
    let before = receiver.count();
    receiver.receives(before + 500).await;
    let emitted = load.stop().await.len();
    database.drained().await;
    let arrivals = arrivals(&receiver);
    assert_eq!(arrivals.len(), emitted * ENDPOINTS);
    assert!(arrivals.values().all(|times| times.len() == 1), "none came twice");
}

#[tokio::test]
async fn another_number_of_slots_waits_for_what_is_under_way() {
    let (database, receiver) = scene().await;
    let gate = Gate::default();
    let held = gate.clone();
    receiver.answers(move |_| Answer::status(200).held_by(&held));
    let workers = (Worker::start(&database).await, Worker::start(&database).await);
    database.becomes(SHARES, "32 32").await;
    database.run("SELECT webhook_emit('load.came', '{}')").await;
    receiver.receives(ENDPOINTS).await;
    database.run("INSERT INTO webhook.setting (name, value) VALUES ('slots', '6')").await;
    workers.0.says("6 slots now").await;
    workers.1.says("6 slots now").await;
    let third = Worker::start(&database).await;
    third.says("owns 0 of 6 slots").await;
    assert_eq!(receiver.count(), ENDPOINTS);
    gate.open();
    database.becomes(SHARES, "2 2 2").await;
    database.run("SELECT webhook_emit('load.came', '{}')").await;
    database.drained().await;
    let arrivals = arrivals(&receiver);
    assert_eq!(arrivals.len(), 2 * ENDPOINTS);
    assert!(arrivals.values().all(|times| times.len() == 1), "none came twice");
}

#[tokio::test]
async fn what_a_worker_left_behind_passes_to_the_slots_of_another_number() {
    let database = Database::new().await;
    let take = |slots, held| {
        format!(
            "SELECT taken::text || abandoned::text FROM webhook.worker_take_slots({slots}, '{held}', {slots})"
        )
    };
    let (ended, other) = (database.session().await, database.session().await);
    database.run("INSERT INTO webhook.setting (name, value) VALUES ('slots', '4')").await;
    assert_eq!(Database::text_in(&ended, &take(4, "{0,2,3}")).await, "{1}{}");
    database.run("UPDATE webhook.setting SET value = '6' WHERE name = 'slots'").await;
    assert_eq!(Database::text_in(&other, &take(4, "{0,2,3}")).await, "{}{}", "there are others now");
    assert_eq!(Database::text_in(&other, &take(6, "{0}")).await, "{}{}", "one of the former is still owned");
    drop(ended);
    let held = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.objsubid = 4";
    database.becomes(held, "0").await;
    // Endpoints 1, 5, 9, … were slot 1 of 4; of 6 they are slots 1, 3 and 5.
    let sorted =
        |column: &str| format!("(SELECT string_agg(s::text, ',' ORDER BY s) FROM unnest({column}) s)");
    let (taken, abandoned) = (sorted("taken"), sorted("abandoned"));
    let take = format!("SELECT {taken} || ' ' || {abandoned} FROM webhook.worker_take_slots(6, '{{}}', 6)");
    assert_eq!(Database::text_in(&other, &take).await, "0,1,2,3,4,5 1,3,5");
}

#[tokio::test]
async fn what_a_killed_worker_was_to_deliver_is_delivered_by_another_within_seconds() {
    let (database, receiver) = scene().await;
    let (victim, _other) = (Worker::start(&database).await, Worker::start(&database).await);
    database.becomes(SHARES, "32 32").await;
    let load = Writers::start(&database, 1, LOAD).await;
    receiver.receives(500).await;
    let killed = Instant::now();
    victim.kill().await;
    database.becomes(SHARES, "64").await;
    let taken_over = Instant::now();
    assert!(taken_over - killed < Duration::from_secs(10), "it took {:?}", taken_over - killed);
    let emitted = load.stop().await.len();
    database.drained().await;
    let arrivals = arrivals(&receiver);
    assert_eq!(arrivals.len(), emitted * ENDPOINTS, "nothing is lost");
    let repeated: Vec<_> = arrivals.values().filter(|times| times.len() > 1).collect();
    // What was under way, or recorded in the last moments.
    assert!(repeated.iter().all(|times| times.len() == 2 && times[0] < taken_over));
    assert!(repeated.len() <= ENDPOINTS * 16, "{} came twice", repeated.len());
}

#[tokio::test]
async fn a_frozen_worker_loses_its_endpoints_and_starts_nothing_on_them_when_it_thaws() {
    let (database, receiver) = scene().await;
    database.run("UPDATE webhook.endpoint SET max_in_flight = 2").await;
    // Much waits in memory, ready to be sent, whenever the worker is frozen.
    receiver.answers(|_| Answer::status(200).after(Duration::from_millis(40)));
    let (frozen, other) = (Worker::start(&database).await, Worker::start(&database).await);
    database.becomes(SHARES, "32 32").await;
    database.run("SELECT webhook_emit('load.came', '{}') FROM generate_series(1, 200)").await;
    receiver.receives(1000).await;
    let froze_at = Instant::now();
    frozen.freeze();
    database.becomes(SHARES, "64").await;
    let taken = froze_at.elapsed();
    assert!((4..40).contains(&taken.as_secs()), "its session was ended after {taken:?}");
    until("the other says that it has them all", async || {
        let (_, health) = other.get("/healthz").await?;
        health.contains("\"slots\":64").then_some(())
    })
    .await;
    // What waits in it is owed still, and is being sent by the other.
    frozen.thaw();
    database.becomes(SHARES, "32 32").await;
    let before = delivered(&frozen).await;
    database.run("SELECT webhook_emit('load.came', '{}')").await;
    until("the thawed worker delivers again", async || (delivered(&frozen).await > before).then_some(()))
        .await;
    database.drained().await;
    let arrivals = arrivals(&receiver);
    assert_eq!(arrivals.len(), 201 * ENDPOINTS, "nothing is lost");
    let repeated: Vec<_> = arrivals.values().filter(|times| times.len() > 1).collect();
    // What was under way when it froze, and no more; a moment for the receiver to read what was written by then.
    let begun_before = froze_at + Duration::from_secs(5);
    assert!(
        repeated.iter().all(|times| times.len() == 2 && times[0] < begun_before),
        "{repeated:?} {froze_at:?}"
    );
    assert!(repeated.len() <= ENDPOINTS * 16, "{} came twice", repeated.len());
}
