//! A delivery is owed again, or ended, in the very moment when something else happens to it.

use crate::lifecycle::Scene;
use harness::{Database, until};
use tokio::task::JoinHandle;

/// Sessions of this database that wait for a lock, running something like this.
pub fn waits(query: &str) -> String {
    format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%{query}%'"
    )
}

/// Runs a statement in a session of its own, and waits until it waits for a lock, or is done.
async fn begun(database: &Database, sql: &str) -> JoinHandle<String> {
    let (session, statement) = (database.session().await, sql.to_owned());
    let task = tokio::spawn(async move { Database::text_in(&session, &statement).await });
    let waiting = waits(&sql.replace('\'', "_"));
    until("it waits or is done", async || {
        (task.is_finished() || database.number(&waiting).await == 1).then_some(())
    })
    .await;
    task
}

/// The worker has made an attempt and can't record it, for `table` is locked by the session returned, in a transaction.
async fn kept_from_recording(scene: &Scene, table: &str) -> tokio_postgres::Client {
    let session = scene.database.session().await;
    Database::run_in(&session, &format!("BEGIN; LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")).await;
    scene.gate.open();
    scene.database.becomes(&waits("worker_record("), "1").await;
    session
}

const EVENT: &str = "(SELECT id FROM webhook.event WHERE type = 'load.came')";

#[tokio::test]
async fn an_outcome_recorded_after_a_cancel_stands_as_the_last() {
    let scene = Scene::new().await;
    scene.emit(1).await;
    scene.receiver.receives(1).await;
    // The recorder's transaction has begun before the delivery is cancelled, and has the row afterwards.
    let session = kept_from_recording(&scene, "webhook.queue").await;
    Database::run_in(&session, &format!("SELECT webhook_cancel({EVENT}); COMMIT")).await;
    let outcomes =
        "SELECT string_agg(outcome, ' ' ORDER BY number) FROM webhook.attempt WHERE endpoint_id = 1";
    scene.database.becomes(outcomes, "cancelled delivered").await;
    assert_eq!(scene.outcomes().await, ["delivered|1"]);
    let replay = "SELECT deliveries FROM webhook_replay(1, '-infinity', statuses => '{cancelled}')";
    assert_eq!(scene.database.number(replay).await, 0, "it would be sent twice");
}

#[tokio::test]
async fn a_resend_that_waits_for_the_recorder_counts_the_attempt_it_records() {
    let scene = Scene::new().await;
    scene.emit(1).await;
    scene.receiver.receives(1).await;
    // The row is gone from the queue, and what came of it is not in the log yet.
    let session = kept_from_recording(&scene, "webhook.attempt").await;
    let resend = begun(&scene.database, &format!("SELECT webhook_resend({EVENT}, 1)")).await;
    Database::run_in(&session, "COMMIT").await;
    assert_eq!(resend.await.expect("it ends"), "t");
    scene.receiver.receives(2).await;
    scene.database.drained().await;
    let numbers = "SELECT string_agg(number || outcome, ' ' ORDER BY number) FROM webhook.attempt WHERE endpoint_id = 1";
    assert_eq!(scene.database.text(numbers).await, "1delivered 2delivered");
}

