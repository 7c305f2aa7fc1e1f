//! The worker reads what is new, exactly: nothing committed is missed, nothing is sent twice, however late, large or
//! mixed it comes.

use harness::{Database, Receiver, Worker, until};
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

async fn scene() -> (Database, Receiver, Worker, i32) {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let (endpoint, _) = database.endpoint(&receiver.url("/")).await;
    let worker = Worker::start(&database).await;
    (database, receiver, worker, endpoint)
}

/// How often each event type came.
fn times_by_type(receiver: &Receiver) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for request in receiver.requests() {
        let kind = request.json()["type"].as_str().expect("a type").to_owned();
        *times.entry(kind).or_insert(0) += 1;
    }
    times
}

#[tokio::test]
async fn what_commits_late_arrives_although_thousands_have_overtaken_it() {
    let (database, receiver, _worker, _) = scene().await;
    let first = database.text("SELECT webhook_emit('first.one', '{}')").await;
    receiver.receives(1).await;
    // Open or prepared while the others commit: each with an id older than theirs.
    let (plain, prepared, aborted) =
        (database.session().await, database.session().await, database.session().await);
    Database::run_in(&plain, "BEGIN; SELECT webhook_emit('late.plain', '{}')").await;
    Database::run_in(&plain, "SAVEPOINT a; SELECT webhook_emit('late.undone', '{}'); ROLLBACK TO a").await;
    Database::run_in(&plain, "SAVEPOINT b; SELECT webhook_emit('late.savepoint', '{}'); RELEASE b").await;
    for (name, kind) in [("kept", "late.prepared"), ("dropped", "late.dropped")] {
        Database::run_in(&prepared, &format!("BEGIN; SELECT webhook_emit('{kind}', '{{}}')")).await;
        Database::run_in(&prepared, &format!("PREPARE TRANSACTION '{}_{name}'", database.name)).await;
    }
    Database::run_in(&aborted, "BEGIN; SELECT webhook_emit('late.aborted', '{}')").await;
    for _ in 0..30 {
        database.run("SELECT webhook_emit('early.one', '{}') FROM generate_series(1, 100)").await;
    }
    receiver.receives(3_001).await;
    database.drained().await;

    Database::run_in(&aborted, "ROLLBACK").await;
    Database::run_in(&plain, "SELECT webhook_emit('late.last', '{}')").await;
    Database::run_in(&plain, "COMMIT").await;
    receiver.receives(3_004).await;
    Database::run_in(&prepared, &format!("ROLLBACK PREPARED '{}_dropped'", database.name)).await;
    Database::run_in(&prepared, &format!("COMMIT PREPARED '{}_kept'", database.name)).await;
    receiver.receives(3_005).await;
    // Owed again: its id is older than all that was read since.
    database.run(&format!("SELECT webhook_resend('{first}', id) FROM webhook.endpoint")).await;
    receiver.receives(3_006).await;
    database.drained().await;
    let mut times: Vec<_> = times_by_type(&receiver).into_iter().collect();
    times.sort();
    let expected = [
        ("early.one", 3_000),
        ("first.one", 2),
        ("late.last", 1),
        ("late.plain", 1),
        ("late.prepared", 1),
        ("late.savepoint", 1),
    ];
    assert_eq!(times, expected.map(|(kind, times)| (kind.to_owned(), times)));
}

#[tokio::test]
async fn what_is_due_later_comes_in_its_time_each_once() {
    let (database, receiver, _worker, _) = scene().await;
    database
        .run(
            "SELECT webhook_emit('a.b', jsonb_build_object('due_s', extract(epoch FROM due)), deliver_at => due)
             FROM (SELECT clock_timestamp() + n % 40 * interval '50 ms' AS due FROM generate_series(1, 800) n) d;
             SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 200)",
        )
        .await;
    database.drained().await;
    for request in receiver.requests() {
        let due_s = request.json()["data"]["due_s"].as_f64().unwrap_or_default();
        let came = SystemTime::now() - request.at.elapsed();
        let came_s = came.duration_since(UNIX_EPOCH).expect("a time of today").as_secs_f64();
        // Two readings of the clock lie between.
        assert!(came_s > due_s - 0.001, "it came {} s before it was due", due_s - came_s);
    }
    assert_eq!(receiver.times_by_id().len(), 1_000);
    assert_eq!(receiver.count(), 1_000, "each once");
}

#[tokio::test]
async fn what_waits_when_a_worker_starts_comes_now_or_in_its_time() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    database.endpoint(&receiver.url("/ready-and-due")).await;
    database.endpoint(&receiver.url("/due")).await;
    database.run("UPDATE webhook.endpoint SET event_types = '{due.*}' WHERE id = 2").await;
    database
        .run(
            "SELECT webhook_emit('ready.one', '{}'), webhook_emit('due.past', '{}', deliver_at => now() - interval '1 s'),
               webhook_emit('due.soon', '{}', deliver_at => now() + interval '2 s')",
        )
        .await;
    let _worker = Worker::start(&database).await;
    database.drained().await;
    assert_eq!((receiver.count(), receiver.times_by_id().len()), (5, 3));
}

