//! A drain while somebody keeps a snapshot open, so that no dead row of the queue can be removed. (Of another
//! database's they can.)

use crate::row::{Reach, Row};
use crate::stage::Stage;
use crate::work::{Backlog, drains, emit};
use harness::Database;

const HELD: u32 = 0;
const FREE: u32 = 1;

pub async fn run(stage: &Stage) -> Vec<Row> {
    let [mut held, mut free] = [const { Vec::new() }; 2];
    for _ in 0..stage.rounds {
        let [held_rate, free_rate] = round(stage).await;
        held.push(held_rate);
        free.push(free_rate);
    }
    vec![Row {
        bench: "snapshot",
        measure: "drain while a REPEATABLE READ snapshot is held open",
        reference: "without it",
        unit: "/s",
        ours: held,
        theirs: free,
        reach: Reach::AtLeast(0.8),
    }]
}

async fn round(stage: &Stage) -> [f64; 2] {
    let count = stage.count(100_000);
    let (held, free) = (backlog(stage, HELD, count).await, backlog(stage, FREE, count).await);
    let holder = held.session().await;
    let hold = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM webhook.endpoint";
    Database::run_in(&holder, hold).await;
    let both = [Backlog::whole(&held, HELD, count), Backlog::whole(&free, FREE, count)];
    let rates = drains(stage, both).await.map(|drained| drained.per_s);
    drop(holder);
    stage.drop(held).await;
    stage.drop(free).await;
    rates
}

async fn backlog(stage: &Stage, lane: u32, count: u32) -> Database {
    let database = stage.database().await;
    stage.endpoint(&database, &stage.inbox.url(lane), "{*}").await;
    emit(&database, "order.paid", count).await;
    database
}
