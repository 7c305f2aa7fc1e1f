//! Whose rights a callback has: those of who configured it, and no way to more.

use super::scene;
use harness::{Database, Worker};

fn set(function: &str) -> String {
    format!("UPDATE webhook.endpoint SET on_delivered = '{function}' WHERE event_types = '{{*}}'")
}

/// What a callback of an administrator's tries, and what comes of it.
const DEEDS: [(&str, &str); 14] = [
    ("SELECT * FROM app.private", "42501"),
    ("SELECT * FROM webhook.endpoint_secret", "42501"),
    ("SELECT webhook.worker_endpoints('{}')", "42501"),
    ("SELECT webhook.call_back('pg_catalog.jsonb_pretty', 'postgres', '{}', 1)", "42501"),
    ("SET ROLE postgres", "42501"),
    ("RESET ROLE", "42501"),
    ("RESET SESSION AUTHORIZATION", "42501"),
    ("SET SESSION AUTHORIZATION DEFAULT", "42501"),
    ("LISTEN webhook_wake", "42501"),
    ("CREATE TEMP TABLE stays (id int)", "42501"),
    ("DISCARD ALL", "42501"),
    ("DECLARE stays CURSOR WITH HOLD FOR SELECT 1", "42501"),
    ("ALTER ROLE CURRENT_USER SUPERUSER", "42501"),
    ("SELECT * FROM app.open", "allowed"),
];

#[tokio::test]
async fn a_callback_has_the_rights_of_who_configured_it_and_no_others() {
    let scene = scene("", "event_types = '{*}'").await;
    let database = &scene.database;
    let admin = database.role("admin", "IN ROLE webhook_admin").await;
    let hooks = database.role("hooks", "IN ROLE webhook_worker").await;
    let tries = DEEDS.map(|(deed, _)| format!("$deed${deed}$deed$")).join(", ");
    database
        .run(&format!(
            "CREATE TABLE app.private (id int); CREATE TABLE app.open (id int);
             CREATE TABLE app.tried (who text, session text, path text, zone text, deed text, code text);
             GRANT ALL ON SCHEMA app TO {admin}; GRANT INSERT ON app.tried TO {admin}; GRANT SELECT ON app.open TO {admin};
             CREATE FUNCTION app.ours(jsonb) RETURNS void LANGUAGE sql AS
               $$ INSERT INTO app.tried VALUES (current_user, session_user, current_setting('search_path'), current_setting('timezone')) $$"
        ))
        .await;
    let admins = database.session_as(&admin).await;
    Database::run_in(
        &admins,
        &format!(
            "CREATE FUNCTION app.tries(outcome jsonb) RETURNS void LANGUAGE plpgsql AS $body$
             DECLARE deed text; code text;
             BEGIN
               FOREACH deed IN ARRAY ARRAY[{tries}] LOOP
                 code := 'allowed';
                 BEGIN EXECUTE deed; EXCEPTION WHEN OTHERS THEN code := SQLSTATE; END;
                 INSERT INTO app.tried VALUES (current_user, session_user, current_setting('search_path'), current_setting('timezone'), deed, code);
               END LOOP;
               PERFORM set_config('search_path', 'nowhere', false), set_config('timezone', 'Asia/Tokyo', false);
             END $body$; {}",
            set("app.tries")
        ),
    )
    .await;
    let by = "SELECT callback_configured_by FROM webhook.endpoint";
    assert_eq!(database.text(by).await, admin);
    database.run("UPDATE webhook.endpoint SET max_in_flight = 3").await;
    assert_eq!(database.text(by).await, admin, "who changes something else does not lend his rights");

    let mut environment = database.environment();
    environment.retain(|(name, _)| *name != "PGUSER");
    environment.push(("PGUSER", hooks.clone()));
    let worker = Worker::spawn(&environment, &["--allow-network", "127.0.0.0/8"]).await;
    worker.ready().await;
    assert_eq!(scene.ends("a.b", "{}").await, ("delivered".to_owned(), String::new()));
    let place = format!("{admin}|{hooks}|pg_catalog, pg_temp|UTC");
    let expected: Vec<String> = DEEDS.iter().map(|(deed, code)| format!("{place}|{deed}|{code}")).collect();
    assert_eq!(database.rows("SELECT * FROM app.tried").await, expected);

    // In the same session, the superuser's.
    database.run(&format!("TRUNCATE app.tried; {}", set("app.ours"))).await;
    assert_eq!(scene.ends("a.b", "{}").await, ("delivered".to_owned(), String::new()));
    let as_superuser = format!("postgres|{hooks}|pg_catalog, pg_temp|UTC||");
    assert_eq!(database.rows("SELECT * FROM app.tried").await, [as_superuser]);
}

