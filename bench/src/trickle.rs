//! One transaction after another, at a pace far from any limit, and how long each took from its commit to its arrival.

use crate::inbox::Inbox;
use crate::series::now_us;
use crate::stage::{DATA, PATIENCE};
use harness::Database;
use std::time::Duration;

/// Where transactions are made, and where their requests come in.
pub struct Side<'a> {
    pub database: &'a Database,
    pub lane: u32,
    /// Takes the number of the event and returns the id its request carries.
    pub statement: String,
}

impl<'a> Side<'a> {
    /// Events of this type.
    pub fn emits(database: &'a Database, lane: u32, event_type: &str) -> Side<'a> {
        let statement =
            format!("SELECT webhook_emit('{event_type}', {DATA})::text FROM (SELECT $1::int AS i) x");
        Side { database, lane, statement }
    }
}

/// Milliseconds from COMMIT being sent to arrival, of so many events of each side. Sides take turns event by event:
/// when the machine stands still, it does so for each of them.
pub async fn latencies_ms<const N: usize>(inbox: &Inbox, sides: [Side<'_>; N], count: u32) -> [Vec<f64>; N] {
    let mut sessions = Vec::new();
    for side in &sides {
        let client = side.database.session().await;
        let statement = client.prepare(&side.statement).await.expect("a statement");
        let before = inbox.arrived(side.lane).await.received;
        sessions.push((client, statement, before, Vec::new()));
    }
    for i in 0..count {
        for (turn, (client, statement, _, committed)) in sessions.iter_mut().enumerate() {
            client.batch_execute("BEGIN").await.expect("a transaction");
            let row = client.query_one(&*statement, &[&i.cast_signed()]).await.expect("emitted");
            let at = now_us();
            client.batch_execute("COMMIT").await.expect("committed");
            committed.push((row.get::<_, String>(0), at));
            // Between 5 and 15 ms, so that no sweep or poll falls into step.
            let step = u64::from(i) * N as u64 + turn as u64;
            tokio::time::sleep(Duration::from_micros(5000 + step * 7919 % 10_000)).await;
        }
    }
    let mut latencies = [const { Vec::new() }; N];
    for ((side, (_, _, before, committed)), latencies) in sides.iter().zip(&sessions).zip(&mut latencies) {
        inbox.wait_for(side.lane, before + u64::from(count), PATIENCE).await;
        let arrivals = inbox.arrivals(side.lane).await;
        latencies.extend(committed.iter().map(|(id, at)| (arrivals[id] - at) as f64 / 1000.0));
    }
    latencies
}
