//! What a worker says of itself: /healthz, /metrics, its log; and what it must not say, or hold on to.

use harness::{Answer, Cluster, Database, Gate, Receiver, Worker, free_port, until};
use std::collections::HashMap;
use std::time::Duration;

async fn health(worker: &Worker) -> Option<(u16, serde_json::Value)> {
    let (status, body) = worker.get("/healthz").await?;
    Some((status, serde_json::from_str(&body).expect("JSON")))
}

async fn becomes(worker: &Worker, status: u16, state: &str) {
    until(&format!("/healthz says {status} {state}"), async || {
        let (now, body) = health(worker).await?;
        (now == status && body["state"] == state).then_some(())
    })
    .await;
}

#[tokio::test]
async fn healthz_says_whether_it_delivers() {
    let nowhere = vec![
        ("PGHOST", "127.0.0.1".to_owned()),
        ("PGPORT", free_port().to_string()),
        ("PGUSER", "x".to_owned()),
    ];
    let lost = Worker::spawn(&nowhere, &[]).await;
    becomes(&lost, 503, "connecting").await;

    let (database, receiver) = (Database::new().await, Receiver::start().await);
    database.endpoint(&receiver.url("/")).await;
    let worker = Worker::start(&database).await;
    becomes(&worker, 200, "delivering").await;
    let has_slots = async || Some(health(&worker).await?.1).filter(|body| body["slots"] == 64);
    let body = until("it has its slots", has_slots).await;
    for (key, value) in [("members", 1), ("in_flight", 0), ("unrecorded", 0)] {
        assert_eq!(body[key], value, "{key} of {body}");
    }
    assert!(body["version"].is_string() && body["endpoints"].is_number(), "{body}");
    assert_eq!(worker.get("/").await.expect("it answers").0, 404);

    let postgres = Cluster::shared().await.connect("postgres").await.expect("a session");
    let allow = async |allowed: bool| {
        Database::run_in(&postgres, &format!("ALTER DATABASE {} ALLOW_CONNECTIONS {allowed}", database.name))
            .await;
    };
    allow(false).await;
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'pg-webhook-worker%'";
    database.run(cut).await;
    becomes(&worker, 503, "reconnecting").await;
    allow(true).await;
    becomes(&worker, 200, "delivering").await;
    let told = worker.log().iter().filter(|line| line.contains("is unreachable")).count();
    assert_eq!(told, 1, "said once per change: {:?}", worker.log());

    let gate = Gate::default();
    let held = gate.clone();
    receiver.answers(move |_| Answer::status(200).held_by(&held));
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    receiver.receives(1).await;
    worker.terminate();
    until("it says that it stops", async || (health(&worker).await?.1["state"] == "stopping").then_some(()))
        .await;
}

