//! ALTER EXTENSION UPDATE gives what a fresh install gives, and keeps what was there.
//!
//! Steps are files `sql/upgrade/pg_webhook--A--B.sql`; beside them stands the install script of each released version,
//! `pg_webhook--A.sql`, so that there is something to upgrade from.

use harness::{Cluster, Database};
use std::path::Path;

/// All there is to say about the extension's objects, one fact a line. A table's columns have no order: new ones come
/// last in an upgraded table.
const CATALOG: &str = "
WITH member AS (
  SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'pg_webhook'
  WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
), relation AS (
  SELECT c.* FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
)
SELECT concat_ws(' | ', kind, name, what) FROM (
  SELECT 'member' AS kind, pg_describe_object(classid, objid, 0) AS name, '' AS what FROM member
  UNION ALL
  SELECT 'function', p.oid::regprocedure::text, concat_ws(' ', pg_get_functiondef(p.oid), pg_get_userbyid(p.proowner), p.proacl,
    obj_description(p.oid, 'pg_proc'))
  FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
  UNION ALL
  SELECT 'relation', c.oid::regclass::text, concat_ws(' ', c.relkind, c.relpersistence, pg_get_userbyid(c.relowner), c.relacl, c.reloptions,
    c.relrowsecurity, c.relforcerowsecurity, pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid), obj_description(c.oid, 'pg_class'),
    CASE c.relkind WHEN 'v' THEN pg_get_viewdef(c.oid) END)
  FROM relation c
  UNION ALL
  SELECT 'column', c.oid::regclass || '.' || a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
    a.attgenerated, a.attstorage, a.attcompression, a.attacl, pg_get_expr(f.adbin, f.adrelid), col_description(c.oid, a.attnum))
  FROM relation c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
  UNION ALL
  SELECT 'attribute', a.attrelid::regclass || '.' || a.attnum, concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), t.typacl)
  FROM pg_type t JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
  JOIN pg_class c ON c.oid = t.typrelid AND c.relkind = 'c' JOIN pg_attribute a ON a.attrelid = c.oid
  UNION ALL
  SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN relation c ON c.oid = k.conrelid
  UNION ALL
  SELECT 'index', i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN relation c ON c.oid = i.indrelid
  UNION ALL
  SELECT 'sequence', s.seqrelid::regclass::text, concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmax, s.seqmin, s.seqcycle)
  FROM pg_sequence s JOIN relation c ON c.oid = s.seqrelid
  UNION ALL
  SELECT 'trigger', t.tgrelid::regclass || '.' || t.tgname, concat_ws(' ', t.tgenabled, pg_get_triggerdef(t.oid))
  FROM pg_trigger t JOIN relation c ON c.oid = t.tgrelid
  UNION ALL
  SELECT 'policy', p.polrelid::regclass || '.' || p.polname, concat_ws(' ', p.polcmd, p.polpermissive, p.polroles::regrole[]::text,
    pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
  FROM pg_policy p JOIN relation c ON c.oid = p.polrelid
  UNION ALL
  SELECT 'event trigger', e.evtname, concat_ws(' ', e.evtevent, e.evtenabled, e.evttags, e.evtfoid::regproc, pg_get_userbyid(e.evtowner))
  FROM pg_event_trigger e JOIN member m ON m.classid = 'pg_event_trigger'::regclass AND m.objid = e.oid
  UNION ALL
  SELECT 'schema', n.nspname, concat_ws(' ', pg_get_userbyid(n.nspowner), n.nspacl, obj_description(n.oid, 'pg_namespace'))
  FROM pg_namespace n JOIN member m ON m.classid = 'pg_namespace'::regclass AND m.objid = n.oid
  UNION ALL
  SELECT 'dumped', c.relation::regclass::text, c.condition
  FROM pg_extension x, unnest(x.extconfig, x.extcondition) c (relation, condition) WHERE x.extname = 'pg_webhook'
  UNION ALL
  SELECT 'shipped scheme', s.name, s::text FROM webhook.signature_scheme s WHERE s.builtin
  UNION ALL
  SELECT 'extension', x.extname, concat_ws(' ', x.extversion, x.extnamespace::regnamespace, x.extrelocatable) FROM pg_extension x
) fact
ORDER BY 1";

