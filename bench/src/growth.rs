//! How costs grow: with what is queued, with endpoints, with the body, with workers, with history. One round each; curves
//! as SVG pictures beside the results.

use crate::plot::Curve;
use crate::row::Row;
use crate::stage::Stage;
use crate::work::{Backlog, LANE, drains, rate};
use crate::{backlog, endpoints, log};
use harness::Worker;
use std::time::Instant;

pub async fn run(stage: &Stage) -> (Vec<Row>, Vec<Curve>) {
    let (mut rows, mut curves) = (Vec::new(), Vec::new());
    let curve = |name, title, x_label, y_label, points: Vec<(f64, f64)>| {
        eprintln!("{title}, {y_label} by {x_label}: {points:.1?}");
        Curve { name, title, x_label, y_label, points, linear: false }
    };

    let (mut drained, mut emitted) = (Vec::new(), Vec::new());
    for chunks in [1, 4, 10, 40].map(|chunks| stage.count(chunks)) {
        let filled = backlog::fill(stage, chunks).await;
        let queued = f64::from(chunks * backlog::CHUNK);
        drained.push((queued, filled.per_s));
        emitted.push((queued, filled.emit_us));
    }
    rows.extend(backlog::rows(
        [last(&drained), first(&drained), last(&emitted), first(&emitted)].map(|value| vec![value]),
    ));
    curves.push(curve(
        "backlog-drain",
        "Drain, worker started on an empty queue",
        "deliveries queued",
        "/s",
        drained,
    ));
    curves.push(curve(
        "backlog-emit",
        "webhook_emit() with that many queued",
        "deliveries queued",
        "µs",
        emitted,
    ));

    let [mut drained, mut emitted, mut memory] = [const { Vec::new() }; 3];
    for count in [1, 10, 100, 1000, 10_000] {
        let [(spread, emit_us)] = endpoints::spread(stage, [count], stage.count(100_000)).await;
        drained.push((f64::from(count), spread.per_s));
        emitted.push((f64::from(count), emit_us));
        memory.push((f64::from(count), spread.peak_mib));
    }
    curves.push(curve(
        "endpoints-drain",
        "Drain, events spread over all endpoints",
        "endpoints",
        "/s",
        drained,
    ));
    curves.push(curve("endpoints-emit", "webhook_emit(), one endpoint matches", "endpoints", "µs", emitted));
    curves.push(curve("endpoints-memory", "Most memory of the worker", "endpoints", "MiB", memory));

    let (mut drained, mut emitted) = (Vec::new(), Vec::new());
    for bytes in [100, 1024, 4096, 16_384, 65_536, 262_144] {
        let (per_s, emit_us) = bodies(stage, bytes).await;
        drained.push((f64::from(bytes), per_s * f64::from(bytes) / 1e6));
        emitted.push((f64::from(bytes), emit_us));
    }
    curves.push(curve("body-drain", "Drain by size of the data", "bytes", "MB/s", drained));
    curves.push(curve("body-emit", "webhook_emit() by size of the data", "bytes", "µs", emitted));

    let mut fleet = Vec::new();
    for workers in 1..=4 {
        fleet.push((f64::from(workers), workers_drain(stage, workers).await));
    }
    curves.push(curve("workers-drain", "Drain of 100 endpoints by a fleet", "workers", "/s", fleet));

    let mut history = Vec::new();
    for attempts in [100_000, 1_000_000, 10_000_000].map(|attempts| stage.count(attempts)) {
        history.push((f64::from(attempts), log::read(stage, attempts).await));
    }
    rows.push(log::row(vec![last(&history)], vec![first(&history)]));
    curves.push(curve(
        "history-log",
        "Last 50 requests of one endpoint",
        "attempts in the log",
        "ms",
        history,
    ));
    (rows, curves)
}

fn first(points: &[(f64, f64)]) -> f64 {
    points.first().expect("a point").1
}

fn last(points: &[(f64, f64)]) -> f64 {
    points.last().expect("a point").1
}

/// Drain and emit of events whose data has so many bytes, which don't compress.
async fn bodies(stage: &Stage, bytes: u32) -> (f64, f64) {
    let database = stage.database().await;
    stage.endpoint(&database, &stage.inbox.url(LANE), "{*}").await;
    let count = stage.count(50_000.min(200_000_000 / bytes));
    let note = format!(
        "(SELECT left(string_agg(md5(n::text), ''), {bytes}) FROM generate_series(0, {bytes} / 32) n)"
    );
    let began = Instant::now();
    let emit = format!(
        "SELECT count(webhook_emit('order.paid', jsonb_build_object('id', i, 'note', note))) FROM {note} x (note), generate_series(1, {count}) i"
    );
    database.run(&emit).await;
    let emit_us = began.elapsed().as_secs_f64() * 1e6 / f64::from(count);
    let [drained] = drains(stage, [Backlog::whole(&database, LANE, count)]).await;
    stage.drop(database).await;
    (drained.per_s, emit_us)
}

/// Drain of 100 endpoints by so many workers, ready before there is anything to do.
async fn workers_drain(stage: &Stage, workers: u32) -> f64 {
    let database = stage.database().await;
    endpoints::make(&database, 100, &stage.inbox.url(LANE)).await;
    let mut fleet = Vec::new();
    for _ in 0..workers {
        fleet.push(Worker::start(&database).await);
    }
    stage.settle(&database).await;
    let count = stage.count(100_000);
    endpoints::emit(&database, 100, count).await;
    let per_s = rate(stage, &database, count).await;
    for worker in fleet {
        worker.kill().await;
    }
    stage.drop(database).await;
    per_s
}