#[tokio::test]
async fn what_is_owed_again_while_it_is_erased_is_not_sent() {
    let scene = Scene::new().await;
    scene.gate.open();
    scene.database.run("UPDATE webhook.endpoint SET all_tenants = true").await;
    let replay = "SELECT deliveries FROM webhook_replay(1, '-infinity', statuses => '{delivered}')";
    for (tenant, owe, owed) in [
        ("acme", "SELECT webhook_resend(id, 1) FROM webhook.event WHERE tenant = 'acme'", "t"),
        ("umbrella", replay, "1"),
    ] {
        // Owed again first, and then erased; and the other way round.
        for erased_first in [false, true] {
            let key = if erased_first { "second" } else { "first" };
            let emit = format!("SELECT webhook_emit('load.came', '{{}}', '{tenant}', '{key}')");
            scene.database.run(&emit).await;
            scene.database.drained().await;
            let owe = owe.replace("tenant = 'acme'", &format!("tenant = 'acme' AND key = '{key}'"));
            let forget = format!("SELECT webhook_forget('{tenant}', '{key}')");
            let (first, second) = if erased_first { (&forget, &owe) } else { (&owe, &forget) };
            let sent = scene.receiver.count();
            let session = scene.database.session().await;
            Database::run_in(&session, "BEGIN").await;
            let said = Database::text_in(&session, first).await;
            assert_eq!(said, if erased_first { "1" } else { owed });
            let second = begun(&scene.database, second).await;
            Database::run_in(&session, "COMMIT").await;
            let said = second.await.expect("it ends");
            assert_eq!(said == "1", !erased_first, "{tenant} {key}: what is erased is not owed");
            scene.database.drained().await;
            let bodies: Vec<_> = scene.receiver.requests().into_iter().skip(sent).map(|r| r.body).collect();
            assert!(bodies.iter().all(|body| !body.is_empty()), "{tenant} {key}: {bodies:?}");
        }
    }
}

#[tokio::test]
async fn an_empty_body_is_never_sent() {
    let scene = Scene::new().await;
    scene.gate.open();
    scene.change("SELECT webhook_pause(1)").await;
    // As a webhook_forget() leaves it whose snapshot is older than a resend: under REPEATABLE READ. In one transaction, for a
    // worker may have read the body as soon as it is there.
    let erased = "UPDATE webhook.event SET body = '' WHERE type = 'load.came'";
    scene.database.run(&format!("BEGIN; SELECT webhook_emit('load.came', '{{}}'); {erased}; COMMIT")).await;
    scene.change("SELECT webhook_resume(1)").await;
    scene.emit(1).await;
    scene.database.drained().await;
    assert_eq!(scene.outcomes().await, ["cancelled: erased|1", "delivered|1"]);
    assert!(!scene.receiver.receives(1).await[0].body.is_empty());
}

#[tokio::test]
async fn a_disabled_endpoint_is_resent_nothing_unless_it_keeps_what_waits() {
    let scene = Scene::new().await;
    scene.gate.open();
    scene.emit(1).await;
    scene.database.drained().await;
    let resend = format!("SELECT webhook_resend({EVENT}, 1)");
    scene.database.run("SELECT webhook_disable(1)").await;
    let error = scene.database.error(&resend).await;
    assert_eq!((error.code.as_str(), error.message.as_str()), ("55000", "endpoint 1 is disabled"));
    assert!(error.hint.contains("webhook_enable()"), "{error:?}");
    scene.database.run("UPDATE webhook.endpoint SET when_disabled = 'keep' WHERE id = 1").await;
    assert_eq!(scene.database.text(&resend).await, "t");
    scene.change("SELECT").await;
    assert_eq!(scene.outcomes().await, ["pending|1"]);
    scene.database.run("SELECT webhook_enable(1)").await;
    scene.receiver.receives(2).await;
    scene.database.drained().await;
    assert_eq!(scene.outcomes().await, ["delivered|1"]);
}

#[tokio::test]
async fn a_delivery_renewed_while_its_attempt_is_under_way_is_made_again() {
    for renewed_before_recording in [true, false] {
        let scene = Scene::new().await;
        scene.emit(1).await;
        scene.receiver.receives(1).await;
        let session = scene.database.session().await;
        Database::run_in(&session, &format!("BEGIN; SELECT webhook_resend({EVENT}, 1)")).await;
        if renewed_before_recording {
            Database::run_in(&session, "COMMIT").await;
            scene.gate.open();
        } else {
            scene.gate.open();
            scene.database.becomes(&waits("worker_record("), "1").await;
            Database::run_in(&session, "COMMIT").await;
        }
        let outcomes = "SELECT string_agg(number || ' ' || outcome, ', ' ORDER BY number) FROM webhook.attempt WHERE endpoint_id = 1";
        scene.database.becomes(outcomes, "1 delivered, 2 delivered").await;
        scene.database.drained().await;
    }
}
