//! A row changes, a signed request arrives, the log has it; and what answers lead to.

use harness::{Answer, Database, Receiver, Worker, until};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Retries at once, so that a schedule is run through in no time.
const QUICK: &str = "retry_schedule = '{20 ms,30 ms}', retry_jitter = 0";

async fn scene() -> (Database, Receiver, Worker, i32, String) {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let (endpoint, secret) = database.endpoint(&receiver.url("/hooks")).await;
    let worker = Worker::start(&database).await;
    (database, receiver, worker, endpoint, secret)
}

#[tokio::test]
async fn a_row_change_arrives_signed_and_is_in_the_log() {
    let (database, receiver, _worker, _, secret) = scene().await;
    database
        .run("CREATE TABLE orders (id int PRIMARY KEY, name text); SELECT webhook_attach('orders')")
        .await;
    database.run("INSERT INTO orders VALUES (1, 'zwölf \"Äpfel\" 😀')").await;
    let request = receiver.receives(1).await.remove(0);
    request.verify(&secret).expect("the official library accepts it");
    assert_eq!(request.path, "/hooks");
    assert_eq!(request.header("content-type"), "application/json");
    assert!(request.header("user-agent").starts_with("pg_webhook/"), "{:?}", request.headers);
    assert_eq!(request.json()["id"], request.id(), "the body's id is the webhook-id");
    assert_eq!(request.json()["data"]["name"], "zwölf \"Äpfel\" 😀");
    database.drained().await;
    let stored = database.text("SELECT body FROM webhook.event").await;
    assert_eq!(request.body, stored, "the body sent is the body stored, byte for byte");
    let log = database.rows("SELECT outcome, number, status_code, final, request_body, duration > '0' FROM webhook.delivery_log").await;
    assert_eq!(log, [format!("delivered|1|200|t|{stored}|t")]);
    let delivery = database.rows("SELECT status, attempts, last_status_code FROM webhook.delivery").await;
    assert_eq!(delivery, ["delivered|1|200"]);
}

#[tokio::test]
async fn what_was_enqueued_before_the_worker_came_is_delivered() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let (_, secret) = database.endpoint(&receiver.url("/")).await;
    database
        .run("SELECT webhook_emit('a.b', jsonb_build_object('n', n)) FROM generate_series(1, 2000) n")
        .await;
    let _worker = Worker::start(&database).await;
    database.drained().await;
    assert_eq!(receiver.count(), 2000);
    assert!(receiver.times_by_id().values().all(|times| *times == 1), "each exactly once");
    assert!(receiver.requests().iter().all(|request| request.verify(&secret).is_ok()));
}

#[tokio::test]
async fn a_failed_attempt_is_retried_with_the_same_id_and_a_new_signature() {
    let (database, receiver, _worker, endpoint, secret) = scene().await;
    database.run(&format!("UPDATE webhook.endpoint SET retry_schedule = '{{1100 ms,20 ms}}', retry_jitter = 0 WHERE id = {endpoint}")).await;
    let calls = AtomicU32::new(0);
    receiver.answers(move |_| match calls.fetch_add(1, Ordering::Relaxed) {
        0 => Answer::status(500).body("try later"),
        1 => Answer::status(301).header("location", "http://127.0.0.1:1/"),
        _ => Answer::status(204),
    });
    let id = database.text("SELECT webhook_emit('a.b', '{}')").await;
    let requests = receiver.receives(3).await;
    assert!(requests.iter().all(|request| request.id() == id), "the id stays");
    assert_ne!(
        requests[0].header("webhook-timestamp"),
        requests[1].header("webhook-timestamp"),
        "the timestamp is the attempt's"
    );
    assert!(requests.iter().all(|request| request.verify(&secret).is_ok()));
    database.drained().await;
    let log = database
        .rows("SELECT number, outcome, status_code, response_body FROM webhook.delivery_log ORDER BY number")
        .await;
    assert_eq!(log, ["1|retry|500|try later", "2|retry|301|", "3|delivered|204|"]);
}

#[tokio::test]
async fn past_the_schedule_a_delivery_has_failed_and_can_be_resent() {
    let (database, receiver, _worker, endpoint, _) = scene().await;
    database.run(&format!("UPDATE webhook.endpoint SET {QUICK} WHERE id = {endpoint}")).await;
    receiver.answers(|_| Answer::status(503));
    let id = database.text("SELECT webhook_emit('a.b', '{}')").await;
    receiver.receives(3).await;
    database.drained().await;
    let dead = database.rows("SELECT attempts, last_status_code FROM webhook.dead_letter").await;
    assert_eq!(dead, ["3|503"]);
    receiver.answers(|_| Answer::status(200));
    database.run(&format!("SELECT webhook_resend('{id}', {endpoint})")).await;
    receiver.receives(4).await;
    database.drained().await;
    let delivery = database.rows("SELECT status, attempts FROM webhook.delivery").await;
    assert_eq!(delivery, ["delivered|4"], "numbers go on");
    assert_eq!(database.number("SELECT count(*) FROM webhook.dead_letter").await, 0);
}

#[tokio::test]
async fn an_answer_to_give_up_on_is_not_retried() {
    let (database, receiver, _worker, endpoint, _) = scene().await;
    database
        .run(&format!("UPDATE webhook.endpoint SET give_up_on = '{{[400,408)}}' WHERE id = {endpoint}"))
        .await;
    receiver.answers(|_| Answer::status(404));
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    database.becomes("SELECT status || attempts FROM webhook.delivery", "failed1").await;
}

