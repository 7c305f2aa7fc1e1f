//! Partitions made ahead by the janitor, as days pass. Time is an argument: nothing here waits for it.

use harness::Database;

/// Has the janitor come by every twelve hours, from so many days after now to so many (before now: negative).
pub async fn days_pass(database: &Database, from: i32, to: i32) {
    database
        .run(&format!(
            "DO $$ BEGIN FOR n IN {from} * 2 .. {to} * 2 LOOP PERFORM webhook.janitor(now() + n * interval '12 hours'); END LOOP; END $$"
        ))
        .await;
}

/// Stores an event of this age with this type, as webhook_emit() would have then.
pub async fn old_event(database: &Database, age: &str, event_type: &str) -> String {
    database
        .text(&format!(
            "INSERT INTO webhook.event (id, type, body, created_at) \
             SELECT overlay(gen_random_uuid()::text PLACING left(webhook.first_id_at(at)::text, 13) FROM 1)::uuid, \
               '{event_type}', '{{}}', at \
             FROM (SELECT now() - interval '{age}') t (at) RETURNING id"
        ))
        .await
}

/// The partition an event stands in; nothing if it is gone.
pub async fn leaf_of(database: &Database, event: &str) -> String {
    database
        .rows(&format!("SELECT tableoid::regclass FROM webhook.event WHERE id = '{event}'"))
        .await
        .concat()
}

pub async fn owe(database: &Database, event: &str) {
    database.run(&format!("INSERT INTO webhook.queue (endpoint_id, event_id) VALUES (1, '{event}')")).await;
}

/// Pairs of leaves of a parent that don't meet end to end, of those that begin before and after.
async fn assert_seamless(database: &Database) {
    let problems = database
        .rows(
            "SELECT leaf FROM (SELECT *, lead(from_id) OVER (PARTITION BY parent ORDER BY from_id) AS next FROM webhook.leaf) l \
             WHERE to_id <> next OR to_id <= from_id",
        )
        .await;
    assert_eq!(problems, [""; 0], "leaves neither overlap nor leave a gap");
    let unpaired = database
        .rows(
            "SELECT a.from_id FROM (SELECT * FROM webhook.leaf WHERE parent = 'event') a \
             FULL JOIN (SELECT * FROM webhook.leaf WHERE parent = 'attempt') b ON b.from_id = a.from_id AND b.to_id = a.to_id \
             WHERE a.leaf IS NULL OR b.leaf IS NULL",
        )
        .await;
    assert_eq!(unpaired, [""; 0], "attempts have the bounds of their events");
    let bodies = "SELECT from_id, to_id FROM webhook.leaf WHERE parent = 'event_body' ORDER BY 1";
    let events = bodies.replace("event_body", "event");
    assert_eq!(database.rows(bodies).await, database.rows(&events).await, "and so have their other bodies");
}

#[tokio::test]
async fn bodies_are_compressed_with_lz4_where_the_server_has_it() {
    let database = Database::new().await;
    days_pass(&database, 0, 2).await;
    let leaves = "SELECT count(*) > 4, bool_and(a.attcompression = CASE WHEN 'lz4' = ANY (s.enumvals) THEN 'l' ELSE '' END::\"char\")
        FROM pg_inherits i JOIN pg_attribute a ON a.attrelid = i.inhrelid AND a.attname = 'body', pg_settings s
        WHERE i.inhparent IN ('webhook.event'::regclass, 'webhook.event_body'::regclass) AND s.name = 'default_toast_compression'";
    assert_eq!(database.rows(leaves).await, ["t|t"]);
}

#[tokio::test]
async fn there_is_a_leaf_for_the_present_and_the_days_ahead() {
    let database = Database::new().await;
    days_pass(&database, -1, 0).await;
    for days in 0..30 {
        let at = format!("now() + interval '{days} days'");
        database.run(&format!("SELECT webhook.janitor({at})")).await;
        let ahead = database
            .number(&format!("SELECT (min(from_at) <= {at} AND max(to_at) >= {at} + interval '3 days 12 hours')::int FROM webhook.leaf"))
            .await;
        assert_eq!(ahead, 1, "day {days}");
    }
    assert_seamless(&database).await;
    assert!(
        database.number("SELECT count(*) FROM webhook.leaf").await < 3 * 14,
        "old ones go, so there are never many"
    );
}

