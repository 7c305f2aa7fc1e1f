//! Who may do what, and that nobody may do more.

mod install;

use harness::{Cluster, ClusterOptions, Database};

/// Every right there is beside the owner's, a line each; `nobody` has one for what nobody else may use. A new relation
/// or function has to be put here. UPDATE_EXPECTED=1 does so: read what it wrote.
const STATED: &str = include_str!("rights/stated.txt");
const GRANTED: &str = include_str!("rights/granted.sql");
/// Statements as one role each: role | allowed or the SQLSTATE | statement.
const DEEDS: &str = include_str!("rights/deeds.txt");

#[tokio::test]
async fn every_right_there_is_was_meant() {
    let database = Database::new().await;
    let mut granted = database.rows(GRANTED).await;
    granted.sort_unstable();
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/rights/stated.txt");
        std::fs::write(file, granted.join("\n") + "\n").expect("rights/stated.txt is written");
        return;
    }
    let stated: Vec<&str> = STATED.lines().collect();
    let unmeant: Vec<_> = granted.iter().filter(|line| !stated.contains(&line.as_str())).collect();
    let missing: Vec<_> = stated.iter().filter(|line| !granted.iter().any(|g| g == *line)).collect();
    assert!(
        unmeant.is_empty() && missing.is_empty(),
        "there and not stated: {unmeant:#?}\nstated and not there: {missing:#?}"
    );
}

#[tokio::test]
async fn functions_with_the_rights_of_their_owner_have_a_harmless_owner_and_a_fixed_path() {
    let database = Database::new().await;
    let problems = "
        SELECT p.oid::regprocedure::text, pg_get_userbyid(p.proowner), p.proconfig::text
        FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
        JOIN pg_extension x ON x.oid = d.refobjid AND x.extname = 'pg_webhook'
        WHERE (pg_get_userbyid(p.proowner) <> 'webhook_owner') <> (p.prorettype = 'event_trigger'::regtype)
          OR (p.prosecdef OR p.prolang = (SELECT l.oid FROM pg_language l WHERE l.lanname = 'plpgsql'))
            AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)";
    assert_eq!(database.rows(problems).await, Vec::<String>::new());
    let other_owners = "
        SELECT c.oid::regclass::text, pg_get_userbyid(c.relowner) FROM pg_class c
        WHERE c.relnamespace = 'webhook'::regnamespace AND pg_get_userbyid(c.relowner) <> 'webhook_owner'";
    assert_eq!(database.rows(other_owners).await, Vec::<String>::new());
    let owner =
        "SELECT rolcanlogin OR rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication
      OR EXISTS (SELECT FROM pg_auth_members WHERE roleid = r.oid OR member = r.oid)
      FROM pg_roles r WHERE rolname = ANY ('{webhook_owner,webhook_nobody}')";
    assert_eq!(database.rows(owner).await, ["f", "f"]);
}

