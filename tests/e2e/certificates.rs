//! client_certificate and ca_certificate: an endpoint's own certificates, named in its row, kept in the worker's
//! --certificate-dir.

use harness::{Authority, Database, Receiver, Worker, until};
use std::path::Path;

const HTTP1: &[&str] = &["http/1.1"];
const LOG: &str = "SELECT DISTINCT e.name || ': ' || coalesce(split_part(a.error, ';', 1), a.outcome)
    FROM webhook.attempt a JOIN webhook.endpoint e ON e.id = a.endpoint_id ORDER BY 1";

/// An endpoint whose deliveries are tried once. `columns` are further ones, with their values.
async fn endpoint(database: &Database, name: &str, port: u16, columns: &[(&str, &str)]) {
    let names: String = columns.iter().map(|(column, _)| format!(", {column}")).collect();
    let values: String = columns.iter().map(|(_, value)| format!(", '{value}'")).collect();
    database
        .run(&format!(
            "INSERT INTO webhook.endpoint (name, url, timeout, retry_schedule{names})
             VALUES ('{name}', 'https://127.0.0.1:{port}/', '15 s', '{{}}'{values})"
        ))
        .await;
}

fn put(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("written");
}

/// A worker that trusts this authority.
async fn worker(database: &Database, authority: &Authority, folder: Option<&Path>) -> Worker {
    let file = authority.file();
    let ca = file.path().to_str().expect("UTF-8");
    let mut arguments = vec!["--allow-network", "127.0.0.0/8", "--ca-file", ca];
    if let Some(folder) = folder {
        arguments.extend(["--certificate-dir", folder.to_str().expect("UTF-8")]);
    }
    Worker::start_with(database, &arguments).await
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_certificate_gets_the_endpoints_own() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().expect("a folder"));
    let (ours, customers) = (Authority::new("Ours"), Authority::new("Customers"));
    let server = ours.certify(&["127.0.0.1"]);
    let strict = Receiver::start_tls(server.acceptor_for(&customers, HTTP1)).await;
    put(folder.path(), "shop.pem", &customers.certify(&["shop"]).pem());
    put(folder.path(), "stranger.pem", &ours.certify(&["stranger"]).pem());
    endpoint(&database, "with", strict.port(), &[("client_certificate", "shop")]).await;
    endpoint(&database, "without", strict.port(), &[]).await;
    endpoint(&database, "wrong", strict.port(), &[("client_certificate", "stranger")]).await;
    let _worker = worker(&database, &ours, Some(folder.path())).await;
    database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 3)").await;
    database.drained().await;
    let log = database.rows(LOG).await;
    assert!(log.len() >= 3 && log[0] == "with: delivered", "{log:#?}");
    assert!(log[1..].iter().all(|row| row.contains(": tls: received fatal alert")), "{log:#?}");
    assert_eq!(strict.count(), 3);
}

#[tokio::test]
async fn an_authority_is_trusted_for_the_endpoint_that_names_it_alone() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().expect("a folder"));
    let (ours, other) = (Authority::new("Ours"), Authority::new("Other"));
    let (one, two) = (ours.certify(&["127.0.0.1"]), other.certify(&["127.0.0.1"]));
    let (one, two) = (Receiver::start_tls(one.acceptor(HTTP1)), Receiver::start_tls(two.acceptor(HTTP1)));
    let (one, two) = (one.await, two.await);
    put(folder.path(), "other.ca.pem", &other.certificate);
    endpoint(&database, "names it", two.port(), &[("ca_certificate", "other.ca")]).await;
    endpoint(&database, "does not", two.port(), &[]).await;
    endpoint(&database, "trusts the rest too", one.port(), &[("ca_certificate", "other.ca")]).await;
    let _worker = worker(&database, &ours, Some(folder.path())).await;
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    database.drained().await;
    assert_eq!(
        database.rows(LOG).await,
        [
            "does not: tls: invalid peer certificate: UnknownIssuer",
            "names it: delivered",
            "trusts the rest too: delivered"
        ]
    );
}

#[tokio::test]
async fn a_file_that_is_missing_or_wrong_is_an_outcome_that_says_which() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().expect("a folder"));
    let ours = Authority::new("Ours");
    let server = ours.certify(&["127.0.0.1"]);
    let receiver = Receiver::start_tls(server.acceptor(HTTP1)).await;
    put(folder.path(), "garbage.pem", "hunter2");
    put(folder.path(), "keyless.pem", &ours.certificate);
    put(folder.path(), "mixed.pem", &format!("{}{}", server.certificate, ours.certify(&["x"]).key));
    endpoint(&database, "healthy", receiver.port(), &[]).await;
    for name in ["missing", "garbage", "keyless", "mixed"] {
        endpoint(&database, name, receiver.port(), &[("client_certificate", name)]).await;
    }
    endpoint(&database, "ca", receiver.port(), &[("ca_certificate", "garbage")]).await;
    let first = worker(&database, &ours, Some(folder.path())).await;
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    database.drained().await;
    let path = folder.path().display();
    assert_eq!(
        database.rows(LOG).await,
        [
            format!(
                "ca: tls: ca_certificate garbage: {path}/garbage.pem: it has no certificate that can be used"
            ),
            format!(
                "garbage: tls: client_certificate garbage: {path}/garbage.pem: it has no private key that can be used"
            ),
            "healthy: delivered".to_owned(),
            format!(
                "keyless: tls: client_certificate keyless: {path}/keyless.pem: it has no private key that can be used"
            ),
            format!(
                "missing: tls: client_certificate missing: {path}/missing.pem: no such file or directory (os error 2)"
            ),
            format!(
                "mixed: tls: client_certificate mixed: {path}/mixed.pem: keys may not be consistent: KeyMismatch"
            ),
        ]
    );
    let hint =
        "SELECT DISTINCT split_part(error, ';', 2) FROM webhook.attempt WHERE error LIKE '%missing.pem%'";
    assert_eq!(database.text(hint).await, " put the certificate chain and its private key there, in PEM");
    assert!(!first.log().join("\n").contains("hunter2"));
    assert!(first.stop().await.success());

    database.run("DELETE FROM webhook.attempt; DELETE FROM webhook.endpoint WHERE name <> 'keyless'").await;
    let _second = worker(&database, &ours, None).await;
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    database.drained().await;
    assert_eq!(
        database.rows(LOG).await,
        ["keyless: tls: client_certificate keyless: the worker knows no folder for it"]
    );
}

#[tokio::test]
async fn a_file_that_changes_is_read_again() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().expect("a folder"));
    let ours = Authority::new("Ours");
    let server = ours.certify(&["127.0.0.1"]);
    let receiver = Receiver::start_tls(server.acceptor_for(&ours, HTTP1)).await;
    put(folder.path(), "shop.pem", &ours.certify_expired(&["shop"]).pem());
    endpoint(&database, "shop", receiver.port(), &[("client_certificate", "shop")]).await;
    database
        .run("UPDATE webhook.endpoint SET retry_schedule = array_fill('200 ms'::interval, '{50}'), retry_jitter = 0")
        .await;
    let _worker = worker(&database, &ours, Some(folder.path())).await;
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    until("the expired one is refused", async || {
        (database.number("SELECT count(*) FROM webhook.attempt WHERE outcome = 'retry'").await > 0)
            .then_some(())
    })
    .await;
    put(folder.path(), "shop.pem", &ours.certify(&["shop"]).pem());
    receiver.receives(1).await;
    database.drained().await;
    let last = "SELECT outcome FROM webhook.attempt ORDER BY number DESC LIMIT 1";
    assert_eq!(database.text(last).await, "delivered");
}
