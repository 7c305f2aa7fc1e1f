//! Iverton AI.

use super::{Service, hex, hmac};
use harness::Answer;

#[tokio::test]
async fn an_endpoint_is_a_url_events_and_a_secret() {
    let service = Service::start("iverton").await;
    let shown = "SELECT url LIKE 'https://%/iverton', event_types, substr(secret, 1, 6) \
                 FROM webhook.endpoint JOIN webhook.endpoint_secret s ON s.endpoint_id = id AND s.expires_at IS NULL";
    assert_eq!(service.database.rows(shown).await, ["t|{contact.*,deal.*}|whsec_"]);
}

#[tokio::test]
async fn the_payload_has_id_type_created_at_and_data() {
    let service = Service::start("iverton").await;
    let request = service.request("contact.created", "{\"name\": \"Ada\"}").await;
    let id = service.database.text("SELECT id FROM webhook.event").await;
    let members: Vec<_> = request.json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(members.len(), 4);
    assert_eq!(request.json()["id"], format!("evt_{id}"));
    assert_eq!(request.json()["type"], "contact.created");
    assert_eq!(request.json()["data"]["name"], "Ada");
    let created = request.json()["created_at"].as_str().unwrap().to_owned();
    let agrees = format!("SELECT '{created}'::timestamptz = created_at FROM webhook.event");
    assert_eq!(service.database.text(&agrees).await, "t");
}

#[tokio::test]
async fn the_signature_s_key_is_the_secret_as_it_stands() {
    let service = Service::start("iverton").await;
    let request = service.request("contact.created", "{}").await;
    let expected = format!("sha256={}", hex(&hmac(service.secret.as_bytes(), request.body.as_bytes())));
    assert_eq!(request.header("x-iverton-signature"), expected);
    assert!(service.secret.starts_with("whsec_"));
}

#[tokio::test]
async fn five_retries_then_the_endpoint_is_disabled() {
    let service = Service::start("iverton").await;
    service.receiver.answers(|_| Answer::status(500));
    service.emit("contact.created", "{}").await;
    assert_eq!(service.waits().await, [60, 300, 1_800, 7_200, 86_400]);
    assert_eq!(service.ended().await, "failed|6");
    service.database.becomes("SELECT status FROM webhook.endpoint", "disabled").await;
}

#[tokio::test]
async fn a_test_of_a_chosen_type_has_a_result_to_look_at() {
    let service = Service::start("iverton").await;
    service.receiver.answers(|_| Answer::status(202).body("thanks"));
    let id = service.database.text("SELECT webhook_test(1, 'deal.won')").await;
    let request = service.receiver.receives(1).await[0].clone();
    assert_eq!(request.json()["type"], "deal.won");
    service.database.drained().await;
    let result = format!(
        "SELECT outcome, status_code, response_body FROM webhook.delivery_log WHERE event_id = '{id}'"
    );
    assert_eq!(service.database.rows(&result).await, ["delivered|202|thanks"]);
}

#[tokio::test]
async fn the_log_has_status_code_time_and_both_bodies() {
    let service = Service::start("iverton").await;
    service.receiver.answers(|_| Answer::status(200).body("{\"ok\": true}"));
    let request = service.request("deal.created", "{\"id\": 1}").await;
    service.database.drained().await;
    let log =
        "SELECT outcome, status_code, duration > '0', response_body, request_body FROM webhook.delivery_log";
    assert_eq!(
        service.database.rows(log).await,
        [format!("delivered|200|t|{{\"ok\": true}}|{}", request.body)]
    );
}

#[tokio::test]
async fn table_changes_are_families_of_events_and_changes_of_state() {
    let service = Service::start("iverton").await;
    for sql in [
        "INSERT INTO deal VALUES (1, 'Engine')",
        "UPDATE deal SET amount = 5",
        "UPDATE deal SET stage = 'offer'",
        "UPDATE deal SET stage = 'won'",
        "DELETE FROM deal",
    ] {
        service.database.run(sql).await;
    }
    service.database.drained().await;
    let types = "SELECT type FROM webhook.delivery WHERE status = 'delivered' ORDER BY event_id";
    let expected = [
        "deal.created",
        "deal.updated",
        "deal.updated",
        "deal.stage_changed",
        "deal.updated",
        "deal.stage_changed",
        "deal.won",
        "deal.deleted",
    ];
    assert_eq!(service.database.rows(types).await, expected);
}
