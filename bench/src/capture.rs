//! Capture of one row a transaction: what is left of an application's TPS, against an outbox trigger's.

use crate::application::Application;
use crate::pgbench::{Load, tps};
use crate::row::{Reach, Row};
use crate::stage::Stage;

const SCRIPT: &str =
    "INSERT INTO orders (customer, status, note) VALUES ('customer', 'paid', repeat('x', 850));\n";

pub async fn run(stage: &Stage) -> Vec<Row> {
    let [mut ours, mut theirs, mut plain] = [const { Vec::new() }; 3];
    for _ in 0..stage.rounds {
        let round = round(stage).await;
        for (side, tps) in [&mut ours, &mut theirs, &mut plain].into_iter().zip(round) {
            side.push(tps);
        }
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

async fn round(stage: &Stage) -> [f64; 3] {
    let applications = [Application::Attached, Application::Outbox, Application::Plain];
    let mut databases = Vec::new();
    for application in applications {
        let database = application.database(stage).await;
        stage.settle(&database).await;
        databases.push(database);
    }
    let load = |n: usize| Load { database: &databases[n], script: SCRIPT, table: "orders" };
    let tps = tps(stage, [load(0), load(1), load(2)], stage.seconds(6)).await;
    for (application, database) in applications.into_iter().zip(databases) {
        application.check(&database).await;
        stage.drop(database).await;
    }
    tps
}
