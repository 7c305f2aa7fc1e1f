//! Endpoints are made, changed, paused, disabled and deleted while deliveries are under way.

use crate::resend::waits;
use harness::{Answer, Database, Gate, Receiver, Worker, Writers, until};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// An endpoint for load.* whose answers are held back until `gate` is opened, one request at a time; and a witness,
/// for everything.
pub struct Scene {
    pub database: Database,
    pub receiver: Receiver,
    witness: Receiver,
    pub gate: Gate,
    pub worker: Worker,
    pub endpoint: i32,
}

impl Scene {
    pub async fn new() -> Scene {
        let (database, receiver, witness) =
            (Database::new().await, Receiver::start().await, Receiver::start().await);
        let (endpoint, _) = database.endpoint(&receiver.url("/slow")).await;
        let (other, _) = database.endpoint(&witness.url("/witness")).await;
        assert!(endpoint < other, "the witness hears of a change after the endpoint");
        let change = "event_types = '{load.*}', max_in_flight = 1, retry_schedule = '{1 h}'";
        database.run(&format!("UPDATE webhook.endpoint SET {change} WHERE id = {endpoint}")).await;
        let gate = Gate::default();
        let held = gate.clone();
        receiver.answers(move |_| Answer::status(200).held_by(&held));
        let worker = Worker::start(&database).await;
        Scene { database, receiver, witness, gate, worker, endpoint }
    }

    pub async fn emit(&self, count: usize) {
        self.database
            .run(&format!("SELECT webhook_emit('load.came', '{{}}') FROM generate_series(1, {count})"))
            .await;
    }

    /// Runs a statement and waits until the worker knows, for it has heard of a change made in the same transaction.
    pub async fn change(&self, sql: &str) {
        static CHANGES: AtomicU32 = AtomicU32::new(1);
        let mark = CHANGES.fetch_add(1, Ordering::Relaxed).to_string();
        let marked = format!("UPDATE webhook.endpoint SET headers = '{{\"X-Change\": \"{mark}\"}}'");
        self.database.run(&format!("BEGIN; {sql}; {marked} WHERE url LIKE '%/witness'; COMMIT")).await;
        until("the worker knows of the change", async || {
            self.database.run("SELECT webhook_emit('probe.change', '{}')").await;
            self.witness.requests().iter().any(|request| request.header("x-change") == mark).then_some(())
        })
        .await;
    }

    pub async fn set(&self, columns: &str) {
        self.change(&format!("UPDATE webhook.endpoint SET {columns} WHERE id = {}", self.endpoint)).await;
    }

    /// `status: error|count` for each of what the endpoint's deliveries came to.
    pub async fn outcomes(&self) -> Vec<String> {
        let sql = "SELECT concat_ws(': ', status, last_error), count(*) FROM webhook.delivery";
        self.database
            .rows(&format!("{sql} WHERE endpoint_id = {} GROUP BY 1 ORDER BY 1", self.endpoint))
            .await
    }

    pub fn answers(&self, status: u16) {
        self.receiver.answers(move |_| Answer::status(status));
    }
}

#[tokio::test]
async fn an_endpoint_made_while_the_worker_runs_is_served() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let _worker = Worker::start(&database).await;
    database.run("SELECT webhook_emit('too.early', '{}')").await;
    let (_, secret) = database.endpoint(&receiver.url("/")).await;
    database.run("SELECT webhook_emit('in.time', '{}')").await;
    let request = receiver.receives(1).await.remove(0);
    assert_eq!(request.json()["type"], "in.time", "what came before it was there is not owed");
    request.verify(&secret).expect("signed with its secret");
    // In one transaction.
    let create = format!("SELECT secret FROM webhook_endpoint_create('{}')", receiver.url("/second"));
    database.run(&format!("BEGIN; {create}; SELECT webhook_emit('at.once', '{{}}'); COMMIT")).await;
    let requests = receiver.receives(3).await;
    assert!(requests.iter().any(|request| request.path == "/second" && request.json()["type"] == "at.once"));
}

