//! What is there before CREATE EXTENSION, by accident or on purpose, gives nobody a right.

use super::GRANTED;
use harness::{Cluster, ClusterOptions, Database};

#[tokio::test]
async fn default_privileges_of_the_installer_give_nobody_a_right() {
    let database = Database::empty(Cluster::shared().await).await;
    let other = database.role("other", "").await;
    for kind in ["TABLES", "SEQUENCES", "FUNCTIONS", "TYPES"] {
        database.run(&format!("ALTER DEFAULT PRIVILEGES GRANT ALL ON {kind} TO {other}, PUBLIC")).await;
    }
    database.run("CREATE EXTENSION pg_webhook").await;
    let granted = database.rows(GRANTED).await;
    let strangers: Vec<_> =
        granted.iter().filter(|line| !line.starts_with("webhook_") && !line.starts_with("nobody:")).collect();
    assert!(strangers.is_empty(), "{strangers:#?}");
}

#[tokio::test]
async fn a_squatted_role_is_refused() {
    let cluster = Cluster::own(ClusterOptions::default()).await;
    for (squat, undo, said) in [
        ("CREATE ROLE webhook_owner LOGIN", "DROP ROLE webhook_owner", "may log in"),
        ("CREATE ROLE webhook_owner SUPERUSER", "DROP ROLE webhook_owner", "superuser"),
        ("CREATE ROLE webhook_owner BYPASSRLS", "DROP ROLE webhook_owner", "bypasses row-level security"),
        ("CREATE ROLE webhook_nobody CREATEROLE", "DROP ROLE webhook_nobody", "creates roles"),
        ("CREATE ROLE webhook_worker LOGIN", "DROP ROLE webhook_worker", "may log in"),
        (
            "CREATE ROLE webhook_owner; CREATE ROLE mallory ROLE webhook_owner",
            "DROP ROLE webhook_owner, mallory",
            "is a member",
        ),
        (
            "CREATE ROLE webhook_owner; CREATE ROLE mallory IN ROLE webhook_owner",
            "DROP ROLE webhook_owner, mallory",
            "has members",
        ),
        ("CREATE ROLE webhook_nobody IN ROLE pg_read_all_data", "DROP ROLE webhook_nobody", "is a member"),
    ] {
        let database = Database::empty(&cluster).await;
        database.run(squat).await;
        let error = database.error("CREATE EXTENSION pg_webhook").await;
        assert!(error.code == "42501" && error.message.contains(said), "{squat}: {error:?}");
        assert!(!error.hint.is_empty(), "{squat}");
        assert_eq!(database.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'webhook'").await, 0);
        database.run(undo).await;
        database.run("CREATE EXTENSION pg_webhook").await;
        database.run("DROP EXTENSION pg_webhook CASCADE; DROP SCHEMA IF EXISTS webhook CASCADE").await;
        database.run("DROP ROLE webhook_owner, webhook_nobody, webhook_admin, webhook_emitter, webhook_reader, webhook_worker, webhook_tenant").await;
    }
}

#[tokio::test]
async fn a_squatted_schema_or_function_fails_loudly() {
    let database = Database::empty(Cluster::shared().await).await;
    let mallory = database.role("mallory", "").await;
    database.run(&format!("CREATE SCHEMA webhook AUTHORIZATION {mallory}")).await;
    let error = database.error("CREATE EXTENSION pg_webhook").await;
    assert_eq!((error.code.as_str(), error.message.as_str()), ("42P06", "schema \"webhook\" already exists"));
    database.run("DROP SCHEMA webhook").await;
    database.run("CREATE FUNCTION webhook_emit(text, jsonb, text, text, timestamptz, text) RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid'").await;
    assert_eq!(database.error("CREATE EXTENSION pg_webhook").await.code, "42723");
}

#[tokio::test]
async fn it_works_in_a_schema_that_is_closed_to_the_public() {
    let database = Database::empty(Cluster::shared().await).await;
    database.run("REVOKE ALL ON SCHEMA public FROM PUBLIC; CREATE SCHEMA hooks; CREATE EXTENSION pg_webhook SCHEMA hooks").await;
    database.run("SELECT hooks.webhook_endpoint_create('https://example.com/'); CREATE TABLE orders (id int); SELECT hooks.webhook_attach('orders')").await;
    let writer = database.role("writer", "").await;
    database
        .run(&format!("GRANT USAGE ON SCHEMA public TO {writer}; GRANT INSERT ON orders TO {writer}"))
        .await;
    Database::run_in(&database.session_as(&writer).await, "INSERT INTO orders VALUES (1)").await;
    // A notice is an event, too, and its owner need not have a right on that schema.
    database.run("SELECT webhook.raise_notice('endpoint.disabled', 1, NULL, 'because')").await;
    assert_eq!(
        database.rows("SELECT type FROM webhook.event ORDER BY id").await,
        ["orders.created", "webhook.endpoint.disabled"]
    );
}
