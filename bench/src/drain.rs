//! Drain of a backlog: from the first request to the last outcome recorded. Against the same bodies posted in a bare
//! loop, and against the peers.

use crate::peer::Peer;
use crate::process::{Process, patiently};
use crate::row::{Reach, Row};
use crate::series::now_us;
use crate::stage::{PATIENCE, Stage};
use crate::work::{LANE, drain, emit};
use harness::Database;

pub async fn run(stage: &Stage) -> Vec<Row> {
    let (count, peer_count) = (stage.count(100_000), stage.count(40_000));
    let [mut ours, mut bare, mut graphile, mut boss] = [const { Vec::new() }; 4];
    let mut costs = [const { Vec::new() }; 4];
    for _ in 0..stage.rounds {
        let database = stage.database().await;
        stage.endpoint(&database, &stage.inbox.url(LANE), "{*}").await;
        emit(&database, "order.paid", count).await;
        bare.push(bare_rate(stage, &database, count).await);
        let drained = drain(stage, &database, count).await;
        ours.push(drained.per_s);
        for (samples, cost) in costs.iter_mut().zip(drained.cost()) {
            samples.push(cost);
        }
        stage.drop(database).await;
        graphile.push(peer_rate(stage, Peer::GraphileWorker, peer_count).await);
        boss.push(peer_rate(stage, Peer::PgBoss, peer_count).await);
    }
    let row = |measure, reference, theirs, reach| Row {
        bench: "drain",
        measure,
        reference,
        unit: "/s",
        ours: ours.clone(),
        theirs,
        reach,
    };
    let mut rows = vec![
        row(
            "drain of a backlog, an outcome row each",
            "the same bodies posted in a bare loop",
            bare,
            Reach::AtLeast(0.5),
        ),
        row("the same", "graphile-worker, an outcome row each", graphile, Reach::AtLeast(4.0)),
        row("the same", "pg-boss, the last outcome only", boss, Reach::AtLeast(1.8)),
    ];
    let measures = [
        "CPU of PostgreSQL, a delivery",
        "CPU of the worker, a delivery",
        "CPU of the receiver, a request",
        "WAL, a delivery",
    ];
    for ((measure, unit), ours) in measures.into_iter().zip(["µs", "µs", "µs", "bytes"]).zip(costs) {
        rows.push(Row {
            bench: "drain",
            measure,
            reference: "",
            unit,
            ours,
            theirs: Vec::new(),
            reach: Reach::None,
        });
    }
    rows
}

async fn bare_rate(stage: &Stage, database: &Database, count: u32) -> f64 {
    stage.settle(database).await;
    let conninfo: Vec<String> = database
        .environment()
        .iter()
        .map(|(name, value)| format!("{}={value}", name[2..].to_lowercase().replace("database", "dbname")))
        .collect();
    let mut bare = Process::own(&["bare", &conninfo.join(" "), &stage.inbox.url(LANE)]);
    let line = bare.line().await;
    let (began, ended) = line.split_once(' ').expect("two times");
    let [began, ended] = [began, ended].map(|at| at.parse::<i64>().expect("a time"));
    bare.finished().await;
    assert_eq!(stage.inbox.arrivals(LANE).await.len(), count as usize, "every body has come in");
    f64::from(count) / ((ended - began) as f64 / 1e6)
}

async fn peer_rate(stage: &Stage, peer: Peer, count: u32) -> f64 {
    let database = peer.database(stage).await;
    peer.fill(&database, count).await;
    stage.settle(&database).await;
    let worker = peer.work(&database, &stage.inbox.url(LANE)).await;
    let arrived = stage.inbox.wait_for(LANE, count.into(), PATIENCE).await;
    patiently("the peer has done all", PATIENCE, async || {
        (database.text(peer.done()).await == "t").then_some(())
    })
    .await;
    let took_s = (now_us() - arrived.first_us) as f64 / 1e6;
    worker.kill().await;
    assert_eq!(database.number(peer.outcomes()).await, i64::from(count), "{peer:?} keeps every outcome");
    assert_eq!(stage.inbox.arrivals(LANE).await.len(), count as usize, "every job has come in");
    stage.drop(database).await;
    f64::from(count) / took_s
}
