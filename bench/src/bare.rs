//! `pg-webhook-bench bare`: the limit. Posts the bodies of webhook.event, read beforehand, in a loop that does nothing else.

use bytes::Bytes;
use std::cell::Cell;
use std::rc::Rc;

/// As many as every contestant keeps in flight.
pub const IN_FLIGHT: usize = 64;

/// Prints when the first request was sent and when the last answer had come, in microseconds since 1970.
pub fn post(conninfo: &str, url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let bodies = Rc::new(bodies(conninfo).await);
        let client = reqwest::Client::builder()
            .pool_max_idle_per_host(IN_FLIGHT)
            .tcp_nodelay(true)
            .build()
            .expect("a client");
        let next = Rc::new(Cell::new(0));
        let began = crate::series::now_us();
        let senders: Vec<_> = (0..IN_FLIGHT)
            .map(|_| {
                let (client, bodies, next, url) =
                    (client.clone(), bodies.clone(), next.clone(), url.to_owned());
                tokio::task::spawn_local(async move {
                    loop {
                        let place = next.replace(next.get() + 1);
                        let Some((id, body)) = bodies.get(place) else { break };
                        let request = client
                            .post(&url)
                            .header("content-type", "application/json")
                            .header("webhook-id", id);
                        let response = request.body(body.clone()).send().await.expect("the receiver answers");
                        assert!(
                            response.status().is_success(),
                            "the receiver answered {}",
                            response.status()
                        );
                        response.bytes().await.expect("the answer ends");
                    }
                })
            })
            .collect();
        for sender in senders {
            sender.await.expect("no panic");
        }
        println!("{began} {}", crate::series::now_us());
    });
}

async fn bodies(conninfo: &str) -> Vec<(String, Bytes)> {
    let (client, connection) =
        tokio_postgres::connect(conninfo, tokio_postgres::NoTls).await.expect("a connection");
    tokio::task::spawn_local(connection);
    let rows =
        client.query("SELECT id::text, body FROM webhook.event", &[]).await.expect("the events are read");
    rows.iter().map(|row| (row.get(0), Bytes::from(row.get::<_, String>(1)))).collect()
}
