//! Objects of an unprivileged user that stand in front of the ones internal SQL means.

use super::{Stage, stage};
use harness::Database;
use tokio_postgres::Client;

/// A schema of mallory's in front of everything, with a spy behind every name that internal SQL may forget to qualify.
async fn hostile_path(stage: &Stage) -> Client {
    let client = stage.database.session_as(&stage.mallory).await;
    let mut trap = String::from("ALTER FUNCTION mallory.spy SET search_path = pg_catalog;");
    for (name, left, right, result) in [
        ("=", "text", "text", "bool"),
        ("=", "uuid", "uuid", "bool"),
        ("=", "int4", "int4", "bool"),
        ("=", "oid", "oid", "bool"),
        ("=", "name", "name", "bool"),
        ("=", "name", "text", "bool"),
        ("=", "bool", "bool", "bool"),
        ("=", "xid8", "xid8", "bool"),
        ("<>", "text", "text", "bool"),
        ("<>", "uuid", "uuid", "bool"),
        ("<>", "int4", "int4", "bool"),
        ("<=", "timestamptz", "timestamptz", "bool"),
        (">", "timestamptz", "timestamptz", "bool"),
        (">", "int4", "int4", "bool"),
        ("+", "timestamptz", "interval", "timestamptz"),
        ("||", "text", "text", "text"),
        ("->>", "jsonb", "text", "text"),
        ("<@", "text[]", "text[]", "bool"),
        ("?", "jsonb", "text", "bool"),
    ] {
        let function = format!("mallory.f{}", trap.len());
        trap += &format!(
            "CREATE FUNCTION {function}(pg_catalog.{left}, pg_catalog.{right}) RETURNS pg_catalog.{result} LANGUAGE plpgsql AS
               $$BEGIN PERFORM mallory.spy('operator {name}'); RETURN NULL; END$$;
             CREATE OPERATOR mallory.{name} (FUNCTION = {function}, LEFTARG = pg_catalog.{left}, RIGHTARG = pg_catalog.{right});"
        );
    }
    for (name, arguments, result) in [
        ("unnest", "anyarray", "anyelement"),
        ("format", "text, VARIADIC text[]", "text"),
        ("clock_timestamp", "", "timestamptz"),
        ("now", "", "timestamptz"),
        ("setting", "text", "text"),
        ("to_regprocedure", "text", "regprocedure"),
        ("pg_current_xact_id", "", "xid8"),
        ("cardinality", "anyarray", "int4"),
        ("nextval", "regclass", "int8"),
        ("current_setting", "text", "text"),
        ("pg_partition_ancestors", "regclass", "regclass"),
        ("to_jsonb", "anyelement", "jsonb"),
        ("jsonb_each", "jsonb", "text"),
        ("array_position", "text[], text", "int4"),
    ] {
        trap += &format!(
            "CREATE FUNCTION mallory.{name}({arguments}) RETURNS {result} LANGUAGE plpgsql AS
               $$BEGIN PERFORM mallory.spy('function {name}'); RETURN NULL; END$$;"
        );
    }
    // Types: casts from what is cast to them, to what they stand for.
    for (name, from) in [
        ("text", "jsonb"),
        ("uuid", "text"),
        ("jsonb", "text"),
        ("interval", "text"),
        ("oid", "regclass"),
        ("regclass", "text"),
    ] {
        trap += &format!(
            "CREATE TYPE mallory.{name} AS ENUM ('');
             CREATE FUNCTION mallory.cast(mallory.{name}) RETURNS pg_catalog.{name} LANGUAGE plpgsql IMMUTABLE AS
               $$BEGIN PERFORM mallory.spy('cast from {name}'); RETURN NULL; END$$;
             ALTER FUNCTION mallory.cast(mallory.{name}) VOLATILE;
             CREATE CAST (mallory.{name} AS pg_catalog.{name}) WITH FUNCTION mallory.cast(mallory.{name}) AS IMPLICIT;
             CREATE FUNCTION mallory.cast_{from}(pg_catalog.{from}) RETURNS mallory.{name} LANGUAGE plpgsql AS
               $$BEGIN PERFORM mallory.spy('cast to {name}'); RETURN ''; END$$;
             CREATE CAST (pg_catalog.{from} AS mallory.{name}) WITH FUNCTION mallory.cast_{from}(pg_catalog.{from});"
        );
        trap = trap.replace(&format!("mallory.cast_{from}("), &format!("mallory.to_{name}_of_{from}("));
    }
    for table in ["event", "queue", "endpoint", "source", "pg_class", "pg_proc", "pg_roles", "pg_trigger"] {
        trap += &format!("CREATE TABLE mallory.{table} (id pg_catalog.int4);");
    }
    Database::run_in(&client, &trap).await;
    Database::run_in(&client, "SET search_path = mallory, pg_catalog, public").await;
    client
}

