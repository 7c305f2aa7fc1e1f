//! Outcomes that can't be recorded yet, because a transaction that is still open holds their rows, or because PostgreSQL
//! refuses them: they wait, and nobody else's do.

use harness::{Answer, Database, Gate, Receiver, Worker, until};
use std::collections::HashMap;

struct Scene {
    database: Database,
    receiver: Receiver,
    worker: Worker,
    /// The first request waits for it, and those of `held.beside` and `other.beside`.
    gate: Gate,
    held: i32,
    other: i32,
}

/// Two endpoints, one of them with a delivery under way, event `held.first`.
async fn scene() -> Scene {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let (held, _) = database.endpoint(&receiver.url("/held")).await;
    let (other, _) = database.endpoint(&receiver.url("/other")).await;
    database.run(&format!("UPDATE webhook.endpoint SET event_types = '{{held.*}}' WHERE id = {held}")).await;
    database
        .run(&format!("UPDATE webhook.endpoint SET event_types = '{{other.*}}' WHERE id = {other}"))
        .await;
    let gate = Gate::default();
    let closed = gate.clone();
    receiver.answers(move |request| match request.json()["type"].as_str() {
        Some("held.first" | "held.beside" | "other.beside") => Answer::status(200).held_by(&closed),
        _ => Answer::status(200),
    });
    let worker = Worker::start(&database).await;
    database.run("SELECT webhook_emit('held.first', '{}')").await;
    receiver.receives(1).await;
    Scene { database, receiver, worker, gate, held, other }
}

impl Scene {
    async fn emit(&self, event_type: &str, count: usize) {
        let emit = format!("SELECT webhook_emit('{event_type}', '{{}}') FROM generate_series(1, {count})");
        self.database.run(&emit).await;
    }

    async fn delivers(&self, endpoint: i32, count: usize) {
        let delivered = format!(
            "SELECT count(*) FROM webhook.attempt WHERE endpoint_id = {endpoint} AND outcome = 'delivered'"
        );
        self.database.becomes(&delivered, &count.to_string()).await;
    }

    /// In rounds, what comes to the other endpoint and, if `next_too`, to this one is delivered.
    async fn goes_on(&self, next_too: bool) {
        for round in 1..=3 {
            self.emit("held.next", 50).await;
            self.emit("other.came", 50).await;
            self.delivers(self.other, round * 50).await;
            if next_too {
                self.delivers(self.held, round * 50).await;
            }
        }
    }

    /// Nothing waits any more, every event came once, and the log has it once.
    async fn ends(&self, held: usize, other: usize) {
        self.database.drained().await;
        self.delivers(self.held, held).await;
        self.delivers(self.other, other).await;
        let mut times: HashMap<String, usize> = HashMap::new();
        for request in self.receiver.requests() {
            *times.entry(request.id().to_owned()).or_default() += 1;
        }
        assert_eq!(times.len(), held + other);
        assert!(times.values().all(|times| *times == 1), "none came twice");
    }
}

const FIRST: &str = "SELECT id FROM webhook.event WHERE type = 'held.first'";

#[tokio::test]
async fn an_open_transaction_that_holds_one_delivery_delays_no_other() {
    let scene = scene().await;
    let session = scene.database.session().await;
    Database::run_in(&session, &format!("BEGIN; SELECT webhook_cancel(({FIRST}))")).await;
    scene.gate.open();
    scene.goes_on(true).await;
    assert_eq!(scene.database.number("SELECT count(*) FROM webhook.queue").await, 1, "it is still owed");
    Database::run_in(&session, "ROLLBACK").await;
    scene.ends(151, 150).await;
}

#[tokio::test]
async fn an_open_transaction_that_holds_an_endpoint_delays_no_other_endpoint() {
    for hold in [
        "SELECT webhook_disable(1)",
        "UPDATE webhook.endpoint_health SET told = told WHERE endpoint_id = 1",
        "SELECT FROM webhook.queue WHERE endpoint_id = 1 FOR UPDATE",
    ] {
        let scene = scene().await;
        assert_eq!(scene.held, 1);
        let session = scene.database.session().await;
        Database::run_in(&session, &format!("BEGIN; {hold}")).await;
        scene.gate.open();
        scene.goes_on(false).await;
        Database::run_in(&session, "ROLLBACK").await;
        scene.ends(151, 150).await;
    }
}

#[tokio::test]
async fn an_outcome_that_postgresql_refuses_delays_no_other() {
    let scene = scene().await;
    scene
        .database
        .run(&format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
               BEGIN RAISE EXCEPTION 'not this one'; END $$;
             DO $$ BEGIN EXECUTE format('CREATE TRIGGER refuse BEFORE INSERT ON webhook.attempt FOR EACH ROW
               WHEN (NEW.event_id = %L) EXECUTE FUNCTION refuse()', ({FIRST})); END $$"
        ))
        .await;
    scene.gate.open();
    scene.goes_on(true).await;
    assert_eq!(scene.database.number("SELECT count(*) FROM webhook.queue").await, 1, "it is still owed");
    let told = scene.worker.log().iter().filter(|line| line.contains("recorded")).count();
    assert_eq!(told, 1, "said once, not with each try");
    scene.database.run("DROP TRIGGER refuse ON webhook.attempt").await;
    scene.ends(151, 150).await;
}

#[tokio::test]
async fn some_that_are_held_and_some_that_are_refused_take_nothing_with_them() {
    const EACH: usize = 6;
    let scene = scene().await;
    scene.emit("held.beside", EACH).await;
    scene.emit("other.beside", EACH).await;
    scene.receiver.receives(1 + 2 * EACH).await;
    let (holds, refuses) = (scene.database.session().await, scene.database.session().await);
    let hold = format!("UPDATE webhook.endpoint_health SET told = told WHERE endpoint_id = {}", scene.held);
    Database::run_in(&holds, &format!("BEGIN; {hold}")).await;
    let refuse =
        format!("CREATE INDEX refuse ON webhook.attempt ((1 / (endpoint_id <> {})::int))", scene.other);
    Database::run_in(&refuses, &format!("BEGIN; {refuse}")).await;
    scene.gate.open();
    until("every answer is there", async || {
        (scene.worker.metric("pg_webhook_attempts_total").await == (1 + 2 * EACH) as f64).then_some(())
    })
    .await;
    // What is refused is looked for in ever smaller parts, some of which consist of what is held.
    Database::run_in(&refuses, "COMMIT").await;
    scene.worker.says("could not be recorded").await;
    scene.database.run("DROP INDEX webhook.refuse").await;
    scene.delivers(scene.other, EACH).await;
    Database::run_in(&holds, "ROLLBACK").await;
    scene.ends(1 + EACH, EACH).await;
}
