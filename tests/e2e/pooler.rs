//! A connection through PgBouncer: in transaction mode locks and LISTEN would be somebody else's, so it is refused.

use harness::{Cluster, Database, Pooler, Receiver, Worker, until};

async fn through(mode: &str) -> (Pooler, Database, Vec<(&'static str, String)>) {
    let cluster = Cluster::shared().await;
    let (pooler, database) = (Pooler::start(cluster, mode).await, Database::new().await);
    let environment = vec![
        ("PGHOST", "127.0.0.1".to_owned()),
        ("PGPORT", pooler.port().to_string()),
        ("PGUSER", "postgres".to_owned()),
        ("PGDATABASE", database.name.clone()),
    ];
    (pooler, database, environment)
}

#[tokio::test]
async fn a_transaction_pooler_is_refused_with_the_reason() {
    for mode in ["transaction", "statement"] {
        let (_pooler, _database, environment) = through(mode).await;
        let (code, said) = Worker::spawn(&environment, &[]).await.ended().await;
        assert_eq!(code, Some(3), "{mode}: {said}");
        assert!(said.contains("this connection leads through a transaction pooler"), "{mode}: {said}");
        assert!(
            said.contains("connect to postgresql directly, or to a pooler in session mode"),
            "{mode}: {said}"
        );
    }
}

#[tokio::test]
async fn a_session_pooler_will_do() {
    let (_pooler, database, environment) = through("session").await;
    let receiver = Receiver::start().await;
    let (_, secret) = database.endpoint(&receiver.url("/")).await;
    database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 50)").await;
    let worker = Worker::spawn(&environment, &["--allow-network", "127.0.0.0/8"]).await;
    worker.ready().await;
    receiver.receives(50).await;
    let wakes = worker.metric("pg_webhook_wakes_total").await;
    until("it is notified", async || {
        database.run("SELECT webhook_emit('a.b', '{}')").await;
        (worker.metric("pg_webhook_wakes_total").await > wakes).then_some(())
    })
    .await;
    database.drained().await;
    assert!(receiver.requests().iter().all(|request| request.verify(&secret).is_ok()));
    let events = database.number("SELECT count(*) FROM webhook.event").await;
    assert_eq!((receiver.count() as i64, worker.stop().await.code()), (events, Some(0)));
}
