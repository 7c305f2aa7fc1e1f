//! A capture that fails: the statement fails, or the change goes through with a warning and without its event.

use harness::{Cluster, Database};

/// Tables whose capture fails for every row with an odd id, each for another cause.
const TABLES: &str = r#"
    CREATE SCHEMA app;
    GRANT USAGE ON SCHEMA app TO PUBLIC;
    CREATE FUNCTION app.fails(d jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
    BEGIN IF (d->>'id')::int % 2 = 1 THEN RAISE EXCEPTION USING ERRCODE = 'P0042', MESSAGE = 'no body today'; END IF; RETURN '1'; END $$;
    CREATE FUNCTION app.secret() RETURNS int LANGUAGE sql AS 'SELECT 1';
    REVOKE ALL ON FUNCTION app.secret() FROM PUBLIC;
    CREATE TABLE app.ledger (id int);
    CREATE TABLE thing (id int PRIMARY KEY);"#;

/// Settings, and what is said of (1), (2), (3): SQLSTATE and cause.
const CAUSES: [(&str, &str, &str); 6] = [
    ("condition => '1 / (new.id % 2 - 1) < 0'", "22012", "division by zero"),
    (
        "tenant => 'left(''1x'', 1 + new.id % 2)::int::text'",
        "22P02",
        "invalid input syntax for type integer: \"1x\"",
    ),
    ("key => 'app.secret()::text'", "42501", "permission denied for function secret"),
    ("condition => 'EXISTS (SELECT FROM app.ledger)'", "42501", "permission denied for table ledger"),
    ("body_function => 'app.fails'", "P0042", "no body today"),
    (
        "tenant => 'repeat(''x'', 300 * (new.id % 2))'",
        "22023",
        "the source's tenant expression gave a text that has not 1 to 256 bytes",
    ),
];

#[tokio::test]
async fn on_error_raise_fails_the_statement_and_names_table_and_cause() {
    let database = Database::new().await;
    database.run(TABLES).await;
    for (settings, code, cause) in CAUSES {
        database.run(&format!("SELECT webhook_attach('thing', {settings})")).await;
        let error = database.error("INSERT INTO thing VALUES (2), (1)").await;
        assert_eq!(
            (error.code.as_str(), error.message),
            (code, format!("webhook capture of public.thing failed: {cause}")),
            "{settings}"
        );
        assert!(!error.hint.is_empty(), "{settings}");
        let left =
            database.rows("SELECT (SELECT count(*) FROM thing), (SELECT count(*) FROM webhook.event)").await;
        assert_eq!(left, ["0|0"], "{settings}");
    }
}

#[tokio::test]
async fn on_error_warn_lets_the_change_through_without_its_event() {
    let database = Database::new().await;
    database.run(TABLES).await;
    let cluster = Cluster::shared().await;
    // Another source of the table is not concerned by the one that fails.
    database
        .run(r#"SELECT webhook_attach('thing', name => 'good', event_names => '{"insert": "thing.seen"}')"#)
        .await;
    for (settings, code, cause) in CAUSES {
        database.run(&format!("SELECT webhook_attach('thing', {settings}, on_error => 'warn')")).await;
        let said = cluster.psql(
            &database.name,
            "\\set VERBOSITY verbose\nINSERT INTO thing VALUES (1);\nSELECT 'still' || ' here';",
        );
        let warning = format!(
            "WARNING:  {code}: webhook capture of public.thing failed, the change is no event: {cause}\n"
        );
        assert!(said.contains(&warning) && said.contains("still here"), "{settings}: {said}");
        assert_eq!(database.take_events().await, [r#"thing.seen {"id":1}"#], "{settings}");
        assert_eq!(
            database
                .text(
                    "WITH gone AS (DELETE FROM thing RETURNING id) SELECT string_agg(id::text, ',') FROM gone"
                )
                .await,
            "1"
        );
        database.take_events().await;
    }
}

#[tokio::test]
async fn a_body_function_runs_as_the_role_that_configured_it() {
    let database = Database::new().await;
    let (owner, writer) = (format!("{}_owner", database.name), format!("{}_writer", database.name));
    database
        .run(&format!(
            "CREATE ROLE {owner} LOGIN IN ROLE webhook_admin; CREATE ROLE {writer} LOGIN;
             CREATE SCHEMA app AUTHORIZATION {owner};
             GRANT USAGE ON SCHEMA app TO {writer};"
        ))
        .await;
    let session = database.session_as(&owner).await;
    let made = "CREATE TABLE app.doc (id int PRIMARY KEY);
        CREATE TABLE app.title (id int, title text); INSERT INTO app.title VALUES (1, 'One');
        CREATE FUNCTION app.body(d jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
        BEGIN RETURN jsonb_build_object('as', current_user, 'title', (SELECT title FROM app.title t WHERE t.id = (d->>'id')::int)); END $$";
    session.batch_execute(made).await.expect("made");
    session
        .batch_execute("SELECT webhook_attach('app.doc', body_function => 'app.body')")
        .await
        .expect("attached");
    session.batch_execute(&format!("GRANT INSERT ON app.doc TO {writer}")).await.expect("granted");

    let session = database.session_as(&writer).await;
    session
        .batch_execute("INSERT INTO app.doc VALUES (1)")
        .await
        .expect("a writer needs no right on what the function reads");
    assert_eq!(database.take_events().await, [format!(r#"doc.created {{"as": "{owner}", "title": "One"}}"#)]);

    // The configurer is gone: a failing capture, in a session that knew him, too.
    database
        .run(&format!(
            "REASSIGN OWNED BY {owner} TO postgres; DROP OWNED BY {owner}; DROP ROLE {owner}; GRANT USAGE ON SCHEMA app TO {writer};
             GRANT INSERT ON app.doc TO {writer}"
        ))
        .await;
    let cause = format!("role \"{owner}\", which configured body function app.body, no longer exists");
    let error = Database::error_on(&session, "INSERT INTO app.doc VALUES (2)").await;
    assert_eq!(
        (error.code.as_str(), error.message),
        ("42704", format!("webhook capture of app.doc failed: {cause}"))
    );
    assert_eq!(error.hint, "Call webhook_attach() again as a role that stays.");
    // Nor does another setting lend it the rights of whoever changes it.
    database.run("UPDATE webhook.source SET on_error = 'warn'").await;
    let said = Cluster::shared().await.psql(&database.name, "INSERT INTO app.doc VALUES (2);");
    assert!(
        said.contains(&format!(
            "WARNING:  webhook capture of app.doc failed, the change is no event: {cause}\n"
        )),
        "{said}"
    );
    assert_eq!(database.take_events().await, [""; 0]);
    database
        .run("SELECT webhook_attach('app.doc', body_function => 'app.body'); INSERT INTO app.doc VALUES (3)")
        .await;
    assert_eq!(database.take_events().await, [r#"doc.created {"as": "postgres", "title": null}"#]);
    database.run(&format!("DROP OWNED BY {writer}; DROP ROLE {writer}")).await;
}

#[tokio::test]
async fn a_failing_capture_takes_back_no_more_than_its_statement() {
    let database = Database::new().await;
    database.run(TABLES).await;
    database.run("SELECT webhook_attach('thing', condition => '1 / (new.id % 2 - 1) < 0')").await;
    database
        .run(
            "BEGIN;
             INSERT INTO thing VALUES (2);
             SAVEPOINT s;
             DO $$ BEGIN INSERT INTO thing VALUES (1); EXCEPTION WHEN division_by_zero THEN NULL; END $$;
             INSERT INTO thing VALUES (4);
             SET LOCAL pg_webhook.suppress = on;
             INSERT INTO thing VALUES (3);
             COMMIT",
        )
        .await;
    assert_eq!(database.rows("SELECT id FROM thing ORDER BY id").await, ["2", "3", "4"]);
    assert_eq!(database.take_events().await, [r#"thing.created {"id":2}"#, r#"thing.created {"id":4}"#]);
}
