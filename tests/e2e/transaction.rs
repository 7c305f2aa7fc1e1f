//! An event exists exactly if its (sub)transaction committed.

use harness::Database;

async fn database_with_orders() -> Database {
    let database = Database::new().await;
    database.endpoint("http://127.0.0.1:9/").await;
    database.run("CREATE TABLE orders (id int PRIMARY KEY, amount numeric)").await;
    database.run("SELECT webhook_attach('orders')").await;
    database
}

async fn counts(database: &Database) -> String {
    database.text("SELECT (SELECT count(*) FROM webhook.event) || ' events, ' || (SELECT count(*) FROM webhook.queue) || ' owed'").await
}

#[tokio::test]
async fn what_is_rolled_back_is_no_event() {
    let database = database_with_orders().await;
    database
        .run("BEGIN; INSERT INTO orders VALUES (1, 10); SELECT webhook_emit('order.paid', '{}'); ROLLBACK")
        .await;
    assert_eq!(counts(&database).await, "0 events, 0 owed");
    database
        .run("BEGIN; INSERT INTO orders VALUES (1, 10); SELECT webhook_emit('order.paid', '{}'); COMMIT")
        .await;
    assert_eq!(counts(&database).await, "2 events, 2 owed");
}

#[tokio::test]
async fn what_a_savepoint_takes_back_is_no_event() {
    let database = database_with_orders().await;
    database
        .run(
            "BEGIN; INSERT INTO orders VALUES (1, 10); SAVEPOINT a; INSERT INTO orders VALUES (2, 20); ROLLBACK TO a; \
             INSERT INTO orders VALUES (3, 30); SAVEPOINT b; INSERT INTO orders VALUES (4, 40); RELEASE b; COMMIT",
        )
        .await;
    let ids = database.rows("SELECT body::jsonb->'data'->>'id' FROM webhook.event ORDER BY id").await;
    assert_eq!(ids, ["1", "3", "4"]);
    assert_eq!(counts(&database).await, "3 events, 3 owed");
}

#[tokio::test]
async fn what_a_caught_exception_undoes_is_no_event() {
    let database = database_with_orders().await;
    database
        .run(
            "DO $$ BEGIN
               INSERT INTO orders VALUES (1, 10);
               BEGIN
                 INSERT INTO orders VALUES (2, 20);
                 RAISE EXCEPTION 'no';
               EXCEPTION WHEN raise_exception THEN
                 INSERT INTO orders VALUES (3, 30);
               END;
             END $$",
        )
        .await;
    let ids = database.rows("SELECT body::jsonb->'data'->>'id' FROM webhook.event ORDER BY id").await;
    assert_eq!(ids, ["1", "3"]);
}

#[tokio::test]
async fn a_prepared_transaction_is_an_event_when_it_is_committed() {
    let database = database_with_orders().await;
    let name = &database.name;
    database.run(&format!("BEGIN; INSERT INTO orders VALUES (1, 10); PREPARE TRANSACTION '{name}-a'")).await;
    database.run(&format!("BEGIN; INSERT INTO orders VALUES (2, 20); PREPARE TRANSACTION '{name}-b'")).await;
    assert_eq!(counts(&database).await, "0 events, 0 owed");
    database.run(&format!("COMMIT PREPARED '{name}-a'")).await;
    database.run(&format!("ROLLBACK PREPARED '{name}-b'")).await;
    assert_eq!(counts(&database).await, "1 events, 1 owed");
}

#[tokio::test]
async fn a_statement_that_changes_100_000_rows_makes_100_000_events() {
    let database = database_with_orders().await;
    database.run("INSERT INTO orders SELECT i, i FROM generate_series(1, 100000) i").await;
    assert_eq!(counts(&database).await, "100000 events, 100000 owed");
    database.run("UPDATE orders SET amount = -amount WHERE id % 2 = 0").await;
    assert_eq!(counts(&database).await, "150000 events, 150000 owed");
    let wrong = database
        .number(
            "SELECT count(*) FROM webhook.event WHERE type = 'orders.updated' AND
               (body::jsonb->'data'->>'amount')::numeric <> -(body::jsonb->'previous'->>'amount')::numeric",
        )
        .await;
    assert_eq!(wrong, 0, "old and new rows belong together");
}

#[tokio::test]
async fn a_thousand_concurrent_transactions_make_their_events_and_no_others() {
    let database = database_with_orders().await;
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..50 {
        let client = database.session().await;
        tasks.spawn(async move {
            for i in 0..20 {
                let id = worker * 20 + i;
                let end = if id % 4 == 0 { "ROLLBACK" } else { "COMMIT" };
                client
                    .batch_execute(&format!("BEGIN; INSERT INTO orders VALUES ({id}, 1); {end}"))
                    .await
                    .expect("it runs");
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(counts(&database).await, "750 events, 750 owed");
    let missing = database
        .number("SELECT count(*) FROM orders o WHERE NOT EXISTS (SELECT FROM webhook.event e WHERE e.key = 'public.orders:' || o.id)")
        .await;
    assert_eq!(missing, 0);
}

#[tokio::test]
async fn suppress_silences_one_transaction() {
    let database = database_with_orders().await;
    database
        .run("BEGIN; SET LOCAL pg_webhook.suppress = on; INSERT INTO orders VALUES (1, 1); SELECT webhook_emit('a', '{}'); COMMIT")
        .await;
    assert_eq!(counts(&database).await, "0 events, 0 owed");
    database.run("INSERT INTO orders VALUES (2, 1)").await;
    assert_eq!(counts(&database).await, "1 events, 1 owed");
}
