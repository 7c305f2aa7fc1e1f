//! At an ordered endpoint the events of one key arrive in the order of their ids, whatever happens; other keys don't wait.

use harness::{Answer, Database, Gate, Receiver, Request, Worker, until};
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

async fn scene(policy: &str) -> (Database, Receiver, i32) {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let (endpoint, _) = database.endpoint(&receiver.url("/")).await;
    let sql = format!("UPDATE webhook.endpoint SET ordered = true, {policy} WHERE id = {endpoint}");
    database.run(&sql).await;
    (database, receiver, endpoint)
}

async fn emit(database: &Database, key: &str, count: usize) {
    let sql =
        format!("SELECT webhook_emit('a.b', to_jsonb(n), key => {key}) FROM generate_series(1, {count}) n");
    database.run(&sql).await;
}

/// Fails a quarter of the first attempts.
fn fails_now_and_then(receiver: &Receiver) {
    let seen = Mutex::new(HashSet::new());
    receiver.answers(move |request: &Request| {
        let first = seen.lock().expect("no panic").insert(request.id().to_owned());
        let fails = first && request.id().ends_with(|last| "048c".contains(last));
        Answer::status(if fails { 500 } else { 200 }).after(Duration::from_millis(2))
    });
}

/// Keys of the events by id.
async fn keys(database: &Database) -> HashMap<String, String> {
    let rows = database
        .rows("SELECT id, coalesce(key, '') FROM webhook.event WHERE type NOT LIKE 'webhook.%'")
        .await;
    rows.iter()
        .filter_map(|row| row.split_once('|'))
        .map(|(id, key)| (id.to_owned(), key.to_owned()))
        .collect()
}

/// Of each key, no request for an event comes after one for a later event.
async fn assert_in_order(database: &Database, receiver: &Receiver) {
    let keys = keys(database).await;
    let mut last: HashMap<&str, String> = HashMap::new();
    for request in receiver.requests() {
        let last = last.entry(&keys[request.id()]).or_default();
        assert!(last.as_str() <= request.id(), "{} came after {last}", request.id());
        request.id().clone_into(last);
    }
    let arrived: HashSet<_> = receiver.requests().iter().map(|request| request.id().to_owned()).collect();
    assert_eq!(arrived.len(), keys.len(), "all of them came");
}

const CHANGES: &str = "CREATE TABLE orders (id int PRIMARY KEY, n int);
    INSERT INTO orders SELECT i, 0 FROM generate_series(1, 5) i;
    SELECT webhook_attach('orders')";

#[tokio::test]
async fn changes_of_a_row_arrive_in_their_order_through_failures_and_a_killed_worker() {
    let policy = "retry_schedule = '{20 ms,20 ms,20 ms}', timeout = '5 s', max_in_flight = 4";
    let (database, receiver, _) = scene(policy).await;
    database.run(CHANGES).await;
    fails_now_and_then(&receiver);
    let worker = Worker::start(&database).await;
    let one = database.session().await;
    for change in 0..100 {
        // Twice the same row, the second time by a transaction that began earlier, and one that commits in between.
        Database::run_in(&one, "BEGIN; SELECT pg_current_xact_id()").await;
        database.run(&format!("UPDATE orders SET n = n + 1 WHERE id = {}", change % 5 + 1)).await;
        Database::run_in(&one, &format!("UPDATE orders SET n = n + 1 WHERE id = {}", change % 5 + 1)).await;
        Database::run_in(&one, "COMMIT").await;
        if change == 50 {
            receiver.receives(60).await;
        }
    }
    // Something is left to the second worker.
    worker.freeze();
    database.run("UPDATE orders SET n = n + 1").await;
    worker.kill().await;
    let _worker = Worker::start(&database).await;
    database.drained().await;
    assert_in_order(&database, &receiver).await;
    let retried = database.number("SELECT count(*) FROM webhook.attempt WHERE outcome = 'retry'").await;
    assert!(retried >= 20, "{retried} attempts failed");
}

#[tokio::test]
async fn a_backlog_larger_than_memory_holds_arrives_in_order() {
    let (database, receiver, _) = scene("retry_schedule = '{20 ms,20 ms}', max_in_flight = 32").await;
    fails_now_and_then(&receiver);
    emit(&database, "(n % 40)::text", 2_000).await;
    let _worker = Worker::start(&database).await;
    emit(&database, "(n % 40)::text", 3_000).await;
    database.drained().await;
    assert_in_order(&database, &receiver).await;
}

#[tokio::test]
async fn keys_do_not_wait_for_each_other_and_no_key_is_one_of_its_own() {
    let (database, receiver, _) = scene("max_in_flight = 8").await;
    let gate = Gate::default();
    receiver.answers({
        let gate = gate.clone();
        move |_| Answer::status(200).held_by(&gate)
    });
    let _worker = Worker::start(&database).await;
    emit(&database, "'k' || n % 5", 20).await;
    emit(&database, "NULL", 5).await;
    // The first of each key is under way at the same time, and no second one.
    receiver.receives(6).await;
    let keys = keys(&database).await;
    let under_way: Vec<_> = receiver.requests().iter().map(|request| keys[request.id()].clone()).collect();
    assert_eq!(under_way.iter().collect::<HashSet<_>>().len(), 6, "{under_way:?}");
    gate.open();
    database.drained().await;
    assert_in_order(&database, &receiver).await;
}

