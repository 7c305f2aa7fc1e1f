//! Callbacks that take long, or try to take something with them: they harm themselves alone.

use super::{Scene, WAITING, WAITS, scene};
use harness::{Answer, Database, Worker, until};

#[tokio::test]
async fn a_slow_callback_holds_back_its_own_endpoint_alone() {
    let settings =
        "on_delivered = 'app.waits', event_types = '{slow.*}', max_in_flight = 2, retry_schedule = '{1 ms}'";
    let scene = scene(WAITS, settings).await;
    let database = &scene.database;
    scene
        .receiver
        .answers(|request| Answer::status(if request.json()["type"] == "slow.bad" { 500 } else { 200 }));
    let plain = scene.neighbour("plain.*").await;
    let quick = scene.neighbour("quick.*").await;
    database.run(&format!("UPDATE webhook.endpoint SET on_delivered = 'app.note' WHERE id = {quick}")).await;
    let holder = database.session().await;
    Database::run_in(&holder, "SELECT pg_advisory_lock(7)").await;
    let _worker = Worker::start(database).await;
    database.run("SELECT webhook_emit('slow.a', '{}')").await;
    database.becomes(WAITING, "1").await;
    // An outcome that calls for nothing, but is the same endpoint's.
    database.run("SELECT webhook_emit('slow.bad', '{}')").await;
    scene.receiver.receives(2).await;
    database.run("SELECT webhook_emit('slow.a', '{}') FROM generate_series(1, 19)").await;
    database.run("SELECT webhook_emit(t || '.a', '{}') FROM generate_series(1, 50), unnest('{plain,quick}'::text[]) t").await;
    let delivered = format!(
        "SELECT count(*) FROM webhook.delivery WHERE status = 'delivered' AND endpoint_id IN ({plain}, {quick})"
    );
    database.becomes(&delivered, "100").await;
    database.becomes(WAITING, "1").await;
    let slow = || scene.receiver.requests().iter().filter(|request| request.path == "/").count();
    assert!(slow() <= 4, "no more is sent than can be recorded soon: {}", slow());
    assert_eq!(database.number("SELECT count(*) FROM app.told").await, 50);

    Database::run_in(&holder, "SELECT pg_advisory_unlock(7)").await;
    database.drained().await;
    assert_eq!(database.number("SELECT count(*) FROM app.told").await, 70);
    assert_eq!(slow(), 22);
    let failures = "SELECT count(*) FROM webhook.delivery_log WHERE callback_error IS NOT NULL";
    assert_eq!(database.number(failures).await, 0, "none ran into its limit while it waited for others");
}

#[tokio::test]
async fn many_slow_callbacks_leave_room_for_a_quick_one() {
    const SLOW: usize = 4;
    let scene = scene(WAITS, "event_types = '{quick.*}', on_delivered = 'app.note'").await;
    let database = &scene.database;
    for number in 1..=SLOW {
        let id = scene.neighbour(&format!("slow.n{number}")).await;
        database
            .run(&format!("UPDATE webhook.endpoint SET on_delivered = 'app.waits' WHERE id = {id}"))
            .await;
    }
    let emit = format!("SELECT webhook_emit('slow.n' || n, '{{}}') FROM generate_series(1, {SLOW}) n");
    let holder = database.session().await;
    Database::run_in(&holder, "SELECT pg_advisory_lock(7)").await;
    let _worker = Worker::start(database).await;
    // All are called at once, and are known to be slow from then on: each has waited for at least so long.
    database.run(&emit).await;
    database.becomes(WAITING, &SLOW.to_string()).await;
    Database::run_in(&holder, "SELECT pg_sleep(0.5), pg_advisory_unlock(7)").await;
    database.drained().await;

    Database::run_in(&holder, "SELECT pg_advisory_lock(7)").await;
    database.run(&emit).await;
    scene.receiver.receives(2 * SLOW).await;
    database.becomes(WAITING, "2").await;
    assert_eq!(scene.ends("quick.a", "{}").await, ("delivered".to_owned(), String::new()));
    assert_eq!(database.text(WAITING).await, "2");
    Database::run_in(&holder, "SELECT pg_advisory_unlock(7)").await;
    database.drained().await;
}