/// What somebody who uses the oldest version has.
const DATA: &str = "
CREATE TABLE orders (id int PRIMARY KEY, amount int);
INSERT INTO webhook.setting VALUES ('retention', '30 days');
INSERT INTO webhook.signature_scheme (name, key_encoding, content, headers) VALUES ('mine', 'raw', '{body}', '{\"X\": \"{signatures}\"}');
SELECT webhook_endpoint_create('https://example.com/', '{order.*,orders.*}', 'first'),
  webhook_endpoint_create('https://example.com/other', name => 'second', tenant => 'a', scheme => 'mine');
SELECT webhook_attach('orders', condition => 'new.amount > 0');
SELECT webhook_emit('order.paid', '{\"id\": 1}', idempotency_key => 'once'), webhook_emit('order.paid', '{}', 'a');
INSERT INTO orders VALUES (1, 1), (2, 0);
SELECT webhook_rotate_secret(1);
SELECT webhook.janitor();
";

/// Rows of the extension's tables, of the columns that a version has.
async fn rows(database: &Database, columns: &[String]) -> Vec<String> {
    let mut rows = Vec::new();
    for line in columns {
        let (table, columns) = line.split_once('|').expect("a table and its columns");
        let content = database.rows(&format!("SELECT ROW({columns})::text FROM {table} ORDER BY 1")).await;
        rows.extend(content.into_iter().map(|row| format!("{table}: {row}")));
    }
    rows
}

async fn columns(database: &Database) -> Vec<String> {
    database
        .rows(
            "SELECT c.oid::regclass, string_agg(quote_ident(a.attname), ',' ORDER BY a.attname)
             FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             WHERE c.relnamespace = 'webhook'::regnamespace AND c.relkind = 'r' GROUP BY c.oid ORDER BY c.relname",
        )
        .await
}

/// What is only in one of two lists.
fn differences(one: &[String], other: &[String]) -> Vec<String> {
    let only = |a: &[String], b: &[String], sign| {
        a.iter().filter(|line| !b.contains(line)).map(|line| format!("{sign} {line}")).collect::<Vec<_>>()
    };
    [only(one, other, '-'), only(other, one, '+')].concat()
}

async fn default_version(database: &Database) -> String {
    database.text("SELECT default_version FROM pg_available_extensions WHERE name = 'pg_webhook'").await
}

#[tokio::test]
async fn an_upgraded_extension_is_as_a_fresh_one_and_keeps_its_data() {
    let cluster = Cluster::shared().await;
    let fresh = Database::new().await;
    let newest = default_version(&fresh).await;
    let mut versions = fresh
        .rows(&format!("SELECT source FROM pg_extension_update_paths('pg_webhook') WHERE target = '{newest}' AND path IS NOT NULL ORDER BY 1"))
        .await;
    // The newest one itself: nothing is to be done, and nothing may differ.
    versions.push(newest);
    let catalog = fresh.rows(CATALOG).await;
    assert!(catalog.len() > 300, "{} facts", catalog.len());
    for version in versions {
        let old = Database::empty(cluster).await;
        old.run(&format!("CREATE EXTENSION pg_webhook VERSION '{version}'")).await;
        let session = old.session().await;
        Database::run_in(&session, DATA).await;
        let columns = columns(&old).await;
        let before = rows(&old, &columns).await;
        assert!(before.len() > 15, "{before:#?}");
        old.run("ALTER EXTENSION pg_webhook UPDATE").await;
        // Dated leaves are members of the schema only, so the janitor's do not show.
        assert_eq!(differences(&catalog, &old.rows(CATALOG).await), Vec::<String>::new(), "{version}");
        assert_eq!(differences(&before, &rows(&old, &columns).await), Vec::<String>::new(), "{version}");
        // A session that was open goes on.
        Database::run_in(
            &session,
            "INSERT INTO orders VALUES (3, 3); SELECT webhook_emit('order.paid', '{}')",
        )
        .await;
        assert_eq!(
            old.number("SELECT count(*) FROM webhook.queue WHERE endpoint_id = 1").await,
            4,
            "{version}"
        );
    }
}

