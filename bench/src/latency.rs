//! From commit to arrival at a trickle, against graphile-worker. Both workers are up and idle, neither has a backlog;
//! transactions go to one and to the other in turn.

use crate::peer::Peer;
use crate::row::{Reach, Row};
use crate::series::quantile;
use crate::stage::{DATA, Stage};
use crate::trickle::{self, Side};
use harness::Worker;

const OURS: u32 = 0;
const THEIRS: u32 = 1;

pub async fn run(stage: &Stage) -> Vec<Row> {
    let [mut ours, mut theirs] = [const { Vec::new() }; 2];
    for _ in 0..stage.rounds {
        let [our_round, their_round] = round(stage).await;
        ours.push(our_round);
        theirs.push(their_round);
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

async fn round(stage: &Stage) -> [Vec<f64>; 2] {
    let ours = stage.database().await;
    stage.endpoint(&ours, &stage.inbox.url(OURS), "{*}").await;
    let theirs = Peer::GraphileWorker.database(stage).await;
    theirs.run("ANALYZE").await;
    stage.settle(&ours).await;
    let worker = Worker::start(&ours).await;
    let peer = Peer::GraphileWorker.work(&theirs, &stage.inbox.url(THEIRS)).await;
    let job = format!(
        "SELECT (graphile_worker.add_job('post', json_build_object('id', x.id, 'type', 'order.paid', 'timestamp', now(), 'data', {DATA}))).payload->>'id'
         FROM (SELECT $1::int AS i, gen_random_uuid() AS id) x"
    );
    let sides =
        [Side::emits(&ours, OURS, "order.paid"), Side { database: &theirs, lane: THEIRS, statement: job }];
    let latencies = trickle::latencies_ms(&stage.inbox, sides, stage.count(1000)).await;
    worker.stop().await;
    peer.kill().await;
    stage.drop(ours).await;
    stage.drop(theirs).await;
    latencies
}
