//! One event per row and transaction: the first old values and the last new ones, made when it commits.

use harness::Database;
use serde_json::{Value, json};

async fn attached(options: &str) -> Database {
    let database = Database::new().await;
    database.run("CREATE TABLE orders (id int PRIMARY KEY, state text, note text)").await;
    database.run("INSERT INTO orders VALUES (1, 'new', 'a'), (2, 'new', 'b'), (3, 'new', 'c')").await;
    database.run(&format!("SELECT webhook_attach('orders', per_transaction => true {options})")).await;
    database
}

/// Of each event: what came of the row's `state`, from what, and the event's key.
const SEEN: &str = "SELECT type, body::json #>> '{data,id}', body::json #>> '{previous,state}', \
                    body::json #>> '{data,state}' FROM webhook.event ORDER BY id";

async fn seen_after(database: &Database, statements: &str) -> Vec<String> {
    database.run("DELETE FROM webhook.event").await;
    database.run(statements).await;
    database.rows(SEEN).await
}

#[tokio::test]
async fn what_a_transaction_does_to_a_row_is_one_event() {
    let database = attached("").await;
    for (statements, expected) in [
        ("UPDATE orders SET state = 'paid' WHERE id = 1", vec!["orders.updated|1|new|paid"]),
        (
            "BEGIN; UPDATE orders SET state = 'sent' WHERE id = 1; UPDATE orders SET note = 'x'; UPDATE orders SET state = 'done' WHERE id = 1; COMMIT",
            vec!["orders.updated|1|paid|done", "orders.updated|2||new", "orders.updated|3||new"],
        ),
        (
            "BEGIN; INSERT INTO orders VALUES (4, 'new'); UPDATE orders SET state = 'paid' WHERE id = 4; COMMIT",
            vec!["orders.created|4||paid"],
        ),
        ("BEGIN; INSERT INTO orders VALUES (5, 'new'); DELETE FROM orders WHERE id = 5; COMMIT", vec![]),
        (
            "BEGIN; UPDATE orders SET state = 'lost' WHERE id = 4; DELETE FROM orders WHERE id = 4; COMMIT",
            vec!["orders.deleted|4||paid"],
        ),
        (
            "BEGIN; DELETE FROM orders WHERE id = 2; INSERT INTO orders VALUES (2, 'again'); COMMIT",
            vec!["orders.updated|2|new|again"],
        ),
        (
            "BEGIN; UPDATE orders SET state = 'x' WHERE id = 3; UPDATE orders SET state = 'new' WHERE id = 3; COMMIT",
            vec![],
        ),
        // Keys that move on to a neighbour's: each row is followed.
        (
            "BEGIN; UPDATE orders SET id = id + 10; UPDATE orders SET id = id - 1, state = state || '!'; COMMIT",
            vec![
                "orders.updated|10|done|done!",
                "orders.updated|11|again|again!",
                "orders.updated|12|new|new!",
            ],
        ),
        (
            "BEGIN; UPDATE orders SET state = 'kept' WHERE id = 10; SAVEPOINT a; UPDATE orders SET state = 'undone'; \
             SAVEPOINT b; UPDATE orders SET state = 'too'; RELEASE b; ROLLBACK TO a; UPDATE orders SET note = 'n' WHERE id = 11; COMMIT",
            vec!["orders.updated|10|done!|kept", "orders.updated|11||again!"],
        ),
        ("BEGIN; UPDATE orders SET state = 'undone'; ROLLBACK", vec![]),
        (
            "BEGIN; SET LOCAL pg_webhook.suppress = on; UPDATE orders SET state = 'quiet' WHERE id = 12; COMMIT",
            vec![],
        ),
        (
            "DO $$BEGIN UPDATE orders SET state = 'a' WHERE id = 12; BEGIN UPDATE orders SET state = 'b'; RAISE 'no'; \
             EXCEPTION WHEN OTHERS THEN NULL; END; UPDATE orders SET state = 'c' WHERE id = 12; END$$",
            vec!["orders.updated|12|quiet|c"],
        ),
    ] {
        assert_eq!(seen_after(&database, statements).await, expected, "{statements}");
    }
}

#[tokio::test]
async fn previous_and_changed_span_the_transaction() {
    let database = attached("").await;
    database
        .run("BEGIN; UPDATE orders SET state = 'paid', note = 'z' WHERE id = 1; UPDATE orders SET note = 'a' WHERE id = 1; COMMIT")
        .await;
    let body: Value = serde_json::from_str(&database.text("SELECT body FROM webhook.event").await).unwrap();
    assert_eq!(body["data"], json!({"id": 1, "state": "paid", "note": "a"}));
    assert_eq!((&body["previous"], &body["changed"]), (&json!({"state": "new"}), &json!(["state"])));
    assert_eq!(database.rows("SELECT key FROM webhook.event").await, ["public.orders:1"]);
}

#[tokio::test]
async fn operations_conditions_and_other_sources_hold_as_ever() {
    let database = attached(", operations => '{update}', condition => 'new.state = ''paid'''").await;
    database.run("SELECT webhook_attach('orders', 'each', event_names => '{\"update\": \"order.each\"}', operations => '{update}')").await;
    let transaction = "BEGIN; UPDATE orders SET state = 'x' WHERE id < 3; UPDATE orders SET state = 'paid' WHERE id = 1; \
                       DELETE FROM orders WHERE id = 3; INSERT INTO orders VALUES (4, 'paid'); COMMIT";
    let expected =
        ["order.each|1|new|x", "order.each|2|new|x", "order.each|1|x|paid", "orders.updated|1|new|paid"];
    assert_eq!(seen_after(&database, transaction).await, expected);
}

