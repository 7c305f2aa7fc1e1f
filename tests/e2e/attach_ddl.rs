//! Tables that are altered, renamed, moved or dropped while they are attached.

use harness::Database;

async fn database_with_items() -> Database {
    let database = Database::new().await;
    database
        .run("CREATE TABLE item (id int PRIMARY KEY, name text, secret text); SELECT webhook_attach('item')")
        .await;
    database
}

#[tokio::test]
async fn columns_added_dropped_renamed_or_retyped_are_followed_at_once_in_every_session() {
    let database = database_with_items().await;
    let writer = database.session().await;
    let cases: &[(&str, &str, &str)] = &[
        (
            "SELECT",
            "INSERT INTO item VALUES (1, 'a', 's')",
            r#"item.created {"id":1,"name":"a","secret":"s"}"#,
        ),
        (
            "ALTER TABLE item ADD price numeric DEFAULT 5, ADD at timestamp DEFAULT '2026-11-20'",
            "UPDATE item SET name = 'b'",
            r#"item.updated {"id":1,"name":"b","secret":"s","price":5,"at":"2026-11-20T00:00:00"} was {"name":"a"}"#,
        ),
        (
            "ALTER TABLE item DROP secret",
            "UPDATE item SET price = 6",
            r#"item.updated {"id":1,"name":"b","price":6,"at":"2026-11-20T00:00:00"} was {"price":5}"#,
        ),
        (
            "ALTER TABLE item RENAME name TO title",
            "UPDATE item SET title = 'c'",
            r#"item.updated {"id":1,"title":"c","price":6,"at":"2026-11-20T00:00:00"} was {"title":"b"}"#,
        ),
        (
            "ALTER TABLE item ALTER price TYPE text, ALTER at TYPE date, ALTER id TYPE bigint",
            "UPDATE item SET price = price || ' EUR'",
            r#"item.updated {"id":1,"title":"c","price":"6 EUR","at":"2026-11-20"} was {"price":"6"}"#,
        ),
        (
            "SELECT webhook_attach('item', condition => 'new.id > 1', tenant => '(new).title')",
            "INSERT INTO item (id, title) VALUES (1000, 'x')",
            r#"item.created {"id":1000,"title":"x","price":"5","at":"2026-11-20"}"#,
        ),
        (
            "ALTER TABLE item DROP price, ADD price int DEFAULT 1",
            "UPDATE item SET price = 2 WHERE id > 1",
            r#"item.updated {"id":1000,"title":"x","at":"2026-11-20","price":2} was {"price":1}"#,
        ),
        (
            "ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (title)",
            "TRUNCATE item; INSERT INTO item VALUES (7, 'k')",
            r#"item.created {"id":7,"title":"k","at":"2026-11-20","price":1}"#,
        ),
        ("ALTER TABLE item RENAME TO thing", "TRUNCATE thing", ""),
        (
            "CREATE SCHEMA other; ALTER TABLE thing SET SCHEMA other",
            "INSERT INTO other.thing VALUES (8, 'l')",
            r#"thing.created {"id":8,"title":"l","at":"2026-11-20","price":1}"#,
        ),
        (
            "ALTER SCHEMA other RENAME TO another",
            "INSERT INTO another.thing VALUES (9, 'm')",
            r#"thing.created {"id":9,"title":"m","at":"2026-11-20","price":1}"#,
        ),
    ];
    for (change, write, expected) in cases {
        database.run(change).await;
        writer.batch_execute(write).await.unwrap_or_else(|error| panic!("{change}: {error:?}"));
        let keys = database.rows("SELECT key FROM webhook.event").await.join(",");
        assert_eq!(database.take_events().await.join(""), *expected, "{change}");
        let key = match *change {
            c if c.contains("ADD PRIMARY KEY") => "public.item:k",
            c if c.contains("SET SCHEMA") => "other.thing:l",
            c if c.contains("ALTER SCHEMA") => "another.thing:m",
            _ => continue,
        };
        assert_eq!(keys, key, "{change}");
    }
}

