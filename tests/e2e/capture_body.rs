//! What an event of a row change says: the row, what it was before, and its key.

use harness::Database;

async fn database_with_items() -> Database {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE item (id int PRIMARY KEY, name text, price int, cents int GENERATED ALWAYS AS (price * 100) STORED);
             INSERT INTO item VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3);
             SELECT webhook_attach('item')",
        )
        .await;
    database
}

#[tokio::test]
async fn the_body_of_an_update_is_the_new_row_then_the_old_values_and_the_names_of_what_changed() {
    let database = database_with_items().await;
    database.run("UPDATE item SET price = 8, name = NULL, id = 10 WHERE id = 1").await;
    let wrong = database
        .rows(
            r#"SELECT body FROM webhook.event WHERE key <> 'public.item:1' OR type <> 'item.updated' OR tenant IS NOT NULL
                 OR body <> format('{"id":"%s","type":"item.updated","timestamp":"%s","data":%s,"previous":%s,"changed":%s}',
                   id, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                   '{"id":10,"name":null,"price":8,"cents":800}', '{"id":1,"name":"a","price":1,"cents":100}',
                   '["id","name","price","cents"]')"#,
        )
        .await;
    assert_eq!(wrong, [""; 0]);
    assert_eq!(database.number("SELECT count(*) FROM webhook.event").await, 1);
}

#[tokio::test]
async fn a_table_without_primary_key_makes_events_without_key() {
    let database = Database::new().await;
    database.run("CREATE TABLE log (line text); SELECT webhook_attach('log')").await;
    database.run("INSERT INTO log VALUES ('x'), ('x'), ('y'); UPDATE log SET line = 'z' WHERE line = 'x'; DELETE FROM log").await;
    let counts = database
        .rows("SELECT type, count(*), count(key) FROM webhook.event GROUP BY type ORDER BY type")
        .await;
    assert_eq!(counts, ["log.created|3|0", "log.deleted|3|0", "log.updated|2|0"]);
    let pairs = database
        .rows("SELECT DISTINCT body::json->>'previous' FROM webhook.event WHERE type = 'log.updated'")
        .await;
    assert_eq!(pairs, [r#"{"line":"x"}"#]);
}

#[tokio::test]
async fn keys_are_the_primary_key_as_text_and_the_old_one_when_it_changes() {
    let database = Database::new().await;
    database
        .run(
            r#"CREATE TABLE place (city text, "no" int, at date, note text, PRIMARY KEY (city, at, "no"));
               CREATE TABLE word (word text PRIMARY KEY);
               SELECT webhook_attach('place'), webhook_attach('word');
               INSERT INTO place VALUES ('Köln', 7, '2026-11-20', 'x');
               UPDATE place SET city = 'Bonn', note = 'y';
               UPDATE place SET note = 'z';
               DELETE FROM place;
               INSERT INTO word VALUES (E'a "b"\\\n\u0001ü')"#,
        )
        .await;
    let keys =
        database.rows("SELECT type, key FROM webhook.event WHERE type LIKE 'place.%' ORDER BY id").await;
    assert_eq!(
        keys,
        [
            "place.created|public.place:Köln,2026-11-20,7",
            "place.updated|public.place:Köln,2026-11-20,7",
            "place.updated|public.place:Bonn,2026-11-20,7",
            "place.deleted|public.place:Bonn,2026-11-20,7",
        ]
    );
    let same = database.text("SELECT key = 'public.word:' || (SELECT word FROM word) FROM webhook.event WHERE type LIKE 'word.%'").await;
    assert_eq!(same, "t", "a key is the text itself, not as JSON has it");
}

#[tokio::test]
async fn large_values_arrive_whole_and_too_large_ones_fail_the_statement() {
    let database = database_with_items().await;
    // compressed in the row, compressed elsewhere, and too random to be compressed at all
    database
        .run(
            "UPDATE item SET name = repeat('long ', 2000) WHERE id = 1;
             UPDATE item SET name = repeat('longer ', 100000) WHERE id = 2;
             UPDATE item SET name = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 20000) i) WHERE id = 3;
             UPDATE item SET price = 0",
        )
        .await;
    let wrong = database
        .number(
            "SELECT count(*) FROM item i WHERE 2 <> (SELECT count(*) FROM webhook.event e
               WHERE e.key = 'public.item:' || i.id AND e.body::json->'data'->>'name' = i.name)",
        )
        .await;
    assert_eq!(wrong, 0);
    database.run("UPDATE item SET name = NULL").await;
    let previous = database
        .number("SELECT sum(length(body::json->'previous'->>'name')) FROM webhook.event WHERE body::json->'data'->>'name' IS NULL")
        .await;
    assert_eq!(previous, 2000 * 5 + 100_000 * 7 + 20_000 * 32);

    let error = database.error("INSERT INTO item VALUES (9, repeat('x', 1024 * 1024), 1)").await;
    assert_eq!(error.code, "54000");
    assert!(
        error
            .message
            .starts_with("webhook capture of public.item failed: body of event item.created has 10487")
            && error.message.ends_with("more than pg_webhook.max_body_bytes (1048576)"),
        "{error:?}"
    );
    assert_eq!(database.number("SELECT count(*) FROM item WHERE id = 9").await, 0);
}
