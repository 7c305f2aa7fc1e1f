//! --bind-address: requests come from known addresses, or not at all.

use harness::{Conversation, Database, DnsServer, RawReceiver, Record, Worker};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

#[tokio::test]
async fn requests_come_from_the_bound_address_or_not_at_all() {
    let database = Database::new().await;
    let sources: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let seen = sources.clone();
    let receiver = RawReceiver::start(move |mut talk: Conversation| {
        let from = talk.stream.peer_addr().expect("it is connected").ip();
        seen.lock().expect("no panic while locked").insert(from.to_string());
        async move {
            talk.request().await?;
            talk.say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await
        }
    })
    .await;
    let dns = DnsServer::start(|name, _| match name {
        "both.test" => vec![Record::new("127.0.0.1"), Record::new("::1")],
        _ => vec![Record::new("::1")],
    })
    .await;
    for host in ["127.0.0.1", "both.test", "[::1]", "six.test"] {
        database
            .run(&format!(
                "INSERT INTO webhook.endpoint (url, name, retry_schedule) VALUES ('http://{host}:{}/', '{host}', '{{}}')",
                receiver.port()
            ))
            .await;
    }
    let dns = dns.address();
    let allow = "127.0.0.0/8,::1/128";
    let arguments = ["--allow-network", allow, "--dns-server", &dns, "--bind-address", "127.0.0.2"];
    let _worker = Worker::start_with(&database, &arguments).await;
    database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 3)").await;
    database.drained().await;
    let log = "SELECT DISTINCT e.name || ': ' || coalesce(split_part(a.error, ';', 1), a.outcome)
        FROM webhook.attempt a JOIN webhook.endpoint e ON e.id = a.endpoint_id ORDER BY 1";
    assert_eq!(
        database.rows(log).await,
        [
            "127.0.0.1: delivered",
            "[::1]: connect: no --bind-address is of the address's family",
            "both.test: delivered",
            "six.test: connect: the host has no address of the family of --bind-address 127.0.0.2",
        ]
    );
    let sources: Vec<String> = sources.lock().expect("no panic while locked").iter().cloned().collect();
    assert_eq!(sources, ["127.0.0.2"]);
}
