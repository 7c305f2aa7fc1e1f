//! pg_webhook at work: a worker started on what is owed, what it took.

use crate::cpu;
use crate::series::now_us;
use crate::stage::{DATA, PATIENCE, Stage};
use harness::{Database, Worker};

/// Where the endpoint that is measured posts to.
pub const LANE: u32 = 0;

/// Emits events with bodies of 1 KiB.
pub async fn emit(database: &Database, event_type: &str, count: u32) {
    let emit = format!("webhook_emit('{event_type}', {DATA})");
    database.run(&format!("SELECT count({emit}) FROM generate_series(1, {count}) i")).await;
}

/// What a drain took.
pub struct Drained {
    pub per_s: f64,
    /// the most memory the worker had resident
    pub peak_mib: f64,
    count: f64,
    cpu_s: [f64; 3],
    wal: f64,
}

impl Drained {
    /// Microseconds of CPU in PostgreSQL, worker and receiver, and bytes of WAL, each a delivery.
    pub fn cost(&self) -> [f64; 4] {
        let [server, worker, receiver] = self.cpu_s.map(|seconds| seconds * 1e6 / self.count);
        [server, worker, receiver, self.wal / self.count]
    }
}

/// Starts a worker on a backlog of so many deliveries and waits until nothing is owed any more.
pub async fn drain(stage: &Stage, database: &Database, count: u32) -> Drained {
    stage.settle(database).await;
    let used =
        |worker| [cpu::server_s(&stage.cluster.data()), worker, cpu::process_s(stage.inbox.process.pid())];
    let (before, wal_before) = (used(0.0), wal(database).await);
    let worker = Worker::start(database).await;
    let per_s = rate(stage, database, count, "true").await;
    let pid = worker.pid().cast_unsigned();
    let (after, wal) = (used(cpu::process_s(pid)), wal(database).await - wal_before);
    let cpu_s = [0, 1, 2].map(|part| after[part] - before[part]);
    let drained = Drained { per_s, peak_mib: cpu::peak_mib(pid), count: f64::from(count), cpu_s, wal };
    worker.kill().await;
    drained
}

/// Deliveries a second, from the first request to the last outcome recorded: waits until so many requests have come, and
/// no row of the queue is left for which `owed` holds.
pub async fn rate(stage: &Stage, database: &Database, count: u32, owed: &str) -> f64 {
    let arrived = stage.inbox.wait_for(LANE, count.into(), PATIENCE).await;
    stage
        .becomes_true(database, &format!("SELECT NOT EXISTS (SELECT FROM webhook.queue WHERE {owed})"))
        .await;
    let took_s = (now_us() - arrived.first_us) as f64 / 1e6;
    let delivered = format!("SELECT count(*) FROM webhook.attempt WHERE outcome = 'delivered' AND {owed}");
    assert_eq!(database.number(&delivered).await, i64::from(count), "every event is delivered");
    assert_eq!(stage.inbox.distinct(LANE).await, u64::from(count), "every event has come in");
    f64::from(count) / took_s
}

/// Bytes of WAL written so far.
pub async fn wal(database: &Database) -> f64 {
    database.number("SELECT pg_current_wal_lsn() - '0/0'").await as f64
}
