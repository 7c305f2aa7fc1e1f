//! Vivoldi.

use super::{Service, hex, hmac, until_mailed};
use crate::mail::MailServer;
use harness::Answer;
use sha2::{Digest, Sha256};
use std::time::Duration;

#[tokio::test]
async fn every_request_carries_the_seven_headers() {
    let service = Service::start("vivoldi").await;
    let request = service.request("link.clicked", "{\"n\": 1}").await;
    let id = service.database.text("SELECT id FROM webhook.event").await;
    assert_eq!(request.header("x-vivoldi-event-id"), id);
    assert_eq!(request.header("x-vivoldi-request-id").len(), 36);
    assert_ne!(request.header("x-vivoldi-request-id"), id);
    assert_eq!(request.header("x-vivoldi-webhook-type"), "URL");
    assert_eq!(request.header("x-vivoldi-resource-type"), "link");
    assert_eq!(request.header("x-content-sha256"), hex(&Sha256::digest(request.body.as_bytes())));
    let timestamp = request.header("x-vivoldi-timestamp");
    let content = format!("{timestamp}.{}", request.body);
    let digest = hex(&hmac(service.secret.as_bytes(), content.as_bytes()));
    assert_eq!(request.header("x-vivoldi-signature"), format!("t={timestamp},v1={digest},alg=hmac-sha256"));
}

#[tokio::test]
async fn a_retry_has_a_new_request_id_and_timestamp_and_the_same_event_id() {
    let service = Service::start("vivoldi").await;
    service.receiver.answers(|_| Answer::status(500));
    service.emit("coupon.used", "{}").await;
    service.database.becomes("SELECT count(*) FROM webhook.attempt", "1").await;
    // A second later by the clock that stamps requests.
    service
        .database
        .becomes(
            "SELECT extract(epoch FROM clock_timestamp() - max(started_at)) > 1.1 FROM webhook.attempt",
            "t",
        )
        .await;
    service.database.pass_time().await;
    let requests = service.receiver.receives(2).await;
    let differ = |header: &str| requests[0].header(header) != requests[1].header(header);
    assert!(differ("x-vivoldi-request-id") && differ("x-vivoldi-timestamp") && differ("x-vivoldi-signature"));
    assert!(!differ("x-vivoldi-event-id") && requests[0].body == requests[1].body);
}

#[tokio::test]
async fn timestamps_are_within_a_minute_of_the_request() {
    let service = Service::start("vivoldi").await;
    let request = service.request("link.made", "{}").await;
    let off = format!(
        "SELECT abs(extract(epoch FROM clock_timestamp()) - {}) < 60",
        request.header("x-vivoldi-timestamp")
    );
    assert_eq!(service.database.text(&off).await, "t");
}

#[tokio::test]
async fn whether_200_or_any_2xx_succeeds_is_one_setting() {
    let service = Service::start("vivoldi").await;
    service
        .database
        .run("UPDATE webhook.endpoint SET retry_schedule = '{}', disable_after_failures = NULL")
        .await;
    service.receiver.answers(|_| Answer::status(204));
    for success_on in ["{[200,201)}", "{[200,300)}"] {
        service.database.run(&format!("UPDATE webhook.endpoint SET success_on = '{success_on}'")).await;
        service.emit("link.made", "{}").await;
        service.database.drained().await;
    }
    let outcomes = "SELECT outcome FROM webhook.attempt ORDER BY event_id";
    assert_eq!(service.database.rows(outcomes).await, ["failed", "delivered"]);
}

#[tokio::test]
async fn an_answer_has_to_come_within_five_seconds() {
    let service = Service::start("vivoldi").await;
    assert_eq!(service.database.text("SELECT timeout FROM webhook.endpoint").await, "00:00:05");
    service.database.run("UPDATE webhook.endpoint SET timeout = timeout / 10").await;
    service.receiver.answers(|_| Answer::status(200).after(Duration::from_secs(9)));
    service.emit("link.made", "{}").await;
    service
        .database
        .becomes("SELECT split_part(error, ' while', 1) FROM webhook.attempt", "timeout after 0.5 s")
        .await;
}

#[tokio::test]
async fn five_retries_with_exponential_back_off_then_the_endpoint_is_deactivated() {
    let service = Service::start("vivoldi").await;
    service.receiver.answers(|_| Answer::status(500));
    service.emit("link.made", "{}").await;
    assert_eq!(service.waits().await, [60, 240, 960, 3_840, 15_360]);
    service.database.becomes("SELECT status FROM webhook.endpoint", "disabled").await;
}

#[tokio::test]
async fn a_mail_tells_of_the_failure() {
    let mail = MailServer::start(&["0"]).await;
    let service =
        Service::start_with("vivoldi", &["--smtp-url", &format!("smtp://127.0.0.1:{}", mail.port)], &[])
            .await;
    service.database.run("UPDATE webhook.endpoint SET retry_schedule = '{}'").await;
    service.receiver.answers(|_| Answer::status(500));
    service.emit("link.made", "{}").await;
    let mails = until_mailed(&mail, "disabled").await;
    assert!(
        mails.iter().any(|text| text.contains("ops@vivoldi.example") && text.contains("Vivoldi")),
        "{mails:#?}"
    );
}

#[tokio::test]
async fn a_burst_is_absorbed_without_loss_and_ids_tell_duplicates() {
    let service = Service::start("vivoldi").await;
    service
        .database
        .run("SELECT webhook_emit('link.clicked', to_jsonb(n)) FROM generate_series(1, 5000) n")
        .await;
    service.database.drained().await;
    let mut ids: Vec<_> =
        service.receiver.requests().iter().map(|r| r.header("x-vivoldi-event-id").to_owned()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), service.receiver.count()), (5_000, 5_000));
}

#[tokio::test]
async fn the_history_of_retries_can_be_seen() {
    let service = Service::start("vivoldi").await;
    service.receiver.answers(|_| Answer::status(500).body("busy"));
    service.emit("link.made", "{}").await;
    service.database.becomes("SELECT count(*) FROM webhook.attempt", "1").await;
    service.receiver.answers(|_| Answer::status(200));
    service.database.pass_time().await;
    service.database.drained().await;
    let history =
        "SELECT number, outcome, status_code, response_body FROM webhook.delivery_log ORDER BY number";
    assert_eq!(service.database.rows(history).await, ["1|retry|500|busy", "2|delivered|200|"]);
}
