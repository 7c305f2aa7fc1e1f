//! What was owed is cancelled, owed again, or tried out.

use crate::connection::cut;
use crate::lifecycle::Scene;
use harness::{Answer, Cluster, Database, Receiver, Worker};
use std::collections::HashMap;

#[tokio::test]
async fn what_is_cancelled_is_not_sent_even_if_the_worker_had_it_in_hand() {
    let scene = Scene::new().await;
    scene.emit(20).await;
    let under_way = scene.receiver.receives(1).await[0].id().to_owned();
    let ids = scene
        .database
        .rows("SELECT event_id FROM webhook.queue WHERE endpoint_id = 1 ORDER BY event_id OFFSET 1")
        .await;
    for id in &ids[..10] {
        assert_eq!(scene.database.number(&format!("SELECT webhook_cancel('{id}', 1)")).await, 1);
        assert_eq!(
            scene.database.number(&format!("SELECT webhook_cancel('{id}', 1)")).await,
            0,
            "it is done already"
        );
    }
    scene.change("SELECT").await;
    scene.gate.open();
    scene.database.drained().await;
    assert_eq!(scene.outcomes().await, ["cancelled: cancelled|10", "delivered|10"]);
    let sent = scene.receiver.times_by_id();
    assert!(sent.contains_key(&under_way) && !ids[..10].iter().any(|id| sent.contains_key(id)));
    assert_eq!(scene.receiver.count(), 10);
    // What was cancelled can be owed again.
    assert_eq!(scene.database.text(&format!("SELECT webhook_resend('{}', 1)", ids[0])).await, "t");
    scene.database.drained().await;
    assert_eq!(scene.outcomes().await, ["cancelled: cancelled|9", "delivered|11"]);
}

#[tokio::test]
async fn what_is_cancelled_while_the_worker_is_not_notified_is_not_sent_either() {
    let scene = Scene::new().await;
    scene.emit(20).await;
    let under_way = scene.receiver.receives(1).await[0].id().to_owned();
    let postgres = Cluster::shared().await.connect("postgres").await.expect("a session");
    let connections = async |allowed: bool| {
        let change = format!("ALTER DATABASE {} ALLOW_CONNECTIONS {allowed}", scene.database.name);
        Database::run_in(&postgres, &change).await;
    };
    connections(false).await;
    assert_eq!(cut(&scene.database, "listener").await, 1);
    scene.worker.says("not notified").await;
    let cancel =
        "SELECT sum(webhook_cancel(event_id, 1)) FROM webhook.queue WHERE endpoint_id = 1 AND event_id <>";
    assert_eq!(scene.database.number(&format!("{cancel} '{under_way}'")).await, 19);
    connections(true).await;
    scene.worker.says("listening again").await;
    scene.change("SELECT").await;
    scene.gate.open();
    scene.database.drained().await;
    assert_eq!(scene.outcomes().await, ["cancelled: cancelled|19", "delivered|1"]);
    assert_eq!(scene.receiver.count(), 1);
}

#[tokio::test]
async fn what_is_cancelled_while_the_worker_reads_it_is_sent_only_if_it_was_begun() {
    const ENDPOINTS: usize = 8;
    let scene = Scene::new().await;
    for round in 0..50 {
        let make = format!(
            "INSERT INTO webhook.endpoint (url, event_types, max_in_flight)
             SELECT '{}' || n, '{{round.n{round}}}', 1 FROM generate_series(1, {ENDPOINTS}) n",
            scene.receiver.url(&format!("/{round}/"))
        );
        scene.database.run(&make).await;
        // Read as soon as it is committed, and cancelled at that time.
        let emit = format!(
            "BEGIN; SELECT webhook_emit('round.n{round}', '{{}}') FROM generate_series(1, 3); COMMIT"
        );
        let cancel = format!("SELECT webhook_cancel(id) FROM webhook.event WHERE type = 'round.n{round}'");
        scene.database.run(&format!("{emit}; {cancel}")).await;
    }
    scene.change("SELECT").await;
    scene.gate.open();
    scene.database.drained().await;
    let mut sent = HashMap::<_, usize>::new();
    for request in scene.receiver.requests() {
        *sent.entry(request.path).or_default() += 1;
    }
    sent.retain(|_, times| *times > 1);
    assert!(sent.is_empty(), "one of each was begun, and the others sent though they were in hand: {sent:?}");
}

