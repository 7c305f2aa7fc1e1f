//! A drain while somebody keeps a snapshot open, so that no dead row of the queue can be removed.

use crate::row::{Reach, Row};
use crate::stage::Stage;
use crate::work::{LANE, drain, emit};
use harness::Database;

pub async fn run(stage: &Stage) -> Vec<Row> {
    let [mut held, mut free] = [const { Vec::new() }; 2];
    for _ in 0..stage.rounds {
        held.push(rate(stage, true).await);
        free.push(rate(stage, false).await);
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

async fn rate(stage: &Stage, held: bool) -> f64 {
    let database = stage.database().await;
    stage.endpoint(&database, &stage.inbox.url(LANE), "{*}").await;
    let count = stage.count(100_000);
    emit(&database, "order.paid", count).await;
    let holder = database.session().await;
    if held {
        Database::run_in(
            &holder,
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM webhook.endpoint",
        )
        .await;
    }
    let per_s = drain(stage, &database, count).await.per_s;
    drop(holder);
    stage.drop(database).await;
    per_s
}
