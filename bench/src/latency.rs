//! From commit to arrival at a trickle, against graphile-worker. Both workers have been idle, neither has a backlog.

use crate::peer::Peer;
use crate::row::{Reach, Row};
use crate::series::quantile;
use crate::stage::{DATA, Stage};
use crate::trickle;
use harness::Worker;

const LANE: u32 = 0;

pub async fn run(stage: &Stage) -> Vec<Row> {
    let count = stage.count(1000);
    let [mut ours, mut theirs] = [const { Vec::new() }; 2];
    for _ in 0..stage.rounds {
        ours.push(our_latencies(stage, count).await);
        theirs.push(graphile_latencies(stage, count).await);
    }
    let row = |measure, share| {
        let of = |rounds: &[Vec<f64>]| rounds.iter().map(|round| quantile(round, share)).collect();
        let (ours, theirs) = (of(&ours), of(&theirs));
        Row {
            bench: "latency",
            measure,
            reference: "graphile-worker",
            unit: "ms",
            ours,
            theirs,
            reach: Reach::AtMost(1.0),
        }
    };
    vec![row("commit to request received, a trickle, p50", 0.5), row("the same, p99", 0.99)]
}

async fn our_latencies(stage: &Stage, count: u32) -> Vec<f64> {
    let database = stage.database().await;
    stage.endpoint(&database, &stage.inbox.url(LANE), "{*}").await;
    stage.settle(&database).await;
    let worker = Worker::start(&database).await;
    let latencies =
        trickle::latencies_ms(&database, &stage.inbox, LANE, count, &trickle::emit("order.paid")).await;
    worker.stop().await;
    stage.drop(database).await;
    latencies
}

async fn graphile_latencies(stage: &Stage, count: u32) -> Vec<f64> {
    let database = Peer::GraphileWorker.database(stage).await;
    stage.settle(&database).await;
    let worker = Peer::GraphileWorker.work(&database, &stage.inbox.url(LANE)).await;
    let statement = format!(
        "SELECT (graphile_worker.add_job('post', json_build_object('id', x.id, 'type', 'order.paid', 'timestamp', now(), 'data', {DATA}))).payload->>'id'
         FROM (SELECT $1::int AS i, gen_random_uuid() AS id) x"
    );
    let latencies = trickle::latencies_ms(&database, &stage.inbox, LANE, count, &statement).await;
    worker.kill().await;
    stage.drop(database).await;
    latencies
}
