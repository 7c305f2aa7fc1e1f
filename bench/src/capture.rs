//! Capture of one row a transaction: what is left of an application's TPS, against an outbox trigger's.

use crate::application::Application;
use crate::pgbench::tps;
use crate::row::{Reach, Row};
use crate::stage::Stage;

const SCRIPT: &str =
    "INSERT INTO orders (customer, status, note) VALUES ('customer', 'paid', repeat('x', 850));\n";

pub async fn run(stage: &Stage) -> Vec<Row> {
    let [mut plain, mut ours, mut theirs] = [const { Vec::new() }; 3];
    for _ in 0..stage.rounds {
        ours.push(write(stage, Application::Attached).await);
        theirs.push(write(stage, Application::Outbox).await);
        plain.push(write(stage, Application::Plain).await);
    }
    let row = |reference, theirs, reach| Row {
        bench: "capture",
        measure: "capture of one row a transaction, 16 clients",
        reference,
        unit: "TPS",
        ours: ours.clone(),
        theirs,
        reach,
    };
    vec![row("the outbox trigger", theirs, Reach::AtLeast(0.95)), row("no trigger", plain, Reach::None)]
}

async fn write(stage: &Stage, application: Application) -> f64 {
    let database = application.database(stage).await;
    stage.settle(&database).await;
    let tps = tps(stage, &database, SCRIPT, stage.seconds(10));
    application.check(&database).await;
    stage.drop(database).await;
    tps
}
