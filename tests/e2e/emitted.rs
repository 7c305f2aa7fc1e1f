//! Tests of an application look at the events of their transaction, and roll back.

use harness::Database;

#[tokio::test]
async fn a_transaction_sees_the_events_it_has_made_so_far() {
    let database = Database::new().await;
    database.run("CREATE TABLE orders (id int PRIMARY KEY); SELECT webhook_attach('orders'); SELECT webhook_emit('before', '{}')").await;
    crate::partition::days_pass(&database, -1, 0).await;
    let other = database.session().await;
    Database::run_in(&other, "BEGIN; SELECT webhook_emit('of.others', '{}')").await;
    let emitted = "SELECT string_agg(type, ' ' ORDER BY id) FROM webhook_emitted()";
    database.run("BEGIN; SELECT webhook_emit('first', '{}')").await;
    Database::run_in(&other, "COMMIT").await;
    database.run("SAVEPOINT a; INSERT INTO orders VALUES (1), (2)").await;
    assert_eq!(database.text(emitted).await, "first orders.created orders.created");
    database.run("ROLLBACK TO a; SAVEPOINT b; SELECT webhook_emit('second', '{}'); RELEASE b").await;
    database.run("SAVEPOINT c; DO $$ BEGIN BEGIN PERFORM webhook_emit('failed', '{}'); RAISE 'no'; EXCEPTION WHEN OTHERS THEN END; END $$").await;
    assert_eq!(database.text(emitted).await, "first second");
    // As a test would assert.
    let data = "SELECT body::json->>'type' FROM webhook_emitted() WHERE type = 'second'";
    assert_eq!(database.rows(data).await, ["second"]);
    database.run("ROLLBACK").await;
    assert_eq!(database.number("SELECT count(*) FROM webhook_emitted()").await, 0);
    assert_eq!(database.rows("SELECT type FROM webhook.event ORDER BY id").await, ["before", "of.others"]);
}
