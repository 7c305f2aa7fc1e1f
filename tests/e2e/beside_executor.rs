//! What the worker reads and records beside PostgreSQL's executor is what statements would have read and written.

use crate::partition::{days_pass, old_event, owe};
use harness::{Answer, Database, Receiver, Worker};

#[tokio::test]
async fn an_attempt_is_written_to_the_leaf_of_its_event() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    database.endpoint(&receiver.url("/")).await;
    days_pass(&database, -3, 0).await;
    let mut events = Vec::new();
    for age in ["10 days", "3 days", "2 days", "1 day", "1 hour", "-20 days"] {
        events.push(old_event(&database, age, "order.paid").await);
    }
    // Not in the order of their ids.
    for event in events.iter().rev().step_by(2).chain(events.iter().step_by(2)) {
        owe(&database, event).await;
    }
    let _worker = Worker::start(&database).await;
    receiver.receives(6).await;
    database.drained().await;
    let leaves = database
        .rows(
            "SELECT replace(a.tableoid::regclass::text, 'attempt', 'event') = e.tableoid::regclass::text
             FROM webhook.attempt a JOIN webhook.event e ON e.id = a.event_id",
        )
        .await;
    assert_eq!(leaves, ["t"; 6]);
    assert!(database.number("SELECT count(DISTINCT tableoid) FROM webhook.attempt").await >= 3);
    let by_key = "SELECT count(*) FROM webhook.event e JOIN LATERAL (SELECT FROM webhook.attempt a WHERE a.event_id = e.id) a ON true";
    database.run("SET enable_seqscan = off").await;
    assert_eq!(database.number(by_key).await, 6, "and its indexes know it");
}

#[tokio::test]
async fn triggers_on_the_queue_and_the_log_fire() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    database.endpoint(&receiver.url("/")).await;
    database
        .run(
            "CREATE TABLE seen (what text);
             CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
               BEGIN INSERT INTO public.seen VALUES (TG_OP || ' ' || TG_LEVEL); RETURN NULL; END $$;
             CREATE TRIGGER see AFTER DELETE ON webhook.queue FOR EACH ROW EXECUTE FUNCTION see();
             CREATE TRIGGER see AFTER INSERT ON webhook.attempt FOR EACH ROW EXECUTE FUNCTION see();
             SELECT webhook_emit('order.paid', '{}')",
        )
        .await;
    let _worker = Worker::start(&database).await;
    receiver.receives(1).await;
    database.drained().await;
    assert_eq!(database.rows("SELECT what FROM seen ORDER BY 1").await, ["DELETE ROW", "INSERT ROW"]);
}

#[tokio::test]
async fn outcomes_of_every_kind_in_one_batch_are_each_recorded() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    receiver.answers(|request| {
        Answer::status(request.json()["data"]["status"].as_u64().map_or(200, |s| s as u16))
    });
    let (endpoint, _) = database.endpoint(&receiver.url("/")).await;
    database
        .run(&format!(
            "UPDATE webhook.endpoint SET give_up_on = '{{[400,401)}}', max_in_flight = 64 WHERE id = {endpoint};
             SELECT webhook_emit('order.paid', jsonb_build_object('status', (ARRAY[200, 400, 500])[1 + n % 3])) FROM generate_series(1, 300) n"
        ))
        .await;
    let _worker = Worker::start(&database).await;
    receiver.receives(300).await;
    let outcomes = "SELECT string_agg(outcome || ' ' || status_code || ' ' || final || ' ' || n, ', ' ORDER BY outcome)
                    FROM (SELECT outcome, status_code, final, count(*) AS n FROM webhook.attempt GROUP BY 1, 2, 3) a";
    database.becomes(outcomes, "delivered 200 true 100, failed 400 true 100, retry 500 false 100").await;
    let owed = "SELECT count(*) || ' ' || sum(attempts) || ' ' || count(due) FROM webhook.queue";
    assert_eq!(database.text(owed).await, "100 100 100");
}
