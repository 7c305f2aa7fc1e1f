//! One transaction after another, at a pace far from any limit, and how long each took from its commit to its arrival.

use crate::inbox::Inbox;
use crate::series::now_us;
use crate::stage::PATIENCE;
use harness::Database;
use std::time::Duration;

/// Milliseconds from COMMIT being sent to arrival, of so many events. `statement` takes the number of the event and returns the id its
/// request carries.
pub async fn latencies_ms(
    database: &Database,
    inbox: &Inbox,
    lane: u32,
    count: u32,
    statement: &str,
) -> Vec<f64> {
    let client = database.session().await;
    let statement = client.prepare(statement).await.expect("a statement");
    let before = inbox.arrived(lane).await.received;
    let mut committed = Vec::new();
    for i in 0..count {
        client.batch_execute("BEGIN").await.expect("a transaction");
        let row = client.query_one(&statement, &[&i.cast_signed()]).await.expect("emitted");
        let at = now_us();
        client.batch_execute("COMMIT").await.expect("committed");
        committed.push((row.get::<_, String>(0), at));
        // Between 5 and 15 ms, so that no sweep or poll falls into step.
        tokio::time::sleep(Duration::from_micros(5000 + u64::from(i * 7919 % 10_000))).await;
    }
    inbox.wait_for(lane, before + u64::from(count), PATIENCE).await;
    let arrivals = inbox.arrivals(lane).await;
    committed.iter().map(|(id, at)| (arrivals[id] - at) as f64 / 1000.0).collect()
}

/// An event of the type given, as a statement for [`latencies_ms`].
pub fn emit(event_type: &str) -> String {
    format!("SELECT webhook_emit('{event_type}', {})::text FROM (SELECT $1::int AS i) x", crate::stage::DATA)
}
