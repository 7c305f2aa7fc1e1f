//! The log, page by page, and how endpoints do.

use crate::lifecycle::Scene;
use crate::partition_plan::nine_leaves;
use harness::{Answer, Database};
use tokio_postgres::Client;

/// Pages until the end; each row as `event_id|number|endpoint_id`.
async fn pages(database: &Database, filter: &str, size: usize) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut before = String::new();
    loop {
        let page = database
            .rows(&format!(
                "SELECT event_id, number, endpoint_id FROM webhook_log({filter}page_size => {size}{before})"
            ))
            .await;
        let Some(last) = page.last() else { return pages };
        let cursor: Vec<_> = last.split('|').collect();
        before = format!(", before_event => '{}', before_number => {}", cursor[0], cursor[1]);
        pages.push(page);
    }
}

#[tokio::test]
async fn pages_of_the_log_hold_every_row_once_newest_first() {
    let database = Database::new().await;
    for _ in 0..3 {
        database.endpoint("https://example.com/").await;
    }
    // Twenty events to three endpoints each, up to three attempts; what was made without a request has number 0.
    database
        .run(
            "SELECT webhook_emit('order.paid', '{}') FROM generate_series(1, 20);
             INSERT INTO webhook.attempt (event_id, id, endpoint_id, number, started_at, final, outcome)
             SELECT q.event_id, gen_random_uuid(), q.endpoint_id, n, now(), n = q.endpoint_id, CASE n WHEN q.endpoint_id THEN 'failed' ELSE 'retry' END
             FROM webhook.queue q CROSS JOIN LATERAL generate_series(1, q.endpoint_id) n;
             SELECT webhook_cancel(id) FROM webhook.event",
        )
        .await;
    let all = database
        .rows("SELECT event_id, number, endpoint_id FROM webhook.attempt ORDER BY 1 DESC, 2 DESC")
        .await;
    assert_eq!(all.len(), 20 * (6 + 3));
    for size in [1, 7, 50, 1000] {
        let pages = pages(&database, "", size).await;
        assert!(pages.iter().all(|page| page.len() < size + 3), "ties are few");
        let mut read: Vec<String> = pages.concat();
        let order = |row: &String| row.rsplit_once('|').map(|(place, _)| place.to_owned());
        assert!(read.windows(2).all(|two| order(&two[0]) >= order(&two[1])), "newest first");
        read.sort();
        let mut expected = all.clone();
        expected.sort();
        assert_eq!(read, expected, "page size {size}");
    }
    assert_eq!(pages(&database, "2, ", 10).await.concat().len(), 20 * 3);
    assert_eq!(pages(&database, "statuses => '{failed}', ", 10).await.concat().len(), 20 * 3);
    assert_eq!(
        pages(&database, "3, statuses => '{retry,cancelled}', types => '{order.*}', ", 10)
            .await
            .concat()
            .len(),
        20 * 3
    );
    assert_eq!(pages(&database, "types => '{invoice.*}', ", 10).await.len(), 0);
    assert_eq!(pages(&database, "since => now() + '1 h', ", 10).await.len(), 0);
}

/// Rows of events and attempts that a new session has read through, and fetched by index.
pub async fn rows_read(session: &Client) -> (i64, i64) {
    let read = "SELECT coalesce(sum(seq_tup_read), 0) || ' ' || coalesce(sum(idx_tup_fetch), 0)
        FROM pg_stat_xact_user_tables WHERE schemaname = 'webhook' AND relname ~ '^(attempt|event)_'";
    let read = Database::text_in(session, read).await;
    let (whole, by_index) = read.split_once(' ').expect("two numbers");
    (whole.parse().expect("a number"), by_index.parse().expect("a number"))
}