/// Prometheus' text format: each sample by name and labels. Panics at what a scraper would refuse.
fn samples(text: &str) -> HashMap<String, f64> {
    let mut samples = HashMap::new();
    let mut types = HashMap::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let words: Vec<&str> = comment.splitn(3, ' ').collect();
            match words[..] {
                ["EOF"] | ["HELP", _, _] => {}
                ["TYPE", name, kind] => assert!(types.insert(name, kind).is_none(), "{name} comes twice"),
                _ => panic!("not a comment of the format: {line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let name = series.split('{').next().expect("a name");
        let base = ["_total", "_sum", "_count", "_bucket"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        assert!(types.contains_key(base), "no type for {line}");
        assert!(
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && name.starts_with("pg_webhook_"),
            "{line}"
        );
        let value = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
        assert!(samples.insert(series.to_owned(), value).is_none(), "{series} comes twice");
    }
    samples
}

#[tokio::test]
async fn metrics_agree_with_the_tables() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    for path in ["/ok", "/flaky", "/broken", "/off"] {
        let (endpoint, _) = database.endpoint(&receiver.url(path)).await;
        let policy = "retry_schedule = '{20 ms}', retry_jitter = 0, disable_after = NULL";
        database.run(&format!("UPDATE webhook.endpoint SET {policy} WHERE id = {endpoint}")).await;
    }
    database.run("UPDATE webhook.endpoint SET status = 'paused' WHERE url LIKE '%/off'").await;
    let seen = std::sync::Mutex::new(std::collections::HashSet::new());
    receiver.answers(move |request| match &*request.path {
        "/flaky" if seen.lock().expect("no panic").insert(request.id().to_owned()) => Answer::status(503),
        "/broken" => Answer::status(500),
        _ => Answer::status(200),
    });
    let worker = Worker::start(&database).await;
    // Few enough that no receiver is spared.
    database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 5)").await;
    database.run("UPDATE webhook.endpoint SET status = 'disabled' WHERE url LIKE '%/off'").await;
    database.drained().await;
    let attempts = database.number("SELECT count(*) FROM webhook.attempt").await as f64;
    until("it has heard that all is recorded", async || {
        let recorded = worker.metric("pg_webhook_recorded_total").await;
        let held = worker.metric("pg_webhook_window_bytes").await;
        (recorded == attempts && held == 0.0).then_some(())
    })
    .await;
    let (_, text) = worker.get("/metrics").await.expect("it answers");
    let samples = samples(&text);
    let sample = |series: &str| *samples.get(series).unwrap_or_else(|| panic!("no {series} in {text}"));
    for row in database.rows("SELECT outcome, count(*) FROM webhook.attempt GROUP BY 1 ORDER BY 1").await {
        let (outcome, count) = row.split_once('|').expect("two columns");
        let series = format!("pg_webhook_attempts_total{{outcome=\"{outcome}\"}}");
        assert_eq!(sample(&series).to_string(), count, "{outcome}");
    }
    let outcomes = database.rows("SELECT outcome, count(*) FROM webhook.attempt GROUP BY 1 ORDER BY 1").await;
    assert_eq!(outcomes, ["delivered|10", "failed|5", "retry|10", "skipped|5"]);
    for (series, sql) in [
        ("pg_webhook_recorded_total", "SELECT count(*) FROM webhook.attempt"),
        ("pg_webhook_attempt_seconds_count", "SELECT count(*) FROM webhook.attempt WHERE number > 0"),
        (
            "pg_webhook_attempt_seconds_bucket{le=\"+Inf\"}",
            "SELECT count(*) FROM webhook.attempt WHERE number > 0",
        ),
        (
            "pg_webhook_event_to_attempt_seconds_count",
            "SELECT count(*) FROM webhook.attempt WHERE number = 1",
        ),
        ("pg_webhook_in_flight", "SELECT 0"),
        ("pg_webhook_unrecorded", "SELECT 0"),
        ("pg_webhook_window_bytes", "SELECT 0"),
        ("pg_webhook_slots", "SELECT 64"),
        ("pg_webhook_members", "SELECT 1"),
    ] {
        assert_eq!(sample(series), database.number(sql).await as f64, "{series}");
    }
    for connection in ["owner", "tailer", "listener", "recorder"] {
        assert_eq!(sample(&format!("pg_webhook_connected{{connection=\"{connection}\"}}")), 1.0);
    }
}

/// Requests hang, retries and answers are read and recorded; no transaction is open for longer than a query takes.
#[tokio::test]
async fn no_transaction_is_open_while_a_request_is() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    for n in 0..8 {
        database.endpoint(&receiver.url(&format!("/{n}"))).await;
    }
    receiver.answers(|request| match &*request.path {
        "/0" | "/1" => Answer::status(200),
        "/2" => Answer::status(500),
        _ => Answer::status(200).after(Duration::from_secs(600)),
    });
    let _worker = Worker::start(&database).await;
    let sessions = "FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pg-webhook-worker%'";
    database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 100)").await;
    receiver.receives(5 * 16).await;
    let looks = std::cell::Cell::new(0);
    until("it has been looked at for a while", async || {
        let open = format!(
            "SELECT application_name, state, clock_timestamp() - xact_start, query {sessions}
             AND (state LIKE 'idle in transaction%' OR clock_timestamp() - xact_start > '10 s'
               OR (state = 'idle' AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)))"
        );
        assert_eq!(database.rows(&open).await, Vec::<String>::new());
        looks.set(looks.get() + 1);
        (looks.get() > 150).then_some(())
    })
    .await;
    assert!(database.number(&format!("SELECT count(*) {sessions}")).await >= 4, "they were there to be seen");
    assert_eq!(
        database.number("SELECT count(*) FROM webhook.attempt WHERE url ~ '/[3-7]$'").await,
        0,
        "the others hang"
    );
}