#[tokio::test]
async fn what_is_changed_holds_for_the_attempts_that_follow() {
    let scene = Scene::new().await;
    scene.emit(4).await;
    scene.receiver.receives(1).await;
    let new = Receiver::start().await;
    let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let rotate = format!("SELECT webhook_rotate_secret({}, '0', '{secret}')", scene.endpoint);
    let columns = format!("url = '{}', headers = '{{\"X-Team\": \"red\"}}'", new.url("/new"));
    scene
        .change(&format!("{rotate}; UPDATE webhook.endpoint SET {columns} WHERE id = {}", scene.endpoint))
        .await;
    scene.gate.open();
    for request in new.receives(3).await {
        assert_eq!(request.header("x-team"), "red");
        request.verify(secret).expect("signed with the new secret, though it was enqueued before");
    }
    assert_eq!(scene.receiver.count(), 1, "the request under way was the last");

    let gate = Gate::default();
    let held = gate.clone();
    new.answers(move |_| Answer::status(200).held_by(&held));
    scene.emit(2).await;
    new.receives(4).await;
    scene.set("timeout = '50 ms', retry_schedule = '{}', max_in_flight = 2").await;
    // The one under way keeps the time it was given.
    let timed_out = "SELECT count(*) FROM webhook.delivery WHERE last_error LIKE 'timeout after 0.05 s%'";
    scene.database.becomes(timed_out, "1").await;
    assert_eq!(scene.outcomes().await[0], "delivered|4");
    gate.open();
    scene.database.drained().await;
    assert_eq!(scene.outcomes().await[0], "delivered|5");
}

#[tokio::test]
async fn whatever_is_emitted_after_a_change_is_sent_as_changed() {
    let scene = Scene::new().await;
    scene.gate.open();
    scene.set("max_in_flight = 16").await;
    // The queue is read all the time, also in the moment between a change and the word of it.
    let load = "SELECT webhook_emit('probe.load', '{}') FROM generate_series(1, 2)";
    let load = Writers::start(&scene.database, 2, load).await;
    for change in 0..150 {
        let headers = format!("headers = '{{\"X-Change\": \"{change}\"}}' WHERE id = {}", scene.endpoint);
        scene.database.run(&format!("UPDATE webhook.endpoint SET {headers}")).await;
        scene.database.run(&format!("SELECT webhook_emit('load.came', '{change}')")).await;
    }
    load.stop().await;
    scene.receiver.receives(150).await;
    for request in scene.receiver.requests() {
        let (sent, emitted) = (request.header("x-change").parse().ok(), request.json()["data"].as_u64());
        assert!(sent >= emitted, "{sent:?} {emitted:?}");
    }
}

#[tokio::test]
async fn a_delivery_made_due_while_its_request_is_under_way_is_made_again_at_once() {
    let scene = Scene::new().await;
    scene.emit(1).await;
    scene.receiver.receives(1).await;
    let reads = scene.worker.metric("pg_webhook_backlog_reads_total").await;
    scene
        .database
        .run("UPDATE webhook.queue SET due = clock_timestamp(), xid = pg_current_xact_id(); NOTIFY webhook_wake")
        .await;
    until("the worker has read what is due", async || {
        (scene.worker.metric("pg_webhook_backlog_reads_total").await > reads).then_some(())
    })
    .await;
    scene.gate.open();
    scene.receiver.receives(2).await;
    scene.database.drained().await;
    assert_eq!(scene.receiver.times_by_id().len(), 1);
}