#[tokio::test]
async fn an_event_goes_to_the_leaf_of_its_time() {
    let database = Database::new().await;
    database.endpoint("http://127.0.0.1:9/").await;
    database.run("CREATE TABLE orders (id int PRIMARY KEY); SELECT webhook_attach('orders')").await;
    days_pass(&database, -6, 0).await;
    database.run("SELECT webhook_emit('a', '{}'); INSERT INTO orders SELECT generate_series(1, 200)").await;
    old_event(&database, "5 days", "old").await;
    let misplaced = database
        .rows(
            "SELECT e.id FROM webhook.event e LEFT JOIN webhook.leaf l ON l.leaf = e.tableoid \
             WHERE l.leaf IS NULL OR e.created_at NOT BETWEEN l.from_at AND l.to_at",
        )
        .await;
    assert_eq!(misplaced, [""; 0]);
    assert_eq!(database.number("SELECT count(DISTINCT tableoid) FROM webhook.event").await, 2);
}

#[tokio::test]
async fn a_session_that_emits_notices_leaves_made_and_dropped_meanwhile() {
    let database = Database::new().await;
    database.endpoint("http://127.0.0.1:9/").await;
    let session = database.session().await;
    let emit = async || {
        let row = session.query_one("SELECT webhook_emit('a', '{}')::text", &[]).await.expect("it emits");
        let id: String = row.get(0);
        database.text(&format!("SELECT tableoid::regclass FROM webhook.event WHERE id = '{id}'")).await
    };
    assert_eq!(emit().await, "webhook.event_default");
    database.run("SELECT webhook.janitor(now() - interval '1 hour')").await;
    let dated = emit().await;
    assert!(dated.starts_with("webhook.event_2"), "{dated}");
    for days in [20, 30] {
        database.run(&format!("SELECT webhook.janitor(now() + interval '{days} days')")).await;
    }
    assert_eq!(
        database.text(&format!("SELECT to_regclass('{dated}') IS NULL")).await,
        "t",
        "the leaf is gone"
    );
    assert_eq!(emit().await, "webhook.event_default");
}

#[tokio::test]
async fn without_the_janitor_events_go_to_the_default_leaf_and_come_back_from_it() {
    let database = Database::new().await;
    database.endpoint("http://127.0.0.1:9/").await;
    // It was there three weeks ago, then no more: its leaves end before the present.
    days_pass(&database, -21, -20).await;
    let missed = old_event(&database, "10 days", "missed").await;
    let now = database.text("SELECT webhook_emit('now', '{}')").await;
    let place = "SELECT type, tableoid::regclass FROM webhook.event ORDER BY id";
    assert_eq!(database.rows(place).await, ["missed|webhook.event_default", "now|webhook.event_default"]);

    let done = database.text("SELECT webhook.janitor()").await;
    assert!(done.contains("\"made\": 2"), "it makes leaves again: {done}");
    assert_eq!(database.rows(place).await.len(), 2, "what the default leaf has stays there");
    for id in [&missed, &now] {
        assert_eq!(
            database.number(&format!("SELECT count(*) FROM webhook.event WHERE id = '{id}'")).await,
            1
        );
    }
    let next =
        database.number("SELECT (min(from_at) > now())::int FROM webhook.leaf WHERE to_at > now()").await;
    assert_eq!(next, 1, "the next leaf begins in the future, where the default one holds no row");
    database.run("SELECT webhook_emit('again', '{}')").await;
    assert_eq!(database.number("SELECT count(*) FROM webhook.queue").await, 2);
}