#[tokio::test]
async fn gone_disables_the_endpoint_and_says_so() {
    let (database, receiver, _worker, endpoint, _) = scene().await;
    let witness = Receiver::start().await;
    let (other, _) = database.endpoint(&witness.url("/")).await;
    database
        .run(&format!("UPDATE webhook.endpoint SET event_types = '{{webhook.*}}' WHERE id = {other}"))
        .await;
    receiver.answers(|_| Answer::status(410));
    let listener = database.session().await;
    listener.batch_execute("LISTEN webhook_notice").await.expect("it listens");
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    database.becomes(&format!("SELECT status FROM webhook.endpoint WHERE id = {endpoint}"), "disabled").await;
    let notices = database.rows("SELECT kind, endpoint_id FROM webhook.notice ORDER BY id").await;
    assert_eq!(notices, ["delivery.exhausted", "endpoint.disabled"].map(|kind| format!("{kind}|{endpoint}")));
    let mut told: Vec<_> =
        witness.receives(2).await.iter().map(|request| request.json()["type"].to_string()).collect();
    told.sort_unstable();
    assert_eq!(told, ["\"webhook.delivery.exhausted\"", "\"webhook.endpoint.disabled\""]);
    // What is emitted from now on is skipped, each with a row that says so.
    database.run("SELECT webhook_emit('c.d', '{}')").await;
    database
        .becomes(
            "SELECT status || ': ' || last_error FROM webhook.delivery WHERE type = 'c.d'",
            "skipped: endpoint disabled",
        )
        .await;
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn retry_after_is_honoured_up_to_the_ceiling() {
    let (database, receiver, _worker, endpoint, _) = scene().await;
    for (sent, ceiling, least_s, most_s) in
        [("100", "1 h", 90, 101), ("100", "0", 0, 6), ("9999", "20 s", 15, 21), ("junk", "1 h", 0, 6)]
    {
        database.run(&format!("UPDATE webhook.endpoint SET retry_after_max = '{ceiling}', retry_jitter = 0 WHERE id = {endpoint}")).await;
        let sent_now = sent.to_owned();
        receiver.answers(move |_| Answer::status(429).header("retry-after", &sent_now));
        let id = database.text("SELECT webhook_emit('a.b', '{}')").await;
        let wait = until("it is put off", async || {
            let rows = database.rows(&format!("SELECT ceil(extract(epoch FROM due - now())) FROM webhook.queue WHERE event_id = '{id}' AND due IS NOT NULL")).await;
            rows.first().and_then(|row| row.parse::<i64>().ok())
        })
        .await;
        assert!((least_s..=most_s).contains(&wait), "Retry-After {sent}, ceiling {ceiling}: {wait} s");
    }
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_a_failed_one() {
    let (database, receiver, _worker, endpoint, _) = scene().await;
    database
        .run(&format!("UPDATE webhook.endpoint SET timeout = '100 ms', {QUICK} WHERE id = {endpoint}"))
        .await;
    receiver.answers(|_| Answer::status(200).after(Duration::from_secs(30)));
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    database.becomes("SELECT status FROM webhook.delivery", "failed").await;
    let log = database
        .rows("SELECT outcome, status_code, error LIKE 'timeout%' FROM webhook.delivery_log ORDER BY number")
        .await;
    assert_eq!(log, ["retry||t", "retry||t", "failed||t"]);
}

#[tokio::test]
async fn a_receiver_that_comes_back_gets_what_it_missed() {
    let (database, receiver, _worker, endpoint, _) = scene().await;
    database.run(&format!("UPDATE webhook.endpoint SET retry_schedule = array_fill('200 ms'::interval, '{{100}}') WHERE id = {endpoint}")).await;
    let port = receiver.port();
    drop(receiver);
    database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 50)").await;
    database.becomes("SELECT count(*) > 5 FROM webhook.attempt WHERE error LIKE 'connect:%'", "t").await;
    let receiver = Receiver::start_on(port).await;
    database.drained().await;
    assert_eq!(receiver.times_by_id().len(), 50);
    assert_eq!(database.number("SELECT count(*) FROM webhook.delivery WHERE status = 'delivered'").await, 50);
}

#[tokio::test]
async fn a_delayed_event_arrives_when_it_is_due() {
    let (database, receiver, _worker, _, secret) = scene().await;
    let due = database.text("SELECT clock_timestamp() + '6 s'").await;
    database.run(&format!("SELECT webhook_emit('late.one', '{{}}', deliver_at => '{due}'), webhook_emit('early.one', '{{}}')")).await;
    let requests = receiver.receives(2).await;
    assert_eq!(requests[0].json()["type"], "early.one");
    requests[1].verify(&secret).expect("its signature is fresh");
    database.drained().await;
    let early =
        database.number(&format!("SELECT count(*) FROM webhook.attempt WHERE started_at < '{due}'")).await;
    assert_eq!(early, 1, "only the other was sent before");
}

#[tokio::test]
async fn custom_headers_are_sent_and_redacted_in_the_log() {
    let (database, receiver, _worker, endpoint, _) = scene().await;
    database.run(&format!("UPDATE webhook.endpoint SET headers = '{{\"X-Token\": \"tok-4711\", \"User-Agent\": \"ours\"}}' WHERE id = {endpoint}")).await;
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    let request = receiver.receives(1).await.remove(0);
    assert_eq!(request.header("x-token"), "tok-4711");
    assert_eq!(request.header("user-agent"), "ours");
    database.drained().await;
    let logged = database.text("SELECT request_headers::text FROM webhook.attempt").await;
    assert!(!logged.contains("tok-4711") && logged.to_lowercase().contains("x-token"), "{logged}");
}
