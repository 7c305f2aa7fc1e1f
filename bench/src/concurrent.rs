//! webhook_emit(), one call a transaction: TPS against a plain INSERT into an outbox. No worker runs.

use crate::application::Application;
use crate::pgbench::tps;
use crate::row::{Reach, Row};
use crate::stage::{DATA, Stage};

pub async fn run(stage: &Stage) -> Vec<Row> {
    let data = DATA.replace("|| i %", "|| :i::int %").replace("', i,", "', :i::int,");
    let set = "\\set i random(1, 1000000)\n";
    let emit = format!("{set}SELECT webhook_emit('order.paid', {data});\n");
    let insert = format!("{set}INSERT INTO outbox (type, payload) VALUES ('order.paid', {data});\n");
    let [mut ours, mut theirs] = [const { Vec::new() }; 2];
    for _ in 0..stage.rounds {
        ours.push(write(stage, Application::Attached, &emit).await);
        theirs.push(write(stage, Application::Outbox, &insert).await);
    }
    vec![Row {
        bench: "concurrent",
        measure: "webhook_emit(), one call a transaction, 16 clients",
        reference: "INSERT into an outbox",
        unit: "TPS",
        ours,
        theirs,
        reach: Reach::AtLeast(0.85),
    }]
}

async fn write(stage: &Stage, application: Application, script: &str) -> f64 {
    let database = application.database(stage).await;
    stage.settle(&database).await;
    let tps = tps(stage, &database, script, stage.seconds(10));
    let made = match application {
        Application::Attached => {
            "SELECT count(*) > 0 AND count(*) = (SELECT count(*) FROM webhook.queue) FROM webhook.event"
        }
        _ => "SELECT count(*) > 0 FROM outbox",
    };
    assert_eq!(database.text(made).await, "t", "events were made");
    stage.drop(database).await;
    tps
}