#[tokio::test]
async fn a_hostile_search_path_changes_nothing() {
    let stage = stage().await;
    let (database, mallory) = (&stage.database, &stage.mallory);
    database.run(&format!("GRANT webhook_emitter, webhook_admin TO {mallory}")).await;
    database.run("CREATE TABLE plain (id int PRIMARY KEY, at timestamptz, kind regclass); GRANT ALL ON plain TO PUBLIC").await;
    database.run("SELECT webhook_attach('plain', condition => 'true', tenant => $$'t'$$, watch => '{at}', event_names => '{\"insert\": \"a.b\"}')").await;
    let client = hostile_path(&stage).await;
    for sql in [
        "INSERT INTO public.plain VALUES (1, NULL, NULL), (2, NULL, NULL)",
        "UPDATE public.plain SET at = pg_catalog.clock_timestamp()",
        "DELETE FROM public.plain",
        "SELECT public.webhook_emit('a.b', '{}', 't', 'k', pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) '1 h', 'once')",
        "SELECT public.webhook_emit('a.b', '{}', 't', 'k', NULL, 'once')",
        "SELECT public.webhook_emit('a.b', '{}', NULL, NULL, NULL, 'once')",
        "SELECT public.webhook_verify('{}', '', ARRAY['whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD'])",
        "SELECT public.webhook_endpoint_create('https://example.com/')",
        "SELECT public.webhook_rotate_secret(1)",
        "UPDATE webhook.endpoint SET status = 'paused'",
        "INSERT INTO webhook.setting VALUES ('retention', '7 days')",
        "INSERT INTO webhook.signature_scheme (name, content, headers) VALUES ('mine', '{body}', '{\"X\": \"{signatures}\"}')",
        "CREATE TABLE mallory.hers (id pg_catalog.int4)",
        "SELECT public.webhook_attach('mallory.hers')",
        "SELECT public.webhook_detach('mallory.hers')",
        "SELECT public.webhook_resend((SELECT e.id FROM webhook.event e LIMIT 1), 1)",
        "SELECT webhook.janitor()",
        "SELECT * FROM webhook.delivery, webhook.endpoint_stats, webhook.leaf",
        "DELETE FROM webhook.endpoint",
    ] {
        Database::run_in(&client, sql).await;
    }
    database.run("SELECT webhook.raise_notice('endpoint.disabled', 1, NULL, 'because')").await;
    let spied = format!("SELECT DISTINCT place, who FROM spied WHERE who <> '{mallory}' ORDER BY 1");
    assert_eq!(database.rows(&spied).await, Vec::<String>::new());
    let types = database.rows("SELECT type, count(*) FROM webhook.event GROUP BY 1 ORDER BY 1").await;
    assert_eq!(types, ["a.b|4", "plain.deleted|2", "plain.updated|2", "webhook.endpoint.disabled|1"]);

    // The trap works: a function that is careless falls into it.
    database.run(
        "SET check_function_bodies = off;
         CREATE FUNCTION careless(a jsonb, b uuid[]) RETURNS bool LANGUAGE sql SECURITY DEFINER
         AS 'SELECT $1::text IS DISTINCT FROM ''x'' AND pg_catalog.btrim(''a'') IN (''b'') AND setting(''a'') IS NULL'",
    )
    .await;
    Database::run_in(&client, "SELECT public.careless('{}', '{}')").await;
    let fallen = [
        "cast from text|postgres",
        "cast to text|postgres",
        "function setting|postgres",
        "operator =|postgres",
    ];
    assert_eq!(database.rows(&spied).await, fallen);
}

#[tokio::test]
async fn a_function_in_front_of_webhook_emit_gets_no_rights() {
    let stage = stage().await;
    let database = &stage.database;
    database.run("GRANT CREATE ON SCHEMA public TO PUBLIC").await;
    for arguments in [
        "text, jsonb",
        "text, jsonb, text",
        "text, text",
        "text, jsonb, text, text, timestamptz",
        "VARIADIC text[]",
    ] {
        Database::run_in(
            &stage.writer,
            &format!(
                "CREATE FUNCTION public.webhook_emit({arguments}) RETURNS uuid LANGUAGE plpgsql AS
                   $$BEGIN PERFORM mallory.spy('emit'); RETURN NULL; END$$"
            ),
        )
        .await;
    }
    database.run("SELECT webhook.raise_notice('endpoint.disabled', 1, NULL, 'because')").await;
    stage.assert_spied_as_nobody(&[]).await;
    assert_eq!(database.number("SELECT count(*) FROM webhook.event").await, 1);
}
