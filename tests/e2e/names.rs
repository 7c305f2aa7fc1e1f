//! Names of schemas, tables and columns may be anything that SQL lets them be.

use harness::Database;

/// Names that are hard for somebody: the parser, a quoting rule, JSON, a buffer of 64 bytes.
const NAMES: &[&str] = &[
    "plain",
    "Upper Case",
    "select",
    "user",
    "old",
    "new",
    "webhook_new",
    "NULL",
    "with \"double\" and 'single' quotes",
    "back\\slash",
    "percent %s %I $1 {id}",
    "new\nline\ttab",
    "semi; DROP TABLE x; --",
    "ünï cödé 漢字 😀",
    "x23456789012345678901234567890123456789012345678901234567890123",
    "日本語日本語日本語日本語日本語日本語日本語",
    "a.b",
    " ",
    "1",
];

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[tokio::test]
async fn tables_and_columns_of_any_name_are_captured() {
    let database = Database::new().await;
    let columns: Vec<String> = NAMES.iter().map(|name| format!("{} int DEFAULT 1", quoted(name))).collect();
    for (number, name) in NAMES.iter().enumerate() {
        // the schema of one is called as the table of another
        let schema = NAMES[(number + 5) % NAMES.len()];
        let table = format!("{}.{}", quoted(schema), quoted(name));
        let relation = literal(&table);
        // a column of the same name is the key, another is left out, a third is watched
        let (key, omitted, watched) =
            (quoted(name), NAMES[(number + 1) % NAMES.len()], quoted(NAMES[(number + 2) % NAMES.len()]));
        database
            .run(&format!(
                "CREATE SCHEMA {}; CREATE TABLE {table} ({}, PRIMARY KEY ({key}));
                 SELECT webhook_attach({relation}, omit => ARRAY[{}], watch => ARRAY[{}], condition => {},
                   tenant => {}, event_names => '{{\"insert\": \"t.created\", \"update\": \"t.updated\", \"delete\": \"t.deleted\"}}')",
                quoted(schema),
                columns.join(", "),
                literal(omitted),
                literal(NAMES[(number + 2) % NAMES.len()]),
                literal(&format!("coalesce(new.{watched}, old.{watched}) > 0")),
                literal(&format!("'t' || coalesce(new.{key}, old.{key})")),
            ))
            .await;
        database
            .run(&format!(
                "INSERT INTO {table} DEFAULT VALUES;
                 UPDATE {table} SET {} = 5;
                 UPDATE {table} SET {watched} = 0;
                 UPDATE {table} SET {watched} = 2;
                 DELETE FROM {table}",
                quoted(omitted)
            ))
            .await;
        let facts = database
            .rows(&format!(
                "SELECT type, tenant, key = format('%I.%I:1', {}, {}),
                   (SELECT array_agg(k ORDER BY n) FROM json_object_keys(body::json->'data') WITH ORDINALITY d (k, n))
                     = ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE attrelid = {relation}::regclass AND attnum > 0
                       AND attname <> {} ORDER BY attnum),
                   (body::json->'changed')::text = to_json(ARRAY[{}])::text
                 FROM webhook.event ORDER BY id",
                literal(schema),
                literal(name),
                literal(omitted),
                literal(NAMES[(number + 2) % NAMES.len()]),
            ))
            .await;
        assert_eq!(facts, ["t.created|t1|t|t|", "t.updated|t1|t|t|t", "t.deleted|t1|t|t|"], "{table}");
        database
            .run(&format!(
                "SELECT webhook_detach({relation}); DROP SCHEMA {} CASCADE; TRUNCATE webhook.event",
                quoted(schema)
            ))
            .await;
    }
}

#[tokio::test]
async fn a_name_that_makes_no_event_type_needs_one_to_be_given() {
    let database = Database::new().await;
    let fits = ["plain", "select", "user", "old", "new", "webhook_new", "NULL", "a.b", "1", NAMES[14]];
    for name in NAMES {
        database.run(&format!("CREATE TABLE {} (id int)", quoted(name))).await;
        let attach = format!("SELECT webhook_attach({}", literal(&quoted(name)));
        if fits.contains(name) {
            database.run(&format!("{attach}); INSERT INTO {} VALUES (1)", quoted(name))).await;
            assert_eq!(database.text("SELECT type FROM webhook.event").await, format!("{name}.created"));
        } else {
            let error = database
                .error(&format!(
                    "{attach}, event_names => '{{\"insert\": \"a.b\"}}', operations => '{{insert,update}}')"
                ))
                .await;
            assert_eq!(error.code, "22023", "{name}: {error:?}");
            assert!(
                error.message.starts_with("webhook.source.event_names: \"")
                    && error.message.contains(&format!("{name}.updated")),
                "{name}: {error:?}"
            );
            assert!(
                error.hint.contains("give event_names, e.g. {\"update\": \"thing.changed\"}"),
                "{name}: {error:?}"
            );
            database
                .run(&format!(
                    "{attach}, event_names => '{{\"insert\": \"a.b\"}}', operations => '{{insert}}')"
                ))
                .await;
        }
        database.run(&format!("DROP TABLE {}; TRUNCATE webhook.event", quoted(name))).await;
    }
}

#[tokio::test]
async fn functions_and_partitions_of_any_name_are_found() {
    let database = Database::new().await;
    for name in NAMES {
        let quoted = quoted(name);
        let function = literal(&format!("{quoted}.{quoted}"));
        database
            .run(&format!(
                "CREATE SCHEMA {quoted}; GRANT USAGE ON SCHEMA {quoted} TO PUBLIC;
                 CREATE TABLE {quoted}.{quoted} ({quoted} int PRIMARY KEY) PARTITION BY LIST ({quoted});
                 CREATE FUNCTION {quoted}.{quoted}(r {quoted}.{quoted}) RETURNS json LANGUAGE sql AS 'SELECT row_to_json(r)';
                 SELECT webhook_attach({function}, body_function => {function}, event_names => '{{\"insert\": \"a.b\"}}',
                   operations => '{{insert}}', key => {});
                 CREATE TABLE {quoted}.\"{{}}\" PARTITION OF {quoted}.{quoted} DEFAULT",
                literal(&format!("new.{quoted}::text"))
            ))
            .await;
        let events = database
            .events_of(&format!(
                "INSERT INTO {quoted}.\"{{}}\" VALUES (1); INSERT INTO {quoted}.{quoted} VALUES (2)"
            ))
            .await;
        let label = database.text(&format!("SELECT to_json({}::text)", literal(name))).await;
        assert_eq!(events, [format!("a.b {{{label}:1}}"), format!("a.b {{{label}:2}}")]);
        database.run(&format!("DROP SCHEMA {quoted} CASCADE")).await;
    }
}