#[tokio::test]
async fn while_an_endpoint_is_paused_its_deliveries_wait() {
    let scene = Scene::new().await;
    scene.emit(8).await;
    scene.receiver.receives(1).await;
    scene.set("status = 'paused'").await;
    scene.gate.open();
    // What is under way finishes.
    let owed = format!("SELECT count(*) FROM webhook.queue WHERE endpoint_id = {}", scene.endpoint);
    scene.database.becomes(&owed, "7").await;
    scene.emit(50).await;
    // The worker has seen all of it, and sent it to others.
    scene.change("SELECT").await;
    assert_eq!(scene.receiver.count(), 1, "nothing was attempted");
    assert_eq!(scene.outcomes().await, ["delivered|1", "pending|57"]);
    scene.set("status = 'active'").await;
    scene.database.drained().await;
    assert_eq!(scene.outcomes().await, ["delivered|58"]);
    assert_eq!((scene.receiver.count(), scene.receiver.times_by_id().len()), (58, 58), "each once");
}

#[tokio::test]
async fn retries_that_wait_their_turn_when_an_endpoint_is_paused_are_made_after_it_is_resumed() {
    let scene = Scene::new().await;
    scene.answers(500);
    scene.set("retry_schedule = '{1 h,1 h}', retry_jitter = 0").await;
    scene.emit(6).await;
    let tried =
        format!("SELECT count(*) FROM webhook.queue WHERE endpoint_id = {} AND attempts = 1", scene.endpoint);
    scene.database.becomes(&tried, "6").await;
    let held = scene.gate.clone();
    scene.receiver.answers(move |_| Answer::status(200).held_by(&held));
    scene.database.pass_time().await;
    let due = "SELECT count(*) FROM webhook.queue WHERE due < clock_timestamp()";
    // One is under way, the others are due and in hand.
    scene.database.becomes(due, "6").await;
    scene.receiver.receives(7).await;
    scene.set("status = 'paused'").await;
    scene.gate.open();
    scene.database.becomes(due, "5").await;
    scene.set("status = 'active'").await;
    scene.database.drained().await;
    assert_eq!(scene.receiver.count(), 12, "each twice");
}

#[tokio::test]
async fn what_a_disabled_endpoint_was_owed_is_skipped_and_what_is_under_way_finishes() {
    let scene = Scene::new().await;
    scene.set("max_in_flight = 3").await;
    scene.emit(40).await;
    scene.receiver.receives(3).await;
    scene.set("status = 'disabled'").await;
    scene.database.becomes("SELECT count(*) FROM webhook.delivery WHERE status = 'skipped'", "37").await;
    scene.gate.open();
    scene.database.drained().await;
    assert_eq!(scene.outcomes().await, ["delivered|3", "skipped: endpoint disabled|37"]);
    assert_eq!(scene.receiver.count(), 3);
    let log = "SELECT DISTINCT number, final, started_at IS NULL FROM webhook.delivery_log WHERE outcome = 'skipped'";
    assert_eq!(scene.database.rows(log).await, ["0|t|t"], "no request was made for them");
    scene.set("status = 'active'").await;
    scene.emit(5).await;
    scene.database.drained().await;
    assert_eq!(scene.outcomes().await, ["delivered|8", "skipped: endpoint disabled|37"]);
}

#[tokio::test]
async fn what_a_deleted_endpoint_was_owed_is_skipped_and_what_is_under_way_finishes() {
    let scene = Scene::new().await;
    scene.emit(40).await;
    scene.database.run("SELECT webhook_emit('load.later', '{}', deliver_at => now() + '2 s')").await;
    scene.receiver.receives(1).await;
    scene.change(&format!("DELETE FROM webhook.endpoint WHERE id = {}", scene.endpoint)).await;
    scene.database.becomes("SELECT count(*) FROM webhook.delivery WHERE status = 'skipped'", "40").await;
    scene.gate.open();
    scene.database.drained().await;
    assert_eq!(scene.outcomes().await, ["delivered|1", "skipped: endpoint deleted|40"]);
    assert_eq!(scene.receiver.count(), 1);
    let kept = format!("SELECT count(*) FROM webhook.endpoint_secret WHERE endpoint_id = {}", scene.endpoint);
    assert_eq!(scene.database.number(&kept).await, 0, "its secret is gone with it");
}

