//! Emit: what one statement that inserts many rows pays for each, signed, against a hand-written row trigger.

use crate::application::Application;
use crate::row::{Reach, Row};
use crate::stage::{Stage, wal};

use std::time::Instant;

pub async fn run(stage: &Stage) -> Vec<Row> {
    let rows = stage.count(100_000);
    let [mut ours, mut theirs, mut our_wal, mut their_wal] = [const { Vec::new() }; 4];
    for _ in 0..stage.rounds {
        let plain = insert(stage, Application::Plain, rows).await;
        let attached = insert(stage, Application::Attached, rows).await;
        let outbox = insert(stage, Application::Outbox, rows).await;
        ours.push(attached.us - plain.us);
        theirs.push(outbox.us - plain.us);
        our_wal.push(attached.wal - plain.wal);
        their_wal.push(outbox.wal - plain.wal);
    }
    let reference = "hand-written row trigger into an outbox table, unsigned";
    let row = |measure, unit, ours, theirs, reach| Row {
        bench: "emit",
        measure,
        reference,
        unit,
        ours,
        theirs,
        reach,
    };
    vec![
        row(
            "emit: added to a row, 100,000 in one statement, signed, one endpoint",
            "µs",
            ours,
            theirs,
            Reach::AtMost(1.0),
        ),
        row("WAL added to a row", "bytes", our_wal, their_wal, Reach::None),
    ]
}

/// What a row took.
struct Taken {
    us: f64,
    wal: f64,
}

async fn insert(stage: &Stage, application: Application, rows: u32) -> Taken {
    let database = application.database(stage).await;
    // Relations and caches of the session as in one that has been at work.
    let statement = |rows| {
        format!(
            "INSERT INTO orders (customer, status, note) SELECT 'customer ' || i % 1000, 'paid', repeat('x', 850) FROM generate_series(1, {rows}) i"
        )
    };
    database.run(&statement(100)).await;
    stage.settle(&database).await;
    let (began, before) = (Instant::now(), wal(&database).await);
    database.run(&statement(rows)).await;
    let us = began.elapsed().as_secs_f64() * 1e6 / f64::from(rows);
    let wal = (wal(&database).await - before) / f64::from(rows);
    application.check(&database).await;
    stage.drop(database).await;
    Taken { us, wal }
}
