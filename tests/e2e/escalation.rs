//! Nobody gains a right: code of an unprivileged user, wherever rendering or an expression may call it, runs without
//! any right and leaves nothing behind; a configurer's rights are lent to nobody else's code.

mod path;
mod source;

use harness::Database;
use tokio_postgres::Client;

const WRITES: &str = "
INSERT INTO target VALUES (1, 'sad', '{sad}', 1, '(1,sad)', '[1,2]'), (2, 'sad', '{sad}', 1, '(1,sad)', '[1,2]');
UPDATE target SET mood = 'glad', moods = '{glad}', small = 2, pair = '(2,glad)', span = '[1,3]';
DELETE FROM target";

struct Stage {
    database: Database,
    mallory: String,
    /// a session of mallory's
    writer: Client,
    /// a role that may configure, and owns nothing
    attacher: String,
}

/// A table of the superuser's with columns of mallory's types, which mallory may write to.
async fn stage() -> Stage {
    let database = Database::new().await;
    database.endpoint("https://example.com/").await;
    let mallory = database.role("mallory", "").await;
    let attacher = database.role("attacher", "IN ROLE webhook_admin").await;
    database.run(&format!("CREATE SCHEMA mallory AUTHORIZATION {mallory}; CREATE SCHEMA app; GRANT ALL ON SCHEMA app TO PUBLIC")).await;
    database.run("CREATE TABLE private (id int); CREATE TABLE spied (place text, who text, deed text); GRANT INSERT ON spied TO PUBLIC").await;
    let writer = database.session_as(&mallory).await;
    Database::run_in(&writer, include_str!("escalation/spy.sql")).await;
    let columns = "id int PRIMARY KEY, mood mallory.mood, moods mallory.mood[], small mallory.small, pair mallory.pair, span mallory.span";
    database.run(&format!("CREATE TABLE target ({columns}); GRANT ALL ON target TO {mallory}")).await;
    Stage { database, mallory, writer, attacher }
}

impl Stage {
    /// Writes as mallory.
    async fn write(&self) {
        let settings = "SELECT concat_ws(' ', current_setting('search_path'), coalesce(current_setting('pg_webhook.suppress', true), 'off'),
          current_setting('timezone'), current_setting('row_security'), current_user, session_user)";
        let before = Database::text_in(&self.writer, settings).await;
        Database::run_in(&self.writer, WRITES).await;
        assert_eq!(Database::text_in(&self.writer, settings).await, before);
    }

    /// Her code ran in these places as webhook_nobody, nowhere as anybody else but herself, and won nothing.
    async fn assert_spied_as_nobody(&self, places: &[&str]) {
        let mallory = &self.mallory;
        let seen = self
            .database
            .rows(&format!(
                "SELECT DISTINCT place, who, deed FROM spied WHERE who <> '{mallory}' ORDER BY 1, 2, 3"
            ))
            .await;
        let expected: Vec<String> =
            places.iter().map(|place| format!("{place}|webhook_nobody|ran")).collect();
        assert_eq!(seen, expected);
        let rights =
            "SELECT rolsuper OR pg_has_role(oid, 'pg_read_all_data', 'USAGE') FROM pg_roles WHERE rolname";
        assert_eq!(self.database.text(&format!("{rights} = '{mallory}'")).await, "f");
    }
}

#[tokio::test]
async fn a_writer_s_casts_run_without_any_right() {
    let stage = stage().await;
    stage.database.run("SELECT webhook_attach('target')").await;
    stage.write().await;
    stage.assert_spied_as_nobody(&["json"]).await;
    let rendered = stage.database.text("SELECT body::json->'data'->>'mood' FROM webhook.event LIMIT 1").await;
    assert_eq!(rendered, "spied", "as to_json has it");
    assert_eq!(stage.database.number("SELECT count(*) FROM webhook.event").await, 6);
}

#[tokio::test]
async fn expressions_over_a_writer_s_types_run_without_any_right() {
    let stage = stage().await;
    // Literals become values of her types as soon as the expression is read.
    let attach = "SELECT webhook_attach('target',
      condition => $$(coalesce(new, old)).mood OPERATOR(mallory.=) 'sad' AND new.small IS DISTINCT FROM '77'::mallory.small
        AND new.pair IS DISTINCT FROM '(77,sad)'::mallory.pair AND new.span IS DISTINCT FROM '[7,8]'$$,
      tenant => '(coalesce(new, old)).mood::pg_catalog.text', key => 'new.mood::jsonb')";
    stage.database.run(attach).await;
    stage.assert_spied_as_nobody(&["domain"]).await;
    let owner = &stage.attacher;
    stage.database.run(&format!("TRUNCATE spied; ALTER TABLE target OWNER TO {owner}")).await;
    Database::run_in(&stage.database.session_as(owner).await, attach).await;
    stage.assert_spied_as_nobody(&["domain"]).await;
    stage.write().await;
    stage.assert_spied_as_nobody(&["domain", "json", "jsonb", "operator", "text"]).await;
    assert_eq!(stage.database.number("SELECT count(*) FROM webhook.event WHERE tenant = 'spied'").await, 6);
}

