//! Statements that are asked time and again find their rows by index, whatever the queue was like when they were planned,
//! or when VACUUM looked at it last.

use harness::{Database, until};

/// The plan of a call, with what EXPLAIN is asked for.
async fn plan(session: &tokio_postgres::Client, options: &str, call: &str) -> serde_json::Value {
    let explain = format!("EXPLAIN ({options}, FORMAT json) SELECT * FROM {call}");
    let plans: serde_json::Value =
        serde_json::from_str(&Database::text_in(session, &explain).await).expect("a plan");
    plans[0]["Plan"].clone()
}

/// Buffers a call reads in the session that made its plans before.
async fn buffers(session: &tokio_postgres::Client, call: &str) -> i64 {
    let plan = plan(session, "ANALYZE, BUFFERS, COSTS off, TIMING off", call).await;
    ["Shared Hit Blocks", "Shared Read Blocks"].iter().filter_map(|name| plan[name].as_i64()).sum()
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

/// Calls that look 500 rows of the queue up by their keys, from the middle of it.
async fn look_ups(database: &Database) -> Vec<String> {
    let record = |outcome: &str, xid: &str| {
        format!(
            "format('webhook.worker_record(%2$L, %3$L, %4$L, array_fill(0, %1$L), array_fill(''{outcome}''::text, %1$L),
               array_fill(1.0::float8, %1$L), array_fill(1, %1$L), %5$L, %6$L, array_fill(1.0::float8, %1$L), array_fill(500, %1$L)'
               || repeat(', array_fill(NULL::text, %1$L)', 7) || ')',
               '{{500}}', array_agg(endpoint_id), array_agg(event_id), array_agg({xid}), array_agg(gen_random_uuid()), array_agg(now()))"
        )
    };
    let calls = [
        record("retry", "xid"),
        // Renewed since they were read.
        record("failed", "'3'::xid8"),
        "format('webhook.worker_held(%L, %L)', array_agg(endpoint_id), array_agg(event_id))".to_owned(),
        "format('webhook.end_owed(%L, ''cancelled'', ''cancelled'')', array_agg(q))".to_owned(),
    ];
    let rows = "FROM (SELECT * FROM webhook.queue ORDER BY endpoint_id, event_id OFFSET 30000 LIMIT 500) q";
    let mut texts = Vec::new();
    for call in calls {
        texts.push(database.text(&format!("SELECT {call} {rows}")).await);
    }
    texts
}

#[tokio::test]
async fn a_queue_that_vacuum_found_all_but_empty_is_not_read_through_once_it_has_filled() {
    let database = Database::new().await;
    database.endpoint("https://example.com/").await;
    database.run("ALTER TABLE webhook.queue SET (autovacuum_enabled = off)").await;
    let fill = "SELECT count(webhook_emit('a.b', '{}', key => n::text)) FROM generate_series(1, 60000) n";
    database.run(fill).await;
    // What is left lies at the end, so the table stays as long as it was.
    database.run("DELETE FROM webhook.queue WHERE ctid < (SELECT max(ctid) FROM webhook.queue)").await;
    database.run("VACUUM webhook.queue").await;
    let found =
        "SELECT reltuples || ' ' || (relpages > 500) FROM pg_class WHERE oid = 'webhook.queue'::regclass";
    assert_eq!(database.text(found).await, "1 true");
    database.run(fill).await;

    for call in look_ups(&database).await {
        // Each in a session that knows nothing yet.
        let session = database.session().await;
        Database::run_in(&session, "BEGIN").await;
        Database::run_in(&session, &format!("SELECT * FROM {call}")).await;
        let fetched =
            "SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = 'webhook.queue'::regclass";
        let fetched: i64 = Database::text_in(&session, fetched).await.parse().expect("a number");
        assert!((500..=2_000).contains(&fetched), "{fetched} rows were fetched by {call}");
        Database::run_in(&session, "ROLLBACK").await;
    }
    let event = database
        .text("SELECT event_id FROM webhook.queue ORDER BY endpoint_id, event_id OFFSET 30000 LIMIT 1")
        .await;
    reads_few_buffers(&database.session().await, &format!("webhook_resend('{event}', 1)")).await;
    let cancel = format!("webhook_cancel('{event}')");
    // All but a few of the catalogue, which other tests' databases may have a session read once more than that.
    let few = async || {
        let session = database.session().await;
        Database::run_in(&session, "BEGIN").await;
        let read = buffers(&session, &cancel).await;
        // Or the next one would find nothing to cancel, and that is quick by any plan.
        Database::run_in(&session, "ROLLBACK").await;
        (read < 1_500).then_some(())
    };
    until(&format!("{cancel} reads few buffers in a session that knows nothing yet"), few).await;
    // Only there: a user's statement is planned by what VACUUM found.
    let session = database.session().await;
    let planned =
        async || plan(&session, "COSTS on", "webhook.queue").await["Plan Rows"].as_i64().expect("a number");
    Database::run_in(&session, "BEGIN; SELECT webhook.worker_held('{1}', ARRAY[gen_random_uuid()])").await;
    assert!(planned().await > 50_000, "{}", planned().await);
    Database::run_in(&session, "COMMIT").await;
    assert!(planned().await < 10, "{}", planned().await);
    // Row by row for each, it would take minutes. Two: before VACUUM came, and after.
    let forget = "SELECT webhook_forget(NULL, '30000')";
    assert_eq!(Database::text_in(&database.session().await, forget).await, "2");
}
