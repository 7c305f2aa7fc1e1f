//! Receivers that answer badly, or not at all: bounded time and memory, a row that says what happened, and no other
//! endpoint is harmed.

mod answers;

use harness::{Answer, Conversation, Database, RawReceiver, Receiver, Worker, until};
use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Of a hostile endpoint. Much longer than a healthy one takes, however slow the machine.
const TIMEOUT_S: u32 = 20;
/// Events that each hostile endpoint is sent at once.
const EVENTS: usize = 6;
/// Endpoints beside them, so that each of the worker's threads has some, and events for them alone.
const HEALTHY: usize = 8;
const MEANWHILE: usize = 10;
/// Peak of the worker's memory in the development build; some 15 MiB are usual.
const MEMORY_KIB: u64 = 64 << 10;

const OK: &str = "HTTP/1.1 200 OK\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

type Talk = Box<dyn Fn(Conversation) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send>> + Send>;

struct Case {
    name: &'static str,
    /// What every attempt's row says: `outcome|status|error`, the error up to its beginning.
    expected: &'static str,
    talk: Talk,
}

fn case<F: Future<Output = io::Result<()>> + Send + 'static>(
    name: &'static str,
    expected: &'static str,
    talk: impl Fn(Conversation) -> F + Send + 'static,
) -> Case {
    Case { name, expected, talk: Box::new(move |conversation| Box::pin(talk(conversation))) }
}

/// Reads the request, says this, and closes the connection.
fn says(
    name: &'static str,
    expected: &'static str,
    answer: impl AsRef<[u8]> + Clone + Send + Sync + 'static,
) -> Case {
    case(name, expected, move |mut talk| {
        let answer = answer.clone();
        async move {
            talk.request().await?;
            talk.say(answer).await
        }
    })
}

/// Sends events to all of them, and to healthy endpoints, before and meanwhile.
async fn endure(cases: Vec<Case>) -> Database {
    let (database, healthy) = (Database::new().await, Receiver::start().await);
    for n in 0..HEALTHY {
        database.endpoint(&healthy.url(&format!("/{n}"))).await;
    }
    let mut receivers = Vec::new();
    let mut expected = Vec::new();
    for Case { name, expected: row, talk } in cases {
        let receiver = RawReceiver::start(talk).await;
        let scheme = if name.contains("TLS") { "https" } else { "http" };
        endpoint(&database, name, &format!("{scheme}://127.0.0.1:{}/", receiver.port())).await;
        receivers.push(receiver);
        expected.push((name, row));
    }
    let worker = Worker::start(&database).await;
    database.run(&format!("SELECT webhook_emit('a.b', '{{}}') FROM generate_series(1, {EVENTS})")).await;
    for n in 0..MEANWHILE {
        let began = Instant::now();
        database.run("SELECT webhook_emit('mean.while', '{}')").await;
        healthy.receives(HEALTHY * (EVENTS + n + 1)).await;
        let took = began.elapsed();
        assert!(took.as_secs() < u64::from(TIMEOUT_S), "healthy endpoints wait for nobody: {took:?}");
    }
    database.drained().await;

    let delivered = "SELECT count(*) FROM webhook.attempt a JOIN webhook.endpoint e ON e.id = a.endpoint_id
        WHERE e.name IS NULL AND outcome = 'delivered' AND number = 1";
    assert_eq!(database.number(delivered).await, (HEALTHY * (EVENTS + MEANWHILE)) as i64);
    check(&database, &expected).await;
    let longest = "SELECT max(extract(epoch FROM duration)) FROM webhook.attempt";
    let longest: f64 = database.text(longest).await.parse().expect("seconds");
    assert!(longest < 1.5 * f64::from(TIMEOUT_S), "an attempt took {longest} s");
    // A machine that stands still for two seconds says 503 until the next beat.
    let is_healthy = async || (worker.get("/healthz").await?.0 == 200).then_some(());
    until("the worker is healthy", is_healthy).await;
    let peak = peak_memory_kib(&worker);
    assert!(peak < MEMORY_KIB, "the worker took {peak} KiB");
    database
}

async fn endpoint(database: &Database, name: &str, url: &str) {
    database
        .run(&format!(
            "INSERT INTO webhook.endpoint (url, name, event_types, timeout, retry_schedule)
             VALUES ('{url}', '{name}', '{{a.b}}', '{TIMEOUT_S} s', '{{}}')"
        ))
        .await;
}