#[tokio::test]
async fn a_prepared_transaction_has_its_events_when_it_is_committed() {
    let database = attached("").await;
    database
        .run(
            "BEGIN; UPDATE orders SET state = 'a'; UPDATE orders SET state = 'b'; PREPARE TRANSACTION 'once'",
        )
        .await;
    assert_eq!(database.rows(SEEN).await, [""; 0]);
    database.run("COMMIT PREPARED 'once'").await;
    assert_eq!(database.rows(SEEN).await.len(), 3);
}

#[tokio::test]
async fn a_truncate_comes_after_what_was_changed_before_it() {
    let database = attached(", operations => '{insert,update,delete,truncate}'").await;
    let transaction = "BEGIN; UPDATE orders SET state = 'paid' WHERE id = 1; TRUNCATE orders; INSERT INTO orders VALUES (1, 'new'); COMMIT";
    let expected = ["orders.updated|1|new|paid", "orders.truncated|||", "orders.created|1||new"];
    assert_eq!(seen_after(&database, transaction).await, expected);
}

#[tokio::test]
async fn partitions_and_their_parent_are_one_table() {
    let database = Database::new().await;
    database.run("CREATE TABLE orders (id int PRIMARY KEY, state text) PARTITION BY RANGE (id)").await;
    database.run("CREATE TABLE low (state text, id int NOT NULL); ALTER TABLE orders ATTACH PARTITION low FOR VALUES FROM (0) TO (10)").await;
    database.run("CREATE TABLE high PARTITION OF orders FOR VALUES FROM (10) TO (20)").await;
    database.run("SELECT webhook_attach('orders', per_transaction => true)").await;
    let transaction = "BEGIN; INSERT INTO low (id, state) VALUES (1, 'a'); UPDATE orders SET id = 11; UPDATE high SET state = 'b'; COMMIT";
    assert_eq!(seen_after(&database, transaction).await, ["orders.created|11||b"]);
}

#[tokio::test]
async fn large_values_and_many_rows_are_remembered_whole() {
    let database = attached("").await;
    let transaction = "BEGIN; INSERT INTO orders SELECT n, 'first' FROM generate_series(100, 20099) n; \
                       UPDATE orders SET state = 'last', note = CASE WHEN id % 1000 = 0 THEN repeat(md5(id::text), 5000) END WHERE id >= 100; COMMIT";
    database.run(transaction).await;
    let counts = "SELECT count(*), count(DISTINCT key), count(*) FILTER (WHERE type = 'orders.created' AND body::json #>> '{data,state}' = 'last'), \
                  count(*) FILTER (WHERE length(body::json #>> '{data,note}') = 160000) FROM webhook.event";
    assert_eq!(database.rows(counts).await, ["20000|20000|20000|20"]);
}

#[tokio::test]
async fn what_cannot_be_made_an_event_at_commit_fails_it_or_warns() {
    let database = attached("").await;
    database.run("SELECT webhook_attach('orders', 'big', per_transaction => true, on_error => 'warn', condition => '1 / length(new.note) > 0')").await;
    database.run("BEGIN; UPDATE orders SET note = ''; COMMIT").await;
    assert_eq!(database.number("SELECT count(*) FROM webhook.event").await, 3, "the other source's");
    database.run("UPDATE webhook.source SET on_error = 'raise'").await;
    let session = database.session().await;
    Database::run_in(&session, "BEGIN; UPDATE orders SET note = '', state = 'lost'").await;
    let error = Database::error_on(&session, "COMMIT").await;
    assert_eq!(error.code, "22012");
    assert!(error.message.starts_with("webhook capture of public.orders failed"), "{error:?}");
    assert_eq!(database.number("SELECT count(*) FROM orders WHERE state = 'lost'").await, 0);
}

#[tokio::test]
async fn a_table_altered_or_dropped_in_the_same_transaction() {
    let database = attached("").await;
    let error = database
        .error("BEGIN; UPDATE orders SET state = 'x'; ALTER TABLE orders ALTER id TYPE text; COMMIT")
        .await;
    assert_eq!(error.code, "55000");
    assert!(error.message.contains("was altered in the transaction"), "{error:?}");
    database.run("ROLLBACK").await;
    assert_eq!(
        seen_after(&database, "BEGIN; UPDATE orders SET state = 'x'; DROP TABLE orders; COMMIT").await,
        [""; 0]
    );
}

#[tokio::test]
async fn a_table_without_primary_key_is_refused() {
    let database = Database::new().await;
    database.run("CREATE TABLE log (line text)").await;
    let error = database.error("SELECT webhook_attach('log', per_transaction => true)").await;
    assert_eq!(error.code, "22023");
    assert!(error.message.contains("has no primary key"), "{error:?}");
    database.run("ALTER TABLE log ADD id int PRIMARY KEY").await;
    database.run("SELECT webhook_attach('log', per_transaction => true); ALTER TABLE log DROP id").await;
    assert_eq!(database.error("INSERT INTO log VALUES ('a')").await.code, "55000");
}