#[tokio::test]
async fn nobody_lends_rights_through_a_callback() {
    let scene = scene("", "event_types = '{*}'").await;
    let database = &scene.database;
    let admin = database.role("admin", "IN ROLE webhook_admin").await;
    let other = database.role("other", "").await;
    database
        .run(&format!(
            "GRANT USAGE ON SCHEMA app TO {admin};
             CREATE FUNCTION app.theirs(jsonb) RETURNS void LANGUAGE sql AS ''; ALTER FUNCTION app.theirs OWNER TO {other};
             CREATE FUNCTION app.shut(jsonb) RETURNS void LANGUAGE sql AS ''; REVOKE ALL ON FUNCTION app.shut FROM PUBLIC;
             CREATE FUNCTION app.ours(jsonb) RETURNS void LANGUAGE sql AS ''"
        ))
        .await;
    let admins = database.session_as(&admin).await;
    for (user, function, said) in [
        (admin.as_str(), "app.theirs", "would run with the rights of"),
        ("postgres", "app.theirs", "would run with the rights of"),
        (&admin, "app.shut", "may not be executed by"),
    ] {
        let session = database.session_as(user).await;
        for column in ["on_delivered", "on_failed"] {
            let sql = format!("UPDATE webhook.endpoint SET {column} = '{function}'");
            let error = Database::error_on(&session, &sql).await;
            assert!(
                error.code == "42501" && error.message.contains(said) && !error.hint.is_empty(),
                "{error:?}"
            );
        }
    }
    let by = "SELECT callback_configured_by FROM webhook.endpoint";
    Database::run_in(
        &admins,
        "UPDATE webhook.endpoint SET on_failed = 'app.ours', callback_configured_by = 'postgres'",
    )
    .await;
    assert_eq!(database.text(by).await, admin);
    Database::run_in(&admins, "UPDATE webhook.endpoint SET callback_configured_by = 'postgres'").await;
    assert_eq!(database.text(by).await, admin);
    // The superuser's, beside one that the administrator gives: both run as who answers for them now.
    database.run("UPDATE webhook.endpoint SET on_delivered = 'app.shut'").await;
    assert_eq!(database.text(by).await, "postgres");
    let error = Database::error_on(&admins, "UPDATE webhook.endpoint SET on_failed = 'app.note'").await;
    assert_eq!(error.code, "42501", "app.shut is not his to run: {error:?}");

    // A function that becomes somebody else's later is not called.
    let _worker = Worker::start(database).await;
    assert_eq!(scene.ends("a.b", "{}").await.1, "");
    database.run(&format!("ALTER FUNCTION app.shut OWNER TO {other}")).await;
    let problem = scene.ends("a.b", "{}").await.1;
    assert!(problem.contains("would run with the rights of postgres"), "{problem}");
    // Nor is one whose configurer is gone.
    let gone = database.role("gone", "SUPERUSER").await;
    let session = database.session_as(&gone).await;
    Database::run_in(&session, &set("app.ours")).await;
    drop(session);
    database.run(&format!("DROP OWNED BY {gone}; DROP ROLE {gone}")).await;
    let problem = scene.ends("a.b", "{}").await.1;
    assert!(problem.contains("no longer exists"), "{problem}");

    let file = format!("/tmp/{}.callbacks", database.name);
    database
        .run(&format!(
            "GRANT pg_read_server_files TO {admin}; COPY (SELECT 'https://example.com/', 'app.ours', 'postgres') TO '{file}'"
        ))
        .await;
    let copy = format!("COPY webhook.endpoint (url, on_delivered, callback_configured_by) FROM '{file}'");
    let error = Database::error_on(&admins, &copy).await;
    database.run(&format!("COPY (SELECT) TO PROGRAM 'cat >/dev/null; rm {file}'")).await;
    assert!(error.code == "42501" && error.message.contains("only a superuser's restore"), "{error:?}");
}
