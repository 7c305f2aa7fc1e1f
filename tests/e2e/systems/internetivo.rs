//! Internetivo.

use super::{Service, hex, hmac};
use harness::Answer;
use std::time::Duration;

const PICKED: [&str; 6] = [
    "escrow.funded",
    "task.submitted",
    "escrow.released",
    "payout.sent",
    "reputation.updated",
    "identity.verified",
];

#[tokio::test]
async fn an_https_url_gets_the_events_it_picked_and_no_others() {
    let service = Service::start("internetivo").await;
    for event_type in PICKED.iter().chain(&["escrow.refunded", "task", "payout.sent.twice"]) {
        service.emit(event_type, "{}").await;
    }
    service.database.drained().await;
    let mut got: Vec<_> =
        service.receiver.requests().iter().map(|r| r.json()["type"].as_str().unwrap().to_owned()).collect();
    let mut picked = PICKED.map(str::to_owned).to_vec();
    got.sort_unstable();
    picked.sort_unstable();
    assert_eq!(got, picked);
}

#[tokio::test]
async fn the_body_is_signed_with_the_endpoint_s_own_secret() {
    let service = Service::start("internetivo").await;
    let request = service.request("escrow.funded", "{\"amount\": 5}").await;
    let expected = format!("sha256={}", hex(&hmac(service.secret.as_bytes(), request.body.as_bytes())));
    assert_eq!(request.header("x-internetivo-signature"), expected);
    let other =
        service.database.text("SELECT secret FROM webhook_endpoint_create('https://example.com/')").await;
    assert_ne!(other, service.secret, "each endpoint has its own");
}

#[tokio::test]
async fn the_one_line_helper_verifies() {
    let service = Service::start("internetivo").await;
    let request = service.request("escrow.funded", "{\"amount\": 5}").await;
    let text = crate::docs::document("docs/recipes/internetivo.md");
    let line = text.split("```js\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the helper");
    for (body, verdict) in [(request.body.clone(), "true"), (request.body.replace('5', "6"), "false")] {
        let program = format!(
            "const crypto = require('crypto'); const {{ header, secret, body }} = process.env;\n{line}\nconsole.log(verified);"
        );
        let output = std::process::Command::new("node")
            .args(["-e", &program])
            .envs([
                ("header", request.header("x-internetivo-signature")),
                ("secret", &service.secret),
                ("body", &body),
            ])
            .output()
            .expect("node is there");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), verdict, "{output:?}");
    }
}

#[tokio::test]
async fn any_2xx_acknowledges() {
    let service = Service::start("internetivo").await;
    for status in [200, 201, 202, 204, 299] {
        service.receiver.answers(move |_| Answer::status(status));
        service.emit("payout.sent", "{}").await;
        service.database.drained().await;
    }
    let outcomes = "SELECT outcome, count(*) FROM webhook.attempt GROUP BY 1";
    assert_eq!(service.database.rows(outcomes).await, ["delivered|5"]);
}

#[tokio::test]
async fn failures_and_time_outs_are_retried_on_a_growing_schedule() {
    let service = Service::start("internetivo").await;
    service
        .database
        .run("UPDATE webhook.endpoint SET retry_jitter = 0, timeout = '1 s', retry_for = NULL")
        .await;
    service.receiver.answers(|request| match request.header("x-internetivo-delivery").len() {
        36 => Answer::status(200).after(Duration::from_secs(5)),
        _ => Answer::status(400),
    });
    service.emit("task.submitted", "{}").await;
    let waits = service.waits().await;
    assert_eq!(waits[..4], [30, 90, 270, 810]);
    assert_eq!(waits.len(), 12);
    assert!(waits.is_sorted(), "{waits:?}");
    let errors = service
        .database
        .rows("SELECT DISTINCT split_part(error, ' while', 1) FROM webhook.attempt WHERE NOT final")
        .await;
    assert_eq!(errors, ["timeout after 1 s"]);
}

#[tokio::test]
async fn retries_end_with_success() {
    let service = Service::start("internetivo").await;
    service.receiver.answers(|_| Answer::status(503));
    service.emit("task.submitted", "{}").await;
    service.database.becomes("SELECT count(*) FROM webhook.attempt", "1").await;
    service.receiver.answers(|_| Answer::status(200));
    service.database.pass_time().await;
    assert_eq!(service.ended().await, "delivered|2");
}

#[tokio::test]
async fn retries_end_when_the_retry_window_is_over() {
    let service = Service::start("internetivo").await;
    service.receiver.answers(|_| Answer::status(503));
    service.database.run("UPDATE webhook.endpoint SET retry_for = '1 s'").await;
    service.emit("task.submitted", "{}").await;
    assert_eq!(service.ended().await, "failed|1", "the next step would come after the window");
    let error = service.database.text("SELECT last_error FROM webhook.delivery").await;
    assert!(error.contains("retry"), "{error}");
}

#[tokio::test]
async fn a_delivery_s_id_is_unique_and_kept_by_its_retries() {
    let service = Service::start("internetivo").await;
    service.receiver.answers(|_| Answer::status(503));
    let first = service.emit("task.submitted", "{}").await;
    service.receiver.receives(1).await;
    service.database.becomes("SELECT count(*) FROM webhook.attempt", "1").await;
    service.database.pass_time().await;
    let requests = service.receiver.receives(2).await;
    assert!(requests.iter().all(|request| request.header("x-internetivo-delivery") == first));
    assert_ne!(service.emit("task.submitted", "{}").await, first);
}

#[tokio::test]
async fn recent_events_can_be_replayed() {
    let service = Service::start("internetivo").await;
    service.emit("payout.sent", "{}").await;
    service.database.drained().await;
    let replayed = "SELECT deliveries FROM webhook_replay(1, now() - interval '1 day', statuses => '{delivered,failed}')";
    assert_eq!(service.database.text(replayed).await, "1");
    let requests = service.receiver.receives(2).await;
    assert_eq!(requests[0].header("x-internetivo-delivery"), requests[1].header("x-internetivo-delivery"));
    assert_eq!(requests[0].body, requests[1].body);
}

#[tokio::test]
async fn https_only() {
    let service = Service::start("internetivo").await;
    service.database.run("SET pg_webhook.allow_http = off").await;
    let error = service.database.error("SELECT webhook_endpoint_create('http://example.com/hooks')").await;
    assert_eq!(error.code, "22023");
    assert!(error.message.contains("https"), "{error:?}");
}
