//! Events spread over many endpoints against as many for one: the drain, the worker's memory, the cost of an emit.

use crate::row::{Reach, Row};
use crate::stage::{DATA, Stage};
use crate::work::{Drained, LANE, drain};
use harness::Database;
use std::time::Instant;

pub async fn run(stage: &Stage) -> Vec<Row> {
    let (count, endpoints) = (stage.count(100_000), stage.count(10_000));
    let [mut many, mut one, mut many_us, mut one_us, mut memory] = [const { Vec::new() }; 5];
    for _ in 0..stage.rounds {
        let (drained, emit_us) = spread(stage, endpoints, count).await;
        many.push(drained.per_s);
        many_us.push(emit_us);
        memory.push(drained.peak_mib);
        let (drained, emit_us) = spread(stage, 1, count).await;
        one.push(drained.per_s);
        one_us.push(emit_us);
    }
    let row = |measure, reference, unit, ours, theirs, reach| Row {
        bench: "endpoints",
        measure,
        reference,
        unit,
        ours,
        theirs,
        reach,
    };
    vec![
        row(
            "drain of 10,000 endpoints, events spread over all",
            "one endpoint",
            "/s",
            many,
            one,
            Reach::AtLeast(0.7),
        ),
        row("memory of the worker meanwhile, at most", "", "MiB", memory, Vec::new(), Reach::AtMost(100.0)),
        row("webhook_emit() with 10,000 endpoints", "one endpoint", "µs", many_us, one_us, Reach::None),
    ]
}

/// Drains events spread over so many endpoints. Returns what the drain took, and µs an emit.
pub async fn spread(stage: &Stage, endpoints: u32, count: u32) -> (Drained, f64) {
    let database = stage.database().await;
    make(stage, &database, endpoints).await;
    let began = Instant::now();
    emit(&database, endpoints, count).await;
    let emit_us = began.elapsed().as_secs_f64() * 1e6 / f64::from(count);
    let drained = drain(stage, &database, count).await;
    stage.drop(database).await;
    (drained, emit_us)
}

/// Makes so many endpoints, each of which wants one type.
pub async fn make(stage: &Stage, database: &Database, endpoints: u32) {
    let url = stage.inbox.url(LANE);
    let insert = format!(
        "INSERT INTO webhook.endpoint (url, event_types, max_in_flight)
         SELECT '{url}', ARRAY['order.e' || i], {} FROM generate_series(0, {endpoints} - 1) i",
        crate::bare::IN_FLIGHT
    );
    database.run(&insert).await;
}

/// Emits events, each of the next endpoint's type.
pub async fn emit(database: &Database, endpoints: u32, count: u32) {
    let emit = format!("webhook_emit('order.e' || i % {endpoints}, {DATA})");
    database.run(&format!("SELECT count({emit}) FROM generate_series(1, {count}) i")).await;
}