#[tokio::test]
async fn a_clock_that_was_ahead_does_not_stop_the_janitor() {
    let database = Database::new().await;
    let stray = old_event(&database, "-1 day", "from the future").await;
    let far = old_event(&database, "-1000 days", "from the far future").await;
    let done = database.text("SELECT webhook.janitor()").await;
    assert!(done.contains("\"made\": 2"), "{done}");
    let rows = database.rows("SELECT id, tableoid::regclass FROM webhook.event ORDER BY id").await;
    assert_eq!(rows, [format!("{stray}|webhook.event_default"), format!("{far}|webhook.event_default")]);
    assert_eq!(
        database.number("SELECT (max(to_at) > now() + interval '3 days')::int FROM webhook.leaf").await,
        1
    );
}

#[tokio::test]
async fn another_retention_changes_the_width_and_leaves_never_overlap() {
    let database = Database::new().await;
    days_pass(&database, -3, 0).await;
    for (retention, width) in [
        ("2 hours", "15 minutes"),
        ("80 days", "10 days"),
        ("1 second", "1 minute"),
        ("14 days", "1 day 18 hours"),
    ] {
        database
            .run(&format!(
                "INSERT INTO webhook.setting (name, value) VALUES ('retention', '{retention}') \
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value"
            ))
            .await;
        for _ in 0..3 {
            database.run("SELECT webhook.janitor(max(to_at) - interval '1 s') FROM webhook.leaf").await;
        }
        let found = database
            .number(&format!(
                "SELECT (to_at - from_at = interval '{width}')::int FROM webhook.leaf ORDER BY to_id DESC LIMIT 1"
            ))
            .await;
        assert_eq!(found, 1, "a retention of {retention} makes leaves of {width}");
        let overlaps = database
            .rows(
                "SELECT a.leaf FROM webhook.leaf a JOIN webhook.leaf b USING (parent) \
                   WHERE a.leaf <> b.leaf AND a.from_id < b.to_id AND b.from_id < a.to_id",
            )
            .await;
        assert_eq!(overlaps, [""; 0]);
        assert!(database.number("SELECT count(*) FROM webhook.leaf").await < 40, "and never piles them up");
    }
}

#[tokio::test]
async fn the_sessions_time_zone_and_formats_change_nothing() {
    let (plain, odd) = (Database::new().await, Database::new().await);
    let settings = [
        ("timezone", "America/New_York"),
        ("datestyle", "SQL, DMY"),
        ("intervalstyle", "sql_standard"),
        ("bytea_output", "escape"),
    ];
    for (name, value) in settings {
        odd.run(&format!("SET {name} = '{value}'")).await;
    }
    // Over the night in which clocks go back in New York. The fourth column is when an event of then is expired.
    for database in [&plain, &odd] {
        database.endpoint("http://127.0.0.1:9/").await;
        database
            .run(
                "INSERT INTO webhook.event (id, type, body, created_at) VALUES \
                   (webhook.first_id_at('2031-10-30 12:00Z'), 'a', '{}', '2031-10-30 12:00Z');
                 INSERT INTO webhook.queue (endpoint_id, event_id) SELECT 1, id FROM webhook.event;
                 CREATE TABLE expired AS SELECT at, webhook.janitor(at)->'expired' AS n FROM (
                   SELECT timestamptz '2031-10-28 00:00Z' + n * interval '12 hours' FROM generate_series(0, 32) n UNION ALL
                   SELECT timestamptz '2031-11-13 11:00Z' + n * interval '30 minutes' FROM generate_series(0, 6) n) t (at)",
            )
            .await;
    }
    for sql in [
        "SELECT parent, from_id, to_id, leaf::text FROM webhook.leaf ORDER BY 1, 2",
        "SELECT extract(epoch FROM at)::bigint FROM expired WHERE n::int > 0",
        "SELECT error FROM webhook.attempt",
    ] {
        assert_eq!(odd.rows(sql).await, plain.rows(sql).await, "{sql}");
    }
    assert_eq!(
        plain.rows("SELECT at AT TIME ZONE 'UTC' FROM expired WHERE n::int > 0").await,
        ["2031-11-13 12:30:00"]
    );
}
