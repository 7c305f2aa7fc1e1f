//! Emitting writes rows and index entries by itself: every index of the tables written to has them, an operator's too.

use harness::Database;

/// One and many events, some for a tenant, with a key, for later; an ordered endpoint and another one want them.
const EMITTING: &str = "\
    SELECT webhook_emit('order.paid', '{}');
    SELECT webhook_emit('order.sent', '{}', key => 'order 7', deliver_at => now() + interval '1 hour');
    INSERT INTO orders SELECT i, CASE WHEN i % 2 = 0 THEN 'acme' END FROM generate_series(1, 150) i;
    TRUNCATE orders";

async fn database() -> Database {
    let database = Database::new().await;
    let (ordered, _) = database.endpoint("http://127.0.0.1:9/").await;
    database.endpoint("http://127.0.0.1:9/").await;
    database
        .run(&format!(
            "CREATE EXTENSION amcheck;
             UPDATE webhook.endpoint SET ordered = true, all_tenants = true WHERE id = {ordered};
             CREATE TABLE orders (id int PRIMARY KEY, tenant text);
             SELECT webhook_attach('orders', tenant => 'new.tenant', key => 'new.tenant')"
        ))
        .await;
    database
}

/// Raises if a row lacks its entry in a B-tree.
const CHECKED: &str = "\
    SELECT count(bt_index_check(i.indexrelid, true)) FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
    WHERE i.indrelid IN ('webhook.event_default'::regclass, 'webhook.queue'::regclass) AND a.amname = 'btree'";

#[tokio::test]
async fn every_row_has_its_entries() {
    let database = database().await;
    database.run(EMITTING).await;
    let partial = "SELECT count(*) FILTER (WHERE lane IS NOT NULL) > 100 AND count(*) FILTER (WHERE due IS NOT NULL) > 0 \
                     AND count(*) FILTER (WHERE lane IS NULL AND due IS NULL) > 50 FROM webhook.queue";
    assert_eq!(database.text(partial).await, "t", "there is something for each index");
    assert_eq!(database.number(CHECKED).await, 5);
}

#[tokio::test]
async fn an_operators_indexes_have_them_too() {
    let database = database().await;
    let operator = database.session().await;
    for (definition, found) in [
        ("webhook.event_default (type) INCLUDE (tenant, key)", "event_default WHERE type = 'order.sent'"),
        ("webhook.event_default (key) WHERE key IS NOT NULL", "event_default WHERE key = 'order 7'"),
        ("webhook.queue (restarted_at, event_id)", "queue WHERE restarted_at IS NULL"),
        ("webhook.event_default (lower(type))", "event_default WHERE lower(type) = 'order.sent'"),
        (
            "webhook.event_default (type) WHERE tenant IS NULL",
            "event_default WHERE tenant IS NULL AND type = 'order.sent'",
        ),
        (
            "webhook.event_default (tenant) WHERE length(type) > 3",
            "event_default WHERE tenant = 'acme' AND length(type) > 3",
        ),
        ("webhook.queue (due) WHERE restarted_at IS NOT NULL", "queue WHERE due > now()"),
        ("webhook.event_default USING hash (type)", "event_default WHERE type = 'order.sent'"),
        ("webhook.event_default USING brin (type)", "event_default WHERE type = 'order.sent'"),
    ] {
        // What the emitting session knows of the tables is from before.
        database.run(EMITTING).await;
        Database::run_in(&operator, &format!("CREATE INDEX extra ON {definition}")).await;
        database.run(EMITTING).await;
        database
            .run(&format!("BEGIN; {EMITTING}; CREATE INDEX own ON {definition}; {EMITTING}; COMMIT"))
            .await;
        database.number(CHECKED).await;
        let counted = format!("SELECT count(*) FROM webhook.{found}");
        let all = Database::text_in(
            &operator,
            &format!("SET enable_indexscan = off; SET enable_bitmapscan = off; {counted}"),
        )
        .await;
        Database::run_in(&operator, "RESET ALL; SET enable_seqscan = off").await;
        assert_ne!(all, "0", "{definition}");
        assert_eq!(Database::text_in(&operator, &counted).await, all, "{definition}");
        Database::run_in(&operator, "DROP INDEX webhook.extra; DROP INDEX webhook.own").await;
    }
}

#[tokio::test]
async fn an_operators_unique_index_is_kept() {
    let database = database().await;
    database.run("SELECT webhook_emit('order.paid', '{}', key => 'once')").await;
    database.run("CREATE UNIQUE INDEX ON webhook.event_default (key)").await;
    let error = database.error("SELECT webhook_emit('order.paid', '{}', key => 'once')").await;
    assert_eq!(error.code, "23505", "{error:?}");
    assert_eq!(database.number("SELECT count(*) FROM webhook.event").await, 1);
}
