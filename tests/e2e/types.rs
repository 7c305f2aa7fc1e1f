//! Values of every type arrive as to_json() has them, byte for byte, whatever the writer's settings are.

use harness::Database;

/// Types and values. Names of types are kept apart from what they are made of: `app` holds the user's own.
const TYPES: &[(&str, &[&str])] = &[
    ("boolean", &["true", "false"]),
    ("smallint", &["0", "-32768", "32767"]),
    ("integer", &["0", "-2147483648", "2147483647"]),
    ("bigint", &["0", "-9223372036854775808", "9223372036854775807"]),
    (
        "numeric",
        &["0", "NaN", "Infinity", "-Infinity", "-0.00012300", "1e40", "123456789012345678901234567890.5"],
    ),
    ("numeric(6,2)", &["1", "-1234.567"]),
    ("real", &["0", "-0", "0.1", "NaN", "Infinity", "-Infinity", "1e-45", "3.4028235e38", "16777217"]),
    (
        "double precision",
        &["0", "-0", "0.1", "0.30000000000000004", "NaN", "Infinity", "-Infinity", "1e-310", "1e22", "1e15"],
    ),
    ("money", &["0", "-1234567.89", "0.5"]),
    (
        "text",
        &[
            "",
            "a",
            r#"quote " and \ slash"#,
            "tab\t, line\nand return\r",
            "\u{1}\u{8}\u{c}\u{1f}\u{7f}",
            "é 漢 \u{1f600}\u{2028}",
        ],
    ),
    ("varchar(5)", &["", "äöü"]),
    ("char(5)", &["", "ab", "abcde"]),
    ("\"char\"", &["", "x", "\""]),
    ("name", &["", "some name"]),
    ("bytea", &["", r"\x00ff7f5c22", "plain"]),
    ("date", &["2026-11-20", "infinity", "-infinity", "0044-03-15 BC", "10000-01-01"]),
    ("time", &["00:00", "23:59:59.999999", "24:00"]),
    ("time(0)", &["12:34:56.7"]),
    ("timetz", &["12:00+05:45", "00:00:00.1-12"]),
    (
        "timestamp",
        &["2026-11-20 23:45:34.123456", "infinity", "-infinity", "0044-03-15 12:00 BC", "2000-01-01"],
    ),
    (
        "timestamptz",
        &[
            "2026-11-20 23:45:34.1+05:45",
            "infinity",
            "-infinity",
            "0044-03-15 12:00:00+00 BC",
            "2026-03-29 01:30+00",
        ],
    ),
    (
        "interval",
        &["0", "1 year 2 mons -3 days 04:05:06.789", "-1 day", "-00:00:01", "1 mon ago", "@ 100 years"],
    ),
    ("uuid", &["00000000-0000-0000-0000-000000000000", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"]),
    ("json", &["null", " {\"b\" : 1,\n\t\"a\":[1, 2.50 ],\"b\":2} ", "\"text\"", "1e2"]),
    ("jsonb", &["null", " {\"b\" : 1,\n\t\"a\":[1, 2.50 ],\"b\":2} ", "\"\\u00e9\\\"\"", "1e2"]),
    ("jsonpath", &["$.a[*] ? (@.b == \"x\")"]),
    ("xml", &["<a b=\"1\">&amp;</a>", "text"]),
    ("inet", &["10.0.0.1", "10.0.0.0/8", "::ffff:1.2.3.4", "fe80::1/64"]),
    ("cidr", &["10.0.0.0/8", "2001:db8::/32"]),
    ("macaddr", &["08:00:2b:01:02:03"]),
    ("macaddr8", &["08:00:2b:01:02:03:04:05"]),
    ("bit(3)", &["101", "000"]),
    ("bit varying", &["", "1", "10101010101"]),
    ("point", &["(1,2)", "(-0.1,NaN)", "(Infinity,1e-300)"]),
    ("line", &["{1,2,3}"]),
    ("lseg", &["[(1,2),(3,4.5)]"]),
    ("box", &["(3,4),(1,2)"]),
    ("path", &["[(1,2),(3,4)]", "((1,2),(3,4))"]),
    ("polygon", &["((1,2),(3,4),(5,6))"]),
    ("circle", &["<(1,2),3>"]),
    ("tsvector", &["'fat':2A 'cat':3", "'it''s' '\\\\'"]),
    ("tsquery", &["'fat' & !'cat':*AB <-> 'x'"]),
    ("oid", &["0", "4294967295"]),
    ("regclass", &["app.thing", "pg_class", "app.\"Odd \"\"name\"\"\"", "-"]),
    ("regtype", &["app.mood", "timestamp with time zone", "app.thing[]"]),
    ("regproc", &["app.half", "now"]),
    ("regprocedure", &["app.half(integer)", "pg_catalog.length(text)"]),
    ("regoper", &["pg_catalog.||/"]),
    ("regoperator", &["pg_catalog.+(integer,integer)"]),
    ("regrole", &["webhook_nobody", "-"]),
    ("regnamespace", &["app", "\"Odd space\""]),
    ("regcollation", &["app.german", "\"C\""]),
    ("regconfig", &["app.words", "simple"]),
    ("regdictionary", &["app.dict", "simple"]),
    ("regclass[]", &["{app.thing,pg_class}"]),
    ("xid", &["7"]),
    ("xid8", &["18446744073709551615"]),
    ("cid", &["7"]),
    ("tid", &["(0,1)"]),
    ("pg_lsn", &["16/B374D848", "0/0"]),
    ("pg_snapshot", &["10:20:10,14"]),
    ("txid_snapshot", &["10:20:10,14"]),
    ("refcursor", &["a cursor"]),
    ("aclitem", &["webhook_reader=r/webhook_owner"]),
    ("int2vector", &["1 2 3"]),
    ("oidvector", &["1 2 3"]),
    ("integer[]", &["{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={5,6}"]),
    ("text[]", &["{}", "{\"a \\\" b\",NULL,\"NULL\",\"\"}"]),
    ("bytea[]", &["{\"\\\\x00ff\",NULL}"]),
    ("timestamptz[]", &["{2026-11-20 23:45:34+00,infinity}"]),
    ("interval[]", &["{1 year,-1 day}"]),
    ("real[]", &["{0.1,NaN}"]),
    ("money[]", &["{1.5,-2}"]),
    ("jsonb[]", &["{\"{\\\"a\\\": 1}\",\"null\"}"]),
    ("int4range", &["empty", "[1,5)", "(,)", "[3,]"]),
    ("numrange", &["(0.10,2.50]"]),
    ("daterange", &["[2026-11-20,infinity)"]),
    ("tstzrange", &["[2026-11-20 23:45:34.5+05:45,)", "(,infinity]"]),
    ("int8multirange", &["{}", "{[1,2),[5,6)}"]),
    ("tsmultirange", &["{[2026-11-20 00:00,2026-11-21 00:00)}"]),
    ("app.mood", &["fine", "so \"so\""]),
    ("app.mood[]", &["{fine,NULL}"]),
    ("app.price", &["12.5"]),
    ("app.amount", &["99.9"]),
    ("app.code", &["ab"]),
    (
        "app.thing",
        &["(1,\"a \"\"b\"\"\",2026-11-20 23:45:34+05:45,1.5,app.thing,\\\\x00ff,1 year,0.1)", "(,,,,,,,)"],
    ),
    ("app.thing[]", &["{\"(1,a,infinity,2,pg_class,\\\\\\\\x01,-1 day,1)\",NULL}"]),
    ("app.pair", &["(\"(1,a,,,,,,)\",\"{1,2}\")"]),
    ("app.spans", &["{[00:00,12:00),[13:00,14:00)}"]),
    ("app.labelled", &["(1,x)"]),
];

/// What the user's types are, and every name that can be referred to.
const USER_TYPES: &str = r#"
    CREATE SCHEMA app; CREATE SCHEMA "Odd space";
    CREATE TYPE app.mood AS ENUM ('fine', 'so "so"');
    CREATE DOMAIN app.price AS numeric(8,3) CHECK (VALUE > 0);
    CREATE DOMAIN app.amount AS money;
    CREATE DOMAIN app.code AS char(4);
    CREATE TYPE app.thing AS (a int, b text, c timestamptz, d money, e regclass, f bytea, g interval, h real);
    CREATE TYPE app.pair AS (t app.thing, n int[]);
    CREATE FUNCTION app.seconds(a time, b time) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT extract(epoch FROM a - b)::float8';
    CREATE TYPE app.span AS RANGE (subtype = time, subtype_diff = app.seconds, multirange_type_name = app.spans);
    CREATE TYPE app.labelled AS (n int, label text);
    CREATE FUNCTION app.as_json(l app.labelled) RETURNS json LANGUAGE sql IMMUTABLE AS
      $$ SELECT json_build_object('by a cast', now() IS NOT NULL, l.label, current_setting('timezone')) $$;
    CREATE CAST (app.labelled AS json) WITH FUNCTION app.as_json(app.labelled);
    CREATE TABLE app."Odd ""name""" (id int);
    CREATE FUNCTION app.half(int) RETURNS int LANGUAGE sql AS 'SELECT $1 / 2';
    CREATE COLLATION app.german FROM "C";
    CREATE TEXT SEARCH CONFIGURATION app.words (COPY = simple);
    CREATE TEXT SEARCH DICTIONARY app.dict (TEMPLATE = simple);"#;

/// The settings to_json() is to be compared under.
const REFERENCE: &str =
    "SET timezone = 'UTC'; SET datestyle = 'ISO, MDY'; SET intervalstyle = postgres; SET bytea_output = hex;
    SET extra_float_digits = 1; SET lc_monetary = 'C'; SET search_path = pg_catalog;";

/// What writers' sessions may be like.
const WRITERS: [&str; 4] = [
    "RESET ALL",
    "SET timezone = 'Asia/Kathmandu'; SET datestyle = 'German, DMY'; SET intervalstyle = iso_8601; SET bytea_output = escape;
     SET extra_float_digits = -15; SET search_path = app, public; SET quote_all_identifiers = on",
    "SET timezone = '<-03:30>+03:30'; SET datestyle = 'SQL, YMD'; SET intervalstyle = sql_standard; SET extra_float_digits = 0;
     SET search_path = ''; SET array_nulls = off; SET xmlbinary = hex; SET xmloption = document; SET client_encoding = LATIN1",
    "SET timezone = 'America/St_Johns'; SET datestyle = 'Postgres, MDY'; SET intervalstyle = postgres_verbose; SET bytea_output = escape;
     SET extra_float_digits = 3; SET search_path = \"Odd space\", app; SELECT set_config('lc_monetary', collcollate, false)
       FROM pg_collation WHERE collprovider = 'c' AND collcollate ~ '^[a-z]{2}_[A-Z]{2}' ORDER BY collcollate LIMIT 1",
];

fn columns(of_each: impl Fn(usize, &str) -> String, between: &str) -> String {
    let parts: Vec<String> =
        TYPES.iter().enumerate().map(|(number, (name, _))| of_each(number, name)).collect();
    parts.join(between)
}

/// Rows it takes to have each value in one.
fn row_count() -> usize {
    TYPES.iter().map(|(_, values)| values.len()).max().unwrap_or_default()
}

/// The values of a row as SQL.
fn literals(row: usize) -> Vec<String> {
    let literal = |(name, values): &(&str, &[&str])| {
        format!("'{}'::{name}", values[row % values.len()].replace('\'', "''"))
    };
    TYPES.iter().map(literal).collect()
}

/// `every` is attached, `template` holds a row for each value and one of NULLs.
async fn database_with_every_type() -> Database {
    let database = Database::new().await;
    database.run(USER_TYPES).await;
    database.run(REFERENCE).await;
    let definitions = columns(|number, name| format!("c{number} {name}"), ", ");
    database
        .run(&format!(
            "CREATE TABLE public.template (id int PRIMARY KEY, {definitions});
             CREATE TABLE public.every (LIKE public.template INCLUDING ALL);
             SELECT public.webhook_attach('public.every')"
        ))
        .await;
    for row in 0..row_count() {
        let values = literals(row).join(", ");
        database.run(&format!("INSERT INTO public.template VALUES ({row}, {values})")).await;
    }
    database.run("INSERT INTO public.template (id) VALUES (-1)").await;
    database
}

/// Columns of which `member` of the events of this kind is not what to_json() makes of the template's row.
async fn differences(database: &Database, kind: &str, member: &str) -> Vec<String> {
    let comparisons = columns(
        |number, name| {
            format!(
                "('{name}', (e.body::json->'{member}'->'c{number}')::text, btrim(coalesce(to_json(t.c{number})::text, 'null')))"
            )
        },
        ", ",
    );
    database
        .rows(&format!(
            "SELECT t.id, v.name, v.found, v.wanted FROM public.template t
             LEFT JOIN webhook.event e ON e.key = 'public.every:' || t.id AND e.type = 'every.{kind}'
             CROSS JOIN LATERAL (VALUES {comparisons}) v (name, found, wanted)
             WHERE v.found IS DISTINCT FROM v.wanted AND ('{member}' = 'data' OR v.wanted <> 'null')"
        ))
        .await
}

#[tokio::test]
async fn a_value_of_any_type_is_what_to_json_makes_of_it_whatever_the_session_is_like() {
    let database = database_with_every_type().await;
    let rows = database.number("SELECT count(*) FROM public.template").await;
    let nulls = columns(|number, _| format!("c{number} = NULL"), ", ");
    for settings in WRITERS {
        let writer = database.session().await;
        writer.batch_execute(settings).await.expect("set");
        let before = writer
            .query("SELECT name, setting FROM pg_catalog.pg_settings WHERE name NOT LIKE 'pg_webhook.%'", &[])
            .await
            .expect("settings");
        for statement in [
            "INSERT INTO public.every SELECT * FROM public.template",
            &format!("UPDATE public.every SET {nulls}"),
            "SET pg_webhook.suppress = on",
            "DELETE FROM public.every",
            "INSERT INTO public.every SELECT * FROM public.template",
            "RESET pg_webhook.suppress",
            "DELETE FROM public.every",
        ] {
            writer.batch_execute(statement).await.unwrap_or_else(|error| panic!("{settings}: {error:?}"));
        }
        let after = writer
            .query("SELECT name, setting FROM pg_catalog.pg_settings WHERE name NOT LIKE 'pg_webhook.%'", &[])
            .await
            .expect("settings");
        let setting = |row: &tokio_postgres::Row| (row.get::<_, String>(0), row.get::<_, Option<String>>(1));
        assert!(
            before.iter().map(setting).eq(after.iter().map(setting)),
            "settings are as they were: {settings}"
        );

        for (kind, member) in [("created", "data"), ("updated", "previous"), ("deleted", "data")] {
            assert_eq!(differences(&database, kind, member).await, [""; 0], "{kind} under {settings}");
        }
        let whole = database
            .number(
                "SELECT count(*) FROM public.template t JOIN webhook.event e ON e.key = 'public.every:' || t.id
                 WHERE e.type <> 'every.updated'
                   AND right(e.body, length(row_to_json(t)::text) + 8) = '\"data\":' || row_to_json(t) || '}'",
            )
            .await;
        assert_eq!(whole, 2 * rows, "whole rows are as row_to_json() has them: {settings}");
        let changed = database
            .number(&format!(
                "SELECT count(*) FROM public.template t JOIN webhook.event e ON e.key = 'public.every:' || t.id
                 WHERE e.type = 'every.updated' AND json_array_length(e.body::json->'changed') = num_nonnulls({})
                   AND (SELECT array_to_json(array_agg(k))::text FROM json_object_keys(e.body::json->'previous') k)
                     = (e.body::json->'changed')::text",
                columns(|number, _| format!("t.c{number}"), ", ")
            ))
            .await;
        assert_eq!(changed, rows - 1, "the row of NULLs did not change: {settings}");
        database.run("TRUNCATE webhook.event").await;
    }
}

#[tokio::test]
async fn writing_the_same_value_of_any_type_again_is_no_event() {
    let database = database_with_every_type().await;
    database.run("SET pg_webhook.suppress = on; INSERT INTO public.every SELECT * FROM public.template; RESET pg_webhook.suppress").await;
    let mut statements = Vec::new();
    for row in 0..row_count() {
        let again: Vec<String> =
            literals(row).iter().enumerate().map(|(number, value)| format!("c{number} = {value}")).collect();
        statements.push(format!("UPDATE public.every SET {} WHERE id = {row}", again.join(", ")));
    }
    let same = columns(|number, _| format!("c{number} = e.c{number}"), ", ");
    statements.push(format!("UPDATE public.every e SET {same}"));
    let copied = columns(|number, _| format!("c{number} = t.c{number}"), ", ");
    statements.push(format!("UPDATE public.every e SET {copied} FROM public.template t WHERE t.id = e.id"));
    for statement in statements {
        database.run(&statement).await;
        assert_eq!(database.take_events().await, [""; 0], "{statement}");
    }
}

#[tokio::test]
async fn a_type_alone_in_its_table_is_written_the_same() {
    let database = database_with_every_type().await;
    let tables = columns(
        |number, name| {
            format!(
                "CREATE TABLE public.only_{number} (id int, c{number} {name}); SELECT public.webhook_attach('public.only_{number}')"
            )
        },
        ";",
    );
    database.run(&tables).await;
    for settings in WRITERS {
        let copies =
            columns(|n, _| format!("INSERT INTO public.only_{n} SELECT id, c{n} FROM public.template"), ";");
        let writer = database.session().await;
        writer.batch_execute(&format!("{settings}; {copies}")).await.expect("written");
        let wanted = columns(
            |n, name| {
                format!(
                    "('only_{n}.created', '{name}', json_build_object('id', t.id, 'c{n}', t.c{n})::jsonb)"
                )
            },
            ",",
        );
        let wrong = database
            .rows(&format!(
                "SELECT DISTINCT w.name, w.data FROM public.template t CROSS JOIN LATERAL (VALUES {wanted}) w (type, name, data)
                 WHERE NOT EXISTS (SELECT FROM webhook.event e WHERE e.type = w.type AND (e.body::json->'data')::jsonb = w.data)"
            ))
            .await;
        assert_eq!(wrong, [""; 0], "{settings}");
        database.run("TRUNCATE webhook.event").await;
    }
}
