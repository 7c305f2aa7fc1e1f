//! What others' endpoints cost a fast one: its drain while 50 hang, its trickle while 5,000 deliveries wait for a slow one.

use crate::row::{Reach, Row};
use crate::series::quantile;
use crate::stage::Stage;
use crate::trickle::{self, Side};
use crate::work::{Backlog, LANE, drains, emit};
use harness::{Database, Worker};

const OTHERS: u32 = 1;
const ALONE: u32 = 2;
/// Longer than any bench: to the worker it never answers.
const NEVER_MS: u32 = 3_600_000;

pub async fn run(stage: &Stage) -> Vec<Row> {
    let [mut drain_among, mut drain_alone, mut trickle_among, mut trickle_alone] = [const { Vec::new() }; 4];
    for _ in 0..stage.rounds {
        let [among, alone] = drain(stage, 50).await;
        drain_among.push(among);
        drain_alone.push(alone);
        trickle_among.push(trickle(stage, stage.count(5000)).await);
        trickle_alone.push(trickle(stage, 0).await);
    }
    let row = |measure, unit, ours, theirs, reach| Row {
        bench: "isolation",
        measure,
        reference: "the fast endpoint alone",
        unit,
        ours,
        theirs,
        reach,
    };
    vec![
        row(
            "drain of a fast endpoint while 50 endpoints hang",
            "/s",
            drain_among,
            drain_alone,
            Reach::AtLeast(0.9),
        ),
        row(
            "trickle to a fast endpoint while 5,000 wait for one that takes 2 s, p50",
            "ms",
            trickle_among,
            trickle_alone,
            Reach::AtMost(1.2),
        ),
    ]
}

/// A database whose fast endpoint wants fast.*; returns its id as well.
async fn database(stage: &Stage, lane: u32) -> (Database, i64) {
    let database = stage.database().await;
    let fast = stage.endpoint(&database, &stage.inbox.url(lane), "{fast.*}").await;
    (database, fast)
}

/// Drains of a fast endpoint among so many that hang, and of one that is alone.
async fn drain(stage: &Stage, hanging: u32) -> [f64; 2] {
    let (among, fast) = database(stage, LANE).await;
    let url = stage.inbox.url_with(OTHERS, NEVER_MS, 0);
    let hang = format!(
        "INSERT INTO webhook.endpoint (url, event_types) SELECT '{url}', '{{slow.*}}' FROM generate_series(1, {hanging})"
    );
    among.run(&hang).await;
    // Each of those that hang is owed more than it may have in flight.
    emit(&among, "slow.event", 100).await;
    let (alone, _) = database(stage, ALONE).await;
    let count = stage.count(100_000);
    emit(&among, "fast.event", count).await;
    emit(&alone, "fast.event", count).await;
    let counted = format!("endpoint_id = {fast}");
    let both =
        [Backlog { database: &among, lane: LANE, count, counted }, Backlog::whole(&alone, ALONE, count)];
    let rates = drains(stage, both).await.map(|drained| drained.per_s);
    assert!(stage.inbox.arrived(OTHERS).await.received > 0, "the others were tried");
    stage.drop(among).await;
    stage.drop(alone).await;
    rates
}

async fn trickle(stage: &Stage, waiting: u32) -> f64 {
    let (database, _) = database(stage, LANE).await;
    let url = stage.inbox.url_with(OTHERS, 2000, 0);
    database
        .run(&format!("INSERT INTO webhook.endpoint (url, event_types) VALUES ('{url}', '{{slow.*}}')"))
        .await;
    if waiting > 0 {
        emit(&database, "slow.event", waiting).await;
    }
    stage.settle(&database).await;
    let worker = Worker::start(&database).await;
    if waiting > 0 {
        stage.inbox.wait_for(OTHERS, 1, crate::stage::PATIENCE).await;
    }
    let count = stage.count(500);
    let fast = Side::emits(&database, LANE, "fast.event");
    let [latencies] = trickle::latencies_ms(&stage.inbox, [fast], count).await;
    worker.kill().await;
    stage.drop(database).await;
    quantile(&latencies, 0.5)
}