#[tokio::test]
async fn an_event_is_cancelled_for_all_endpoints_and_retries_are_no_exception() {
    let database = Database::new().await;
    for _ in 0..3 {
        database.endpoint("https://example.com/").await;
    }
    let id = database.text("SELECT webhook_emit('a.b', '{}', deliver_at => now() + '1 h')").await;
    database.run("SELECT webhook_emit('a.c', '{}')").await;
    assert_eq!(database.number(&format!("SELECT webhook_cancel('{id}')")).await, 3);
    assert_eq!(
        database.rows("SELECT type, status, count(*) FROM webhook.delivery GROUP BY 1, 2 ORDER BY 1").await,
        ["a.b|cancelled|3", "a.c|pending|3"]
    );
    database.run("BEGIN; SELECT webhook_cancel(event_id) FROM webhook.queue; ROLLBACK").await;
    assert_eq!(database.number("SELECT count(*) FROM webhook.queue").await, 3);
}

#[tokio::test]
async fn what_failed_is_replayed_by_time_type_and_status() {
    let scene = Scene::new().await;
    scene.gate.open();
    scene.set("event_types = '{load.*,rest.*}', retry_schedule = '{}', max_in_flight = 8").await;
    scene.answers(500);
    scene.emit(2).await;
    scene.database.drained().await;
    let since = scene.database.text("SELECT clock_timestamp()").await;
    scene.emit(3).await;
    scene.database.run("SELECT webhook_emit('rest.came', '{}')").await;
    scene.database.drained().await;
    scene.answers(200);
    scene.emit(6).await;
    scene.database.drained().await;

    let replay = |more: &str| format!("SELECT * FROM webhook_replay(1, '{since}'{more})");
    let bytes = format!(
        "SELECT count(*), sum(octet_length(body)) FROM webhook.event WHERE created_at >= '{since}' AND type"
    );
    let load = scene
        .database
        .rows(&format!("{bytes} = 'load.came' AND id IN (SELECT event_id FROM webhook.dead_letter)"))
        .await;
    assert!(load[0].starts_with("3|"), "{load:?}");
    let types = ", types => '{load.*}'";
    assert_eq!(scene.database.rows(&replay(&format!("{types}, dry_run => true"))).await, load);
    assert_eq!(scene.database.rows(&replay(", dry_run => true")).await[0].split('|').next(), Some("4"));
    assert_eq!(
        scene.database.rows(&replay(", statuses => '{delivered}', dry_run => true")).await[0]
            .split('|')
            .next(),
        Some("6")
    );
    assert_eq!(
        scene.database.number("SELECT count(*) FROM webhook.queue").await,
        0,
        "nothing is owed by counting"
    );
    assert_eq!(scene.database.rows(&replay(types)).await, load);
    scene.database.drained().await;
    assert_eq!(scene.outcomes().await, ["delivered|9", "failed: last step of retry_schedule is past|3"]);
    let numbers = "SELECT number, count(*) FROM webhook.attempt WHERE endpoint_id = 1 AND outcome = 'delivered' GROUP BY 1 ORDER BY 1";
    assert_eq!(scene.database.rows(numbers).await, ["1|6", "2|3"], "attempt numbers go on");
    assert_eq!(
        scene.database.rows(&replay(types)).await,
        ["0|0"],
        "what was delivered meanwhile is left alone"
    );
    let until = format!("SELECT * FROM webhook_replay(1, '-infinity', '{since}')");
    assert!(scene.database.text(&until).await == "2");
    scene.database.drained().await;
    assert_eq!(scene.receiver.count(), 6 + 6 + 3 + 2);
}