#[tokio::test]
async fn a_retry_holds_its_key_alone_and_a_final_failure_lets_the_next_go() {
    let (database, receiver, _) =
        scene("retry_schedule = '{1 h}', retry_jitter = 0, max_in_flight = 2").await;
    receiver.answers(|request| Answer::status(if request.json()["data"] == 1 { 500 } else { 200 }));
    let _worker = Worker::start(&database).await;
    emit(&database, "'held'", 3).await;
    receiver.receives(1).await;
    database.run("SELECT webhook_emit('a.b', '7', key => 'k' || n) FROM generate_series(1, 50) n").await;
    database.becomes("SELECT count(*) FROM webhook.queue", "3").await;
    assert_eq!(receiver.count(), 51, "one of the key that fails, and all others");
    database.pass_time().await;
    database.drained().await;
    let failed = "SELECT count(*) || ' ' || min(number) FROM webhook.attempt WHERE outcome = 'failed'";
    assert_eq!(database.text(failed).await, "1 2");
    assert_eq!(receiver.count(), 54);
    assert_in_order(&database, &receiver).await;
}

#[tokio::test]
async fn the_next_goes_when_the_one_before_it_is_cancelled_or_expires() {
    for end in [
        "SELECT webhook_cancel(id) FROM webhook.event ORDER BY id LIMIT 1",
        "SELECT webhook.janitor(min(created_at) + interval '14 days 2 ms') FROM webhook.event",
    ] {
        let (database, receiver, _) = scene("retry_schedule = '{1 h}'").await;
        let _worker = Worker::start(&database).await;
        receiver.answers(|_| Answer::status(500));
        emit(&database, "'k'", 1).await;
        database.becomes("SELECT count(*) FROM webhook.attempt", "1").await;
        receiver.answers(|_| Answer::status(200));
        emit(&database, "'k'", 1).await;
        // The worker's own janitor may be at it.
        database.becomes(&format!("SELECT ({end})::text NOT LIKE '%busy%'"), "t").await;
        let second = receiver.receives(2).await[1].id().to_owned();
        assert_eq!(database.text("SELECT max(id::text) FROM webhook.event").await, second, "{end}");
        database.drained().await;
    }
}

#[tokio::test]
async fn a_resent_event_goes_in_the_order_of_its_id() {
    let (database, receiver, endpoint) = scene("retry_schedule = '{300 ms}', retry_jitter = 0").await;
    let _worker = Worker::start(&database).await;
    emit(&database, "'a'", 3).await;
    database.drained().await;
    let first = receiver.requests()[0].id().to_owned();
    database.run(&format!("UPDATE webhook.endpoint SET status = 'paused' WHERE id = {endpoint}")).await;
    emit(&database, "'a'", 2).await;
    database.run(&format!("SELECT webhook_resend('{first}', {endpoint})")).await;
    database.run(&format!("UPDATE webhook.endpoint SET status = 'active' WHERE id = {endpoint}")).await;
    database.drained().await;
    let requests = receiver.requests();
    assert_eq!(requests.len(), 6);
    assert_eq!(requests[3].id(), first, "it is older than those that wait");
}

#[tokio::test]
async fn order_is_asked_for_and_given_up_while_deliveries_are_under_way() {
    let (database, receiver, endpoint) = scene("max_in_flight = 3").await;
    database.run("UPDATE webhook.endpoint SET ordered = false").await;
    receiver.answers(|_| Answer::status(200).after(Duration::from_millis(20)));
    let _worker = Worker::start(&database).await;
    emit(&database, "'a'", 30).await;
    receiver.receives(5).await;
    for (ordered, status) in
        [(true, "active"), (false, "active"), (true, "active"), (true, "paused"), (true, "active")]
    {
        let sql = format!(
            "UPDATE webhook.endpoint SET ordered = {ordered}, status = '{status}' WHERE id = {endpoint}"
        );
        database.run(&sql).await;
        emit(&database, "'a'", 5).await;
    }
    database.drained().await;
    assert!(receiver.times_by_id().values().all(|times| *times == 1), "none came twice");
    assert_eq!(receiver.count(), 55);
    // Disabled: all that is owed ends, in order or not.
    receiver.answers(|_| Answer::status(500));
    emit(&database, "'a'", 50).await;
    receiver.receives(56).await;
    database.run("UPDATE webhook.endpoint SET status = 'disabled'").await;
    let skipped = async || {
        let sql = "SELECT count(*) FROM webhook.attempt WHERE outcome = 'skipped'";
        (database.number(sql).await == 49).then_some(())
    };
    until("those that wait behind it are skipped", skipped).await;
}

#[tokio::test]
async fn after_a_worker_ended_without_a_word_its_requests_get_the_time_of_a_time_out() {
    let (database, receiver, _) = scene("timeout = '8 s', retry_schedule = '{10 ms}'").await;
    let (plain, _) = database.endpoint(&receiver.url("/plain")).await;
    assert!(plain > 0);
    let worker = Worker::start(&database).await;
    emit(&database, "'a'", 1).await;
    database.drained().await;
    worker.kill().await;
    emit(&database, "'a'", 1).await;
    let worker = Worker::start(&database).await;
    let requests = receiver.receives(4).await;
    let of = |path: &str| requests.iter().filter(|r| r.path == path).map(|r| r.at).max().expect("it came");
    assert!(of("/") - of("/plain") > Duration::from_millis(2_500), "{:?}", of("/") - of("/plain"));
    // One that gave its slots back leaves nothing to wait for. (It can't if it has just lost its connection.)
    database.drained().await;
    assert!(worker.stop().await.success());
    until("all slots are given back", async || {
        let given_back = database.number("SELECT count(*) FROM webhook.taken_slot").await == 0;
        if !given_back {
            assert!(Worker::start(&database).await.stop().await.success());
        }
        given_back.then_some(())
    })
    .await;
}
