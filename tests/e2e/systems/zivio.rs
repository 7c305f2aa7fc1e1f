//! Zivio, which follows Standard Webhooks.

use super::{Service, until_mailed};
use crate::mail::MailServer;
use harness::Answer;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn the_official_library_accepts_deliveries() {
    let service = Service::start("zivio").await;
    let request = service.request("order.paid", "{\"total\": 5}").await;
    assert_eq!(request.verify(&service.secret), Ok(()));
    let signatures = request.header("webhook-signature");
    assert!(signatures.split(' ').all(|signature| signature.starts_with("v1,")), "{signatures}");
}

#[tokio::test]
async fn the_body_has_the_id_the_type_when_it_occurred_and_the_api_version() {
    let service = Service::start("zivio").await;
    let request = service.request("order.paid", "{\"total\": 5}").await;
    let body = request.json();
    let occurred_at = body["occurred_at"].clone();
    let expected = json!({"id": request.id(), "type": "order.paid", "occurred_at": occurred_at, "api_version": "2025-01-01", "data": {"total": 5}});
    assert_eq!(body, expected);
    let agrees =
        format!("SELECT '{}'::timestamptz = created_at FROM webhook.event", occurred_at.as_str().unwrap());
    assert_eq!(service.database.text(&agrees).await, "t");
}

#[tokio::test]
async fn the_test_event_says_so() {
    let service = Service::start("zivio").await;
    service.database.run("SELECT webhook_test(1)").await;
    let request = service.receiver.receives(1).await[0].clone();
    assert_eq!(
        (&request.json()["type"], &request.json()["data"]),
        (&json!("webhook.test"), &json!({"test": true}))
    );
    assert_eq!(request.verify(&service.secret), Ok(()));
}

#[tokio::test]
async fn what_is_retried_and_what_is_permanent() {
    let service = Service::start("zivio").await;
    service.database.run("UPDATE webhook.endpoint SET timeout = '15 s', retry_schedule = '{1 h}'").await;
    service.receiver.answers(|request| {
        let data = request.json()["data"]["status"].as_u64().unwrap_or(0);
        match u16::try_from(data).unwrap_or(0) {
            0 => Answer::status(200).after(Duration::from_secs(60)),
            302 => Answer::status(302).header("location", "/elsewhere"),
            status => Answer::status(status),
        }
    });
    for status in [200, 204, 302, 400, 404, 408, 422, 429, 500, 503, 0] {
        service.emit("order.paid", &format!("{{\"status\": {status}}}")).await;
    }
    service.database.becomes("SELECT count(*) FROM webhook.attempt", "11").await;
    let outcomes = "SELECT coalesce(status_code, 0), outcome FROM webhook.attempt ORDER BY 1";
    let expected = [
        "0|retry",
        "200|delivered",
        "204|delivered",
        "302|retry",
        "400|failed",
        "404|failed",
        "408|retry",
        "422|failed",
        "429|retry",
        "500|retry",
        "503|retry",
    ];
    assert_eq!(service.database.rows(outcomes).await, expected);
    assert!(
        service.receiver.requests().iter().all(|request| request.path == "/zivio"),
        "no redirect was followed"
    );
}

#[tokio::test]
async fn ten_attempts_over_about_three_days_with_a_small_variation() {
    let service = Service::start("zivio").await;
    service.receiver.answers(|_| Answer::status(500));
    service.emit("order.paid", "{}").await;
    let waits = service.waits().await;
    let steps = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 72_000];
    assert_eq!(waits.len() + 1, 10);
    for (wait, step) in waits.iter().zip(steps) {
        assert!((wait - step).abs() <= step / 10 + 1, "{waits:?}");
    }
    assert_ne!(waits, steps, "not one varied");
    assert!((2 * 86_400..=4 * 86_400).contains(&waits.iter().sum::<i64>()), "{waits:?}");
}

#[tokio::test]
async fn five_days_of_failure_disable_the_endpoint_and_its_history_stays() {
    let service = Service::start("zivio").await;
    service.receiver.answers(|_| Answer::status(500));
    service.emit("order.paid", "{}").await;
    service.database.becomes("SELECT count(*) FROM webhook.attempt", "1").await;
    for (days, status) in [("4 days 23 hours", "active"), ("5 days 1 hour", "disabled")] {
        let attempts = service.database.number("SELECT count(*) FROM webhook.attempt").await;
        service
            .database
            .run(&format!("UPDATE webhook.endpoint_health SET failing_since = now() - interval '{days}'"))
            .await;
        service.database.pass_time().await;
        service.database.becomes(&format!("SELECT count(*) > {attempts} FROM webhook.attempt"), "t").await;
        service.database.becomes("SELECT status FROM webhook.endpoint", status).await;
    }
    let history = service.database.number("SELECT count(*) FROM webhook.delivery_log WHERE number > 0").await;
    assert_eq!(history, 3);
}

#[tokio::test]
async fn the_admins_get_a_mail() {
    let mail = MailServer::start(&["0"]).await;
    let service =
        Service::start_with("zivio", &["--smtp-url", &format!("smtp://127.0.0.1:{}", mail.port)], &[]).await;
    service.receiver.answers(|_| Answer::status(500));
    service.emit("order.paid", "{}").await;
    service.database.becomes("SELECT count(*) FROM webhook.attempt", "1").await;
    service
        .database
        .run("UPDATE webhook.endpoint_health SET failing_since = now() - interval '6 days'")
        .await;
    service.database.pass_time().await;
    let mails = until_mailed(&mail, "disabled").await;
    assert!(
        mails.iter().any(|text| text.contains("admins@zivio.example") && text.contains("Zivio")),
        "{mails:#?}"
    );
}

