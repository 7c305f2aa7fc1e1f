//! No secret, password or header of an endpoint's own is told by anything the worker shows.

use harness::{Answer, Database, Receiver, Worker};

const SECRET: &str = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0";
const TOKEN: &str = "tok-4711-never-shown";
const PASSWORD: &str = "pw-0815-never-shown";
/// What is not valid, and is not repeated by the complaint.
const BROKEN_SECRET: &str = "broken-secret-never-shown";

/// Every form a secret might be told in.
fn forbidden() -> Vec<String> {
    let bytes = "secret-secret-secret-secret";
    let list = format!("{:?}", bytes.as_bytes());
    let hex: String = bytes.bytes().map(|byte| format!("{byte:02x}")).collect();
    let forms = [SECRET, &SECRET["whsec_".len()..], bytes, &list, &hex, TOKEN, PASSWORD, BROKEN_SECRET];
    forms.iter().map(ToString::to_string).collect()
}

fn assert_silent(what: &str, text: &str) {
    for secret in forbidden() {
        assert!(!text.contains(&secret), "{what} tells {secret}: {text}");
    }
}

/// A receiver that gives back what it was sent, in every way that fails; endpoints that can't be called at all.
async fn scene() -> (Database, Receiver) {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    receiver.answers(|request| {
        let headers: Vec<String> =
            request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        match &*request.path {
            "/error" => Answer::status(500).body(headers.join("\n")),
            "/gone" => Answer::status(410).header("x-echo", request.header("x-token")),
            "/redirect" => {
                Answer::status(302).header("location", &format!("http://{TOKEN}:x@127.0.0.1/{TOKEN}"))
            }
            _ => Answer::status(200).body(headers.join("\n")),
        }
    });
    for path in ["/error", "/gone", "/redirect", "/ok"] {
        let url = receiver.url(path);
        database.run(&format!("SELECT webhook_endpoint_create('{url}', secret => '{SECRET}')")).await;
    }
    let refused = format!("SELECT webhook_endpoint_create('http://10.255.255.1/', secret => '{SECRET}')");
    let unresolved =
        format!("SELECT webhook_endpoint_create('http://nowhere.invalid/', secret => '{SECRET}')");
    let down = format!(
        "SELECT webhook_endpoint_create('http://127.0.0.1:{}/', secret => '{SECRET}')",
        harness::free_port()
    );
    database.run(&format!("{refused}; {unresolved}; {down}")).await;
    // As a restore may bring them: no trigger has checked these.
    let mut broken = Vec::new();
    for change in [
        format!("UPDATE webhook.endpoint_secret SET secret = '{BROKEN_SECRET}' WHERE endpoint_id ="),
        format!("UPDATE webhook.endpoint SET url = 'https://user:{PASSWORD}@127.0.0.1/' WHERE id ="),
        format!("UPDATE webhook.endpoint SET headers = '{{\"X-Token\": \"{TOKEN}\\n\"}}' WHERE id ="),
    ] {
        let (endpoint, _) = database.endpoint(&receiver.url("/never")).await;
        broken.push(format!("{change} {endpoint}"));
    }
    let policy =
        format!("headers = '{{\"X-Token\": \"{TOKEN}\"}}', retry_schedule = '{{}}', timeout = '5 s'");
    database.run(&format!("UPDATE webhook.endpoint SET {policy}")).await;
    let broken = broken.join("; ");
    database
        .run(&format!("SET session_replication_role = replica; {broken}; RESET session_replication_role"))
        .await;
    (database, receiver)
}

async fn run(database: &Database, format: &str, level: &'static str) -> Worker {
    let mut environment = database.environment();
    environment.push(("PGPASSWORD", PASSWORD.to_owned()));
    environment.push(("RUST_LOG", level.to_owned()));
    let worker =
        Worker::spawn(&environment, &["--log-format", format, "--allow-network", "127.0.0.0/8"]).await;
    worker.ready().await;
    worker
}

#[tokio::test]
async fn nothing_the_worker_shows_tells_a_secret() {
    let (database, receiver) = scene().await;
    for (format, level) in [("human", "info"), ("json", "trace")] {
        let worker = run(&database, format, level).await;
        database.run("UPDATE webhook.endpoint SET status = 'active' WHERE status = 'disabled'").await;
        let before = receiver.count();
        database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 3)").await;
        database.drained().await;
        let requests = receiver.requests().split_off(before);
        assert!(
            requests.iter().any(|request| request.path == "/ok" && request.header("x-token") == TOKEN),
            "it was sent"
        );
        for path in ["/metrics", "/healthz"] {
            assert_silent(path, &worker.get(path).await.expect("it answers").1);
        }
        let process = format!("/proc/{}", worker.pid());
        for file in ["cmdline", "comm", "status"] {
            assert_silent(file, &std::fs::read_to_string(format!("{process}/{file}")).expect("it runs"));
        }
        let queries = database
            .rows("SELECT query FROM pg_stat_activity WHERE application_name LIKE 'pg-webhook-worker%'")
            .await;
        assert_silent("pg_stat_activity", &queries.join("\n"));
        worker.says("can't be called").await;
        worker.terminate();
        let (_, log) = worker.ended().await;
        assert!(log.contains("disabled") && log.contains("stopped"), "{log}");
        assert_silent("the log", &log);
    }
    // What the other side answered is its own business.
    let recorded = "SELECT concat_ws(' ', error, url, remote_address, request_headers) FROM webhook.attempt";
    assert_silent("webhook.attempt", &database.rows(recorded).await.join("\n"));
    let notices = database.rows("SELECT message FROM webhook.notice").await;
    assert!(!notices.is_empty());
    assert_silent("webhook.notice", &notices.join("\n"));
    let errors = database
        .rows("SELECT DISTINCT left(error, 16) FROM webhook.attempt WHERE error IS NOT NULL ORDER BY 1")
        .await;
    assert!(errors.len() >= 6, "each fails in its own way: {errors:?}");
}

#[tokio::test]
async fn a_password_is_no_argument() {
    let url = format!("postgresql://someone:{PASSWORD}@127.0.0.1:{}/x", harness::free_port());
    let (code, log) = Worker::spawn(&[], &["--database-url", &url]).await.ended().await;
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("PGPASSWORD"), "it says where to put it: {log}");
    assert_silent("the log", &log);

    // Where it may stand, it is not repeated either.
    let worker = Worker::spawn(&[("PG_WEBHOOK_DATABASE_URL", url)], &[]).await;
    worker.says("is unreachable").await;
    worker.terminate();
    assert_silent("the log", &worker.ended().await.1);
    let help = Worker::command(
        &["run".into(), "--help".into()],
        &[("PG_WEBHOOK_DATABASE_URL", PASSWORD.to_owned())],
    );
    let (_, shown) = help.ended().await;
    assert!(shown.contains("--database-url"), "{shown}");
    assert_silent("the help", &shown);
}