#[tokio::test]
async fn a_burst_larger_than_any_window_arrives_each_once() {
    const BURST: usize = 20_000;
    let (database, receiver, _worker, _) = scene().await;
    database
        .run(&format!(
            "SELECT webhook_emit('a.b', jsonb_build_object('n', n)) FROM generate_series(1, {BURST}) n"
        ))
        .await;
    receiver.receives(BURST).await;
    database.drained().await;
    assert_eq!((receiver.count(), receiver.times_by_id().len()), (BURST, BURST));
}

#[tokio::test]
async fn many_endpoints_each_get_every_event_once() {
    const ENDPOINTS: usize = 200;
    const EVENTS: usize = 20;
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    database
        .run(&format!(
            "INSERT INTO webhook.endpoint (url) SELECT '{}' || n FROM generate_series(1, {ENDPOINTS}) n",
            receiver.url("/")
        ))
        .await;
    let _worker = Worker::start(&database).await;
    for _ in 0..EVENTS / 4 {
        database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 4)").await;
    }
    receiver.receives(ENDPOINTS * EVENTS).await;
    database.drained().await;
    let mut times: HashMap<(String, String), usize> = HashMap::new();
    for request in receiver.requests() {
        *times.entry((request.path.clone(), request.id().to_owned())).or_default() += 1;
    }
    assert_eq!(times.len(), ENDPOINTS * EVENTS, "every pair of endpoint and event");
    assert!(times.values().all(|times| *times == 1), "exactly once");
}

#[tokio::test]
async fn concurrent_writers_that_commit_and_roll_back_at_random_lose_nothing() {
    const WRITERS: usize = 8;
    const TRANSACTIONS: usize = 200;
    let (database, receiver, _worker, _) = scene().await;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let session = database.session().await;
        writers.push(tokio::spawn(async move {
            let mut committed = Vec::new();
            for number in 0..TRANSACTIONS {
                Database::run_in(&session, "BEGIN").await;
                let id = Database::text_in(
                    &session,
                    &format!("SELECT webhook_emit('a.b', '[{writer}, {number}]')"),
                )
                .await;
                Database::run_in(&session, "SELECT pg_sleep(random() ^ 6 * 0.05)").await;
                let end = Database::text_in(
                    &session,
                    "SELECT CASE WHEN random() < 0.2 THEN 'ROLLBACK' ELSE 'COMMIT' END",
                )
                .await;
                Database::run_in(&session, &end).await;
                if end == "COMMIT" {
                    committed.push(id);
                }
            }
            committed
        }));
    }
    let mut committed = Vec::new();
    for writer in writers {
        committed.extend(writer.await.expect("no panic"));
    }
    assert!(
        (WRITERS * TRANSACTIONS / 2..WRITERS * TRANSACTIONS).contains(&committed.len()),
        "{}",
        committed.len()
    );
    receiver.receives(committed.len()).await;
    database.drained().await;
    let times = receiver.times_by_id();
    assert!(committed.iter().all(|id| times.get(id) == Some(&1)), "what was committed, exactly once");
    assert_eq!(times.len(), committed.len(), "and nothing else");
}

/// Reads the tail from a snapshot on, in pages of 3 rows, and calls `between` after the first; returns the events in the
/// order they were read, and the snapshot of the next round.
async fn read_round(database: &Database, since: &str, between: impl AsyncFnOnce()) -> (Vec<String>, String) {
    let (mut events, mut first, mut cursor) = (Vec::new(), None::<String>, "NULL, NULL".to_owned());
    let mut between = Some(between);
    loop {
        let within = first.as_ref().map_or("NULL".to_owned(), |snapshot| format!("'{snapshot}'"));
        let page = database
            .rows(&format!(
                "SELECT coalesce(snapshot, format('%s %s', xid, event_id))
                 FROM webhook.worker_tail(8, NULL, '{{}}', '{since}', {within}, {cursor}, 3, 1000000)"
            ))
            .await;
        let (snapshot, rows) = page.split_first().expect("a snapshot");
        let first = first.get_or_insert_with(|| snapshot.clone());
        let rows: Vec<_> = rows.iter().filter_map(|row| row.split_once(' ')).collect();
        events.extend(rows.iter().map(|(_, event)| (*event).to_owned()));
        assert!(events.len() < 100, "pages come again and again: {events:?}");
        match rows.last() {
            Some((xid, event)) if rows.len() >= 3 => cursor = format!("{xid}, '{event}'"),
            _ => return (events, first.clone()),
        }
        if let Some(between) = between.take() {
            between().await;
        }
    }
}