/// What a callback does, and what is said of it: the beginning; empty: it works.
const DEEDS: [(&str, &str); 17] = [
    ("PERFORM pg_sleep(600)", "canceling statement due to statement timeout"),
    ("SET statement_timeout = 0; PERFORM pg_sleep(600)", "canceling statement due to statement timeout"),
    (
        "LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP",
        "the session ended while it ran: ",
    ),
    (
        "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(600)",
        "the session ended while it ran: ",
    ),
    (
        "PERFORM pg_cancel_backend(pg_backend_pid()); PERFORM pg_sleep(600)",
        "canceling statement due to user request",
    ),
    ("COMMIT", "invalid transaction termination"),
    ("ROLLBACK", "invalid transaction termination"),
    ("EXECUTE 'SAVEPOINT callback'", "EXECUTE of transaction commands is not implemented"),
    ("RAISE 'on purpose' USING ERRCODE = '57P01'", "the session ended while it ran: on purpose"),
    ("RAISE 'on purpose' USING ERRCODE = '40001'", "on purpose"),
    ("INSERT INTO app.line VALUES (1)", "insert or update on table \"line\" violates foreign key constraint"),
    (
        "SET CONSTRAINTS ALL DEFERRED; INSERT INTO app.line VALUES (1)",
        "cannot fire deferred trigger within security-restricted operation",
    ),
    ("INSERT INTO app.line VALUES (7)", ""),
    ("INSERT INTO app.late VALUES (1); ALTER TABLE app.late ADD more int", "at commit: "),
    ("INSERT INTO app.late VALUES (2)", ""),
    ("PERFORM set_config('search_path', 'nowhere', false), pg_advisory_lock(1, 1)", ""),
    ("PERFORM repeat('x', 1 << 20)::text; RAISE NOTICE '%', repeat('x', 100000)", ""),
];

/// A callback that does what the event's type names.
async fn hostile() -> Scene {
    let mut source = String::from(
        "CREATE TABLE app.orders (id int PRIMARY KEY); INSERT INTO app.orders VALUES (7);
         CREATE TABLE app.line (order_id int REFERENCES app.orders DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE app.late (id int PRIMARY KEY); SELECT webhook_attach('app.late', per_transaction => true);
         CREATE FUNCTION app.hostile(outcome jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
           PERFORM app.note(outcome); CASE outcome ->> 'type' ",
    );
    for (number, (deed, _)) in DEEDS.iter().enumerate() {
        source += &format!("WHEN 'deed.n{number}' THEN {deed}; ");
    }
    source += "END CASE; END $$; INSERT INTO webhook.setting VALUES ('callback_timeout', '3 s')";
    scene(&source, "on_delivered = 'app.hostile', event_types = '{deed.*}'").await
}

#[tokio::test]
async fn whatever_a_callback_does_the_outcome_is_recorded_and_the_next_one_works() {
    let scene = hostile().await;
    let database = &scene.database;
    let quiet = scene.neighbour("quiet.*").await;
    let _worker = Worker::start(database).await;
    let mut worked = 0;
    let mut wrong = Vec::new();
    for (number, (deed, expected)) in DEEDS.iter().enumerate() {
        let (status, problem) = scene.ends(&format!("deed.n{number}"), "{}").await;
        let as_expected =
            if expected.is_empty() { problem.is_empty() } else { problem.starts_with(expected) };
        worked += i64::from(expected.is_empty());
        if status != "delivered" || !as_expected {
            wrong.push(format!("{deed}: {status}, {problem:?}"));
        }
        let told = database.number("SELECT count(*) FROM app.told").await;
        if told != worked {
            wrong.push(format!("{deed}: {told} callbacks have left something behind, not {worked}"));
            worked = told;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid < 3
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    database.becomes(held, "0").await;
    let leftover = "SELECT count(*) FROM webhook.event WHERE type LIKE 'late.%'";
    assert_eq!(database.number(leftover).await, 1, "what it captured goes with it");
    assert_eq!(
        database.number("SELECT count(*) FROM webhook.notice WHERE kind = 'callback.failed'").await,
        1
    );
    assert_eq!(scene.receiver.count(), DEEDS.len(), "nothing was sent twice");
    database.run("SELECT webhook_emit('quiet.a', '{}')").await;
    let told = format!("SELECT count(*) FROM webhook.attempt WHERE endpoint_id = {quiet}");
    until("others go on", async || (database.number(&told).await == 1).then_some(())).await;
}