async fn with_roles() -> (Database, Vec<(&'static str, String)>) {
    let database = Database::new().await;
    database.endpoint("https://example.com/").await;
    database.run("CREATE TABLE orders (id int PRIMARY KEY); GRANT ALL ON orders TO PUBLIC; CREATE SCHEMA mine; GRANT ALL ON SCHEMA mine TO webhook_admin").await;
    database.run("SELECT webhook_attach('orders', operations => '{insert,update,delete,truncate}')").await;
    let mut roles = Vec::new();
    for (what, options) in [
        ("ordinary", ""),
        ("emitter", "IN ROLE webhook_emitter"),
        ("reader", "IN ROLE webhook_reader"),
        ("admin", "IN ROLE webhook_admin"),
        ("worker", "IN ROLE webhook_worker"),
        ("all_data_reader", "IN ROLE pg_read_all_data, pg_read_all_stats"),
        ("all_data_writer", "IN ROLE pg_read_all_data, pg_write_all_data"),
    ] {
        roles.push((what, database.role(what, options).await));
    }
    (database, roles)
}

#[tokio::test]
async fn each_role_may_do_its_work_and_no_more() {
    let (database, roles) = with_roles().await;
    let mut wrong = Vec::new();
    for deed in DEEDS.lines() {
        let [who, expected, sql] = deed.splitn(3, " | ").collect::<Vec<_>>()[..] else {
            panic!("not a deed: {deed}")
        };
        let role = &roles.iter().find(|(what, _)| *what == who).expect("a role").1;
        let client = database.session_as(role).await;
        let result = client.batch_execute(sql).await;
        let code = result.err().map_or("allowed".into(), |error| {
            error.code().map_or(error.to_string(), |c| c.code().to_owned())
        });
        if code != expected {
            wrong.push(format!("{who}: {sql}: {code:?}, not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(database.number("SELECT count(*) FROM webhook.event WHERE type LIKE 'orders.%'").await, 4);
}

#[tokio::test]
async fn only_the_worker_reads_secrets() {
    let (database, roles) = with_roles().await;
    let secret = database.text("SELECT secret FROM webhook.endpoint_secret").await;
    // Statistics hold values of the table's columns.
    database.run("INSERT INTO orders VALUES (1); ANALYZE").await;
    let relations = database
        .rows(
            "SELECT c.oid::regclass FROM pg_class c WHERE c.relkind = ANY ('{r,p,v}') AND c.relnamespace = 'webhook'::regnamespace
             UNION ALL SELECT unnest('{pg_stats,pg_stat_activity,pg_statistic,pg_cursors,pg_prepared_statements}'::regclass[])",
        )
        .await;
    for (what, role) in &roles {
        let client = database.session_as(role).await;
        let mut seen_in = Vec::new();
        for relation in &relations {
            let all = format!("SELECT coalesce(string_agg(r::text, ' '), '') FROM {relation} r");
            // What may not be read gives an error.
            if let Ok(row) = client.query_one(&all, &[]).await
                && row.get::<_, String>(0).contains(&secret[6..])
            {
                seen_in.push(relation.as_str());
            }
        }
        let expected: &[&str] = if *what == "worker" { &["webhook.endpoint_secret"] } else { &[] };
        assert_eq!(seen_in, expected, "{what}");
    }
    let hint = database.text("SELECT hint FROM webhook.endpoint_secret_hint").await;
    assert_eq!(hint, format!("…{}", &secret[secret.len() - 4..]));
}

#[tokio::test]
async fn no_secret_gets_into_the_server_log() {
    let conf = [
        "log_statement = all",
        "log_min_messages = debug1",
        "log_min_error_statement = panic",
        "log_min_duration_statement = 0",
    ];
    let cluster = Cluster::own(ClusterOptions { conf: conf.map(str::to_owned).to_vec() }).await;
    let database = Database::in_cluster(&cluster).await;
    let (id, first) = database.endpoint("https://example.com/").await;
    let second = database.text(&format!("SELECT webhook_rotate_secret({id})")).await;
    database.run("SELECT webhook_emit('a.b', '{}')").await;
    // A row that breaks a constraint is printed, secret and all, unless it is refused before.
    for wrong in [
        "UPDATE webhook.endpoint_secret SET created_at = NULL",
        "UPDATE webhook.endpoint_secret SET endpoint_id = NULL",
        "UPDATE webhook.endpoint_secret SET endpoint_id = 77",
        "UPDATE webhook.endpoint_secret SET secret = secret || '!'",
        "UPDATE webhook.endpoint_secret SET secret = NULL",
        "UPDATE webhook.endpoint SET id = 5",
    ] {
        let error = database.client().simple_query(wrong).await.expect_err(wrong);
        let said = format!("{:?}", error.as_db_error().expect("the database's"));
        assert!(!said.contains(&first[6..]) && !said.contains(&second[6..]), "{wrong}: {said}");
    }
    let log = std::fs::read_to_string(cluster.home().join("log")).expect("the log");
    assert!(log.contains("webhook_rotate_secret"), "the log is the one that is looked at");
    assert!(!log.contains(&first[6..]) && !log.contains(&second[6..]), "a secret is in the log");
}

#[tokio::test]
async fn a_writer_without_any_grant_makes_events_of_an_attached_table() {
    let database = Database::new().await;
    database.endpoint("https://example.com/").await;
    let writer = database.role("writer", "").await;
    database.run("CREATE SCHEMA shop; CREATE TABLE shop.orders (id int PRIMARY KEY, at timestamptz DEFAULT now(), data json)").await;
    database.run("SELECT webhook_attach('shop.orders')").await;
    database
        .run(&format!(
            "GRANT USAGE ON SCHEMA shop TO {writer}; GRANT INSERT, DELETE ON shop.orders TO {writer}"
        ))
        .await;
    let client = database.session_as(&writer).await;
    Database::run_in(&client, "INSERT INTO shop.orders VALUES (1, now(), '{\"a\": 1}'), (2, NULL, NULL)")
        .await;
    Database::run_in(&client, "DELETE FROM shop.orders").await;
    assert_eq!(
        database.rows("SELECT type, count(*) FROM webhook.event GROUP BY 1 ORDER BY 1").await,
        ["orders.created|2", "orders.deleted|2"]
    );
    assert_eq!(database.number("SELECT count(*) FROM webhook.queue WHERE signature IS NOT NULL").await, 4);
    assert_eq!(Database::text_in(&client, "SELECT current_user").await, writer);
}

#[tokio::test]
async fn nobody_but_a_worker_takes_its_locks() {
    let database = Database::new().await;
    database.endpoint("https://example.com/").await;
    let worker = database.session_as(&database.role("worker", "IN ROLE webhook_worker").await).await;
    let attacker =
        database.session_as(&database.role("attacker", "IN ROLE webhook_admin, webhook_emitter").await).await;
    for function in [
        "try_lock_slot(8, 0)",
        "unlock_slot(8, 0)",
        "lock_member()",
        "worker_join()",
        "worker_take_slots(8, '{}', 8)",
        "worker_release_slot(8, 0)",
    ] {
        assert_eq!(
            Database::error_on(&attacker, &format!("SELECT webhook.{function}")).await.code,
            "42501",
            "{function}"
        );
    }
    // Every advisory lock SQL can take whose key looks like one of ours.
    Database::run_in(
        &attacker,
        "SELECT pg_advisory_lock(n), pg_advisory_lock(n << 32), pg_advisory_lock(0, n::int), pg_advisory_lock(n::int, 0), pg_advisory_lock(64, n::int),
           pg_advisory_lock_shared(n), pg_advisory_lock(n::int, 3), pg_advisory_lock(n::int, 4)
         FROM generate_series(0, 63) n",
    )
    .await;
    let taken =
        Database::text_in(&worker, "SELECT cardinality(taken) FROM webhook.worker_take_slots(64, '{}', 64)")
            .await;
    assert_eq!(taken, "64", "all slots are free to a worker");
    Database::run_in(&worker, "SELECT webhook.worker_join()").await;
    assert_eq!(Database::text_in(&worker, "SELECT members FROM webhook.worker_beat()").await, "1");

    // The wake lock: who emits still tells the listeners.
    let said = Cluster::shared()
        .await
        .psql(&database.name, "LISTEN webhook_wake; SELECT webhook_emit('a.b', '{}') IS NOT NULL;");
    assert!(said.contains("notification \"webhook_wake\""), "{said}");
}

#[tokio::test]
async fn a_setting_of_the_superuser_s_is_not_set_before_the_library_is_loaded() {
    let database = Database::new().await;
    let emitter = database.session_as(&database.role("emitter", "IN ROLE webhook_emitter").await).await;
    Database::run_in(&emitter, "SET pg_webhook.max_body_bytes = 60000000; SELECT webhook_emit('a.b', '{}')")
        .await;
    assert_eq!(Database::text_in(&emitter, "SHOW pg_webhook.max_body_bytes").await, "1048576");
}
