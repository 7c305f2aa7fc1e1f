//! What the worker reads and records beside PostgreSQL's executor is what statements would have read and written.

use crate::partition::{days_pass, old_event, owe};
use harness::{Answer, Database, Receiver, Worker, until};

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

/// Buffers a call reads in the session that made its plans before.
async fn buffers(session: &tokio_postgres::Client, call: &str) -> i64 {
    let plan = Database::text_in(
        session,
        &format!("EXPLAIN (ANALYZE, BUFFERS, COSTS off, TIMING off, FORMAT json) SELECT * FROM {call}"),
    )
    .await;
    let plan: serde_json::Value = serde_json::from_str(&plan).expect("a plan");
    ["Shared Hit Blocks", "Shared Read Blocks"].iter().filter_map(|name| plan[0]["Plan"][name].as_i64()).sum()
}

/// What the session keeps of the catalogue is read again when other tests make databases: that is not the plan's.
async fn reads_few_buffers(session: &tokio_postgres::Client, call: &str) {
    let few = async || (buffers(session, call).await < 150).then_some(());
    until(&format!("{call} reads few buffers"), few).await;
}

#[tokio::test]
async fn plans_made_on_an_empty_queue_are_right_for_a_long_one() {
    let database = Database::new().await;
    for _ in 0..3 {
        database.endpoint("https://example.com/").await;
    }
    // The second is long, the third ordered. An ANALYZE would have plans made anew.
    database
        .run(
            "UPDATE webhook.endpoint SET event_types = ARRAY['e' || id], ordered = id = 3;
             ALTER TABLE webhook.queue SET (autovacuum_enabled = off)",
        )
        .await;
    // As autovacuum leaves a queue that ran empty: known to have no page, so that any plan costs nothing.
    database.run("VACUUM webhook.queue").await;
    let session = database.session().await;
    let before = Database::text_in(&session, "SELECT pg_current_snapshot()").await;
    let tail = format!("webhook.worker_tail(8, NULL, '{{}}', '{before}', NULL, NULL, NULL, 20, 1000000)");
    let backlog = |endpoint| format!("webhook.worker_backlog({endpoint}, NULL, NULL, 20, 1000000)");
    let due = |endpoint| format!("webhook.worker_due({endpoint}, 20, 1000000)");
    let heads = "webhook.worker_heads(3, ARRAY[webhook.lane('7'), webhook.lane('8')], 1000000)".to_owned();
    let successes = "webhook.note_successes('{1,2,2,3}')".to_owned();
    let calls: Vec<String> = [tail, heads, successes]
        .into_iter()
        .chain([1, 2, 3].map(backlog))
        .chain([1, 2, 3].map(due))
        .collect();
    for call in &calls {
        for _ in 0..7 {
            buffers(&session, call).await;
        }
    }
    database
        .run(
            "SELECT count(webhook_emit('e2', '{}')) FROM generate_series(1, 60000);
             SELECT count(webhook_emit('e' || e, '{}', key => n::text)) FROM generate_series(1, 20) n, generate_series(1, 3) e;
             UPDATE webhook.queue SET due = now() - interval '1 s' WHERE event_id IN (SELECT id FROM webhook.event WHERE key > '5')",
        )
        .await;
    // A page in the midst of a transaction that was open when the tail was last read.
    let amidst = database
        .text(
            "SELECT format($$webhook.worker_tail(8, NULL, '{}', '%1$s:%2$s:%1$s', NULL, %1$L, %3$L, 20, 1000000)$$,
                           xid, xid::text::bigint + 1, event_id)
             FROM webhook.queue WHERE endpoint_id = 2 ORDER BY event_id OFFSET 50000 LIMIT 1",
        )
        .await;
    for call in calls.iter().chain([&amidst]) {
        reads_few_buffers(&session, call).await;
    }
    let rows = async |call: &str| {
        Database::text_in(&session, &format!("SELECT count(*) FROM {call}"))
            .await
            .parse::<i64>()
            .expect("a number")
    };
    for tail in [&calls[0], &amidst] {
        assert_eq!(rows(tail).await, 21, "a page of the tail, and its head");
    }
    assert_eq!(rows(&calls[1]).await, 2, "a head each lane");
    // While a transaction is open, what it has made is not looked through each time that another has ended.
    let open = database.session().await;
    Database::run_in(&open, "BEGIN; SELECT count(webhook_emit('e1', '{}')) FROM generate_series(1, 20000)")
        .await;
    database.run("SELECT webhook_emit('e1', '{}')").await;
    let since = Database::text_in(&session, "SELECT pg_current_snapshot()").await;
    let sweep = format!("webhook.worker_tail(8, NULL, '{{}}', '{since}', NULL, NULL, NULL, 20, 1000000)");
    reads_few_buffers(&session, &sweep).await;
}
