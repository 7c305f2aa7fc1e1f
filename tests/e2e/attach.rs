//! webhook_attach(), webhook_detach() and the rows of webhook.source: what they do to a table, and what they refuse.

use harness::Database;
use tokio_postgres::Client;

const TRIGGERS: &str =
    "SELECT string_agg(concat_ws(' ', tgrelid::regclass, tgname, oid), ', ' ORDER BY oid) FROM pg_trigger
    WHERE tgname LIKE 'webhook%' AND NOT tgrelid::regclass::text LIKE 'webhook.%'";

async fn insert(session: &Client, id: i32) {
    session
        .batch_execute(&format!("INSERT INTO item (id, name) VALUES ({id}, 'x')"))
        .await
        .expect("inserted");
}

async fn database_with_items() -> Database {
    let database = Database::new().await;
    database
        .run("CREATE TABLE item (id int PRIMARY KEY, name text, secret text); SELECT webhook_attach('item')")
        .await;
    database
}

#[tokio::test]
async fn settings_change_at_once_in_every_session_and_leave_the_triggers_alone() {
    let database = database_with_items().await;
    let before = database.text(TRIGGERS).await;
    let (writer, old_snapshot) = (database.session().await, database.session().await);
    insert(&writer, 0).await;
    old_snapshot.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.expect("begun");
    insert(&old_snapshot, 100).await;
    let cases: &[(&str, &str)] = &[
        (r#"event_names = '{"insert": "a.b"}'"#, r#"a.b {"id":1,"name":"x","secret":null}"#),
        ("omit = '{secret}'", r#"a.b {"id":2,"name":"x"}"#),
        ("body_function = 'app.body'", r#"a.b {"id": 3}"#),
        ("body_function = NULL, event_names = '{}'", r#"item.created {"id":4,"name":"x"}"#),
        ("condition = 'new.id <> 5'", ""),
        ("condition = NULL", r#"item.created {"id":6,"name":"x"}"#),
        ("operations = '{update,delete}'", ""),
        ("operations = '{insert,delete}'", r#"item.created {"id":8,"name":"x"}"#),
    ];
    database
        .run(
            "CREATE SCHEMA app; CREATE FUNCTION app.body(d jsonb) RETURNS jsonb LANGUAGE sql AS
             $$ SELECT jsonb_build_object('id', d->'id') $$",
        )
        .await;
    database.take_events().await;
    for (number, (setting, expected)) in (1..).zip(cases) {
        database.run(&format!("UPDATE webhook.source SET {setting} WHERE relation = 'item'::regclass")).await;
        insert(&writer, number).await;
        assert_eq!(database.take_events().await.join(""), *expected, "{setting}");
    }
    // Not even a transaction that began before keeps the old settings.
    insert(&old_snapshot, 101).await;
    old_snapshot.batch_execute("COMMIT").await.expect("committed");
    assert_eq!(
        database.take_events().await,
        [r#"item.created {"id":100,"name":"x","secret":null}"#, r#"item.created {"id":101,"name":"x"}"#]
    );
    assert_eq!(database.text(TRIGGERS).await, before);
}

#[tokio::test]
async fn what_is_not_committed_holds_for_its_own_session_only() {
    let database = database_with_items().await;
    let other = database.session().await;
    insert(&other, 1).await;
    database
        .run("BEGIN; UPDATE webhook.source SET omit = '{name,secret}'; INSERT INTO item VALUES (2)")
        .await;
    insert(&other, 3).await;
    database.run("ROLLBACK; INSERT INTO item VALUES (4); BEGIN; SAVEPOINT a; SELECT webhook_detach('item'); ROLLBACK TO a").await;
    database.run("INSERT INTO item VALUES (5); COMMIT").await;
    insert(&other, 6).await;
    let columns = database
        .rows("SELECT body::json->'data'->>'id', (body::json->'data'->'name') IS NULL FROM webhook.event ORDER BY id")
        .await;
    assert_eq!(columns, ["1|f", "3|f", "4|f", "5|f", "6|f"]);
}

#[tokio::test]
async fn an_operation_that_is_asked_for_later_is_captured() {
    let database = Database::new().await;
    database.run("CREATE TABLE item (id int); SELECT webhook_attach('item', operations => '{insert}')").await;
    database.run("INSERT INTO item VALUES (1); UPDATE item SET id = 2; DELETE FROM item").await;
    assert_eq!(database.take_events().await, [r#"item.created {"id":1}"#]);
    let changes = "INSERT INTO item VALUES (1); UPDATE item SET id = 2; DELETE FROM item; TRUNCATE item";
    database.run("UPDATE webhook.source SET operations = '{update}'").await;
    assert_eq!(database.events_of(changes).await, [r#"item.updated {"id":2} was {"id":1}"#]);
    database
        .run(
            r#"INSERT INTO webhook.source (relation, name, operations, event_names)
               VALUES ('item', 'gone', '{delete,truncate}', '{"delete": "item.gone"}')"#,
        )
        .await;
    assert_eq!(
        database.events_of(changes).await,
        [
            r#"item.updated {"id":2} was {"id":1}"#,
            r#"item.gone {"id":2}"#,
            r#"item.truncated {"table":"public.item"}"#
        ]
    );
}

#[tokio::test]
async fn attaching_again_replaces_the_settings_and_nothing_else() {
    let database = database_with_items().await;
    let before = database.text(TRIGGERS).await;
    database.run("SELECT webhook_attach('item', omit => '{secret}', condition => 'new.id > 0')").await;
    database.run("SELECT webhook_attach('item')").await;
    assert_eq!(database.text(TRIGGERS).await, before);
    assert_eq!(
        database.rows("SELECT relation, name, omit, condition FROM webhook.source").await,
        ["item|default||"]
    );
    database.run("INSERT INTO item VALUES (1)").await;
    assert_eq!(database.take_events().await, [r#"item.created {"id":1,"name":null,"secret":null}"#]);
}

#[tokio::test]
async fn detaching_leaves_the_table_as_it_was() {
    let database = database_with_items().await;
    let other = database.session().await;
    insert(&other, 1).await;
    database.take_events().await;
    assert_eq!(database.text("SELECT webhook_detach('item')").await, "1");
    assert_eq!(database.number("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'item'::regclass").await, 0);
    insert(&other, 2).await;
    assert_eq!(database.take_events().await, [""; 0]);
    assert_eq!(database.text("SELECT webhook_detach('item')").await, "0");
    database.run("SELECT webhook_attach('item')").await;
    insert(&other, 3).await;
    assert_eq!(database.take_events().await, [r#"item.created {"id":3,"name":"x","secret":null}"#]);
}

#[tokio::test]
async fn what_cannot_be_captured_is_refused() {
    let database = Database::new().await;
    let role = format!("{}_somebody", database.name);
    database
        .run(&format!(
            "CREATE ROLE {role} IN ROLE webhook_admin;
             CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
             CREATE FOREIGN TABLE remote (line text) SERVER files OPTIONS (filename '/dev/null');
             CREATE TABLE item (id int PRIMARY KEY); CREATE VIEW items AS SELECT * FROM item;
             CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM item;
             CREATE TEMPORARY TABLE brief (id int); CREATE SEQUENCE numbers;
             CREATE TABLE grown (more int) INHERITS (item);
             CREATE TABLE ranged (id int) PARTITION BY RANGE (id);
             CREATE TABLE ranged_1 PARTITION OF ranged FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);
             CREATE TABLE ranged_1_1 PARTITION OF ranged_1 FOR VALUES FROM (0) TO (5);
             CREATE TABLE taken (id int);
             CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
             CREATE TRIGGER webhook_insert AFTER INSERT ON taken FOR EACH ROW EXECUTE FUNCTION nothing();"
        ))
        .await;
    let cases: &[(&str, &str, &str)] = &[
        ("'items'", "42809", "public.items is not a table"),
        ("'counted'", "42809", "public.counted is not a table"),
        ("'numbers'", "42809", "public.numbers is not a table"),
        ("'item_pkey'", "42809", "public.item_pkey is not a table"),
        ("'remote'", "42809", "public.remote is not a table"),
        ("'brief'", "42809", "brief is a temporary table"),
        ("'webhook.event'", "42809", "webhook.event is not a table of yours"),
        ("'webhook.endpoint'", "42809", "webhook.endpoint is not a table of yours"),
        ("'webhook.event_default'", "42809", "webhook.event_default is not a table of yours"),
        ("'pg_class'", "42809", "pg_class is not a table of yours"),
        ("'information_schema.sql_parts'", "42809", "information_schema.sql_parts is not a table of yours"),
        (
            "'grown'",
            "42809",
            "public.grown belongs to public.item: writes through public.item would be no events",
        ),
        (
            "'ranged_1'",
            "42809",
            "public.ranged_1 belongs to public.ranged: writes through public.ranged would be no events",
        ),
        (
            "'ranged_1_1'",
            "42809",
            "public.ranged_1_1 belongs to public.ranged_1: writes through public.ranged_1 would be no events",
        ),
        ("'taken'", "42710", "trigger \"webhook_insert\" for relation \"taken\" already exists"),
        ("'nowhere'", "42P01", "relation \"nowhere\" does not exist"),
        ("NULL", "22023", "relation is NULL"),
        ("0", "42704", "there is no table -"),
        ("4294967295", "42704", "there is no table 4294967295"),
    ];
    for (relation, code, message) in cases {
        let error = database.error(&format!("SELECT webhook_attach({relation})")).await;
        assert_eq!((error.code.as_str(), error.message.as_str()), (*code, *message), "{relation}");
    }
    for statement in [
        "SELECT webhook_attach('item')",
        "INSERT INTO webhook.source (relation) VALUES ('item')",
        "SELECT webhook_attach('webhook.event')",
    ] {
        let error = database.error(&format!("SET ROLE {role}; {statement}")).await;
        assert_eq!(error.code, "42501", "somebody else's table: {error:?}");
    }
    let left = database
        .number(
            "SELECT (SELECT count(*) FROM webhook.source)
               + (SELECT count(*) FROM pg_trigger WHERE tgfoid = 'webhook.capture()'::regprocedure)",
        )
        .await;
    assert_eq!(left, 0);
    database.run(&format!("RESET ROLE; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn the_trigger_function_is_of_no_use_in_another_trigger() {
    let database = Database::new().await;
    database.run("CREATE TABLE item (id int); SELECT webhook_attach('item', operations => '{delete}')").await;
    for (name, clause) in [
        ("before", "BEFORE INSERT ON item FOR EACH STATEMENT"),
        ("by_row", "AFTER INSERT ON item FOR EACH ROW"),
        ("before_row", "BEFORE UPDATE ON item FOR EACH ROW"),
        ("blind", "AFTER INSERT ON item FOR EACH STATEMENT"),
        ("one_eyed", "AFTER UPDATE ON item REFERENCING NEW TABLE AS n FOR EACH STATEMENT"),
    ] {
        database
            .run(&format!("CREATE TRIGGER {name} {clause} EXECUTE FUNCTION webhook.capture(); TRUNCATE item"))
            .await;
        let error = database.error("INSERT INTO item VALUES (1); UPDATE item SET id = 2").await;
        assert_eq!(error.code, "39P01", "{clause}: {error:?}");
        database.run(&format!("DROP TRIGGER {name} ON item")).await;
    }
    let error = database.error("SELECT webhook.capture()").await;
    assert_eq!(error.code, "39P01", "{error:?}");
}
