//! A tenant sees its own endpoints, deliveries and attempts, and nothing else, whatever it tries.

use harness::{Answer, Database, Receiver, Worker};
use tokio_postgres::Client;

struct Scene {
    database: Database,
    receiver: Receiver,
    acme: Client,
    app: Client,
}

/// Endpoints 1 of acme, 2 of the house for all tenants, 3 of umbrella; each has had an event.
async fn scene() -> Scene {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    for (tenant, path) in
        [("'acme', false", "/acme"), ("NULL, true", "/house"), ("'umbrella', false", "/umbrella")]
    {
        let url = receiver.url(path);
        database
            .run(&format!(
                "INSERT INTO webhook.endpoint (url, headers, tenant, all_tenants) VALUES ('{url}', '{{\"X-Token\": \"hunter2\"}}', {tenant})"
            ))
            .await;
    }
    receiver.answers(|request| Answer::status(200).body(format!("seen by {}", request.path)));
    let _worker = Worker::start(&database).await;
    for tenant in ["'acme'", "'umbrella'", "NULL"] {
        database
            .run(&format!("SELECT webhook_emit('order.paid', jsonb_build_object('of', {tenant}), {tenant})"))
            .await;
    }
    database.drained().await;
    let group = format!("{}_acme", database.name);
    database.run(&format!("CREATE ROLE {group} IN ROLE webhook_tenant")).await;
    let user = database.role("ann", &format!("IN ROLE {group}")).await;
    let app = database.role("app", "IN ROLE webhook_tenant").await;
    database
        .run(&format!("INSERT INTO webhook.tenant_member VALUES ('{group}', 'acme'), ('{app}', NULL)"))
        .await;
    database.run("GRANT CREATE ON SCHEMA public TO PUBLIC").await;
    let (acme, app) = (database.session_as(&user).await, database.session_as(&app).await);
    Scene { database, receiver, acme, app }
}

const SEEN: &str = "SELECT concat_ws(' ', (SELECT string_agg(endpoint_id::text, ',' ORDER BY endpoint_id) FROM webhook.tenant_endpoint),
    (SELECT string_agg(concat_ws('|', endpoint_id, tenant, status), ',') FROM webhook.tenant_delivery),
    (SELECT string_agg(concat_ws('|', endpoint_id, tenant, response_body), ',') FROM webhook.tenant_attempt))";

#[tokio::test]
async fn a_tenant_sees_its_endpoints_deliveries_and_attempts() {
    let scene = scene().await;
    assert_eq!(scene.receiver.count(), 5, "the house has had all three");
    assert_eq!(Database::text_in(&scene.acme, SEEN).await, "1 1|acme|delivered 1|acme|seen by /acme");
    let request = "SELECT request_headers ? 'x-token' OR request_headers::text LIKE '%redacted%' OR NOT request_headers ? 'webhook-id' FROM webhook.tenant_attempt";
    assert_eq!(Database::text_in(&scene.acme, request).await, "f", "no custom headers");
    // Another tenant gets the endpoint: what it was sent before is not his.
    scene.database.run("UPDATE webhook.endpoint SET tenant = 'umbrella' WHERE id = 1").await;
    assert_eq!(Database::text_in(&scene.acme, SEEN).await, "");
    Database::run_in(&scene.app, "SET pg_webhook.tenant = 'umbrella'").await;
    assert_eq!(
        Database::text_in(&scene.app, SEEN).await,
        "1,3 3|umbrella|delivered 3|umbrella|seen by /umbrella"
    );
}

#[tokio::test]
async fn an_application_says_which_tenant_it_serves_and_others_cannot() {
    let scene = scene().await;
    assert_eq!(Database::text_in(&scene.app, SEEN).await, "", "none is set");
    Database::run_in(&scene.app, "BEGIN; SET LOCAL pg_webhook.tenant = 'umbrella'").await;
    assert_eq!(
        Database::text_in(&scene.app, SEEN).await,
        "3 3|umbrella|delivered 3|umbrella|seen by /umbrella"
    );
    Database::run_in(&scene.app, "COMMIT").await;
    assert_eq!(Database::text_in(&scene.app, SEEN).await, "", "until the end of the transaction");
    Database::run_in(&scene.app, "SET pg_webhook.tenant = ''").await;
    assert_eq!(Database::text_in(&scene.app, SEEN).await, "");

    Database::run_in(&scene.acme, "SET pg_webhook.tenant = 'umbrella'").await;
    assert_eq!(Database::text_in(&scene.acme, SEEN).await, "1 1|acme|delivered 1|acme|seen by /acme");
    // A member of webhook_tenant who stands nowhere.
    let stranger = scene.database.role("stranger", "IN ROLE webhook_tenant").await;
    let stranger = scene.database.session_as(&stranger).await;
    Database::run_in(&stranger, "SET pg_webhook.tenant = 'umbrella'").await;
    assert_eq!(Database::text_in(&stranger, SEEN).await, "");
}

#[tokio::test]
async fn a_tenant_cannot_peek() {
    let scene = scene().await;
    for refused in [
        "SELECT * FROM webhook.endpoint",
        "SELECT url FROM webhook.endpoint",
        "SELECT * FROM webhook.endpoint_secret",
        "SELECT * FROM webhook.event",
        "SELECT * FROM webhook.attempt",
        "SELECT * FROM webhook.delivery",
        "SELECT * FROM webhook.delivery_log",
        "SELECT * FROM webhook.tenant_member",
        "SELECT * FROM webhook_log()",
        "SELECT * FROM webhook_emitted()",
        "INSERT INTO webhook.tenant_member VALUES (current_user, 'umbrella')",
        "SELECT webhook_forget('umbrella')",
        "SET ROLE webhook_reader",
    ] {
        assert_eq!(Database::error_on(&scene.acme, refused).await.code, "42501", "{refused}");
    }
    // A cheap function in a condition would be asked about every row, were it not for the barrier.
    Database::run_in(
        &scene.acme,
        "CREATE FUNCTION pg_temp.leak(what text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
         BEGIN IF what LIKE '%umbrella%' OR what LIKE '%house%' THEN RAISE EXCEPTION 'seen: %', what; END IF; RETURN true; END $$",
    )
    .await;
    for (view, column) in [
        ("tenant_endpoint", "url"),
        ("tenant_delivery", "tenant"),
        ("tenant_attempt", "response_body"),
        ("tenant_attempt", "url"),
        ("tenant_attempt", "request_body"),
        ("current_tenant", "tenant"),
    ] {
        let rows = format!("SELECT count(*) FROM webhook.{view} WHERE pg_temp.leak({column})");
        assert_eq!(Database::text_in(&scene.acme, &rows).await, "1", "{view}.{column}");
    }
}
