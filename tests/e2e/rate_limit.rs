//! An endpoint with a rate limit gets no more requests than that, first attempts and retries alike.

use harness::{Answer, Database, Receiver, Worker, until};
use std::time::Duration;

async fn scene(policy: &str) -> (Database, Receiver) {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let (endpoint, _) = database.endpoint(&receiver.url("/limited")).await;
    database.run(&format!("UPDATE webhook.endpoint SET {policy} WHERE id = {endpoint}")).await;
    (database, receiver)
}

async fn emit(database: &Database, count: usize) {
    database.run(&format!("SELECT webhook_emit('a.b', '{{}}') FROM generate_series(1, {count})")).await;
}

/// When attempts of the limited endpoint began, in seconds.
async fn starts(database: &Database) -> Vec<f64> {
    let sql =
        "SELECT extract(epoch FROM started_at) FROM webhook.attempt WHERE url LIKE '%/limited' ORDER BY 1";
    database.rows(sql).await.iter().map(|row| row.parse().expect("seconds")).collect()
}

/// Between any two starts there were no more than the rate allows for the time between them, beyond what it allows in
/// a second (`protocol::rate`). A start is stamped after it was allowed: on a machine that stands still, so much later.
fn assert_limited(at: &[f64], per_second: f64) {
    const LATE_S: f64 = 3.0;
    for first in 0..at.len() {
        for last in first..at.len() {
            let (count, took) = (last - first + 1, at[last] - at[first]);
            assert!(count as f64 <= per_second * (1.0 + took + LATE_S), "{count} requests in {took} s");
        }
    }
}

#[tokio::test]
async fn requests_of_an_endpoint_are_spaced_by_its_rate_and_others_are_not() {
    const EVENTS: usize = 60;
    let (database, receiver) = scene("rate_limit = 2").await;
    database.endpoint(&receiver.url("/free")).await;
    let _worker = Worker::start(&database).await;
    emit(&database, EVENTS).await;
    let arrived = |path: &str| receiver.requests().iter().filter(|request| request.path == path).count();
    let free = async || (arrived("/free") == EVENTS).then_some(());
    until("the other endpoint has everything", free).await;
    assert!(arrived("/limited") < EVENTS, "while this one has not");
    database.becomes("SELECT count(*) >= 24 FROM webhook.attempt WHERE url LIKE '%/limited'", "t").await;
    assert_limited(&starts(&database).await, 2.0);
}

#[tokio::test]
async fn retries_count_towards_the_rate() {
    let (database, receiver) =
        scene("rate_limit = 2, retry_schedule = '{1 ms,1 ms,1 ms}', retry_jitter = 0").await;
    receiver.answers(|_| Answer::status(500));
    let _worker = Worker::start(&database).await;
    emit(&database, 4).await;
    database.drained().await;
    let at = starts(&database).await;
    assert_eq!(at.len(), 16);
    assert_limited(&at, 2.0);
}

#[tokio::test]
async fn a_worker_that_starts_anew_has_no_burst_to_spend() {
    let (database, receiver) = scene("rate_limit = 2").await;
    emit(&database, 20).await;
    let mut gaps = Vec::new();
    for _ in 0..4 {
        let known = receiver.count();
        let worker = Worker::start(&database).await;
        receiver.receives(known + 2).await;
        assert!(worker.stop().await.success(), "it does not wait for the rest");
        let requests = receiver.requests();
        gaps.push(requests[known + 1].at - requests[known].at);
    }
    // Each has to wait half a second for its second one; what it began may have arrived late, but not each time.
    assert!(gaps.iter().any(|gap| *gap > Duration::from_millis(250)), "{gaps:?}");
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
