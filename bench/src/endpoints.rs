//! Events spread over many endpoints against as many for one: the drain, the worker's memory, the cost of an emit.

use crate::row::{Reach, Row};
use crate::stage::{DATA, Stage};
use crate::work::{Backlog, Drained, drains};
use harness::Database;
use std::time::Instant;

pub async fn run(stage: &Stage) -> Vec<Row> {
    let (count, endpoints) = (stage.count(100_000), stage.count(10_000));
    let [mut many, mut one, mut many_us, mut one_us, mut memory] = [const { Vec::new() }; 5];
    for _ in 0..stage.rounds {
        let [(of_many, many_emit_us), (of_one, one_emit_us)] = spread(stage, [endpoints, 1], count).await;
        many.push(of_many.per_s);
        many_us.push(many_emit_us);
        memory.push(of_many.peak_mib);
        one.push(of_one.per_s);
        one_us.push(one_emit_us);
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

/// Drains of events spread over so many endpoints, in turns. Returns what each drain took, and µs an emit.
pub async fn spread<const N: usize>(stage: &Stage, endpoints: [u32; N], count: u32) -> [(Drained, f64); N] {
    let mut databases = Vec::new();
    let mut emit_us = Vec::new();
    for (lane, endpoints) in (0..).zip(endpoints) {
        let database = stage.database().await;
        make(&database, endpoints, &stage.inbox.url(lane)).await;
        let began = Instant::now();
        emit(&database, endpoints, count).await;
        emit_us.push(began.elapsed().as_secs_f64() * 1e6 / f64::from(count));
        databases.push(database);
    }
    let backlogs = std::array::from_fn(|place| Backlog::whole(&databases[place], place as u32, count));
    let mut emit_us = emit_us.into_iter();
    let drained =
        drains(stage, backlogs).await.map(|drained| (drained, emit_us.next().expect("one for each")));
    for database in databases {
        stage.drop(database).await;
    }
    drained
}

/// Makes so many endpoints, each of which wants one type.
pub async fn make(database: &Database, endpoints: u32, url: &str) {
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
