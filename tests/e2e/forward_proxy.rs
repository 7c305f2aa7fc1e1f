//! --proxy: everything goes through it, nothing that is not permitted is asked of it, and its password is told to
//! nobody else.

use harness::{Authority, Database, DnsServer, ForwardProxy, ForwardProxyOptions, Receiver, Record, Worker};

/// worker:hunter2
const CREDENTIALS: &str = "d29ya2VyOmh1bnRlcjI=";
const LOG: &str = "SELECT DISTINCT e.name || ': ' || coalesce(split_part(a.error, ';', 1), a.outcome)
    FROM webhook.attempt a JOIN webhook.endpoint e ON e.id = a.endpoint_id ORDER BY 1";

async fn endpoint(database: &Database, name: &str, url: &str) {
    database
        .run(&format!(
            "INSERT INTO webhook.endpoint (url, name, timeout, retry_schedule) VALUES ('{url}', '{name}', '15 s', '{{}}')"
        ))
        .await;
}

#[tokio::test]
async fn http_and_https_go_through_the_proxy_with_its_password_and_nobody_else_sees_it() {
    let database = Database::new().await;
    let authority = Authority::new("Ours");
    let tls = |protocols: &[&str]| authority.certify(&["127.0.0.1"]).acceptor(protocols);
    let (plain, secure) = (Receiver::start().await, Receiver::start_tls(tls(&["h2"])).await);
    endpoint(&database, "http", &plain.url("/hook")).await;
    endpoint(&database, "https", &format!("https://127.0.0.1:{}/hook", secure.port())).await;
    let file = authority.file();
    for over_tls in [false, true] {
        let proxy = ForwardProxy::start(ForwardProxyOptions {
            tls: over_tls.then(|| tls(&[])),
            credentials: Some(CREDENTIALS),
            to_port: None,
        })
        .await;
        let scheme = if over_tls { "https" } else { "http" };
        let url = format!("{scheme}://127.0.0.1:{}", proxy.port());
        let mut environment = database.environment();
        environment.push(("PG_WEBHOOK_PROXY_USER", "worker".to_owned()));
        environment.push(("PG_WEBHOOK_PROXY_PASSWORD", "hunter2".to_owned()));
        environment.push(("RUST_LOG", "trace".to_owned()));
        let ca = file.path().to_str().expect("UTF-8");
        let arguments = ["--allow-network", "127.0.0.0/8", "--ca-file", ca, "--proxy", &url];
        let worker = Worker::spawn(&environment, &arguments).await;
        worker.ready().await;
        database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 3)").await;
        database.drained().await;
        assert_eq!(database.rows(LOG).await, ["http: delivered", "https: delivered"]);
        assert_eq!(
            proxy.asked(),
            [format!("CONNECT 127.0.0.1:{}", secure.port()), format!("POST {}", plain.url("/hook"))]
        );
        let remote = "SELECT DISTINCT remote_address FROM webhook.attempt";
        assert_eq!(database.rows(remote).await, [format!("127.0.0.1:{}", proxy.port())]);
        for request in plain.requests().iter().chain(&secure.requests()) {
            assert_eq!(request.header("proxy-authorization"), "");
        }
        let metrics = worker.get("/metrics").await.map(|(_, text)| text).unwrap_or_default();
        let kept = database.text("SELECT string_agg(a::text, '') FROM webhook.attempt a").await;
        let said = [worker.log().join("\n"), metrics, kept].concat();
        assert!(!said.contains("hunter2") && !said.contains(CREDENTIALS), "{said}");
        assert!(worker.stop().await.success());
        database.run("DELETE FROM webhook.attempt").await;
    }
    assert_eq!((plain.count(), secure.count()), (6, 6));
}

#[tokio::test]
async fn what_is_asked_of_the_proxy_is_what_the_egress_policy_permits() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    let dns = DnsServer::start(|name, _| match name {
        "open.test" => vec![Record::new("93.184.216.34")],
        "private.test" => vec![Record::new("10.0.0.1")],
        "mixed.test" => vec![Record::new("93.184.216.34"), Record::new("169.254.169.254")],
        _ => vec![],
    })
    .await;
    for host in
        ["127.0.0.1", "0x7f.1", "169.254.169.254", "open.test", "private.test", "mixed.test", "inside.test"]
    {
        endpoint(&database, host, &format!("http://{host}/")).await;
    }
    let proxy = ForwardProxy::start(ForwardProxyOptions {
        to_port: Some(receiver.port()),
        ..ForwardProxyOptions::default()
    })
    .await;
    let (dns, url) = (dns.address(), format!("http://127.0.0.1:{}", proxy.port()));
    let _worker = Worker::start_with(&database, &["--dns-server", &dns, "--proxy", &url]).await;
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    database.drained().await;
    assert_eq!(
        database.rows(LOG).await,
        [
            "0x7f.1: refused address: 127.0.0.1 is loopback (127.0.0.0/8)",
            "127.0.0.1: refused address: 127.0.0.1 is loopback (127.0.0.0/8)",
            "169.254.169.254: refused address: 169.254.169.254 is a cloud metadata address (169.254.169.254/32)",
            // Not known here: the proxy may know it.
            "inside.test: delivered",
            // The proxy would choose.
            "mixed.test: refused address: 169.254.169.254 is a cloud metadata address (169.254.169.254/32)",
            "open.test: delivered",
            "private.test: refused address: 10.0.0.1 is private (10.0.0.0/8)",
        ]
    );
    assert_eq!(proxy.asked(), ["POST http://inside.test/", "POST http://open.test/"]);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_an_outcome_that_says_so() {
    let database = Database::new().await;
    let proxy = ForwardProxy::start(ForwardProxyOptions {
        credentials: Some(CREDENTIALS),
        ..ForwardProxyOptions::default()
    })
    .await;
    endpoint(&database, "http", "http://127.0.0.1:9/").await;
    endpoint(&database, "https", "https://127.0.0.1:9/").await;
    let credentials = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(credentials.path(), "worker:swordfish\n").expect("written");
    let url = format!("http://127.0.0.1:{}", proxy.port());
    let file = credentials.path().to_str().expect("UTF-8");
    let arguments = ["--allow-network", "127.0.0.0/8", "--proxy", &url, "--proxy-credentials-file", file];
    let worker = Worker::start_with(&database, &arguments).await;
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    database.drained().await;
    let log = database.rows(
        "SELECT e.name, a.status_code, split_part(a.error, ';', 1)
         FROM webhook.attempt a JOIN webhook.endpoint e ON e.id = a.endpoint_id ORDER BY 1",
    );
    assert_eq!(
        log.await,
        [
            "http|407|last step of retry_schedule is past",
            "https||connect: tunnel error: proxy authorization required"
        ]
    );
    assert!(worker.stop().await.success());
    drop(proxy);
    database.run("DELETE FROM webhook.attempt").await;
    let worker = Worker::start_with(&database, &arguments).await;
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    database.drained().await;
    let log = database.rows(LOG).await;
    assert!(log.len() == 2 && log.iter().all(|row| row.contains(": connect: connection refused")), "{log:?}");
    assert!(!worker.log().join("\n").contains("swordfish"));
}