#[tokio::test]
async fn a_page_of_a_long_log_costs_no_more_than_a_page() {
    let database = nine_leaves(12).await;
    assert!(database.number("SELECT count(*) FROM webhook.attempt").await > 100_000);
    database.run("UPDATE webhook.attempt SET outcome = 'failed' WHERE endpoint_id = 7 AND event_id IN (SELECT event_id FROM webhook.attempt WHERE endpoint_id = 7 ORDER BY event_id LIMIT 5)").await;
    let middle =
        database.text("SELECT event_id FROM webhook.attempt ORDER BY event_id OFFSET 50000 LIMIT 1").await;
    for arguments in [
        "".to_owned(),
        "7".to_owned(),
        format!("before_event => '{middle}', before_number => 1"),
        format!("7, before_event => '{middle}', before_number => 1"),
        "7, types => '{order.*}', since => now() - interval '10 days'".to_owned(),
        // Few, and long ago.
        "7, statuses => '{failed,expired}'".to_owned(),
    ] {
        let session = database.session().await;
        Database::run_in(&session, "BEGIN").await;
        let rows =
            Database::text_in(&session, &format!("SELECT count(*) FROM webhook_log({arguments})")).await;
        assert_ne!(rows, "0", "{arguments}");
        let (whole, by_index) = rows_read(&session).await;
        assert!(
            whole == 0 && by_index < 400,
            "{arguments}: {whole} rows read through, {by_index} fetched by index"
        );
    }
}

#[tokio::test]
async fn the_log_shows_what_was_sent_and_what_came_back() {
    let scene = Scene::new().await;
    scene.gate.open();
    scene.set("headers = '{\"X-Token\": \"hunter2\"}', retry_schedule = '{}'").await;
    scene.receiver.answers(|_| Answer::status(503).header("x-why", "tired").body("not now"));
    scene.emit(1).await;
    scene.database.drained().await;
    let request = scene.receiver.receives(1).await.remove(0);
    let shown = "SELECT status_code, outcome, final, duration > '0', remote_address LIKE '127.0.0.1%', request_headers->>'webhook-signature',
      request_headers->>'x-token', request_body, response_headers->>'x-why', response_body, erased FROM webhook_log(1)";
    let expected = format!(
        "503|failed|t|t|t|{}|(redacted)|{}|tired|not now|f",
        request.header("webhook-signature"),
        request.body
    );
    assert_eq!(scene.database.rows(shown).await, [expected]);
    scene.answers(200);
    scene.emit(3).await;
    scene.database.drained().await;
    let stats = "SELECT s.attempts, s.succeeded, s.success_rate, s.p50 <= s.p95, e.attempts, e.owed, e.last_status_code
      FROM webhook_endpoint_stats(1, '1 h') s, webhook.endpoint_stats e WHERE e.endpoint_id = 1";
    assert_eq!(scene.database.rows(stats).await, ["4|3|0.7500|t|4|0|200"]);
    assert_eq!(scene.database.rows("SELECT * FROM webhook_endpoint_stats(77, '1 h')").await, ["0|0|||"]);
}

#[tokio::test]
async fn the_log_is_filtered_by_tenant() {
    let database = Database::new().await;
    database.endpoint("https://example.com/").await;
    database.run("UPDATE webhook.endpoint SET all_tenants = true").await;
    for tenant in ["'acme'", "'umbrella'", "NULL"] {
        let emit = format!("SELECT webhook_emit('order.paid', '{{}}', {tenant}) FROM generate_series(1, 5)");
        database.run(&emit).await;
    }
    database.run("SELECT webhook_cancel(id) FROM webhook.event").await;
    assert_eq!(pages(&database, "tenant => 'acme', ", 2).await.concat().len(), 5);
    assert_eq!(pages(&database, "1, tenant => 'none', ", 2).await.concat().len(), 0);
    assert_eq!(pages(&database, "", 2).await.concat().len(), 15);
    // Those of umbrella are an hour old.
    for (table, id) in [("event", "id"), ("attempt", "event_id")] {
        let earlier = format!(
            "overlay({id}::text PLACING left(webhook.first_id_at(now() - interval '1 h')::text, 13) FROM 1)::uuid"
        );
        let theirs = "SELECT id FROM webhook.event WHERE tenant = 'umbrella'";
        database.run(&format!("CREATE TEMP TABLE IF NOT EXISTS theirs AS {theirs}")).await;
        database
            .run(&format!(
                "UPDATE webhook.{table} SET {id} = {earlier} WHERE {id} IN (SELECT id FROM theirs)"
            ))
            .await;
    }
    assert_eq!(pages(&database, "until => now() - interval '1 min', ", 2).await.concat().len(), 5);
    assert_eq!(
        pages(&database, "tenant => 'acme', until => now() - interval '1 min', ", 2).await.concat().len(),
        0
    );
    assert_eq!(
        pages(&database, "since => now() - interval '2 h', until => now() + interval '1 min', ", 2)
            .await
            .concat()
            .len(),
        15
    );
    assert_eq!(pages(&database, "until => now() - interval '2 h', ", 2).await.concat().len(), 0);
}
