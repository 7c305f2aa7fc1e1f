//! What is known of a tenant, or of one key of it, is erased.

use harness::{Answer, Database, Gate, Receiver, Worker, until};

/// Everything that pg_webhook's tables hold, as text.
const EVERYTHING: &str = "SELECT string_agg(t, ' ') FROM (
    SELECT e::text FROM webhook.event e UNION ALL SELECT a::text FROM webhook.attempt a
    UNION ALL SELECT i::text FROM webhook.idempotency i UNION ALL SELECT q::text FROM webhook.queue q) everything (t)";

#[tokio::test]
async fn bodies_and_answers_of_a_key_or_a_tenant_are_erased_and_nothing_is_sent_any_more() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    database.endpoint(&receiver.url("/")).await;
    database
        .run("UPDATE webhook.endpoint SET all_tenants = true, max_in_flight = 1, retry_schedule = '{1 h}'")
        .await;
    receiver.answers(|request| {
        Answer::status(if request.body.contains("again") { 500 } else { 200 })
            .header("x-echo", &request.json()["data"]["name"].to_string())
            .body(request.body.clone())
    });
    let worker = Worker::start(&database).await;
    let emit = |name: &str, tenant: &str, key: &str| {
        format!(
            "SELECT webhook_emit('person.seen', '{{\"name\": \"{name}\"}}', {tenant}, '{key}', NULL, '{key}-{name}')"
        )
    };
    database.run(&emit("jane", "'acme'", "p1")).await;
    database.run(&emit("jane again", "'acme'", "p1")).await;
    database.run(&emit("john", "'acme'", "p2")).await;
    database.run(&emit("joan", "'other'", "p1")).await;
    database.run(&emit("judy", "NULL", "p1")).await;
    receiver.receives(5).await;
    database.becomes("SELECT count(*) FROM webhook.attempt WHERE response_body IS NOT NULL", "5").await;
    let gate = Gate::default();
    let held = gate.clone();
    receiver.answers(move |_| Answer::status(200).held_by(&held));
    // One is under way, the others are in the worker's hands.
    database.run(&emit("james", "'third'", "p3")).await;
    receiver.receives(6).await;
    database
        .run(&format!("{}; {}", emit("jack and jane", "'acme'", "p1"), emit("jill", "'acme'", "p2")))
        .await;
    database.becomes("SELECT count(*) FROM webhook.queue", "4").await;

    let read = worker.metric("pg_webhook_rows_read_total").await;

    database.run("BEGIN").await;
    assert_eq!(database.number("SELECT webhook_forget('acme', 'p1')").await, 3);
    assert!(!database.text(EVERYTHING).await.contains("jane"), "in the same transaction");
    database.run("ROLLBACK").await;
    assert!(database.text(EVERYTHING).await.contains("jane"));
    assert_eq!(database.number("SELECT webhook_forget('acme', 'p1')").await, 3);
    let left = database.text(EVERYTHING).await;
    assert!(!left.contains("jane"), "{left}");
    for other in ["john", "jill", "joan", "judy", "james"] {
        assert!(left.contains(other), "{other} stays");
    }
    // What it was, and what became of it, still shows.
    let log = "SELECT type, tenant, key, outcome, status_code, request_body, erased FROM webhook_log() WHERE tenant = 'acme' AND key = 'p1' ORDER BY outcome, status_code";
    assert_eq!(
        database.rows(log).await,
        [
            "person.seen|acme|p1|cancelled|||t",
            "person.seen|acme|p1|cancelled|||t",
            "person.seen|acme|p1|delivered|200||t",
            "person.seen|acme|p1|retry|500||t"
        ]
    );
    assert_eq!(
        database.rows("SELECT DISTINCT webhook_resend(id, 1) FROM webhook.event WHERE body = ''").await,
        ["f"]
    );
    assert_eq!(database.rows("SELECT * FROM webhook_replay(1, '-infinity', statuses => '{delivered,cancelled}', dry_run => true)").await[0].split('|').next(), Some("3"), "what is erased is not replayed");

    database.becomes("SELECT count(*) FROM webhook.queue", "2").await;
    until("the worker has read again what is owed", async || {
        (worker.metric("pg_webhook_rows_read_total").await > read).then_some(())
    })
    .await;
    gate.open();
    database.drained().await;
    let bodies: Vec<_> = receiver.requests().into_iter().skip(6).map(|request| request.body).collect();
    assert!(bodies.len() == 1 && bodies[0].contains("jill"), "what was erased is not sent: {bodies:?}");

    assert_eq!(database.number("SELECT webhook_forget('acme')").await, 2);
    let left = database.text(EVERYTHING).await;
    assert!(
        !left.contains("john") && !left.contains("jill") && left.contains("joan") && left.contains("judy")
    );
    assert_eq!(database.number("SELECT webhook_forget(NULL, 'p1')").await, 1);
    let left = database.text(EVERYTHING).await;
    assert!(!left.contains("judy") && left.contains("joan"));
    assert_eq!(database.number("SELECT webhook_forget('acme')").await, 0, "it is done already");
}
