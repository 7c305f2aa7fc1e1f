//! on_delivered and on_failed: a function that commits with its outcome, as who configured it, and harms nothing else.

mod harm;
mod lent;

use harness::{Answer, Database, Receiver, Worker, until};
use serde_json::{Value, json};

/// Tells what it was told, in which transaction, and what it finds of the delivery.
const NOTE: &str = "
    CREATE SCHEMA app;
    CREATE TABLE app.told (outcome jsonb, transaction text DEFAULT pg_current_xact_id(), status text, who text DEFAULT current_user);
    CREATE FUNCTION app.note(outcome jsonb) RETURNS void LANGUAGE sql AS $$
      INSERT INTO app.told (outcome, status)
      SELECT outcome, d.status FROM webhook.delivery d
      WHERE d.event_id = (outcome->>'event_id')::uuid AND d.endpoint_id = (outcome->>'endpoint_id')::int $$";

/// Takes as long as somebody else holds the lock.
pub const WAITS: &str = "
    CREATE FUNCTION app.waits(outcome jsonb) RETURNS void LANGUAGE sql AS $$
      SELECT app.note(outcome); SELECT pg_advisory_xact_lock(7) $$;
    INSERT INTO webhook.setting VALUES ('callback_timeout', '1 minute')";
/// How many do.
pub const WAITING: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";

pub struct Scene {
    pub database: Database,
    pub receiver: Receiver,
    pub endpoint: i32,
}

/// An endpoint with these settings, and `app.note` and what `more` makes to be called.
pub async fn scene(more: &str, settings: &str) -> Scene {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    database.run(&format!("{NOTE}; {more}")).await;
    let (endpoint, _) = database.endpoint(&receiver.url("/")).await;
    database.run(&format!("UPDATE webhook.endpoint SET {settings} WHERE id = {endpoint}")).await;
    Scene { database, receiver, endpoint }
}

impl Scene {
    /// One more endpoint without callbacks, for events of this type.
    pub async fn neighbour(&self, event_type: &str) -> i32 {
        let (id, _) = self.database.endpoint(&self.receiver.url("/neighbour")).await;
        let types = format!("UPDATE webhook.endpoint SET event_types = '{{{event_type}}}' WHERE id = {id}");
        self.database.run(&types).await;
        id
    }

    /// Emits an event and waits until its delivery to the endpoint has ended; returns its status and what its
    /// callback met.
    pub async fn ends(&self, event_type: &str, data: &str) -> (String, String) {
        let event = self.database.text(&format!("SELECT webhook_emit('{event_type}', '{data}')")).await;
        let ended = format!(
            "SELECT outcome, callback_error FROM webhook.attempt WHERE event_id = '{event}' AND endpoint_id = {} AND final",
            self.endpoint
        );
        let row = until("the delivery has ended", async || self.database.rows(&ended).await.pop()).await;
        row.split_once('|')
            .map(|(status, problem)| (status.to_owned(), problem.to_owned()))
            .expect("two columns")
    }
}

#[tokio::test]
async fn a_callback_commits_with_its_outcome_and_is_told_what_came_of_the_delivery() {
    let scene = scene(
        "",
        "on_delivered = 'app.note', on_failed = 'app.note', give_up_on = '{[400,401)}', retry_schedule = '{10 ms,1 day}',
         all_tenants = true",
    )
    .await;
    let (database, endpoint) = (&scene.database, scene.endpoint);
    scene.receiver.answers(|request| {
        let data = request.json()["data"].clone();
        let status = data["answer"].as_u64().unwrap_or(200) as u16;
        Answer::status(status).header("x-receipt", "r-7").body("thanks")
    });
    let _worker = Worker::start(database).await;
    let event = database.text("SELECT webhook_emit('order.paid', '{\"n\": 1}', 'acme', 'order-1')").await;
    database.drained().await;
    let told: Value =
        serde_json::from_str(&database.text("SELECT outcome FROM app.told").await).expect("JSON");
    let expected = json!({
        "status": "delivered", "event_id": event, "endpoint_id": endpoint, "type": "order.paid", "tenant": "acme",
        "key": "order-1", "number": 1, "status_code": 200, "error": null, "response_body": "thanks"
    });
    for (member, value) in expected.as_object().expect("an object") {
        assert_eq!(told[member], *value, "{member}");
    }
    assert_eq!(told["response_headers"]["x-receipt"], "r-7");
    assert_eq!(told["body"], scene.receiver.requests()[0].json());
    assert!(told["duration_s"].as_f64().is_some_and(|s| s > 0.0 && s < 60.0), "{told}");
    assert!(
        told["started_at"].as_str().is_some_and(|at| at.starts_with("20") && at.ends_with("+00:00")),
        "{told}"
    );

    let (status, _) = scene.ends("order.sent", "{\"answer\": 400}").await;
    assert_eq!(status, "failed");
    let failed = "SELECT outcome->>'status', outcome->>'status_code', outcome->>'error' FROM app.told WHERE outcome->>'type' = 'order.sent'";
    assert_eq!(database.rows(failed).await, ["failed|400|status is in give_up_on"]);

    // A retry is no end, and what is skipped was somebody's decision.
    database.run("SELECT webhook_emit('order.retried', '{\"answer\": 500}')").await;
    database.becomes("SELECT count(*) FROM webhook.attempt WHERE outcome = 'retry'", "2").await;
    database.run(&format!("SELECT webhook_disable({endpoint}), webhook_emit('order.skipped', '{{}}')")).await;
    database.drained().await;
    assert_eq!(database.number("SELECT count(*) FROM app.told").await, 2);

    let same = "SELECT bool_and(t.transaction = a.xmin::text AND t.status = a.outcome) FROM app.told t
      JOIN webhook.attempt a ON a.event_id = (t.outcome->>'event_id')::uuid AND a.final";
    assert_eq!(database.text(same).await, "t", "in the transaction of the outcome, which it sees");
}

