//! The delivery log: the last 50 requests to one endpoint, out of a long history.

use crate::row::{Reach, Row};
use crate::series::quantile;
use crate::stage::Stage;
use harness::Database;
use std::time::Instant;

const LAST_50: &str =
    "SELECT * FROM webhook.delivery_log WHERE endpoint_id = 42 ORDER BY event_id DESC, number DESC LIMIT 50";

pub async fn run(stage: &Stage) -> Vec<Row> {
    let [mut long, mut short] = [const { Vec::new() }; 2];
    for _ in 0..stage.rounds {
        long.push(read(stage, stage.count(10_000_000)).await);
        short.push(read(stage, stage.count(100_000)).await);
    }
    vec![row(long, short)]
}

pub fn row(long: Vec<f64>, short: Vec<f64>) -> Row {
    Row {
        bench: "log",
        measure: "delivery log, last 50 of one endpoint, 10 million attempts in 8 leaves",
        reference: "100 thousand",
        unit: "ms",
        ours: long,
        theirs: short,
        reach: Reach::AtMost(2.0),
    }
}

/// Median milliseconds of a look at the log with so many attempts in it.
pub async fn read(stage: &Stage, attempts: u32) -> f64 {
    let database = stage.database().await;
    for statement in include_str!("../sql/history.sql").replace("$ROWS", &attempts.to_string()).split(";\n") {
        database.run(statement).await;
    }
    assert_eq!(
        database.number("SELECT count(*) FROM webhook.attempt").await,
        i64::from(attempts),
        "all are there"
    );
    stage.settle(&database).await;
    by_index(&database).await;
    let mut took_ms = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        let rows = database.rows(LAST_50).await.len();
        took_ms.push(began.elapsed().as_secs_f64() * 1e3);
        assert_eq!(rows, 50, "the last 50");
    }
    stage.drop(database).await;
    quantile(&took_ms, 0.5)
}

/// No leaf that holds anything is read through.
async fn by_index(database: &Database) {
    let plan = database.rows(&format!("EXPLAIN {LAST_50}")).await.join("\n");
    let scanned = |line: &&str| line.contains("Seq Scan on attempt") && !line.contains("attempt_default");
    assert_eq!(plan.lines().find(scanned), None, "{plan}");
}
