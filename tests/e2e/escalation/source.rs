//! Who may configure what is captured, and whose name stands for it.

use super::stage;
use harness::{Cluster, Database};

#[tokio::test]
async fn who_configured_a_source_is_stamped_by_the_system() {
    let stage = stage().await;
    let (database, attacher) = (&stage.database, &stage.attacher);
    let configured = "SELECT configured_by FROM webhook.source";
    let session = database.session_as(attacher).await;
    Database::run_in(
        &session,
        "CREATE TABLE app.t (id int); CREATE FUNCTION app.f(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1'",
    )
    .await;
    Database::run_in(&session, "INSERT INTO webhook.source (relation, body_function, configured_by) VALUES ('app.t', 'app.f', 'postgres')").await;
    assert_eq!(&database.text(configured).await, attacher);
    Database::run_in(&session, "UPDATE webhook.source SET configured_by = 'postgres'").await;
    assert_eq!(&database.text(configured).await, attacher);
    // A superuser who changes something else does not take the function on.
    database.run("UPDATE webhook.source SET omit = '{id}', condition = 'true'").await;
    assert_eq!(&database.text(configured).await, attacher);
    assert_eq!(
        database.error("SELECT webhook_attach('app.t', body_function => 'app.f')").await.code,
        "42501"
    );
    database.run("SELECT webhook_attach('app.t')").await;
    assert_eq!(database.text(configured).await, "postgres");

    // COPY is how a dump comes back: a superuser's keeps the stamp, anybody else's is refused.
    let copy =
        "COPY webhook.source (relation, name, configured_by) FROM STDIN;\napp.t\tother\tpostgres\n\\.\n";
    let cluster = Cluster::shared().await;
    for (attribute, refusal) in [
        ("NOBYPASSRLS", "not supported with row-level security"),
        ("BYPASSRLS", "only a superuser's restore"),
    ] {
        database.run(&format!("ALTER ROLE {attacher} {attribute}")).await;
        let said = cluster.psql(&database.name, &format!("SET SESSION AUTHORIZATION {attacher};\n{copy}"));
        assert!(said.contains(refusal), "{said}");
    }
    cluster.psql(&database.name, &copy.replace("postgres", "somebody"));
    assert_eq!(database.rows(&format!("{configured} ORDER BY name")).await, ["postgres", "somebody"]);
}

#[tokio::test]
async fn a_name_that_is_taken_again_gets_no_rights() {
    let stage = stage().await;
    let (database, attacher) = (&stage.database, &stage.attacher);
    let session = database.session_as(attacher).await;
    let function = "CREATE FUNCTION app.f(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1'";
    Database::run_in(&session, &format!("CREATE TABLE app.t (id int); {function}; SELECT webhook_attach('app.t', body_function => 'app.f')")).await;
    Database::run_in(&session, "INSERT INTO app.t VALUES (1)").await;
    database
        .run(&format!(
            "REASSIGN OWNED BY {attacher} TO postgres; DROP OWNED BY {attacher}; DROP ROLE {attacher}"
        ))
        .await;
    let error = database.error("INSERT INTO app.t VALUES (1)").await;
    assert!(error.code == "42704" && error.message.contains("no longer exists"), "{error:?}");
    // Somebody else by that name; the function is not his, and mallory's by now.
    database
        .run(&format!("CREATE ROLE {attacher}; ALTER FUNCTION app.f(jsonb) OWNER TO {}", stage.mallory))
        .await;
    assert_eq!(database.error("INSERT INTO app.t VALUES (1)").await.code, "42501");
    database.run("ALTER FUNCTION app.f(jsonb) OWNER TO postgres; SELECT webhook_attach('app.t', body_function => 'app.f')").await;
    database.run("INSERT INTO app.t VALUES (1)").await;
}

#[tokio::test]
async fn only_a_restore_passes_the_triggers_by() {
    let stage = stage().await;
    let (database, attacher) = (&stage.database, &stage.attacher);
    let cluster = Cluster::shared().await;
    // COPY of a query is a usual way to save what a function returns.
    let said = cluster.psql(
        &database.name,
        "COPY (SELECT * FROM webhook_endpoint_create('https://example.com/', name => 'copied')) TO STDOUT;",
    );
    assert!(said.contains("whsec_"), "{said}");
    let generation = "SELECT generation FROM webhook.endpoint WHERE name = 'copied'";
    let before = database.text(generation).await;
    cluster.psql(
        &database.name,
        "COPY (SELECT webhook_rotate_secret(id) FROM webhook.endpoint WHERE name = 'copied') TO STDOUT;",
    );
    assert_ne!(database.text(generation).await, before);
    // Nor is COPY into another table one, whatever its triggers do.
    let said = cluster.psql(
        &database.name,
        &format!(
            "SET SESSION AUTHORIZATION {attacher};
             CREATE TABLE app.t (id int);
             CREATE FUNCTION app.attach() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
               INSERT INTO webhook.source (relation, configured_by) VALUES ('app.t', 'postgres'); RETURN NEW; END$$;
             CREATE TABLE app.bait (id int);
             CREATE TRIGGER attach BEFORE INSERT ON app.bait FOR EACH ROW EXECUTE FUNCTION app.attach();
             COPY app.bait FROM STDIN;\n1\n\\.\n"
        ),
    );
    assert!(!said.contains("ERROR"), "{said}");
    assert_eq!(&database.text("SELECT configured_by FROM webhook.source").await, attacher);
}

#[tokio::test]
async fn only_the_owner_of_a_table_writes_its_source() {
    let stage = stage().await;
    let (database, attacher) = (&stage.database, &stage.attacher);
    database.run("SELECT webhook_attach('target')").await;
    let session = database.session_as(attacher).await;
    for wrong in [
        "SELECT webhook_attach('target')",
        "SELECT webhook_attach('target', 'second')",
        "SELECT webhook_detach('target')",
        "INSERT INTO webhook.source (relation, name) VALUES ('target', 'second')",
        "SELECT webhook_attach('webhook.event')",
        "SELECT webhook_attach('pg_catalog.pg_class')",
    ] {
        let error = Database::error_on(&session, wrong).await;
        assert!(error.code == "42501" && error.message.contains("must be owner of"), "{wrong}: {error:?}");
    }
    Database::run_in(&session, "CREATE TABLE app.t (id int); SELECT webhook_attach('app.t')").await;
    let error = Database::error_on(
        &session,
        "UPDATE webhook.source SET relation = 'target', name = 'second' WHERE relation = 'app.t'::regclass",
    )
    .await;
    assert_eq!(error.code, "42501");
    Database::run_in(&session, "UPDATE webhook.source SET condition = 'false'; DELETE FROM webhook.source")
        .await;
    assert_eq!(
        database.rows("SELECT relation, condition FROM webhook.source").await,
        ["target|"],
        "the other's row is as it was"
    );
    database.run(&format!("ALTER TABLE target OWNER TO {attacher}")).await;
    Database::run_in(
        &session,
        "UPDATE webhook.source SET condition = 'false'; SELECT webhook_detach('target')",
    )
    .await;
    assert_eq!(database.number("SELECT count(*) FROM webhook.source").await, 0);
}
