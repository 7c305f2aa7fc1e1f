//! What becomes of endpoints that hang, are down, or answer with errors for long: they harm themselves alone.

use harness::{Answer, Database, Receiver, Worker, until};
use std::time::Duration;

/// An endpoint with this policy, that answers 500.
async fn failing(policy: &str) -> (Database, Receiver, Worker, i32) {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let (endpoint, _) = database.endpoint(&receiver.url("/")).await;
    database.run(&format!("UPDATE webhook.endpoint SET {policy} WHERE id = {endpoint}")).await;
    receiver.answers(|_| Answer::status(500));
    let worker = Worker::start(&database).await;
    (database, receiver, worker, endpoint)
}

async fn emit(database: &Database, count: usize) {
    database.run(&format!("SELECT webhook_emit('a.b', '{{}}') FROM generate_series(1, {count})")).await;
}

/// It has been failing for so much longer.
fn fails_longer(time: &str) -> String {
    format!("UPDATE webhook.endpoint_health SET failing_since = failing_since - interval '{time}'")
}

const NOTICES: &str =
    "SELECT kind, endpoint_id, message FROM webhook.notice WHERE kind = 'endpoint.disabled' ORDER BY id";
const STATUS: &str = "SELECT string_agg(status, ' ' ORDER BY id) FROM webhook.endpoint";

#[tokio::test]
async fn endpoints_that_hang_do_not_delay_another() {
    let (database, hung, fast) = (Database::new().await, Receiver::start().await, Receiver::start().await);
    hung.answers(|_| Answer::status(200).after(Duration::from_secs(600)));
    for n in 0..50 {
        database.endpoint(&hung.url(&format!("/{n}"))).await;
    }
    database.endpoint(&fast.url("/")).await;
    let _worker = Worker::start(&database).await;
    emit(&database, 500).await;
    fast.receives(500).await;
    assert_eq!(fast.times_by_id().len(), 500);
    // Told apart by where they were sent.
    let done = database.number("SELECT count(*) FROM webhook.attempt WHERE url LIKE '%/%/%/_%'").await;
    assert_eq!(done, 0, "while the others have got nowhere");
    let waiting = async || {
        let paths: std::collections::HashSet<_> =
            hung.requests().into_iter().map(|request| request.path).collect();
        (paths.len() == 50).then_some(())
    };
    until("each of them was called", waiting).await;
}

#[tokio::test]
async fn endpoints_that_hang_do_not_delay_another_at_the_same_host() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    for n in 0..50 {
        database.endpoint(&receiver.url(&format!("/hangs/{n}"))).await;
    }
    database.endpoint(&receiver.url("/fast")).await;
    receiver.answers(|request| match &*request.path {
        "/fast" => Answer::status(200),
        _ => Answer::status(200).after(Duration::from_secs(600)),
    });
    let _worker = Worker::start(&database).await;
    emit(&database, 100).await;
    let fast = "SELECT count(*) FROM webhook.attempt WHERE url LIKE '%/fast'";
    database.becomes(fast, "100").await;
    assert_eq!(database.number("SELECT count(*) FROM webhook.attempt WHERE url LIKE '%/hangs/%'").await, 0);
}

#[tokio::test]
async fn a_receiver_that_is_down_costs_its_backlog_few_attempts() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let (endpoint, _) = database.endpoint(&receiver.url("/")).await;
    database
        .run(&format!("UPDATE webhook.endpoint SET retry_schedule = '{{1 h}}' WHERE id = {endpoint}"))
        .await;
    let port = receiver.port();
    drop(receiver);
    let _worker = Worker::start(&database).await;
    emit(&database, 1000).await;
    // Long enough for all of them, if each were tried.
    let some_time = "SELECT now() - min(started_at) > '3500 ms' FROM webhook.attempt";
    database.becomes(some_time, "t").await;
    let attempts = database.number("SELECT count(*) FROM webhook.attempt").await;
    assert!((10..=30).contains(&attempts), "{attempts} attempts");
    let receiver = Receiver::start_on(port).await;
    // The next one that is tried finds it up.
    receiver.receives(970).await;
    let left = "SELECT (count(*) <= 30 AND every(attempts = 1))::text FROM webhook.queue";
    database.becomes(left, "true").await;
    assert!(receiver.times_by_id().values().all(|times| *times == 1));
}

