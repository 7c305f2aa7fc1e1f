//! pg_upgrade: the new cluster is the old one, armed and all.

use crate::furnished::{EVENTS_A_ROUND, armed, change_rows, contents, furnish};
use harness::{Cluster, ClusterOptions, Database, Receiver, Worker};

#[tokio::test]
async fn an_upgraded_cluster_has_everything_and_goes_on_delivering() {
    let (old, receiver) = (Cluster::own(ClusterOptions::default()).await, Receiver::start().await);
    let database = Database::in_cluster(&old).await;
    furnish(&database, &receiver.url("/")).await;
    let before = contents(&database).await;
    let arm_id = database.text("SELECT webhook.arm_id()").await;
    let known = database.number("SELECT max(id) FROM webhook.endpoint").await;
    let name = database.name.clone();
    drop(database);

    let new = old.upgraded().await;
    let database = Database::open(&new, &name).await;
    assert_eq!(contents(&database).await, before);
    assert!(armed(&database).await, "it stays armed");
    assert_eq!(database.text("SELECT webhook.arm_id()").await, arm_id, "under the same id");

    let events = "SELECT count(*) FROM webhook.event";
    let events_before = database.number(events).await;
    change_rows(&database, 3).await;
    assert_eq!(database.number(events).await, events_before + EVENTS_A_ROUND, "attached tables are captured");
    let (endpoint, _) = database.endpoint(&receiver.url("/")).await;
    assert!(i64::from(endpoint) > known, "ids go on");
    database.run("SELECT webhook.janitor(now() + interval '2 days')").await;
    assert!(
        database.number("SELECT (max(to_at) > now() + interval '3 days')::int FROM webhook.leaf").await > 0
    );

    let first = database
        .text("SELECT event_id FROM webhook.queue WHERE due IS NULL ORDER BY xid, event_id LIMIT 1")
        .await;
    let _worker = Worker::start(&database).await;
    receiver.receives(1).await;
    database.becomes(&format!("SELECT count(*) FROM webhook.queue WHERE event_id = '{first}'"), "0").await;
    assert!(receiver.times_by_id().contains_key(&first), "what the old cluster owed is delivered");
}