async fn check(database: &Database, expected: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (name, row) in expected {
        let rows = database
            .rows(&format!(
                "SELECT a.outcome, a.status_code, replace(coalesce(a.error, ''), '; last step of retry_schedule is past', '')
                 FROM webhook.attempt a JOIN webhook.endpoint e ON e.id = a.endpoint_id WHERE e.name = '{name}'"
            ))
            .await;
        let fits = rows.iter().all(|found| found.starts_with(row));
        if !fits || rows.len() != EVENTS {
            wrong.push(format!("{name}: {rows:?} instead of {row}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn peak_memory_kib(worker: &Worker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

#[tokio::test]
async fn receivers_that_keep_the_worker_waiting_run_into_the_time_out() {
    let second = || tokio::time::sleep(Duration::from_secs(1));
    endure(vec![
        case("never answers", "failed||timeout after 20 s while waiting for an answer", async |mut talk| {
            talk.wait().await
        }),
        case(
            "a byte of the head a second",
            "failed||timeout after 20 s while waiting for an answer",
            move |mut talk| async move {
                talk.request().await?;
                for byte in CHUNKED.bytes() {
                    talk.say([byte]).await?;
                    second().await;
                }
                Ok(())
            },
        ),
        case(
            "a byte of the body a second",
            "failed|200|timeout after 20 s while reading the answer",
            move |mut talk| async move {
                talk.request().await?;
                talk.say(format!("{OK}content-length: 1000\r\n\r\n")).await?;
                loop {
                    talk.say("x").await?;
                    second().await;
                }
            },
        ),
        case(
            "stops in the middle of the body",
            "failed|200|timeout after 20 s while reading the answer",
            async |mut talk| {
                talk.request().await?;
                talk.say(format!("{OK}content-length: 10\r\n\r\n12345")).await?;
                talk.wait().await
            },
        ),
        case(
            "endless informational answers",
            "failed||timeout after 20 s while waiting for an answer",
            async |mut talk| {
                talk.request().await?;
                talk.say_forever("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(100)).await
            },
        ),
        case("silent when TLS begins", "failed||timeout after 20 s while connecting", async |mut talk| {
            talk.wait().await
        }),
    ])
    .await;
}

#[tokio::test]
async fn receivers_that_say_too_much_are_cut_off() {
    let hundred_mb = format!("{OK}content-length: {}\r\n\r\n", 100 << 20);
    let database = endure(vec![
        case("endless chunks", "delivered|200|", async |mut talk| {
            talk.request().await?;
            talk.say(CHUNKED).await?;
            talk.say_forever(format!("10000\r\n{}\r\n", "y".repeat(1 << 16))).await
        }),
        case("endless body", "delivered|200|", async |mut talk| {
            talk.request().await?;
            talk.say(format!("{OK}\r\n")).await?;
            talk.say_forever("y".repeat(1 << 16)).await
        }),
        case("100 MB", "delivered|200|", move |mut talk| {
            let head = hundred_mb.clone();
            async move {
                talk.request().await?;
                talk.say(head).await?;
                talk.say_forever("y".repeat(1 << 16)).await
            }
        }),
        says(
            "gzip bomb",
            "delivered|200|",
            [format!("{OK}content-encoding: gzip\r\n\r\n").into_bytes(), bomb()].concat(),
        ),
        case("endless head", "failed||protocol: message head is too large", async |mut talk| {
            talk.request().await?;
            talk.say(OK).await?;
            talk.say_forever("x: y\r\n".repeat(1000)).await
        }),
        says(
            "10,000 headers",
            "failed||protocol: message head is too large",
            format!("{OK}{}\r\n", "x: y\r\n".repeat(10_000)),
        ),
        says(
            "a header of 1 MB",
            "failed||protocol: message head is too large",
            format!("{OK}x: {}\r\n\r\n", "y".repeat(1 << 20)),
        ),
        case("endless chunk extension", "failed|200|protocol: ", async |mut talk| {
            talk.request().await?;
            talk.say(format!("{CHUNKED}5;")).await?;
            talk.say_forever("x".repeat(1000)).await
        }),
        case("endless trailers", "failed|200|protocol: ", async |mut talk| {
            talk.request().await?;
            talk.say(format!("{CHUNKED}0\r\n")).await?;
            talk.say_forever("x: y\r\n".repeat(1000)).await
        }),
    ])
    .await;
    let kept = database.rows(
        "SELECT DISTINCT e.name, octet_length(a.response_body) FROM webhook.attempt a JOIN webhook.endpoint e ON e.id = a.endpoint_id
         WHERE e.name IN ('endless chunks', 'endless body', '100 MB') ORDER BY 1",
    );
    assert_eq!(
        kept.await,
        ["100 MB|16384", "endless body|16384", "endless chunks|16384"],
        "kept up to the cap"
    );
    let bomb = database.rows(
        "SELECT DISTINCT octet_length(a.response_body) <= 3 * 16384, a.response_body LIKE '%yyyyyyyy%' FROM webhook.attempt a
         JOIN webhook.endpoint e ON e.id = a.endpoint_id WHERE e.name = 'gzip bomb'",
    );
    assert_eq!(bomb.await, ["t|f"], "it is not unpacked");
}

/// 200 MB of one letter, packed.
fn bomb() -> Vec<u8> {
    let pack = "head -c 200000000 /dev/zero | tr '\\0' y | gzip -1";
    let output = std::process::Command::new("sh").args(["-c", pack]).output().expect("gzip is there");
    assert!(output.stdout.len() > 100_000);
    output.stdout
}

#[tokio::test]
async fn a_receiver_that_takes_no_connections_runs_into_the_time_out() {
    let (database, healthy) = (Database::new().await, Receiver::start().await);
    database.endpoint(&healthy.url("/")).await;
    let (full, _backlog) = full_listener().await;
    let address = full.local_addr().expect("an address");
    endpoint(&database, "full", &format!("http://{address}/")).await;
    let _worker = Worker::start(&database).await;
    database.run(&format!("SELECT webhook_emit('a.b', '{{}}') FROM generate_series(1, {EVENTS})")).await;
    healthy.receives(EVENTS).await;
    assert!(
        database.number("SELECT count(*) FROM webhook.queue").await > 0,
        "the other one is still waited for"
    );
    database.drained().await;
    check(&database, &[("full", "failed||timeout after 20 s while connecting")]).await;
}

/// A listener whose backlog is full, so that nothing answers those who try to connect.
async fn full_listener() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let listener = socket.listen(1).expect("it listens");
    let address = listener.local_addr().expect("an address");
    let mut backlog = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        backlog.push(stream.expect("it takes connections"));
    }
    (listener, backlog)
}

#[tokio::test]
async fn no_event_is_lost_when_connections_are_closed_between_requests() {
    let database = Database::new().await;
    let answered: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let seen = answered.clone();
    // Says it keeps the connection and then closes it: at once, a moment later, or when the next request has come.
    let receiver = RawReceiver::start(move |mut talk: Conversation| {
        let seen = seen.clone();
        async move {
            let request = talk.request().await?;
            talk.say(format!("{OK}content-length: 0\r\n\r\n")).await?;
            let id =
                request.lines().find_map(|line| line.strip_prefix("webhook-id: ")).expect("an id").to_owned();
            seen.lock().expect("no panic while locked").insert(id);
            match talk.number % 4 {
                0 => return Ok(()),
                1 => tokio::time::sleep(Duration::from_millis(2)).await,
                2 => drop(talk.request().await?),
                _ => {
                    talk.request().await?;
                    return talk.reset();
                }
            }
            Ok(())
        }
    })
    .await;
    database
        .run(&format!(
            "INSERT INTO webhook.endpoint (url, max_in_flight, retry_schedule, retry_jitter)
             VALUES ('{}', 1, array_fill('20 ms'::interval, '{{20}}'), 0)",
            receiver.url()
        ))
        .await;
    let _worker = Worker::start(&database).await;
    database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 100)").await;
    database.drained().await;
    assert_eq!(
        database.rows("SELECT status, count(*) FROM webhook.delivery GROUP BY 1").await,
        ["delivered|100"]
    );
    assert_eq!(answered.lock().expect("no panic while locked").len(), 100, "each has been answered");
    let errors = database.rows("SELECT DISTINCT error FROM webhook.attempt WHERE error IS NOT NULL").await;
    assert!(errors.iter().all(|error| error.starts_with("protocol: connection ")), "{errors:?}");
}

#[tokio::test]
async fn a_stored_answer_is_cut_at_the_cap_between_characters() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    database.endpoint(&receiver.url("/")).await;
    database.run("INSERT INTO webhook.setting VALUES ('response_cap_bytes', '101')").await;
    receiver.answers(|_| Answer::status(200).body("ä".repeat(500)));
    let _worker = Worker::start(&database).await;
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    database.drained().await;
    let kept = database.text("SELECT response_body FROM webhook.attempt").await;
    assert_eq!(kept, "ä".repeat(50), "102 bytes would be one too many");
    database.run("UPDATE webhook.setting SET value = '1048576'").await;
    until("the new cap is in force", async || {
        database.run("SELECT webhook_emit('a.b', '{}')").await;
        database.drained().await;
        (database.number("SELECT max(length(response_body)) FROM webhook.attempt").await == 500).then_some(())
    })
    .await;
}