#[tokio::test]
async fn urls_are_public_and_https() {
    let service = Service::start("zivio").await;
    service.database.run("SET pg_webhook.allow_http = off").await;
    let error =
        service.database.error("INSERT INTO webhook.endpoint (url) VALUES ('http://zivio.example/')").await;
    assert_eq!(error.code, "22023");
    // What is private shows when it is dialled, whatever its name: --allow-network opens 127.0.0.0/8 alone here.
    service.database.run("INSERT INTO webhook.endpoint (url, event_types, retry_schedule) SELECT u, '{inner.*}', '{}' FROM unnest('{https://10.0.0.1/,https://192.168.1.1/,https://169.254.169.254/latest,https://[::1]/}'::text[]) u").await;
    service.emit("inner.thing", "{}").await;
    service.database.drained().await;
    let refused =
        "SELECT count(*) FROM webhook.attempt WHERE outcome = 'failed' AND error LIKE 'refused address: %'";
    assert_eq!(service.database.number(refused).await, 4);
}

#[tokio::test]
async fn endpoints_have_name_url_description_and_single_events_a_category_or_all() {
    let service = Service::start("zivio").await;
    let shown = "SELECT name, description, event_types FROM webhook.endpoint";
    assert_eq!(service.database.rows(shown).await, ["Zivio|orders and products|{product.*,order.paid}"]);
    for (event_types, wanted) in [("{order.paid}", 1), ("{order.*}", 2), ("{*}", 3)] {
        service.database.run(&format!("UPDATE webhook.endpoint SET event_types = '{event_types}'")).await;
        let before = service.database.number("SELECT count(*) FROM webhook.delivery").await;
        service
            .database
            .run("SELECT webhook_emit(t, '{}') FROM unnest('{order.paid,order.sent,invoice.made}'::text[]) t")
            .await;
        let after = service.database.number("SELECT count(*) FROM webhook.delivery").await;
        assert_eq!(after - before, wanted, "{event_types}");
    }
}

#[tokio::test]
async fn the_secret_is_shown_once_and_can_be_rotated() {
    let service = Service::start("zivio").await;
    let admin = service.database.role("zivio_admin", "IN ROLE webhook_admin").await;
    let session = service.database.session_as(&admin).await;
    let row =
        session.query_one("SELECT secret FROM webhook_endpoint_create('https://example.com/')", &[]).await;
    let secret: String = row.expect("it is made").get(0);
    assert_eq!(
        harness::Database::error_on(&session, "SELECT secret FROM webhook.endpoint_secret").await.code,
        "42501"
    );
    let hint = harness::Database::text_in(
        &session,
        "SELECT string_agg(hint, '') FROM webhook.endpoint_secret_hint WHERE endpoint_id = 2",
    )
    .await;
    let last = hint.trim_start_matches(|c: char| !c.is_ascii_alphanumeric() && c != '+' && c != '/');
    assert!(!last.is_empty() && last.len() <= 8 && secret.ends_with(last), "{hint}");

    let new = harness::Database::text_in(&session, "SELECT webhook_rotate_secret(1)").await;
    let request = service.request("order.paid", "{}").await;
    assert_eq!(
        (request.verify(&service.secret), request.verify(&new)),
        (Ok(()), Ok(())),
        "both, while they overlap"
    );
}

#[tokio::test]
async fn deliveries_can_be_filtered_inspected_and_replayed() {
    let service = Service::start("zivio").await;
    service.receiver.answers(|_| Answer::status(422).body("no"));
    let request = service.request("order.paid", "{}").await;
    service.database.drained().await;
    let failed = "SELECT type, response_body, request_body FROM webhook_log(1, types => '{order.*}', statuses => '{failed}')";
    assert_eq!(service.database.rows(failed).await, [format!("order.paid|no|{}", request.body)]);
    service.receiver.answers(|_| Answer::status(200));
    assert_eq!(
        service.database.text("SELECT deliveries FROM webhook_replay(1, now() - interval '1 hour')").await,
        "1"
    );
    assert_eq!(service.receiver.receives(2).await[1].id(), request.id());
    assert_eq!(service.ended().await, "delivered|2");
}

#[tokio::test]
async fn an_endpoint_s_health_is_its_status_and_success_rate() {
    let service = Service::start("zivio").await;
    service.receiver.answers(|request| Answer::status(if request.json()["data"] == 0 { 422 } else { 200 }));
    service.database.run("SELECT webhook_emit('order.paid', to_jsonb(n)) FROM generate_series(0, 3) n").await;
    service.database.drained().await;
    let health = "SELECT status, attempts, succeeded, success_rate FROM webhook.endpoint_stats";
    assert_eq!(service.database.rows(health).await, ["active|4|3|0.7500"]);
}

#[tokio::test]
async fn data_is_the_resource_as_the_api_returns_it() {
    let service = Service::start("zivio").await;
    service.database.run("INSERT INTO product VALUES (7, 'Chair', 4900)").await;
    let request = service.receiver.receives(1).await[0].clone();
    let api = service.database.text("SELECT product_resource(p)::text FROM product p").await;
    assert_eq!(request.json()["data"], serde_json::from_str::<Value>(&api).expect("JSON"));
}