#[tokio::test]
async fn a_dropped_table_is_no_source_any_more() {
    let database = Database::new().await;
    database.run("CREATE SCHEMA app; CREATE TYPE kind AS (id int); CREATE ROLE somebody_who_goes").await;
    let drops = [
        ("CREATE TABLE item (id int)", "item", "DROP TABLE item"),
        (
            "CREATE TABLE item (id int)",
            "item",
            "ALTER TABLE item OWNER TO somebody_who_goes; DROP OWNED BY somebody_who_goes",
        ),
        ("CREATE TABLE app.item (id int)", "app.item", "DROP SCHEMA app CASCADE"),
        ("CREATE TABLE item OF kind", "item", "DROP TYPE kind CASCADE"),
    ];
    database.run("CREATE TABLE kept (id int); SELECT webhook_attach('kept')").await;
    for (make, name, drop) in drops {
        database.run(&format!("{make}; SELECT webhook_attach('{name}'); {drop}")).await;
        assert_eq!(database.rows("SELECT relation FROM webhook.source").await, ["kept"], "{drop}");
    }
    database.run("DROP ROLE somebody_who_goes; INSERT INTO kept VALUES (1)").await;
    assert_eq!(database.take_events().await, [r#"kept.created {"id":1}"#]);
}

#[tokio::test]
async fn dropping_other_tables_tells_nobody_that_settings_changed() {
    let database = database_with_items().await;
    // A transaction that notifies can't be prepared.
    let name = &database.name;
    database
        .run(&format!("CREATE TABLE other (id int); BEGIN; DROP TABLE other; PREPARE TRANSACTION '{name}'"))
        .await;
    database.run(&format!("COMMIT PREPARED '{name}'")).await;
}

#[tokio::test]
async fn a_column_that_settings_name_is_not_renamed_or_dropped_beneath_them() {
    let database = database_with_items().await;
    database.run("SELECT webhook_attach('item', omit => '{secret}', watch => '{name}')").await;
    for (statement, code, message) in [
        ("ALTER TABLE item RENAME secret TO hidden", "42703", "table public.item has no column \"secret\""),
        ("ALTER TABLE item DROP secret", "42703", "table public.item has no column \"secret\""),
        ("ALTER TABLE item RENAME name TO title", "42703", "table public.item has no column \"name\""),
        (
            "ALTER TABLE item RENAME TO \"my items\"",
            "22023",
            "webhook.source.event_names: \"my items.created\" is not valid: invalid event type \"my items.created\": \
             must be segments of letters, digits and _ joined by dots, at most 256 bytes",
        ),
        (
            "ALTER TABLE item RENAME TO webhook",
            "22023",
            "webhook.source.event_names: \"webhook.created\" is not valid: \"webhook.created\" is reserved: \
             webhook.* are pg_webhook's own notices",
        ),
        (
            "CREATE TABLE up (LIKE item); ALTER TABLE item INHERIT up",
            "42809",
            "public.item belongs to public.up: writes through public.up would be no events",
        ),
        (
            "CREATE TABLE up (LIKE item) PARTITION BY RANGE (id); ALTER TABLE up ATTACH PARTITION item DEFAULT",
            "42809",
            "public.item belongs to public.up: writes through public.up would be no events",
        ),
    ] {
        let error = database.error(statement).await;
        assert_eq!((error.code.as_str(), error.message.as_str()), (code, message), "{statement}");
        let events = database.events_of("INSERT INTO item VALUES (1, 'a', 'hush')").await;
        assert_eq!(events, [r#"item.created {"id":1,"name":"a"}"#], "{statement}");
    }
    // In one transaction it is never sent under its other name.
    database
        .run(
            "BEGIN; UPDATE webhook.source SET omit = NULL; ALTER TABLE item RENAME secret TO hidden;
             UPDATE webhook.source SET omit = '{hidden}'; COMMIT; INSERT INTO item VALUES (1, 'a', 'hush')",
        )
        .await;
    assert_eq!(database.take_events().await, [r#"item.created {"id":1,"name":"a"}"#]);
}

#[tokio::test]
async fn a_column_renamed_past_the_check_is_not_sent_all_the_same() {
    let database = database_with_items().await;
    database.run("SELECT webhook_attach('item', omit => '{secret}')").await;
    // Event triggers don't fire there.
    database.run("SET session_replication_role = replica; ALTER TABLE item RENAME secret TO hidden; RESET session_replication_role").await;
    let error = database.error("INSERT INTO item VALUES (1, 'a', 'hush')").await;
    assert_eq!(error.code, "55000");
    assert_eq!(
        error.message,
        "webhook capture of public.item failed: the source names column \"secret\", which the table has not"
    );
    database
        .run("SELECT webhook_attach('item', omit => '{hidden}'); INSERT INTO item VALUES (1, 'a', 'hush')")
        .await;
    assert_eq!(database.take_events().await, [r#"item.created {"id":1,"name":"a"}"#]);
}
