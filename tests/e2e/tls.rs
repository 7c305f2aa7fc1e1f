//! TLS: which receivers' certificates are trusted, and how far PostgreSQL's is checked.

use harness::{Authority, Conversation, Database, Identity, RawReceiver, Receiver, Worker};

const HTTP1: &[&str] = &["http/1.1"];
const HTTP2: &[&str] = &["h2", "http/1.1"];

/// Makes endpoints (name, URL) whose deliveries are tried once, within 15 s.
async fn endpoints(database: &Database, endpoints: &[(&str, String)]) {
    for (name, url) in endpoints {
        database
            .run(&format!(
                "INSERT INTO webhook.endpoint (url, name, timeout, retry_schedule) VALUES ('{url}', '{name}', '15 s', '{{}}')"
            ))
            .await;
    }
}

/// What the log says of each endpoint, by name: `delivered`, or the error.
async fn outcomes(database: &Database) -> Vec<String> {
    database.drained().await;
    database
        .rows(
            "SELECT DISTINCT e.name || ': ' || coalesce(replace(a.error, '; last step of retry_schedule is past', ''), a.outcome)
             FROM webhook.attempt a JOIN webhook.endpoint e ON e.id = a.endpoint_id ORDER BY 1",
        )
        .await
}

#[tokio::test]
async fn a_receiver_is_trusted_by_its_certificate_alone() {
    let database = Database::new().await;
    let (ours, other) = (Authority::new("Ours"), Authority::new("Other"));
    let mut receivers = Vec::new();
    let mut urls = Vec::new();
    for (name, identity, host) in [
        ("by address", ours.certify(&["127.0.0.1"]), "127.0.0.1"),
        ("by name", ours.certify(&["localhost"]), "localhost"),
        ("another address", ours.certify(&["127.0.0.2"]), "127.0.0.1"),
        ("another name", ours.certify(&["example.com"]), "localhost"),
        ("expired", ours.certify_expired(&["127.0.0.1"]), "127.0.0.1"),
        ("self-signed", Identity::self_signed(&["127.0.0.1"], false), "127.0.0.1"),
        ("unknown authority", other.certify(&["127.0.0.1"]), "127.0.0.1"),
    ] {
        let receiver = Receiver::start_tls(identity.acceptor(HTTP1)).await;
        urls.push((name, format!("https://{host}:{}/", receiver.port())));
        receivers.push(receiver);
    }
    endpoints(&database, &urls).await;

    let stranger = Worker::start(&database).await;
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    let refused = outcomes(&database).await;
    assert_eq!(refused.len(), urls.len());
    for row in refused {
        assert!(row.contains(": tls: invalid peer certificate: "), "without --ca-file: {row}");
    }
    assert!(receivers.iter().all(|receiver| receiver.count() == 0), "nothing has been sent");
    assert!(stranger.stop().await.success());

    database.run("DELETE FROM webhook.attempt").await;
    let file = ours.file();
    let arguments = ["--allow-network", "127.0.0.0/8", "--ca-file", file.path().to_str().expect("UTF-8")];
    let _worker = Worker::start_with(&database, &arguments).await;
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    let with_file = outcomes(&database).await;
    let expected = [
        "another address: tls: invalid peer certificate: certificate not valid for name",
        "another name: tls: invalid peer certificate: certificate not valid for name",
        "by address: delivered",
        "by name: delivered",
        "expired: tls: invalid peer certificate: certificate expired",
        "self-signed: tls: invalid peer certificate: ",
        "unknown authority: tls: invalid peer certificate: UnknownIssuer",
    ];
    for (row, expected) in with_file.iter().zip(expected) {
        assert!(row.starts_with(expected), "with --ca-file: {row} instead of {expected}");
    }
    assert_eq!(with_file.len(), expected.len());
    assert_eq!(receivers.iter().map(Receiver::count).sum::<usize>(), 2);
}

#[tokio::test]
async fn http_2_is_spoken_with_those_who_offer_it() {
    let database = Database::new().await;
    let authority = Authority::new("Ours");
    let tls = |protocols| authority.certify(&["127.0.0.1"]).acceptor(protocols);
    let (one, two) = (Receiver::start_tls(tls(HTTP1)).await, Receiver::start_tls(tls(HTTP2)).await);
    // Agrees to HTTP/2, and then says something else, or nothing at all.
    let (garbage, silence) = (tls(HTTP2), tls(HTTP2));
    let garbage = RawReceiver::start(move |talk: Conversation| {
        let tls = garbage.clone();
        async move {
            use tokio::io::AsyncWriteExt;
            let mut stream = tls.accept(talk.stream).await?;
            stream.write_all(&b"HTTP/1.1 200 OK\r\n\r\n".repeat(1000)).await?;
            stream.shutdown().await
        }
    })
    .await;
    let silence = RawReceiver::start(move |talk: Conversation| {
        let tls = silence.clone();
        async move {
            use tokio::io::AsyncReadExt;
            let mut stream = tls.accept(talk.stream).await?;
            while stream.read(&mut [0; 4096]).await? > 0 {}
            Ok(())
        }
    })
    .await;
    let urls =
        [("1.1", one.port()), ("2", two.port()), ("garbage", garbage.port()), ("silence", silence.port())];
    endpoints(&database, &urls.map(|(name, port)| (name, format!("https://127.0.0.1:{port}/")))).await;
    let file = authority.file();
    let arguments = ["--allow-network", "127.0.0.0/8", "--ca-file", file.path().to_str().expect("UTF-8")];
    let _worker = Worker::start_with(&database, &arguments).await;
    database.run("SELECT webhook_emit('a.b', jsonb_build_object('n', n)) FROM generate_series(1, 5) n").await;
    let secret = |name| {
        format!(
            "SELECT secret FROM webhook.endpoint_secret s JOIN webhook.endpoint e ON e.id = s.endpoint_id WHERE name = '{name}'"
        )
    };
    for (receiver, name, version) in [(&one, "1.1", "HTTP/1.1"), (&two, "2", "HTTP/2.0")] {
        let requests = receiver.receives(5).await;
        let secret = database.text(&secret(name)).await;
        assert!(requests.iter().all(|request| format!("{:?}", request.version) == version && request.verify(&secret).is_ok()));
    }
    let outcomes = outcomes(&database).await;
    let expected =
        ["1.1: delivered", "2: delivered", "garbage: protocol: ", "silence: timeout after 15 s while "];
    let fits = |row: &String| expected.iter().any(|expected| row.starts_with(expected));
    assert!(outcomes.len() >= expected.len() && outcomes.iter().all(fits), "{outcomes:#?}");
}
