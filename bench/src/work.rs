//! pg_webhook at work: a worker started on what is owed, what it took.

use crate::cpu;
use crate::series::now_us;
use crate::stage::{DATA, PATIENCE, Stage};
use crate::turns::{Drain, Taken, Turns};
use harness::{Database, Worker};

/// Where the endpoint that is measured posts to.
pub const LANE: u32 = 0;

/// Emits events with bodies of 1 KiB.
pub async fn emit(database: &Database, event_type: &str, count: u32) {
    let emit = format!("webhook_emit('{event_type}', {DATA})");
    database.run(&format!("SELECT count({emit}) FROM generate_series(1, {count}) i")).await;
}

/// A backlog of so many deliveries, to the lane given, which is the one that is measured if others are owed as well.
pub struct Backlog<'a> {
    pub database: &'a Database,
    pub lane: u32,
    pub count: u32,
    /// Holds for rows of the queue and of the log that count.
    pub counted: String,
}

impl<'a> Backlog<'a> {
    /// Everything in this database goes to the lane.
    pub fn whole(database: &'a Database, lane: u32, count: u32) -> Backlog<'a> {
        Backlog { database, lane, count, counted: "true".to_owned() }
    }

    /// Starts a worker on it and gives it its first turn.
    pub async fn enter(&self, turns: &mut Turns<'a>) -> Worker {
        let worker = Worker::start(self.database).await;
        let done = format!("SELECT NOT EXISTS (SELECT FROM webhook.queue WHERE {})", self.counted);
        let Backlog { database, lane, count, .. } = *self;
        turns.enter(Drain { pid: worker.pid().cast_unsigned(), lane, count, database, done }).await;
        worker
    }

    /// Asserts that each was delivered, and ends the worker.
    pub async fn finish(&self, stage: &Stage, worker: Worker, taken: Taken) -> Drained {
        let peak_mib = cpu::peak_mib(worker.pid().cast_unsigned());
        worker.kill().await;
        check(stage, self.database, self.lane, self.count, &self.counted).await;
        Drained {
            per_s: f64::from(self.count) / taken.seconds,
            peak_mib,
            count: f64::from(self.count),
            taken,
        }
    }
}

/// What a drain took.
pub struct Drained {
    pub per_s: f64,
    /// the most memory the worker had resident
    pub peak_mib: f64,
    count: f64,
    taken: Taken,
}

impl Drained {
    /// Microseconds of CPU in PostgreSQL, worker and receiver, and bytes of WAL, each a delivery.
    pub fn cost(&self) -> [f64; 4] {
        let [server, worker, receiver] = self.taken.cpu_s.map(|seconds| seconds * 1e6 / self.count);
        [server, worker, receiver, self.taken.wal / self.count]
    }
}

/// Drains of backlogs that take turns.
pub async fn drains<const N: usize>(stage: &Stage, backlogs: [Backlog<'_>; N]) -> [Drained; N] {
    for backlog in &backlogs {
        backlog.database.run("ANALYZE").await;
    }
    stage.settle(backlogs[0].database).await;
    let mut turns = Turns::new(stage);
    let mut workers = Vec::new();
    for backlog in &backlogs {
        workers.push(backlog.enter(&mut turns).await);
    }
    let mut drained = Vec::new();
    for ((backlog, worker), taken) in backlogs.iter().zip(workers).zip(turns.all_taken().await) {
        drained.push(backlog.finish(stage, worker, taken).await);
    }
    drained.try_into().unwrap_or_else(|_| unreachable!("one for each"))
}

/// Deliveries a second, from the first request to the last outcome recorded, of workers that run: waits until so many
/// requests have come, and nothing is owed.
pub async fn rate(stage: &Stage, database: &Database, count: u32) -> f64 {
    let arrived = stage.inbox.wait_for(LANE, count.into(), PATIENCE).await;
    stage.becomes_true(database, "SELECT NOT EXISTS (SELECT FROM webhook.queue)").await;
    let took_s = (now_us() - arrived.first_us) as f64 / 1e6;
    check(stage, database, LANE, count, "true").await;
    f64::from(count) / took_s
}

async fn check(stage: &Stage, database: &Database, lane: u32, count: u32, counted: &str) {
    let delivered = format!("SELECT count(*) FROM webhook.attempt WHERE outcome = 'delivered' AND {counted}");
    assert_eq!(database.number(&delivered).await, i64::from(count), "every event is delivered");
    assert_eq!(stage.inbox.distinct(lane).await, u64::from(count), "every event has come in");
}
