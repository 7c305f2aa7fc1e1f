//! A worker that was started on an empty queue, and then very much is enqueued: the drain, and what an emit costs then.

use crate::row::{Reach, Row};
use crate::stage::Stage;
use crate::work::{LANE, emit, rate};
use harness::Worker;
use std::time::Instant;

/// Events that are emitted by one statement and timed.
pub const CHUNK: u32 = 50_000;

pub async fn run(stage: &Stage) -> Vec<Row> {
    let [mut big, mut small, mut big_us, mut small_us] = [const { Vec::new() }; 4];
    for _ in 0..stage.rounds {
        let filled = fill(stage, stage.count(40)).await;
        big.push(filled.per_s);
        big_us.push(filled.emit_us);
        let filled = fill(stage, 1).await;
        small.push(filled.per_s);
        small_us.push(filled.emit_us);
    }
    rows([big, small, big_us, small_us])
}

/// Of the drains of much and of little, and of an emit then.
pub fn rows([big, small, big_us, small_us]: [Vec<f64>; 4]) -> Vec<Row> {
    let row = |measure, unit, ours, theirs, reach| Row {
        bench: "backlog",
        measure,
        reference: "50 thousand",
        unit,
        ours,
        theirs,
        reach,
    };
    vec![
        row(
            "worker started on an empty queue, then 2 million enqueued: drain",
            "/s",
            big,
            small,
            Reach::AtLeast(0.9),
        ),
        row("the same: an emit, when as many are owed", "µs", big_us, small_us, Reach::AtMost(1.1)),
    ]
}

pub struct Filled {
    pub per_s: f64,
    /// microseconds of each of the last events
    pub emit_us: f64,
}

/// Enqueues so many chunks in one transaction while a worker waits, then lets it drain them.
pub async fn fill(stage: &Stage, chunks: u32) -> Filled {
    let database = stage.database().await;
    stage.endpoint(&database, &stage.inbox.url(LANE), "{*}").await;
    stage.settle(&database).await;
    let worker = Worker::start(&database).await;
    database.run("BEGIN").await;
    let mut emit_us = 0.0;
    for _ in 0..chunks {
        let began = Instant::now();
        emit(&database, "order.paid", CHUNK).await;
        emit_us = began.elapsed().as_secs_f64() * 1e6 / f64::from(CHUNK);
    }
    database.run("COMMIT").await;
    let per_s = rate(stage, &database, chunks * CHUNK).await;
    worker.kill().await;
    stage.drop(database).await;
    Filled { per_s, emit_us }
}
