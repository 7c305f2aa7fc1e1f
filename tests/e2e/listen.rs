//! `pg-webhook-worker listen`, the receiver for development.

use harness::{Database, Worker, free_port, until};
use std::io::Write;
use std::time::Duration;

/// Starts it on a port of its own and waits until it listens.
async fn listen(args: &[&str], environment: &[(&'static str, String)]) -> Worker {
    let all = [&["listen", "--port", "0"], args].concat();
    let mut listener = Worker::command(&all.iter().map(ToString::to_string).collect::<Vec<_>>(), environment);
    let line = listener.says("listening on http://127.0.0.1:").await;
    listener.http_port = line.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    listener
}

/// A database with an endpoint that leads there; returns its secret.
async fn endpoint_for(listener: &Worker, policy: &str) -> (Database, String) {
    let database = Database::new().await;
    let (_, secret) = database.endpoint(&format!("http://127.0.0.1:{}/hooks", listener.http_port)).await;
    database
        .run(&format!("UPDATE webhook.endpoint SET retry_schedule = '{{}}', retry_jitter = 0 {policy}"))
        .await;
    (database, secret)
}

async fn emit(database: &Database, kind: &str, count: usize) {
    database.run(&format!("SELECT webhook_emit('{kind}', '{{}}') FROM generate_series(1, {count})")).await;
}

async fn stats(listener: &Worker) -> serde_json::Value {
    let (status, body) = listener.get("/stats").await.expect("it answers");
    assert_eq!(status, 200);
    serde_json::from_str(&body).expect("JSON")
}

fn secret_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().expect("UTF-8")
}

#[tokio::test]
async fn it_verifies_counts_and_prints_each_delivery() {
    let file = secret_file("");
    let listener = listen(&["--secret-file", path(&file)], &[]).await;
    let (database, secret) = endpoint_for(&listener, "").await;
    let _worker = Worker::start(&database).await;
    // No secret yet, then another one's, then the right one beside it.
    emit(&database, "no.secret", 1).await;
    let line = listener.says("no.secret").await;
    assert!(line.contains("rejected: there is no secret yet"), "{line}");
    std::fs::write(file.path(), "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n").expect("written");
    until("the other secret is read", async || {
        emit(&database, "other.secret", 1).await;
        listener
            .log()
            .iter()
            .any(|line| line.contains("other.secret rejected") && !line.contains("no secret"))
            .then_some(())
    })
    .await;
    std::fs::write(file.path(), format!("# both\nwhsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD\n\n{secret}\n"))
        .expect("written");
    until("the right secret is read", async || {
        emit(&database, "right.secret", 1).await;
        listener.log().iter().any(|line| line.contains("right.secret verified")).then_some(())
    })
    .await;
    database.drained().await;
    let before = stats(&listener).await;
    emit(&database, "a.b", 20).await;
    database.drained().await;
    let stats = stats(&listener).await;
    let mut keys: Vec<&str> = stats.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["distinct_events", "p50_ms", "p99_ms", "received", "rejected", "verified"]);
    let count = |stats: &serde_json::Value, key: &str| stats[key].as_i64().expect("a number");
    assert_eq!(count(&stats, "verified") - count(&before, "verified"), 20);
    assert_eq!(stats["rejected"], before["rejected"]);
    assert_eq!(stats["received"], count(&stats, "verified") + count(&stats, "rejected"));
    assert_eq!(stats["distinct_events"], stats["verified"], "those rejected are not counted as events");
    let (p50, p99) = (stats["p50_ms"].as_f64().expect("ms"), stats["p99_ms"].as_f64().expect("ms"));
    assert!(0.0 < p50 && p50 <= p99 && p99 < 60_000.0, "{stats}");
    // The table agrees, and so does what was printed, line by line.
    for (outcome, key) in [("delivered", "verified"), ("failed", "rejected")] {
        let sql = format!("SELECT count(*) FROM webhook.delivery WHERE status = '{outcome}'");
        assert_eq!(database.number(&sql).await, count(&stats, key), "{key}");
    }
    assert_eq!(
        database.text("SELECT DISTINCT last_status_code FROM webhook.delivery WHERE status = 'failed'").await,
        "401"
    );
    for id in database.rows("SELECT id FROM webhook.event WHERE type = 'a.b'").await {
        let lines = listener.log().into_iter().filter(|line| line.contains(&id)).collect::<Vec<_>>();
        assert!(
            lines.len() == 1 && lines[0].contains(" a.b verified ") && lines[0].ends_with(" ms"),
            "{lines:?}"
        );
    }
    assert!(!listener.log().join("\n").contains(&secret), "no secret is printed");
    assert!(listener.stop().await.success());
}