#[tokio::test]
async fn a_long_history_is_replayed_by_index() {
    let database = Database::new().await;
    database.endpoint("https://example.com/").await;
    crate::partition::days_pass(&database, -13, 0).await;
    database
        .run(
            "INSERT INTO webhook.event (id, type, body, created_at)
             SELECT overlay(gen_random_uuid()::text PLACING left(webhook.first_id_at(at)::text, 13) FROM 1)::uuid, 'order.paid', '{}', at
             FROM generate_series(now() - interval '12 days', now() - interval '1 day', interval '15 s') at;
             INSERT INTO webhook.attempt (event_id, id, endpoint_id, number, started_at, final, outcome)
             SELECT id, gen_random_uuid(), 1, 1, created_at, true, CASE WHEN random() < 0.01 THEN 'failed' ELSE 'delivered' END
             FROM webhook.event;
             ANALYZE webhook.event, webhook.attempt",
        )
        .await;
    let failed = database.text("SELECT count(*) FROM webhook.attempt WHERE outcome = 'failed'").await;
    let session = database.session().await;
    Database::run_in(&session, "BEGIN").await;
    assert_eq!(
        Database::text_in(&session, "SELECT deliveries FROM webhook_replay(1, '-infinity')").await,
        failed
    );
    let (whole, by_index) = crate::log::rows_read(&session).await;
    assert_eq!(whole, 0, "no leaf is read through");
    let most = 20 * failed.parse::<i64>().expect("a number");
    assert!(by_index < most, "{by_index} rows for {failed} that failed");
    Database::run_in(&session, "COMMIT").await;
    assert_eq!(database.text("SELECT deliveries FROM webhook_replay(1, '-infinity', statuses => '{delivered}', dry_run => true)").await,
        database.text("SELECT count(*) FROM webhook.attempt WHERE outcome = 'delivered'").await);
}

#[tokio::test]
async fn a_test_goes_to_one_endpoint_whatever_it_subscribes_to() {
    let (database, receiver, other) =
        (Database::new().await, Receiver::start().await, Receiver::start().await);
    let (endpoint, secret) = database.endpoint(&receiver.url("/hook")).await;
    database.endpoint(&other.url("/")).await;
    database.run("UPDATE webhook.endpoint SET event_types = '{webhook.*,order.*}'").await;
    database.run(&format!("UPDATE webhook.endpoint SET event_types = '{{none.such}}', tenant = 'acme', retry_schedule = '{{}}' WHERE id = {endpoint}")).await;
    let _worker = Worker::start(&database).await;
    let id = database.text(&format!("SELECT webhook_test({endpoint})")).await;
    let request = receiver.receives(1).await.remove(0);
    request.verify(&secret).expect("signed as any other");
    assert_eq!(
        (request.id(), &request.json()["type"], &request.json()["data"]),
        (id.as_str(), &"webhook.test".into(), &serde_json::json!({"test": true}))
    );
    receiver.answers(|_| Answer::status(404));
    database.drained().await;
    let id = database.text(&format!("SELECT webhook_test({endpoint}, 'order.paid')")).await;
    database.drained().await;
    let result = format!(
        "SELECT type, tenant, status, last_status_code FROM webhook.delivery WHERE event_id = '{id}'"
    );
    assert_eq!(database.rows(&result).await, ["order.paid|acme|failed|404"]);
    assert_eq!((receiver.count(), other.count()), (2, 0));

    database.run(&format!("SELECT webhook_pause({endpoint})")).await;
    let id = database.text(&format!("SELECT webhook_test({endpoint})")).await;
    receiver.answers(|_| Answer::status(200));
    assert_eq!(
        database.text(&format!("SELECT status FROM webhook.delivery WHERE event_id = '{id}'")).await,
        "pending"
    );
    database.run(&format!("SELECT webhook_resume({endpoint})")).await;
    receiver.receives(3).await;
    database.run("BEGIN; SET LOCAL pg_webhook.suppress = on").await;
    assert_eq!(database.rows(&format!("SELECT webhook_test({endpoint}) IS NULL")).await, ["t"]);
    database.run("ROLLBACK").await;
}