#[tokio::test]
async fn every_upgrade_step_is_installed_and_leads_to_this_version() {
    let database = Database::empty(Cluster::shared().await).await;
    let newest = default_version(&database).await;
    assert_eq!(newest, env!("CARGO_PKG_VERSION"));
    let installable =
        database.rows("SELECT version FROM pg_available_extension_versions WHERE name = 'pg_webhook'").await;
    assert!(installable.contains(&newest), "{installable:?}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql/upgrade");
    for file in std::fs::read_dir(folder).expect("sql/upgrade").flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let Some(step) = name.strip_prefix("pg_webhook--").and_then(|rest| rest.strip_suffix(".sql")) else {
            assert_eq!(name, ".gitkeep", "neither a step nor an install script");
            continue;
        };
        match step.split_once("--") {
            Some((from, to)) => {
                assert!(
                    installable.iter().any(|version| version == from),
                    "{name}: keep pg_webhook--{from}.sql beside it"
                );
                let path = format!(
                    "SELECT path IS NOT NULL FROM pg_extension_update_paths('pg_webhook') WHERE source = '{from}' AND target IN ('{to}', '{newest}')"
                );
                assert!(
                    database.rows(&path).await.iter().all(|found| found == "t"),
                    "{name} leads to {newest}"
                );
            }
            None => assert!(installable.iter().any(|version| version == step), "{name} is installed"),
        }
    }
}

#[tokio::test]
async fn whatever_an_upgrade_forgets_shows() {
    let database = Database::new().await;
    let catalog = database.rows(CATALOG).await;
    for forgotten in [
        "ALTER FUNCTION webhook.janitor(timestamptz) SET timezone = 'UTC'",
        "CREATE OR REPLACE FUNCTION webhook.leaf_width() RETURNS interval LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS 'SELECT interval ''1 h'''",
        "ALTER EXTENSION pg_webhook DROP FUNCTION webhook.arm_id()",
        "CREATE FUNCTION webhook.more() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER EXTENSION pg_webhook ADD FUNCTION webhook.more()",
        "ALTER FUNCTION webhook.arm_id() OWNER TO postgres",
        "GRANT EXECUTE ON FUNCTION webhook.arm_id() TO PUBLIC",
        "COMMENT ON FUNCTION webhook.arm_id() IS 'another'",
        "ALTER TABLE webhook.endpoint ADD COLUMN more int",
        "ALTER TABLE webhook.endpoint ALTER COLUMN max_in_flight SET DEFAULT 17",
        "ALTER TABLE webhook.endpoint ALTER COLUMN url DROP NOT NULL",
        "ALTER TABLE webhook.queue SET (fillfactor = 70)",
        "ALTER TABLE webhook.endpoint_secret DISABLE ROW LEVEL SECURITY",
        "DROP POLICY worker_reads ON webhook.endpoint_secret",
        "ALTER TABLE webhook.endpoint DISABLE TRIGGER check_endpoint",
        "DROP TRIGGER config_changed ON webhook.endpoint",
        "DROP INDEX webhook.queue_due",
        "ALTER TABLE webhook.attempt_default DROP CONSTRAINT attempt_final",
        "GRANT SELECT (headers) ON webhook.endpoint TO webhook_reader",
        "REVOKE SELECT ON webhook.event FROM webhook_reader",
        "COMMENT ON COLUMN webhook.endpoint.url IS 'another'",
        "ALTER SEQUENCE webhook.generation NO CYCLE",
        "CREATE OR REPLACE VIEW webhook.backlog AS SELECT endpoint_id, 1::bigint AS owed, 1::bigint AS ready, 1::bigint AS retrying,
           now() AS oldest_at, now() AS next_due_at FROM webhook.queue",
        "ALTER EVENT TRIGGER webhook_forget_dropped DISABLE",
        "ALTER TYPE webhook.owed ADD ATTRIBUTE more int",
        "UPDATE pg_extension SET extcondition[1] = 'WHERE false' WHERE extname = 'pg_webhook'",
        "ALTER TABLE webhook.signature_scheme DISABLE TRIGGER ALL; UPDATE webhook.signature_scheme SET separator = ','",
        "GRANT USAGE ON SCHEMA webhook TO PUBLIC",
    ] {
        // A constraint of a partition is its parent's.
        let sql = forgotten.replace("attempt_default DROP CONSTRAINT", "attempt DROP CONSTRAINT");
        database.run(&format!("BEGIN; {sql}")).await;
        let shown = differences(&catalog, &database.rows(CATALOG).await);
        assert!(!shown.is_empty(), "{sql} does not show");
        database.run("ROLLBACK").await;
    }
    assert_eq!(differences(&catalog, &database.rows(CATALOG).await), Vec::<String>::new());
}