#[tokio::test]
async fn what_an_endpoint_deleted_while_it_was_paused_was_owed_is_skipped() {
    let scene = Scene::new().await;
    scene.set("status = 'paused'").await;
    scene.emit(40).await;
    scene.change(&format!("DELETE FROM webhook.endpoint WHERE id = {}", scene.endpoint)).await;
    scene.database.drained().await;
    assert_eq!(scene.outcomes().await, ["skipped: endpoint deleted|40"]);
    assert_eq!(scene.receiver.count(), 0);
}

#[tokio::test]
async fn what_was_owed_to_an_endpoint_deleted_before_the_worker_came_is_skipped() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let (endpoint, _) = database.endpoint(&receiver.url("/")).await;
    database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 100)").await;
    database.run(&format!("DELETE FROM webhook.endpoint WHERE id = {endpoint}")).await;
    let _worker = Worker::start(&database).await;
    database.drained().await;
    let ended = "SELECT status, last_error, count(*) FROM webhook.delivery GROUP BY 1, 2";
    assert_eq!(database.rows(ended).await, ["skipped|endpoint deleted|100"]);
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn a_change_that_is_rolled_back_changes_nothing() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let (endpoint, secret) = database.endpoint(&receiver.url("/")).await;
    let _worker = Worker::start(&database).await;
    let change = format!("UPDATE webhook.endpoint SET status = 'disabled' WHERE id = {endpoint}");
    database.run(&format!("BEGIN; {change}; SELECT webhook_rotate_secret({endpoint}, '0'); ROLLBACK")).await;
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    receiver.receives(1).await[0].verify(&secret).expect("the old secret holds");
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_the_endpoint_allows() {
    let scene = Scene::new().await;
    scene.set("max_in_flight = 5").await;
    scene.emit(60).await;
    scene.receiver.receives(5).await;
    // Whatever it could begin, it has had the time to.
    scene.change("SELECT").await;
    assert_eq!(scene.receiver.count(), 5, "five are held back");
    let held = Duration::from_millis(50);
    scene.receiver.answers(move |_| Answer::status(200).after(held));
    scene.gate.open();
    scene.database.drained().await;
    let most_at_once = |from: usize| {
        let at: Vec<_> = scene.receiver.requests()[from..].iter().map(|request| request.at).collect();
        at.iter().map(|end| at.iter().filter(|begin| *begin <= end && **begin + held > *end).count()).max()
    };
    assert_eq!(most_at_once(5), Some(5));
    scene.set("max_in_flight = 2").await;
    scene.emit(20).await;
    scene.database.drained().await;
    assert_eq!(most_at_once(60), Some(2));
    assert_eq!(scene.worker.metric("pg_webhook_in_flight").await, 0.0);
}

#[tokio::test]
async fn a_change_that_comes_while_the_one_before_is_being_read_is_heard() {
    let scene = Scene::new().await;
    scene.gate.open();
    scene.change("SELECT webhook_pause(1)").await;
    scene.emit(1).await;
    // It knows of both by now.
    scene.change("SELECT").await;
    // The worker's read of the configuration has begun, and sees what was before the second change.
    let holder = scene.database.session().await;
    Database::run_in(&holder, "BEGIN; LOCK TABLE webhook.endpoint_health IN ACCESS EXCLUSIVE MODE").await;
    scene.database.run("UPDATE webhook.endpoint SET headers = '{\"X-First\": \"1\"}' WHERE id = 1").await;
    scene.database.becomes(&waits("worker_endpoints("), "1").await;
    let wakes = scene.worker.metric("pg_webhook_wakes_total").await;
    scene.database.run("SELECT webhook_resume(1); SELECT webhook_emit('probe.wake', '{}')").await;
    // It has been told of the one, so it has been told of the other.
    until("the worker is woken", async || {
        (scene.worker.metric("pg_webhook_wakes_total").await > wakes).then_some(())
    })
    .await;
    let began = Instant::now();
    Database::run_in(&holder, "COMMIT").await;
    scene.receiver.receives(1).await;
    assert!(began.elapsed() < Duration::from_secs(30), "not only when all is read again, once a minute");
}
