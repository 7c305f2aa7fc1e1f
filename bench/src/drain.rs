//! Drain of a backlog: from the first request to the last outcome recorded. Against the same bodies posted in a bare
//! loop, and against the peers. They take turns.

use crate::peer::Peer;
use crate::process::Process;
use crate::row::{Reach, Row};
use crate::stage::Stage;
use crate::turns::{Drain, Turns};
use crate::work::{Backlog, Drained, LANE, emit};
use harness::Database;

const BARE: u32 = 1;
const GRAPHILE: u32 = 2;
const BOSS: u32 = 3;

pub async fn run(stage: &Stage) -> Vec<Row> {
    let [mut ours, mut bare, mut graphile, mut boss] = [const { Vec::new() }; 4];
    let mut costs = [const { Vec::new() }; 4];
    for _ in 0..stage.rounds {
        let round = round(stage).await;
        ours.push(round.ours.per_s);
        for (samples, cost) in costs.iter_mut().zip(round.ours.cost()) {
            samples.push(cost);
        }
        bare.push(round.bare_per_s);
        graphile.push(round.graphile_per_s);
        boss.push(round.boss_per_s);
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

struct Round {
    ours: Drained,
    bare_per_s: f64,
    graphile_per_s: f64,
    boss_per_s: f64,
}

async fn round(stage: &Stage) -> Round {
    // They take about as long.
    let (count, graphile_count, boss_count) =
        (stage.count(100_000), stage.count(20_000), stage.count(40_000));
    let graphile = backlog(stage, Peer::GraphileWorker, graphile_count).await;
    let boss = backlog(stage, Peer::PgBoss, boss_count).await;
    let ours = stage.database().await;
    stage.endpoint(&ours, &stage.inbox.url(LANE), "{*}").await;
    emit(&ours, "order.paid", count).await;
    stage.settle(&ours).await;

    let mut turns = Turns::new(stage);
    let graphile_worker =
        enter(stage, &mut turns, Peer::GraphileWorker, &graphile, GRAPHILE, graphile_count).await;
    let boss_worker = enter(stage, &mut turns, Peer::PgBoss, &boss, BOSS, boss_count).await;
    let bare = Process::own(&["bare", &conninfo(&ours), &stage.inbox.url(BARE)]);
    turns
        .enter(Drain { pid: bare.pid(), lane: BARE, count, database: &ours, done: "SELECT true".to_owned() })
        .await;
    let whole = Backlog::whole(&ours, LANE, count);
    let worker = whole.enter(&mut turns).await;

    let taken = turns.all_taken().await;
    let per_s = |place: usize, count: u32| f64::from(count) / taken[place].seconds;
    let round = Round {
        ours: whole.finish(stage, worker, taken[3]).await,
        bare_per_s: per_s(2, count),
        graphile_per_s: per_s(0, graphile_count),
        boss_per_s: per_s(1, boss_count),
    };
    bare.finished().await;
    assert_eq!(stage.inbox.distinct(BARE).await, u64::from(count), "every body has come in");
    graphile_worker.kill().await;
    boss_worker.kill().await;
    check(stage, Peer::GraphileWorker, &graphile, GRAPHILE, graphile_count).await;
    check(stage, Peer::PgBoss, &boss, BOSS, boss_count).await;
    for database in [graphile, boss, ours] {
        stage.drop(database).await;
    }
    round
}

fn conninfo(database: &Database) -> String {
    let parts: Vec<String> = database
        .environment()
        .iter()
        .map(|(name, value)| format!("{}={value}", name[2..].to_lowercase().replace("database", "dbname")))
        .collect();
    parts.join(" ")
}

async fn backlog(stage: &Stage, peer: Peer, count: u32) -> Database {
    let database = peer.database(stage).await;
    peer.fill(&database, count).await;
    database.run("ANALYZE").await;
    database
}

async fn enter<'a>(
    stage: &Stage,
    turns: &mut Turns<'a>,
    peer: Peer,
    database: &'a Database,
    lane: u32,
    count: u32,
) -> Process {
    let worker = peer.work(database, &stage.inbox.url(lane)).await;
    turns.enter(Drain { pid: worker.pid(), lane, count, database, done: peer.done().to_owned() }).await;
    worker
}

async fn check(stage: &Stage, peer: Peer, database: &Database, lane: u32, count: u32) {
    assert_eq!(database.number(peer.outcomes()).await, i64::from(count), "{peer:?} keeps every outcome");
    assert_eq!(stage.inbox.distinct(lane).await, u64::from(count), "{peer:?}: every job has come in");
}