#[tokio::test]
async fn transactions_that_were_open_together_are_each_read_whole_page_by_page() {
    let database = Database::new().await;
    database.endpoint("https://example.com/").await;
    let mut writers = Vec::new();
    for _ in 0..4 {
        writers.push(database.session().await);
    }
    // The ids of what they emit interleave.
    let emit = async |writers: &[tokio_postgres::Client]| {
        let mut made = vec![Vec::new(); writers.len()];
        for writer in writers {
            Database::run_in(writer, "BEGIN").await;
        }
        for _ in 0..5 {
            for (writer, made) in writers.iter().zip(&mut made) {
                made.push(Database::text_in(writer, "SELECT webhook_emit('a.b', '{}')").await);
            }
        }
        made
    };
    let open = emit(&writers[..3]).await;
    // A snapshot lists them as open once it has seen one that began later.
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    let since = database.text("SELECT pg_current_snapshot()").await;
    let begun_since = emit(&writers[3..]).await;
    for writer in &writers[..2] {
        Database::run_in(writer, "COMMIT").await;
    }
    let mut after = Vec::new();
    for _ in 0..5 {
        after.push(database.text("SELECT webhook_emit('a.b', '{}')").await);
    }
    let commit = async || {
        for writer in &writers[2..] {
            Database::run_in(writer, "COMMIT").await;
        }
    };
    let (read, next) = read_round(&database, &since, commit).await;
    assert_eq!(read, [&open[0][..], &open[1], &after].concat(), "each transaction in turn, each event once");
    let (read, _) = read_round(&database, &next, async || {}).await;
    assert_eq!(
        read,
        [&open[2][..], &begun_since[0]].concat(),
        "what committed amid the round comes in the next one"
    );
}

/// How often the queue and the events have been read through.
async fn sequential_scans(database: &Database) -> (i64, i64) {
    let scans = "SELECT sum(seq_scan) FROM pg_stat_user_tables WHERE schemaname = 'webhook' AND relname";
    (
        database.number(&format!("{scans} = 'queue'")).await,
        database.number(&format!("{scans} LIKE 'event%' AND relname <> 'event_type'")).await,
    )
}

#[tokio::test]
async fn a_worker_started_on_an_empty_queue_is_quick_when_a_million_rows_have_come() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let (endpoint, _) = database.endpoint(&receiver.url("/")).await;
    database
        .run(&format!("UPDATE webhook.endpoint SET event_types = '{{live.*}}' WHERE id = {endpoint}"))
        .await;
    let worker = Worker::start(&database).await;
    // Its plans are made now, on tables that are empty.
    for count in 1..=12 {
        database.run("SELECT webhook_emit('live.one', '{}')").await;
        receiver.receives(count).await;
    }
    // Nobody is sent these, so they stay.
    database
        .run(
            "INSERT INTO webhook.endpoint (url, event_types, status)
             SELECT 'http://127.0.0.1:1/' || n, '{bulk.*}', 'paused' FROM generate_series(1, 20) n",
        )
        .await;
    let mut writers = Vec::new();
    for _ in 0..2 {
        let session = database.session().await;
        writers.push(tokio::spawn(async move {
            for _ in 0..10 {
                Database::run_in(
                    &session,
                    "SELECT webhook_emit('bulk.one', '{}') FROM generate_series(1, 2500)",
                )
                .await;
            }
        }));
    }
    for writer in writers {
        writer.await.expect("no panic");
    }

    let (reads, scans) =
        (worker.metric("pg_webhook_tail_reads_total").await, sequential_scans(&database).await);
    let mut waits = Vec::new();
    for _ in 0..30 {
        let (known, began) = (receiver.count(), Instant::now());
        database.run("SELECT webhook_emit('live.one', '{}') FROM generate_series(1, 10)").await;
        receiver.receives(known + 10).await;
        waits.push(began.elapsed());
    }
    waits.sort();
    assert!(waits[15] < Duration::from_secs(3), "ten deliveries beside a million that wait take {waits:?}");
    // Scans are counted a moment later: at most once a second, by a session that works.
    until("the worker's reads are counted", async || {
        database.run("SELECT webhook_emit('live.one', '{}')").await;
        (worker.metric("pg_webhook_tail_reads_total").await > reads + 100.0).then_some(())
    })
    .await;
    let (queue, event) = sequential_scans(&database).await;
    assert_eq!(queue, scans.0, "the queue is not read through");
    // By the janitor perhaps, when it makes a leaf.
    assert!(event <= scans.1 + 10, "the events are not read through: {} times", event - scans.1);
    let waiting = format!("SELECT count(*) FROM webhook.queue WHERE endpoint_id <> {endpoint}");
    assert_eq!(database.number(&waiting).await, 1_000_000);
}
