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
    let request = "SELECT request_headers->'x-token' IS NOT NULL OR request_headers::text LIKE '%redacted%' OR request_headers->'webhook-id' IS NULL FROM webhook.tenant_attempt";
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
        "SELECT * FROM webhook_log(tenant => 'acme')",
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

#[tokio::test]
async fn a_tenant_pages_its_own_log() {
    // A long log of endpoints 1 to 30; two of them, and every third of the events, are acme's.
    let database = crate::partition_plan::nine_leaves(12).await;
    for _ in 0..8 {
        database.endpoint("https://example.com/").await;
    }
    database
        .run(
            "UPDATE webhook.endpoint SET tenant = CASE WHEN id = 8 THEN 'umbrella' ELSE 'acme' END WHERE id >= 6;
             UPDATE webhook.event e SET tenant = 'acme' FROM webhook.attempt a
             WHERE a.event_id = e.id AND a.endpoint_id = ANY ('{6,7,8}') AND right(e.id::text, 1) < '8';
             UPDATE webhook.attempt SET outcome = 'failed' WHERE endpoint_id = 7 AND event_id IN
               (SELECT a.event_id FROM webhook.attempt a JOIN webhook.event e ON e.id = a.event_id AND e.tenant = 'acme'
                WHERE a.endpoint_id = 7 ORDER BY a.event_id LIMIT 5)",
        )
        .await;
    let role = database.role("ann", "IN ROLE webhook_tenant").await;
    database.run(&format!("INSERT INTO webhook.tenant_member VALUES ('{role}', 'acme')")).await;
    let all = "SELECT a.event_id || '|' || a.number FROM webhook.attempt a JOIN webhook.event e ON e.id = a.event_id AND e.tenant = 'acme'
        WHERE a.endpoint_id = ANY ('{6,7}') ORDER BY a.event_id DESC, a.number DESC";
    let all = database.rows(all).await;
    assert!(all.len() > 1000, "{}", all.len());

    let ann = database.session_as(&role).await;
    let (mut read, mut before) = (Vec::new(), String::new());
    while read.len() < 300 {
        let page = format!(
            "SELECT string_agg(event_id || '|' || number, ' ' ORDER BY event_id DESC, number DESC) FROM webhook_tenant_log(page_size => 70{before})"
        );
        let page = Database::text_in(&ann, &page).await;
        read.extend(page.split(' ').map(str::to_owned));
        let (event, number) = read.last().expect("a row").split_once('|').expect("two values");
        before = format!(", before_event => '{event}', before_number => {number}");
    }
    assert_eq!(read, all[..read.len()], "every row once, newest first");

    let middle = all[all.len() / 2].split_once('|').expect("two values").0;
    for (arguments, rows) in [
        (String::new(), "50"),
        (format!("6, before_event => '{middle}', before_number => 1"), "50"),
        (
            "types => '{order.*}', since => now() - interval '10 days', until => now() - interval '5 days'"
                .into(),
            "50",
        ),
        ("7, statuses => '{failed}'".into(), "5"),
        ("8".into(), "0"),
        ("1".into(), "0"),
    ] {
        let session = database.session_as(&role).await;
        Database::run_in(&session, "BEGIN").await;
        let count = format!("SELECT count(*) FROM webhook_tenant_log({arguments})");
        assert_eq!(Database::text_in(&session, &count).await, rows, "{arguments}");
        let (whole, by_index) = crate::log::rows_read(&session).await;
        assert!(
            whole == 0 && by_index < 800,
            "{arguments}: {whole} rows read through, {by_index} fetched by index"
        );
    }
}
