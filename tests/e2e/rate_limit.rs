//! An endpoint with a rate limit gets no more requests than that, first attempts and retries alike.

use harness::{Answer, Database, Receiver, Worker, until};
use std::time::{Duration, Instant};

async fn scene(policy: &str) -> (Database, Receiver) {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let (endpoint, _) = database.endpoint(&receiver.url("/limited")).await;
    database.run(&format!("UPDATE webhook.endpoint SET {policy} WHERE id = {endpoint}")).await;
    (database, receiver)
}

async fn emit(database: &Database, count: usize) {
    database.run(&format!("SELECT webhook_emit('a.b', '{{}}') FROM generate_series(1, {count})")).await;
}

fn arrivals(receiver: &Receiver, path: &str) -> Vec<Instant> {
    let mut at: Vec<_> = receiver.requests().iter().filter(|r| r.path == path).map(|r| r.at).collect();
    at.sort();
    at
}

/// Between any two arrivals there were no more than the rate allows for the time between them, beyond a burst. A
/// request may be late, on a loaded machine: so much of what came before counts with it.
fn assert_limited(at: &[Instant], per_second: f64, burst: f64) {
    const LATE: Duration = Duration::from_millis(500);
    for first in 0..at.len() {
        for last in first..at.len() {
            let allowed = burst + per_second * (at[last] - at[first] + LATE).as_secs_f64();
            assert!(
                (last - first + 1) as f64 <= allowed,
                "{} requests in {:?}",
                last - first + 1,
                at[last] - at[first]
            );
        }
    }
}

#[tokio::test]
async fn requests_of_an_endpoint_are_spaced_by_its_rate_and_others_are_not() {
    let (database, receiver) = scene("rate_limit = 10").await;
    database.endpoint(&receiver.url("/free")).await;
    let _worker = Worker::start(&database).await;
    emit(&database, 20).await;
    let free = async || (arrivals(&receiver, "/free").len() == 20).then_some(());
    until("the other endpoint has everything", free).await;
    assert!(arrivals(&receiver, "/limited").len() < 20, "while this one has not");
    database.drained().await;
    let at = arrivals(&receiver, "/limited");
    assert_eq!(at.len(), 20);
    let took = at[19] - at[0];
    assert!(took >= Duration::from_millis(1_500), "20 at 10 a second took {took:?}");
    assert_limited(&at, 10.0, 1.0);
}

#[tokio::test]
async fn retries_count_towards_the_rate() {
    let (database, receiver) =
        scene("rate_limit = 10, retry_schedule = '{1 ms,1 ms,1 ms}', retry_jitter = 0").await;
    receiver.answers(|_| Answer::status(500));
    let _worker = Worker::start(&database).await;
    emit(&database, 5).await;
    database.drained().await;
    let at = arrivals(&receiver, "/limited");
    assert_eq!(at.len(), 20);
    assert!(at[19] - at[0] >= Duration::from_millis(1_500), "{:?}", at[19] - at[0]);
    assert_limited(&at, 10.0, 1.0);
}

#[tokio::test]
async fn a_worker_that_starts_anew_has_no_burst_to_spend() {
    let (database, receiver) = scene("rate_limit = 4").await;
    emit(&database, 12).await;
    for received in [3, 6] {
        let worker = Worker::start(&database).await;
        receiver.receives(received).await;
        assert!(worker.stop().await.success(), "it does not wait for the rest");
    }
    let _worker = Worker::start(&database).await;
    database.drained().await;
    let at = arrivals(&receiver, "/limited");
    assert_eq!(at.len(), 12);
    assert_limited(&at, 4.0, 3.0);
}

#[tokio::test]
async fn a_limit_lifted_while_deliveries_wait_lets_them_go() {
    let (database, receiver) = scene("rate_limit = 0.001").await;
    let _worker = Worker::start(&database).await;
    emit(&database, 200).await;
    receiver.receives(1).await;
    database.run("UPDATE webhook.endpoint SET status = 'paused'").await;
    database.run("UPDATE webhook.endpoint SET status = 'active', rate_limit = 0.002").await;
    receiver.receives(2).await;
    database.becomes("SELECT count(*) FROM webhook.queue", "198").await;
    database.run("UPDATE webhook.endpoint SET rate_limit = NULL").await;
    database.drained().await;
    assert_eq!(receiver.count(), 200);
}