#[tokio::test]
async fn a_file_that_holds_no_secret_any_more_changes_nothing() {
    let file = secret_file("");
    let listener = listen(&["--secret-file", path(&file)], &[]).await;
    let (database, secret) = endpoint_for(&listener, "").await;
    std::fs::write(file.path(), &secret).expect("written");
    let _worker = Worker::start(&database).await;
    until("the secret is read", async || {
        emit(&database, "a.b", 1).await;
        listener.log().iter().any(|line| line.contains("verified")).then_some(())
    })
    .await;
    std::fs::write(file.path(), "never-shown-0815").expect("written");
    until("it has seen that", async || {
        emit(&database, "a.b", 1).await;
        listener.log().iter().any(|line| line.contains("a line is no secret")).then_some(())
    })
    .await;
    emit(&database, "still.right", 1).await;
    let line = listener.says("still.right").await;
    assert!(line.contains("verified"), "{line}");
    assert!(!listener.log().join("\n").contains("never-shown-0815"), "what is no secret is not repeated");
}

#[tokio::test]
async fn it_answers_as_it_is_told() {
    for (args, policy, status, least_ms) in [
        (&["--status", "202"][..], "", "delivered|202", 0),
        (&["--status", "418"], "", "failed|418", 0),
        (&["--fail-percent", "100"], "", "failed|500", 0),
        (&["--fail-percent", "0"], "", "delivered|200", 0),
        (&["--delay", "300ms"], "", "delivered|200", 300),
        (&["--delay", "1m"], ", timeout = '2 s'", "failed|", 2_000),
    ] {
        let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned();
        let listener = listen(args, &[("PG_WEBHOOK_SECRET", secret.clone())]).await;
        let (database, _) = endpoint_for(&listener, policy).await;
        database.run(&format!("UPDATE webhook.endpoint_secret SET secret = '{secret}'")).await;
        let _worker = Worker::start(&database).await;
        emit(&database, "a.b", 5).await;
        database.drained().await;
        let rows = database.rows("SELECT DISTINCT status, last_status_code FROM webhook.delivery").await;
        assert_eq!(rows, [status], "{args:?}");
        let duration = database
            .number("SELECT floor(extract(epoch FROM min(duration)) * 1000)::int FROM webhook.attempt")
            .await;
        assert!((least_ms..least_ms + 10_000).contains(&duration), "{args:?}: {duration} ms");
        assert_eq!(stats(&listener).await["verified"], 5, "{args:?}: verified, whatever is answered");
    }
}

#[tokio::test]
async fn it_fails_some_of_a_hundred_and_sums_up() {
    let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned();
    let listener =
        listen(&["--fail-percent", "40", "--quiet"], &[("PG_WEBHOOK_SECRET", secret.clone())]).await;
    let (database, _) = endpoint_for(&listener, ", max_in_flight = 1").await;
    database.run("UPDATE webhook.endpoint SET retry_schedule = array_fill('1 ms'::interval, '{100}')").await;
    database.run(&format!("UPDATE webhook.endpoint_secret SET secret = '{secret}'")).await;
    let _worker = Worker::start(&database).await;
    emit(&database, "a.b", 300).await;
    database.drained().await;
    // 300 deliveries take 500 attempts, give or take.
    let retried = database
        .number("SELECT count(*) FROM webhook.attempt WHERE outcome = 'retry' AND status_code = 500")
        .await;
    assert!((100..350).contains(&retried), "{retried} of {}", retried + 300);
    let stats = stats(&listener).await;
    assert_eq!((&stats["distinct_events"], &stats["verified"]), (&300.into(), &(300 + retried).into()));
    let line = listener
        .says(&format!("received {0}, verified {0}, rejected 0, distinct events 300", 300 + retried))
        .await;
    assert!(line.contains("p50 ") && line.contains("p99 "), "{line}");
    assert!(!listener.log().iter().any(|line| line.contains("a.b")), "no line for each");
}

#[tokio::test]
async fn it_says_what_is_wrong_with_its_options() {
    let held = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let taken = held.local_addr().expect("an address").port().to_string();
    let free = free_port().to_string();
    let secret = || vec![("PG_WEBHOOK_SECRET", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned())];
    for (args, environment, said) in [
        (&["--port", &free][..], vec![], "--secret-file or PG_WEBHOOK_SECRET"),
        (&["--port", &free], vec![("PG_WEBHOOK_SECRET", "hunter2!".to_owned())], "a line is no secret"),
        (&["--port", &free, "--secret-file", "/nowhere/secret.txt"], vec![], "/nowhere/secret.txt"),
        (&["--port", &taken], secret(), "can't listen on"),
        (&["--port", "70000"], secret(), "--port"),
        (&["--status", "99"], secret(), "--status"),
        (&["--fail-percent", "101"], secret(), "--fail-percent"),
        (&["--delay", "5"], secret(), "a number and a unit"),
    ] {
        let all = [&["listen"], args].concat().iter().map(ToString::to_string).collect::<Vec<_>>();
        let (code, log) = Worker::command(&all, &environment).ended().await;
        assert_eq!(code, Some(2), "{args:?}: {log}");
        assert!(log.contains(said) && !log.contains("hunter2"), "{args:?}: {log}");
    }
}

#[tokio::test]
async fn it_stops_when_it_is_told() {
    let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".to_owned();
    let listener = listen(&[], &[("PG_WEBHOOK_SECRET", secret)]).await;
    assert_eq!(listener.get("/").await.expect("it answers").0, 405);
    let told = std::time::Instant::now();
    assert!(listener.stop().await.success());
    assert!(told.elapsed() < Duration::from_secs(10));
}