#[tokio::test]
async fn deliveries_that_fail_in_a_row_disable_the_endpoint_with_one_notice() {
    let (database, receiver, _worker, endpoint) =
        failing("retry_schedule = '{}', disable_after_failures = 3").await;
    let disabled = format!("endpoint.disabled|{endpoint}|endpoint {endpoint} was disabled: ");
    emit(&database, 2).await;
    database.drained().await;
    assert_eq!(database.text(STATUS).await, "active", "two are not enough");
    assert!(database.rows(NOTICES).await.is_empty());
    // More than one fails after it was disabled, for they are under way already.
    receiver.answers(|_| Answer::status(500).after(Duration::from_millis(200)));
    emit(&database, 100).await;
    database.becomes(STATUS, "disabled").await;
    database.drained().await;
    let notices = database.rows(NOTICES).await;
    assert!(
        notices.len() == 1
            && notices[0].starts_with(&disabled)
            && notices[0].ends_with("deliveries in a row failed"),
        "{notices:?}"
    );
    assert!(receiver.count() <= 2 + 2 * 16, "the others are skipped: {}", receiver.count());
    // Enabled by hand, it is given the same chance again.
    database.run("UPDATE webhook.endpoint SET status = 'active'").await;
    emit(&database, 2).await;
    database.drained().await;
    assert_eq!(database.text(STATUS).await, "active");
    emit(&database, 1).await;
    database.becomes(STATUS, "disabled").await;
    assert_eq!(database.rows(NOTICES).await.len(), 2, "a notice for each time");
}

#[tokio::test]
async fn a_success_in_between_forgives_failures() {
    let (database, receiver, _worker, _) =
        failing("retry_schedule = '{}', disable_after_failures = 3, disable_after = '1 h'").await;
    for _ in 0..8 {
        receiver.answers(|_| Answer::status(500));
        emit(&database, 2).await;
        database.drained().await;
        database.run(&fails_longer("20 minutes")).await;
        receiver.answers(|_| Answer::status(200));
        emit(&database, 1).await;
        database.drained().await;
    }
    receiver.answers(|_| Answer::status(500));
    emit(&database, 1).await;
    database.drained().await;
    assert_eq!(database.text(STATUS).await, "active");
    assert!(database.rows(NOTICES).await.is_empty());
}

#[tokio::test]
async fn an_endpoint_that_fails_for_long_is_disabled_with_one_notice() {
    let policy =
        "disable_after = '1 h', retry_jitter = 0, retry_schedule = array_fill('200 ms'::interval, '{100}')";
    let (database, receiver, _worker, endpoint) = failing(policy).await;
    emit(&database, 3).await;
    receiver.receives(6).await;
    database.run(&fails_longer("30 minutes")).await;
    receiver.receives(receiver.count() + 6).await;
    assert_eq!(database.text(STATUS).await, "active");
    database.run(&fails_longer("31 minutes")).await;
    database.becomes(STATUS, "disabled").await;
    database.drained().await;
    let notices = database.rows(NOTICES).await;
    assert!(notices.len() == 1, "{notices:?}");
    assert!(
        notices[0].starts_with(&format!("endpoint.disabled|{endpoint}|"))
            && notices[0].contains("no success since"),
        "{notices:?}"
    );
    // Enabled by hand, it is not disabled by its past.
    let attempts = receiver.count();
    database.run("UPDATE webhook.endpoint SET status = 'active'").await;
    emit(&database, 1).await;
    receiver.receives(attempts + 4).await;
    assert_eq!(database.text(STATUS).await, "active");
}
