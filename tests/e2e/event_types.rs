//! The catalogue of event types: what there is to subscribe to, and what its data has to look like.

use harness::Database;

const CATALOGUE: &str = "SELECT name, declared FROM webhook.event_type ORDER BY name";
const EVENTS: &str = "SELECT count(*) FROM webhook.event";

/// An order has a positive amount; one of a cent is fine where it is only warned of.
const SCHEMA: &str = r#"{"type": "object", "required": ["amount"], "properties": {"amount": {"type": "number", "minimum": 1}}}"#;

async fn declare(database: &Database, name: &str, enforcement: &str) {
    database
        .run(&format!(
            "INSERT INTO webhook.event_type (name, schema, enforcement) VALUES ('{name}', '{SCHEMA}', '{enforcement}')"
        ))
        .await;
}

#[tokio::test]
async fn the_first_event_of_a_type_enters_it() {
    let database = Database::new().await;
    database.run("SELECT webhook_emit('order.paid', '{}'), webhook_emit('order.paid', '{}')").await;
    database.run("SELECT webhook_emit('order.sent', '{}')").await;
    database.run("BEGIN; SELECT webhook_emit('order.lost', '{}'); ROLLBACK").await;
    assert_eq!(database.rows(CATALOGUE).await, ["order.paid|f", "order.sent|f"]);
    database.run("BEGIN; SELECT webhook_emit('order.lost', '{}'); SAVEPOINT a; SELECT webhook_emit('order.found', '{}'); ROLLBACK TO a; COMMIT").await;
    database.run("SELECT webhook_emit('order.found', '{}')").await;
    assert_eq!(
        database.rows(CATALOGUE).await,
        ["order.found|f", "order.lost|f", "order.paid|f", "order.sent|f"]
    );
}

#[tokio::test]
async fn types_of_an_attached_table_are_there_before_the_first_event() {
    let database = Database::new().await;
    database.run("CREATE TABLE orders (id int PRIMARY KEY)").await;
    database.run("SELECT webhook_attach('orders', event_names => '{\"insert\": \"order.placed\"}')").await;
    assert_eq!(database.rows(CATALOGUE).await, ["order.placed|f", "orders.deleted|f", "orders.updated|f"]);
}

#[tokio::test]
async fn nobody_waits_for_another_transaction_that_enters_the_same_type() {
    let database = Database::new().await;
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        let first = database.session().await;
        let second = database.session().await;
        let emit = format!("SELECT webhook_emit('{}.happened', '{{}}')", isolation.replace(' ', "_"));
        for session in [&first, &second] {
            Database::run_in(
                session,
                &format!("BEGIN ISOLATION LEVEL {isolation}; SET LOCAL lock_timeout = '1ms'"),
            )
            .await;
            Database::run_in(session, "SELECT count(*) FROM webhook.event_type").await;
            Database::run_in(session, &emit).await;
        }
        Database::run_in(&first, "COMMIT").await;
        Database::run_in(&second, &emit).await;
        Database::run_in(&second, "COMMIT").await;
    }
    assert_eq!(database.number(EVENTS).await, 9);
    let entered = database.rows("SELECT name FROM webhook.event_type").await;
    assert_eq!(entered, ["READ_COMMITTED.happened", "REPEATABLE_READ.happened", "SERIALIZABLE.happened"]);
}

#[tokio::test]
async fn data_that_does_not_match_a_strict_schema_is_refused() {
    let database = Database::new().await;
    declare(&database, "order.paid", "strict").await;
    database.run("SELECT webhook_emit('order.paid', '{\"amount\": 5}')").await;
    for (data, problem) in [
        ("{}", "\"amount\" is a required property"),
        (r#"{"amount": "5"}"#, "/amount: \"5\" is not of type \"number\""),
        (r#"{"amount": 0.01}"#, "/amount: 0.01 is less than the minimum of 1"),
        ("null", "null is not of type \"object\""),
    ] {
        let error = database.error(&format!("SELECT webhook_emit('order.paid', '{data}')")).await;
        assert_eq!(error.code, "22023", "{data}");
        let message = format!("data of event order.paid does not match its schema: {problem}");
        assert_eq!(error.message, message, "{data}");
    }
    database.run("SELECT webhook_emit('order.sent', '{}')").await;
    assert_eq!(database.number(EVENTS).await, 2);
}

#[tokio::test]
async fn a_schema_that_warns_lets_events_pass() {
    let database = Database::new().await;
    declare(&database, "order.paid", "warn").await;
    database.run("SELECT webhook_emit('order.paid', '{}')").await;
    assert_eq!(database.number(EVENTS).await, 1);
}

#[tokio::test]
async fn a_row_that_does_not_match_fails_its_statement() {
    let database = Database::new().await;
    database.run("CREATE TABLE orders (id int PRIMARY KEY, amount numeric)").await;
    database.run("SELECT webhook_attach('orders')").await;
    database
        .run(&format!("UPDATE webhook.event_type SET schema = '{SCHEMA}' WHERE name = 'orders.created'"))
        .await;
    let error = database.error("INSERT INTO orders VALUES (1, 10), (2, 0)").await;
    assert!(
        error.message.starts_with("webhook capture of public.orders failed: data of event orders.created"),
        "{error:?}"
    );
    database.run("INSERT INTO orders VALUES (1, 10); UPDATE orders SET amount = 0").await;
    assert_eq!(
        database.rows("SELECT type FROM webhook.event ORDER BY id").await,
        ["orders.created", "orders.updated"]
    );
}

#[tokio::test]
async fn sessions_learn_of_a_changed_schema_at_once() {
    let database = Database::new().await;
    let emitter = database.session().await;
    let emit = "SELECT webhook_emit('order.paid', '{}')";
    Database::run_in(&emitter, emit).await;
    database.run(&format!("UPDATE webhook.event_type SET schema = '{SCHEMA}'")).await;
    assert_eq!(Database::error_on(&emitter, emit).await.code, "22023");
    database.run("DELETE FROM webhook.event_type").await;
    Database::run_in(&emitter, emit).await;
    assert_eq!(database.rows(CATALOGUE).await, ["order.paid|f"]);
}
