//! Ivy.

use super::{Service, hex, hmac};
use harness::Answer;

#[tokio::test]
async fn subscriptions_are_created_updated_and_deleted() {
    let service = Service::start("ivy").await;
    service
        .database
        .run("UPDATE webhook.endpoint SET url = replace(url, '/ivy', '/new'), event_types = '{refund.made}'")
        .await;
    service.emit("order.paid", "{}").await;
    let request = service.request("refund.made", "{}").await;
    assert_eq!((request.path.as_str(), service.receiver.count()), ("/new", 1));
    service.database.drained().await;
    service.database.run("DELETE FROM webhook.endpoint").await;
    service.emit("refund.made", "{}").await;
    assert_eq!(service.database.number("SELECT count(*) FROM webhook.delivery").await, 1);
}

#[tokio::test]
async fn the_signature_is_hex_over_the_raw_body() {
    let service = Service::start("ivy").await;
    let request = service.request("order.paid", "{\"id\": 7}").await;
    assert_eq!(
        request.header("x-ivy-signature"),
        hex(&hmac(service.secret.as_bytes(), request.body.as_bytes()))
    );
}

#[tokio::test]
async fn only_200_is_success() {
    let service = Service::start("ivy").await;
    service.database.run("UPDATE webhook.endpoint SET retry_schedule = '{}'").await;
    for status in [200, 201, 204, 301, 400, 500] {
        service.receiver.answers(move |_| Answer::status(status));
        service.emit("order.paid", "{}").await;
        service.database.drained().await;
    }
    let outcomes = "SELECT status_code, outcome FROM webhook.attempt ORDER BY event_id";
    let expected = ["200|delivered", "201|failed", "204|failed", "301|failed", "400|failed", "500|failed"];
    assert_eq!(service.database.rows(outcomes).await, expected);
}

#[tokio::test]
async fn fifteen_retries_at_the_known_delays_the_last_after_54_hours() {
    let service = Service::start("ivy").await;
    service.receiver.answers(|_| Answer::status(500));
    service.emit("order.paid", "{}").await;
    let waits = service.waits().await;
    assert_eq!(waits[..6], [30, 22, 140, 541, 1_426, 3_200]);
    assert_eq!((waits.len(), waits[14]), (15, 54 * 3_600));
    assert!(waits[5..].is_sorted(), "then growing: {waits:?}");
}

#[tokio::test]
async fn deliveries_come_from_a_known_address() {
    let service = Service::start_with("ivy", &["--bind-address", "127.0.0.9"], &[]).await;
    let request = service.request("order.paid", "{}").await;
    assert_eq!(request.from.ip().to_string(), "127.0.0.9");
}

#[tokio::test]
async fn the_log_shows_type_time_and_the_whole_request_and_response() {
    let service = Service::start("ivy").await;
    service.receiver.answers(|_| Answer::status(200).header("x-shop", "7").body("ok"));
    let request = service.request("order.paid", "{}").await;
    service.database.drained().await;
    let log = "SELECT type, started_at <= recorded_at, request_headers ->> 'X-Ivy-Signature', request_body, status_code, \
               response_headers ->> 'x-shop', response_body FROM webhook.delivery_log";
    let signature = request.header("x-ivy-signature");
    assert_eq!(
        service.database.rows(log).await,
        [format!("order.paid|t|{signature}|{}|200|7|ok", request.body)]
    );
}

#[tokio::test]
async fn the_log_is_paged_and_filtered_by_type_status_and_date() {
    let service = Service::start("ivy").await;
    service.database.run("UPDATE webhook.endpoint SET retry_schedule = '{}'").await;
    service
        .receiver
        .answers(|request| Answer::status(if request.json()["type"] == "refund.made" { 500 } else { 200 }));
    service.database.run("SELECT webhook_emit(CASE n % 3 WHEN 0 THEN 'refund.made' ELSE 'order.paid' END, '{}') FROM generate_series(1, 30) n").await;
    service.database.drained().await;
    let page =
        |before: &str| format!("SELECT event_id, number FROM webhook_log(1, page_size => 12 {before})");
    let mut seen = service.database.rows(&page("")).await;
    while let Some((event, number)) = seen.last().and_then(|row| row.split_once('|')) {
        let before = format!(", before_event => '{event}', before_number => {number}");
        let next = service.database.rows(&page(&before)).await;
        if next.is_empty() {
            break;
        }
        seen.extend(next);
    }
    let all = service
        .database
        .rows("SELECT event_id, number FROM webhook.attempt ORDER BY event_id DESC, number DESC")
        .await;
    assert_eq!(seen, all, "page by page, newest first");
    for (filter, count) in [
        ("types => '{refund.*}'", 10),
        ("statuses => '{delivered}'", 20),
        ("types => '{order.paid}', statuses => '{failed}'", 0),
        ("since => now() - interval '1 hour'", 30),
        ("since => now() + interval '1 hour'", 0),
    ] {
        let found = service
            .database
            .number(&format!("SELECT count(*) FROM webhook_log(1, page_size => 100, {filter})"))
            .await;
        assert_eq!(found, count, "{filter}");
    }
}

#[tokio::test]
async fn one_of_the_log_can_be_sent_again() {
    let service = Service::start("ivy").await;
    let first = service.request("order.paid", "{}").await;
    service.database.drained().await;
    service.database.run("SELECT webhook_resend(event_id, endpoint_id) FROM webhook.delivery_log").await;
    assert_eq!(service.receiver.receives(2).await[1].body, first.body);
    service.database.drained().await;
    assert_eq!(service.database.rows("SELECT number FROM webhook.delivery_log ORDER BY 1").await, ["1", "2"]);
}
