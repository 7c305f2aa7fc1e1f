//! Reading with many leaves: by index, and no more leaves than need be.

use crate::partition::days_pass;
use harness::Database;

/// Nine leaves with an attempt every so many seconds, of 30 endpoints; analysed as autovacuum would: leaf by leaf.
pub async fn nine_leaves(every_s: u32) -> Database {
    let database = Database::new().await;
    days_pass(&database, -13, 0).await;
    database
        .run(&format!(
            "INSERT INTO webhook.event (id, type, body, created_at) \
             SELECT overlay(gen_random_uuid()::text PLACING left(webhook.first_id_at(at)::text, 13) FROM 1)::uuid, 'order.paid', '{{}}', at \
             FROM generate_series(now() - interval '12 days 23 hours', now() + interval '2 days', interval '{every_s} s') at;
             INSERT INTO webhook.attempt (event_id, id, endpoint_id, number, started_at, final, outcome, url, response_body) \
             SELECT id, gen_random_uuid(), 1 + row_number() OVER () % 30, 1, created_at, true, 'delivered', 'https://example.com/', repeat('x', 200) \
             FROM webhook.event;
             INSERT INTO webhook.event_body (event_id, variant, endpoint_ids, body) \
             SELECT overlay(gen_random_uuid()::text PLACING left(webhook.first_id_at(at)::text, 13) FROM 1)::uuid, 1, '{{1}}', '{{}}' \
             FROM generate_series(now() - interval '12 days 23 hours', now() + interval '6 days', interval '{every_s} s') at;
             DO $$ DECLARE leaf regclass; BEGIN
               FOR leaf IN SELECT l.leaf FROM webhook.leaf l LOOP EXECUTE format('ANALYZE %s', leaf); END LOOP;
             END $$",
        ))
        .await;
    assert!(database.number("SELECT count(*) FROM webhook.leaf WHERE parent = 'attempt'").await >= 9);
    database
}

#[tokio::test]
async fn a_look_up_by_id_reads_one_leaf() {
    let database = nine_leaves(48).await;
    let id = database.text("SELECT id FROM webhook.event ORDER BY id OFFSET 10000 LIMIT 1").await;
    let sources = [
        format!("webhook.event WHERE id = '{id}'"),
        format!("webhook.attempt WHERE event_id = '{id}'"),
        format!("webhook.delivery WHERE event_id = '{id}'"),
        format!("webhook.delivery_log WHERE event_id = '{id}'"),
    ];
    for source in sources {
        let plan =
            database.rows(&format!("EXPLAIN (ANALYZE, COSTS off, TIMING off) SELECT * FROM {source}")).await;
        assert!(database.number(&format!("SELECT count(*) FROM {source}")).await > 0, "{source} has it");
        let mut leaves: Vec<_> = plan
            .iter()
            .filter(|line| !line.contains("never executed"))
            .flat_map(|line| line.split_whitespace())
            .filter(|word| word.starts_with("event_2") || word.starts_with("attempt_2"))
            .filter(|word| word.len() <= "attempt_20260101_000000".len())
            .map(|word| word.trim_start_matches(char::is_alphabetic))
            .collect();
        leaves.sort_unstable();
        leaves.dedup();
        assert_eq!(leaves.len(), 1, "{source}: {plan:#?}");
        assert!(
            !plan
                .iter()
                .any(|line| line.contains("Seq Scan on event") || line.contains("Seq Scan on attempt")),
            "{plan:#?}"
        );
    }
}

#[tokio::test]
async fn the_last_50_of_an_endpoints_log_are_read_by_index() {
    let database = nine_leaves(48).await;
    let plan = database
        .rows(
            "EXPLAIN (ANALYZE, BUFFERS, COSTS off, TIMING off) \
             SELECT * FROM webhook.delivery_log WHERE endpoint_id = 7 ORDER BY event_id DESC, number DESC LIMIT 50",
        )
        .await;
    let text = plan.join("\n");
    assert!(!plan.iter().any(|line| line.contains("Seq Scan") && !line.contains("never executed")), "{text}");
    let backward = plan.iter().filter(|line| line.contains("Index Scan Backward")).count();
    assert!(backward >= 9 && text.contains("Merge Append"), "each leaf's index gives the order: {text}");
    let buffers = plan.iter().find(|line| line.contains("Buffers:")).expect("buffers are counted");
    let read: u32 = buffers
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("hit=").or(word.strip_prefix("read="))?.parse::<u32>().ok())
        .sum();
    assert!(read < 600, "it reads a few pages a row, not the log: {text}");
}