#[tokio::test]
async fn a_callback_s_failure_leaves_the_outcome_and_is_told_once() {
    let scene = scene(
        "CREATE FUNCTION app.picky(outcome jsonb) RETURNS text LANGUAGE plpgsql AS $$
         BEGIN
           PERFORM app.note(outcome);
           IF outcome #> '{body,data,bad}' IS NOT NULL THEN RAISE 'no such order' USING HINT = 'make one'; END IF;
           RETURN 'ignored';
         END $$",
        "on_delivered = 'app.picky'",
    )
    .await;
    let (database, endpoint) = (&scene.database, scene.endpoint);
    scene.neighbour("webhook.callback.*").await;
    let worker = Worker::start(database).await;
    let failed = ("delivered".to_owned(), "no such order (make one)".to_owned());
    let notices =
        "SELECT string_agg(kind || coalesce(' ' || event_id, ''), ', ' ORDER BY id) FROM webhook.notice";
    assert_eq!(scene.ends("a.b", "{\"bad\": 1}").await, failed);
    let first =
        database.text("SELECT event_id FROM webhook.delivery_log WHERE callback_error IS NOT NULL").await;
    assert_eq!(database.text(notices).await, format!("callback.failed {first}"));
    let message = database.text("SELECT message FROM webhook.notice").await;
    let expected = format!(
        "callback app.picky of endpoint {endpoint} failed for event {first}: no such order (make one)"
    );
    assert_eq!(message, expected);
    assert_eq!(scene.ends("a.b", "{\"bad\": 1}").await, failed);
    assert_eq!(scene.ends("a.b", "{}").await, ("delivered".to_owned(), String::new()));
    assert_eq!(scene.ends("a.b", "{\"bad\": 1}").await, failed, "it fails now and then: that was told");
    assert_eq!(database.text(notices).await, format!("callback.failed {first}"));
    assert_eq!(
        database.number("SELECT count(*) FROM app.told").await,
        1,
        "what failed has left nothing behind"
    );
    until("three are counted", async || {
        (worker.metric("pg_webhook_callback_failures_total").await == 3.0).then_some(())
    })
    .await;

    // After a while without a failure it has recovered.
    database
        .run("UPDATE webhook.endpoint_health SET callback_failed_at = now() - interval '11 minutes'")
        .await;
    assert_eq!(scene.ends("a.b", "{}").await.1, "");
    assert_eq!(database.text(notices).await, format!("callback.failed {first}, callback.recovered"));
    assert_eq!(scene.ends("a.b", "{\"bad\": 1}").await, failed);
    assert_eq!(
        database.number("SELECT count(*) FROM webhook.notice WHERE kind = 'callback.failed'").await,
        2
    );
    let told = async || scene.receiver.requests().into_iter().find(|r| r.path == "/neighbour");
    let told = until("the neighbour is told", told).await.json();
    assert_eq!(
        (&told["type"], &told["data"]["message"]),
        (&json!("webhook.callback.failed"), &json!(expected))
    );

    // Another callback begins anew.
    database.run("CREATE FUNCTION app.broken(jsonb) RETURNS int LANGUAGE sql AS 'SELECT 1/0'; UPDATE webhook.endpoint SET on_delivered = 'app.broken' WHERE on_delivered IS NOT NULL").await;
    assert_eq!(scene.ends("a.b", "{}").await.1, "division by zero");
    database.run("DROP FUNCTION app.broken").await;
    assert!(scene.ends("a.b", "{}").await.1.starts_with("there is no callback app.broken that takes jsonb"));
    assert_eq!(
        database.number("SELECT count(*) FROM webhook.notice WHERE kind = 'callback.failed'").await,
        3
    );
}

