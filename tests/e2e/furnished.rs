//! A database with something in every table, and its contents as text: what a dump or an upgrade has to carry over.

use harness::Database;

/// Endpoints, rotated secrets, a scheme, settings, sources, events in the default leaf and in a dated one, owed, tried
/// and delivered, idempotency keys, notices. Deliveries go to `url`.
pub async fn furnish(database: &Database, url: &str) {
    database
        .run(
            "CREATE SCHEMA \"My shop\";
             CREATE TABLE orders (id int PRIMARY KEY, amount numeric, paid boolean NOT NULL DEFAULT false);
             CREATE TABLE lines (id int PRIMARY KEY, order_id int REFERENCES orders);
             CREATE TABLE \"My shop\".\"Zettel: ü\" (id int PRIMARY KEY, note text);
             CREATE TABLE parts (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);
             CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
             CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id);
             CREATE TABLE parts_2a PARTITION OF parts_2 FOR VALUES FROM (100) TO (150);
             CREATE FUNCTION order_body(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('order', $1) $$",
        )
        .await;
    let (endpoint, _) = database.endpoint(url).await;
    database
        .run(&format!(
            "INSERT INTO webhook.signature_scheme (name, content, headers) \
               VALUES ('house', '{{timestamp}}.{{body}}', '{{\"x-signature\": \"{{signatures}}\"}}');
             INSERT INTO webhook.endpoint (url, event_types, name, tenant, scheme, retry_schedule, success_on, filter, envelope) \
               VALUES ('{url}', '{{order.*,parts.created}}', 'second', 'acme', 'house', '{{1 s,1 day}}', '{{[200,205)}}',
                 '$.id <> \"\"', '{{\"z\": \"{{id}}\", \"a\": \"{{data}}\"}}');
             INSERT INTO webhook.endpoint (url, headers, status, disable_after_failures, transform, on_error, on_failed) \
               VALUES ('https://example.com/hooks', '{{\"X-Team\": \"billing\"}}', 'disabled', 3, 'public.order_body', 'skip', 'public.order_body');
             SELECT webhook_rotate_secret({endpoint}), webhook_rotate_secret({endpoint});
             INSERT INTO webhook.setting (name, value) VALUES ('retention', '8 days'), ('slots', '8');
             INSERT INTO webhook.tenant_member VALUES ('webhook_reader', 'acme'), ('webhook_reader', NULL);
             SELECT webhook_attach('orders', body_function => 'public.order_body');
             SELECT webhook_attach('orders', 'paid', '{{update}}', '{{\"update\": \"order.paid\"}}', '{{paid}}',
               condition => 'new.paid AND NOT old.paid', on_error => 'warn');
             SELECT webhook_attach('lines', omit => '{{order_id}}', operations => '{{insert,truncate}}'),
               webhook_attach('parts', tenant => '''acme''', key => 'new.id::text'),
               webhook_attach('\"My shop\".\"Zettel: ü\"', event_names => '{{\"insert\": \"note.made\", \
                 \"update\": \"note.changed\", \"delete\": \"note.gone\"}}')"
        ))
        .await;
    // The default leaf has the first events, a dated one the next.
    change_rows(database, 1).await;
    database.run("SELECT webhook.janitor(now() - interval '1 hour')").await;
    change_rows(database, 2).await;
    database
        .run(&format!(
            "SELECT webhook_emit('order.later', '{{}}', 'acme', 'k', now() + interval '2 hours', 'once'),
               webhook_emit('order.now', '{{\"text\": \"tab\\t, backslash \\\\\\\\, ünï\\u2028\"}}', idempotency_key => 'once');
             SELECT webhook.raise_notice('endpoint.disabled', {endpoint}, NULL, 'for show');
             UPDATE webhook.endpoint_health SET consecutive_failures = 2, failing_since = now() WHERE endpoint_id = {endpoint};
             WITH tried AS (
               UPDATE webhook.queue q SET attempts = 1, step = 1, due = now() - interval '1 s' FROM webhook.event e
               WHERE e.id = q.event_id AND e.type = 'orders.created' RETURNING q.*)
             INSERT INTO webhook.attempt (event_id, id, endpoint_id, number, started_at, duration, status_code, final, outcome,
               error, request_headers, response_body)
             SELECT event_id, gen_random_uuid(), endpoint_id, 1, now(), '0.1 s', 500, false, 'retry', 'status 500',
               '{{\"webhook-id\": \"x\"}}', E'line\\nline\\\\.\\n' FROM tried;
             WITH done AS (
               DELETE FROM webhook.queue q USING webhook.event e WHERE e.id = q.event_id AND e.type = 'parts.created' RETURNING q.*)
             INSERT INTO webhook.attempt (event_id, id, endpoint_id, number, started_at, status_code, final, outcome)
             SELECT event_id, gen_random_uuid(), endpoint_id, 1, now(), 200, true, 'delivered' FROM done"
        ))
        .await;
    let leaves = database
        .rows("SELECT DISTINCT tableoid::regclass::text ~ 'default' FROM webhook.event ORDER BY 1")
        .await;
    assert_eq!(leaves, ["f", "t"], "events stand in the default leaf and in a dated one");
}

/// A change in every attached table, one of them straight in a partition; `round` makes the keys.
pub async fn change_rows(database: &Database, round: i32) {
    database
        .run(&format!(
            "INSERT INTO orders (id, amount) VALUES ({round}, 10.50);
             UPDATE orders SET paid = true WHERE id = {round};
             INSERT INTO lines VALUES ({round}, {round});
             INSERT INTO parts VALUES ({round}, 'straight'), (100 + {round}, 'below');
             INSERT INTO parts_2a VALUES (120 + {round}, 'into the partition');
             INSERT INTO \"My shop\".\"Zettel: ü\" VALUES ({round}, E'line\\nline')"
        ))
        .await;
}

/// Events that [`change_rows`] makes.
pub const EVENTS_A_ROUND: i64 = 8;

/// Every row of webhook's tables as text, with the leaf it stands in, and where the sequences are. Leaves out what
/// tells one installation from another.
pub async fn contents(database: &Database) -> Vec<String> {
    let tables = database
        .rows(
            "SELECT relname FROM pg_class WHERE relnamespace = 'webhook'::regnamespace AND relkind IN ('r', 'p') \
             AND NOT relispartition AND relname <> ALL ('{installation,taken_slot}') ORDER BY 1",
        )
        .await;
    let mut all = Vec::new();
    for table in tables {
        let rows = database
            .rows(&format!("SELECT tableoid::regclass, t.* FROM webhook.{table} t ORDER BY t::text"))
            .await;
        assert!(!rows.is_empty(), "the test database has something in webhook.{table}");
        all.extend(rows.into_iter().map(|row| format!("{table}: {row}")));
    }
    all.extend(
        database
            .rows("SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'webhook' ORDER BY 1")
            .await,
    );
    all.extend(database.rows("SELECT tgrelid::regclass || ' ' || tgname FROM pg_trigger WHERE tgname ~ '^webhook_' ORDER BY 1").await);
    all.extend(database.rows("SELECT leaf::text, from_id, to_id FROM webhook.leaf ORDER BY 1").await);
    all
}

/// Whether deliveries may be sent from this database.
pub async fn armed(database: &Database) -> bool {
    database.number("SELECT (webhook.arm_id() IS NOT NULL)::int").await == 1
}
