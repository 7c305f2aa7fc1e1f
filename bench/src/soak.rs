//! Half an hour at 60 % of the drain rate, to ten endpoints that fail at random: memory, queue and indexes stay flat,
//! nothing is lost.

use crate::cpu::resident_mib;
use crate::endpoints::{emit, make, spread};
use crate::plot::Curve;
use crate::process::patiently;
use crate::stage::{PATIENCE, Stage};
use crate::work::LANE;
use harness::{Database, Worker};
use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

const ENDPOINTS: u32 = 10;
const FAIL_PERCENT: u32 = 5;
/// Between two emits, each of a tenth of a second's events.
const BEAT: Duration = Duration::from_millis(100);
/// What is older goes: it could fill the disk.
const RETENTION: &str = "8 minutes";

/// What is looked at every ten seconds.
struct Sample {
    at_s: f64,
    memory_mib: f64,
    owed: f64,
    table_mib: f64,
    indexes_mib: f64,
}

impl Display for Sample {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Sample { at_s, memory_mib, owed, table_mib, indexes_mib } = self;
        let minute = at_s / 60.0;
        write!(
            out,
            "minute {minute:.0}: worker {memory_mib:.0} MiB, {owed} owed, queue {table_mib:.0} MiB and {indexes_mib:.0} in indexes"
        )
    }
}

pub async fn run(stage: &Stage, minutes: u32) -> Vec<Curve> {
    // Long enough that a processor which is faster for a few seconds is not taken for what the machine can do.
    let [(drained, _)] = spread(stage, [ENDPOINTS], stage.count(500_000)).await;
    let per_s = drained.per_s * 0.6;
    println!("{per_s:.0} events a second for {minutes} minutes, {FAIL_PERCENT} % of the requests fail");
    let database = stage.database().await;
    make(&database, ENDPOINTS, &stage.inbox.url_with(LANE, 0, FAIL_PERCENT)).await;
    database.run("UPDATE webhook.endpoint SET retry_schedule = '{1 s,1 s,2 s,2 s,5 s,5 s,5 s,5 s}'").await;
    database
        .run(&format!("INSERT INTO webhook.setting (name, value) VALUES ('retention', '{RETENTION}')"))
        .await;
    stage.settle(&database).await;
    let worker = Worker::start(&database).await;
    let (emitted, samples) =
        load(&database, &worker, per_s, Duration::from_secs(60 * u64::from(minutes))).await;
    stage.becomes_true(&database, "SELECT NOT EXISTS (SELECT FROM webhook.queue)").await;
    patiently("every event has come in", PATIENCE, async || {
        (stage.inbox.arrived(LANE).await.received >= emitted).then_some(())
    })
    .await;
    assert_eq!(stage.inbox.distinct(LANE).await, emitted, "nothing is lost");
    println!("{emitted} events, every one came in");
    for line in worker.log().iter().filter(|line| line.contains("WARN") || line.contains("ERROR")) {
        println!("worker: {line}");
    }
    worker.stop().await;
    stage.drop(database).await;
    curves(&samples)
}

async fn load(database: &Database, worker: &Worker, per_s: f64, span: Duration) -> (u64, Vec<Sample>) {
    let (began, watcher) = (Instant::now(), database.session().await);
    let (mut emitted, mut samples) = (0, Vec::<Sample>::new());
    while began.elapsed() < span {
        let due = began.elapsed().as_secs_f64() * per_s;
        let count = (due as u64).saturating_sub(emitted).min(u64::from(u32::MAX)) as u32;
        if count > 0 {
            emit(database, ENDPOINTS, count).await;
            emitted += u64::from(count);
        }
        if began.elapsed().as_secs() / 10 >= samples.len() as u64 {
            let sample = look(&watcher, worker, began.elapsed().as_secs_f64()).await;
            if samples.len().is_multiple_of(6) {
                println!("{sample}");
            }
            samples.push(sample);
        }
        tokio::time::sleep(BEAT).await;
    }
    (emitted, samples)
}

async fn look(watcher: &tokio_postgres::Client, worker: &Worker, at_s: f64) -> Sample {
    let sizes = "SELECT count(*)::float8, pg_table_size('webhook.queue')::float8, pg_indexes_size('webhook.queue')::float8 FROM webhook.queue";
    let row = watcher.query_one(sizes, &[]).await.expect("the queue is measured");
    let mib = |place: usize| row.get::<_, f64>(place) / f64::from(1 << 20);
    Sample {
        at_s,
        memory_mib: resident_mib(worker.pid().cast_unsigned()),
        owed: row.get(0),
        table_mib: mib(1),
        indexes_mib: mib(2),
    }
}

fn curves(samples: &[Sample]) -> Vec<Curve> {
    let curve = |name, title, y_label, value: fn(&Sample) -> f64| {
        let points: Vec<_> = samples.iter().map(|sample| (sample.at_s / 60.0, value(sample))).collect();
        let (half, last) = (points[points.len() / 2].1, points[points.len() - 1].1);
        println!("{title}: {half:.1} {y_label} half way, {last:.1} at the end");
        Curve { name, title, x_label: "minutes", y_label, points, linear: true }
    };
    vec![
        curve("soak-memory", "Memory of the worker", "MiB", |sample| sample.memory_mib),
        curve("soak-owed", "Deliveries owed", "rows", |sample| sample.owed),
        curve("soak-table", "Table of the queue", "MiB", |sample| sample.table_mib),
        curve("soak-indexes", "Indexes of the queue", "MiB", |sample| sample.indexes_mib),
    ]
}