#[tokio::test]
async fn a_callback_emits_the_next_event() {
    let scene = scene("", "event_types = '{order.paid}'").await;
    let database = &scene.database;
    let admin = database.role("admin", "IN ROLE webhook_admin").await;
    database
        .run(&format!(
            "CREATE TABLE app.orders (id int PRIMARY KEY, sent boolean); INSERT INTO app.orders VALUES (7, false);
             SELECT webhook_attach('app.orders', operations => '{{update}}');
             GRANT USAGE ON SCHEMA app TO {admin}; GRANT SELECT, UPDATE ON app.orders TO {admin}"
        ))
        .await;
    scene.neighbour("orders.*,order.told").await;
    let session = database.session_as(&admin).await;
    database.run(&format!("GRANT CREATE ON SCHEMA app TO {admin}")).await;
    Database::run_in(
        &session,
        "CREATE FUNCTION app.mark(outcome jsonb) RETURNS void LANGUAGE plpgsql AS $$
         BEGIN
           UPDATE app.orders SET sent = true WHERE id = (outcome #>> '{body,data,order}')::int;
           PERFORM public.webhook_emit('order.told', jsonb_build_object('order', outcome #> '{body,data,order}'));
         END $$;
         UPDATE webhook.endpoint SET on_delivered = 'app.mark' WHERE event_types = '{order.paid}'",
    )
    .await;
    let _worker = Worker::start(database).await;
    assert_eq!(scene.ends("order.paid", "{\"order\": 7}").await, ("delivered".to_owned(), String::new()));
    database.drained().await;
    let mut types: Vec<Value> =
        scene.receiver.receives(3).await.iter().map(|r| r.json()["type"].clone()).collect();
    types[1..].sort_by_key(Value::to_string);
    assert_eq!(types, ["order.paid", "order.told", "orders.updated"]);
}

#[tokio::test]
async fn callbacks_of_one_key_come_in_the_order_of_its_events() {
    let scene = scene(
        "",
        "on_delivered = 'app.note', on_failed = 'app.note', ordered = true, retry_schedule = '{1 ms}'",
    )
    .await;
    let database = &scene.database;
    scene.receiver.answers(|request| {
        let n = request.json()["data"]["n"].as_u64().unwrap_or(0);
        Answer::status(if n.is_multiple_of(5) { 500 } else { 200 })
    });
    let _worker = Worker::start(database).await;
    database
        .run("SELECT webhook_emit('a.b', jsonb_build_object('n', n), key => 'k' || n % 2) FROM generate_series(1, 40) n")
        .await;
    database.drained().await;
    let told = "SELECT outcome ->> 'key', string_agg(outcome #>> '{body,data,n}', ' ' ORDER BY transaction::bigint),
        count(*) FILTER (WHERE status = 'failed' AND outcome ->> 'number' = '2') FROM app.told GROUP BY 1 ORDER BY 1";
    let numbers = |from: usize| (from..=40).step_by(2).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(database.rows(told).await, [format!("k0|{}|4", numbers(2)), format!("k1|{}|4", numbers(1))]);
}

#[tokio::test]
async fn a_worker_killed_in_a_callback_leaves_neither_the_outcome_nor_the_callback_s_work() {
    let scene = scene(WAITS, "on_delivered = 'app.waits'").await;
    let database = &scene.database;
    let holder = database.session().await;
    Database::run_in(&holder, "SELECT pg_advisory_lock(7)").await;
    let worker = Worker::start(database).await;
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    database.becomes(WAITING, "1").await;
    worker.kill().await;
    assert_eq!(database.number("SELECT count(*) FROM webhook.attempt").await, 0);
    let _worker = Worker::start(database).await;
    scene.receiver.receives(2).await;
    Database::run_in(&holder, "SELECT pg_advisory_unlock(7)").await;
    database.drained().await;
    let both = "SELECT (SELECT count(*) FROM webhook.attempt) || ' ' || (SELECT count(*) FROM app.told)";
    assert_eq!(database.text(both).await, "1 1");
}
