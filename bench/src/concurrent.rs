//! webhook_emit(), one call a transaction: TPS against a plain INSERT into an outbox. No worker runs.

use crate::application::Application;
use crate::pgbench::{Load, tps};
use crate::row::{Reach, Row};
use crate::stage::{DATA, Stage};

pub async fn run(stage: &Stage) -> Vec<Row> {
    let data = DATA.replace("|| i %", "|| :i::int %").replace("', i,", "', :i::int,");
    let set = "\\set i random(1, 1000000)\n";
    let emit = format!("{set}SELECT webhook_emit('order.paid', {data});\n");
    let insert = format!("{set}INSERT INTO outbox (type, payload) VALUES ('order.paid', {data});\n");
    let [mut ours, mut theirs] = [const { Vec::new() }; 2];
    for _ in 0..stage.rounds {
        let [our_tps, their_tps] = round(stage, &emit, &insert).await;
        ours.push(our_tps);
        theirs.push(their_tps);
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

async fn round(stage: &Stage, emit: &str, insert: &str) -> [f64; 2] {
    let (ours, theirs) =
        (Application::Attached.database(stage).await, Application::Outbox.database(stage).await);
    stage.settle(&ours).await;
    stage.settle(&theirs).await;
    let loads = [
        Load { database: &ours, script: emit, table: "webhook.event" },
        Load { database: &theirs, script: insert, table: "outbox" },
    ];
    let tps = tps(stage, loads, stage.seconds(8)).await;
    let owed = "SELECT count(*) > 0 AND count(*) = (SELECT count(*) FROM webhook.queue) FROM webhook.event";
    assert_eq!(ours.text(owed).await, "t", "each event is owed");
    stage.drop(ours).await;
    stage.drop(theirs).await;
    tps
}