#[tokio::test]
async fn a_body_function_runs_as_its_configurer_and_calls_no_code_of_others() {
    let stage = stage().await;
    let attacher = &stage.attacher;
    stage.database.run(&format!("ALTER TABLE target OWNER TO {attacher}")).await;
    let session = stage.database.session_as(attacher).await;
    Database::run_in(
        &session,
        "CREATE FUNCTION app.body(r jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
         BEGIN
           PERFORM set_config('pg_webhook.suppress', 'on', false);
           RETURN jsonb_build_object('as', current_user, 'mood', r->'mood');
         END$$;
         SELECT webhook_attach('target', body_function => 'app.body')",
    )
    .await;
    stage.write().await;
    stage.assert_spied_as_nobody(&["json"]).await;
    let data = stage.database.text("SELECT DISTINCT body::json->>'data' FROM webhook.event").await;
    assert_eq!(data, format!("{{\"as\": \"{attacher}\", \"mood\": \"spied\"}}"));
}

#[tokio::test]
async fn rights_are_not_lent_to_functions_of_others() {
    let stage = stage().await;
    let database = &stage.database;
    let body = "RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN PERFORM mallory.spy('body'); RETURN '{}'; END$$";
    Database::run_in(&stage.writer, &format!("CREATE FUNCTION app.hers(jsonb) {body}")).await;
    database.run("CREATE FUNCTION app.row(target) RETURNS jsonb LANGUAGE sql AS 'SELECT to_jsonb($1)'").await;
    database.run("CREATE FUNCTION app.ours(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1'").await;
    for (function, said) in
        [("app.hers", "would run with the rights of postgres"), ("app.row", "casts of type mallory.")]
    {
        let error =
            database.error(&format!("SELECT webhook_attach('target', body_function => '{function}')")).await;
        assert!(error.code == "42501" && error.message.contains(said), "{error:?}");
    }
    database.run("SELECT webhook_attach('target', body_function => 'app.ours')").await;
    stage.write().await;

    // One that fits the row more closely takes its place, and is not called.
    Database::run_in(&stage.writer, &format!("CREATE FUNCTION app.ours(target) {body}")).await;
    let writer = database.session_as(&stage.mallory).await;
    let error = Database::error_on(&writer, WRITES).await;
    assert!(error.code == "42501" && error.message.contains("belongs to"), "{error:?}");
    Database::run_in(&stage.writer, "DROP FUNCTION app.ours(target)").await;

    // Nor does it help that the function becomes hers later.
    database.run(&format!("ALTER FUNCTION app.ours(jsonb) OWNER TO {}", stage.mallory)).await;
    let writer = database.session_as(&stage.mallory).await;
    assert_eq!(Database::error_on(&writer, WRITES).await.code, "42501");
    stage.assert_spied_as_nobody(&["json"]).await;
}

#[tokio::test]
async fn code_that_capture_calls_may_itself_write_to_an_attached_table() {
    let stage = stage().await;
    Database::run_in(
        &stage.writer,
        "CREATE OR REPLACE FUNCTION mallory.spy(place text) RETURNS void LANGUAGE sql AS
           'INSERT INTO public.spied VALUES (place, current_user, ''ran'')'",
    )
    .await;
    stage.database.run("SELECT webhook_attach('target', on_error => 'warn'), webhook_attach('spied', operations => '{insert}')").await;
    stage.write().await;
    stage.assert_spied_as_nobody(&["json"]).await;
    let (spied, made) =
        ("SELECT count(*) FROM spied", "SELECT count(*) FROM webhook.event WHERE type = 'spied.created'");
    assert_eq!(stage.database.number(spied).await, stage.database.number(made).await);
    assert_eq!(
        stage.database.number("SELECT count(*) FROM webhook.event WHERE type <> 'spied.created'").await,
        6
    );
}

#[tokio::test]
async fn code_that_fails_leaves_nobody_s_identity_behind() {
    let stage = stage().await;
    Database::run_in(
        &stage.writer,
        "CREATE OR REPLACE FUNCTION mallory.to_json(mallory.mood) RETURNS json LANGUAGE plpgsql AS
           $$BEGIN PERFORM mallory.spy('json'); RAISE 'on purpose' USING ERRCODE = 'XX001'; END$$",
    )
    .await;
    let identity = "SELECT concat_ws(' ', current_user, session_user, current_setting('search_path'), current_setting('timezone'))";
    for on_error in ["warn", "raise"] {
        stage.database.run(&format!("SELECT webhook_attach('target', on_error => '{on_error}')")).await;
        let before = Database::text_in(&stage.writer, identity).await;
        let failing = "DO $$BEGIN INSERT INTO target (id, mood) VALUES (1, 'sad'); EXCEPTION WHEN data_corrupted THEN NULL; END$$";
        Database::run_in(&stage.writer, &format!("BEGIN; SAVEPOINT s; {failing}")).await;
        assert_eq!(Database::text_in(&stage.writer, identity).await, before, "{on_error}");
        Database::run_in(&stage.writer, "ROLLBACK").await;
        assert_eq!(Database::text_in(&stage.writer, identity).await, before, "{on_error}");
    }
    stage.assert_spied_as_nobody(&[]).await;
}
