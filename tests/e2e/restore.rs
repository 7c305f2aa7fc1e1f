//! pg_dump and pg_restore: every row once, nothing sent from the copy until it is armed.

use crate::furnished::{EVENTS_A_ROUND, armed, change_rows, contents, furnish};
use harness::{Cluster, ClusterOptions, Database, Receiver, Worker};

const NOWHERE: &str = "http://127.0.0.1:9/";

/// A dump with these arguments of pg_dump, and the program with its arguments that reads it.
type Step = (&'static [&'static str], &'static str, &'static [&'static str]);

const PG_RESTORE: (&str, &[&str]) = ("pg_restore", &["-1"]);
const WAYS: [(&str, &[Step]); 5] = [
    ("pg_dump -Fc | pg_restore -1", &[(&["-Fc"], PG_RESTORE.0, PG_RESTORE.1)]),
    ("plain SQL", &[(&[], "psql", &["-X", "-q", "-1", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1", "-f"])]),
    ("several at once", &[(&["-Fd", "-j2"], "pg_restore", &["-j3", "-e"])]),
    (
        "schema, then data",
        &[
            (&["-Fc", "--schema-only"], PG_RESTORE.0, PG_RESTORE.1),
            (&["-Fc", "--data-only"], "pg_restore", &["-1", "--disable-triggers"]),
        ],
    ),
    (
        "section by section",
        &[
            (&["-Fc", "--section=pre-data"], PG_RESTORE.0, PG_RESTORE.1),
            (&["-Fc", "--section=data"], PG_RESTORE.0, PG_RESTORE.1),
            (&["-Fc", "--section=post-data"], PG_RESTORE.0, PG_RESTORE.1),
        ],
    ),
];

/// Dumps and restores; panics unless each program ends with 0 and has nothing to say.
fn carry(from: (&Cluster, &Database), to: (&Cluster, &Database), steps: &[Step], more: &[&str]) {
    for (number, (dump, program, restore)) in steps.iter().enumerate() {
        let file = from.0.home().join(format!("{}-{}-{number}.dump", from.1.name, to.1.name));
        let file = file.to_str().expect("a path in UTF-8");
        let said = from.0.run("pg_dump", &[*dump, &["-f", file, &from.1.name]].concat());
        assert_eq!(said, "", "pg_dump has nothing to say");
        let said = to.0.run(program, &[&["-d", &to.1.name], more, restore, &[file]].concat());
        assert_eq!(said, "", "{program} has nothing to say");
    }
}

async fn furnished() -> Database {
    let database = Database::new().await;
    furnish(&database, NOWHERE).await;
    database
}

#[tokio::test]
async fn a_dump_restored_in_any_usual_way_has_every_row_once_and_is_not_armed() {
    let cluster = Cluster::shared().await;
    let original = furnished().await;
    let before = contents(&original).await;
    for (name, steps) in WAYS {
        let copy = Database::empty(cluster).await;
        carry((cluster, &original), (cluster, &copy), steps, &[]);
        assert_eq!(contents(&copy).await, before, "{name}");
        assert!(!armed(&copy).await, "{name}: a copy is not armed");
    }
    assert!(armed(&original).await, "the original stays armed");
}

#[tokio::test]
async fn a_restored_database_goes_on_where_the_original_was() {
    let cluster = Cluster::shared().await;
    let (original, copy) = (furnished().await, Database::empty(cluster).await);
    carry((cluster, &original), (cluster, &copy), WAYS[0].1, &[]);

    let (events, deliveries) = ("SELECT count(*) FROM webhook.event", "SELECT count(*) FROM webhook.queue");
    let (events_before, owed_before) = (copy.number(events).await, copy.number(deliveries).await);
    change_rows(&copy, 3).await;
    assert_eq!(copy.number(events).await, events_before + EVENTS_A_ROUND, "attached tables are captured");
    assert!(copy.number(deliveries).await > owed_before, "and owed");
    let known = copy.number("SELECT max(id) FROM webhook.endpoint").await;
    let generation = copy.number("SELECT max(generation) FROM webhook.endpoint").await;
    copy.run(&format!("ALTER DATABASE {} SET pg_webhook.allow_http = on", copy.name)).await;
    let copy = Database::open(cluster, &copy.name).await;
    let (endpoint, _) = copy.endpoint(NOWHERE).await;
    assert!(i64::from(endpoint) > known, "ids go on");
    assert!(
        copy.number(&format!("SELECT generation FROM webhook.endpoint WHERE id = {endpoint}")).await
            > generation,
        "generations go on"
    );
    let leaves = "SELECT count(*) FROM webhook.leaf";
    let leaves_before = copy.number(leaves).await;
    copy.run("SELECT webhook.janitor(now() + interval '2 days')").await;
    assert!(copy.number(leaves).await > leaves_before, "partitions are made ahead");
    assert!(!armed(&copy).await, "a new endpoint does not arm a copy");
    copy.run("SELECT webhook.janitor(now() + interval '30 days')").await;
    let dropped = copy.number("SELECT webhook.janitor(now() + interval '40 days')->>'dropped'").await;
    assert!(dropped > 0, "and retired behind");
}

#[tokio::test]
async fn arming_a_copy_stamps_what_it_owes_and_its_own_dump_is_not_armed() {
    let (cluster, other) = (Cluster::shared().await, Cluster::own(ClusterOptions::default()).await);
    let (original, copy) = (furnished().await, Database::empty(&other).await);
    // Transaction ids of the original are in the future of the other cluster.
    original
        .run("UPDATE webhook.queue SET xid = (pg_current_xact_id()::text::bigint + 1000000)::text::xid8")
        .await;
    carry((cluster, &original), (&other, &copy), WAYS[0].1, &[]);
    let installation = copy.text("SELECT id FROM webhook.installation").await;
    let arm_id = copy.text("SELECT webhook_arm()").await;
    assert_eq!(copy.text("SELECT webhook.arm_id()").await, arm_id, "it is armed");
    assert_ne!(arm_id, installation, "under a new id");
    assert_eq!(
        copy.rows("SELECT DISTINCT xid < pg_snapshot_xmax(pg_current_snapshot()) FROM webhook.queue").await,
        ["t"],
        "what is owed carries a transaction id of this cluster"
    );
    let again = Database::empty(&other).await;
    carry((&other, &copy), (&other, &again), WAYS[0].1, &[]);
    assert_eq!(contents(&again).await, contents(&copy).await, "a copy can be copied");
    assert!(!armed(&again).await && armed(&copy).await, "and only the original of it is armed");
}

#[tokio::test]
async fn another_superuser_restores_into_another_cluster() {
    let (cluster, other) = (Cluster::shared().await, Cluster::own(ClusterOptions::default()).await);
    let (original, copy) = (furnished().await, Database::empty(&other).await);
    copy.run("CREATE ROLE chief SUPERUSER LOGIN").await;
    copy.session_as("chief")
        .await
        .batch_execute("ALTER ROLE postgres RENAME TO retired")
        .await
        .expect("renamed");
    carry((cluster, &original), (&other, &copy), WAYS[0].1, &["-O", "-U", "chief"]);
    assert_eq!(contents(&copy).await, contents(&original).await);
    assert!(!armed(&copy).await);
    assert_eq!(
        copy.rows(
            "SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'webhook'::regnamespace"
        )
        .await,
        ["webhook_owner"],
        "all of it belongs to the house, leaves too"
    );
    copy.run("SELECT webhook.janitor(now() + interval '30 days')").await;
    let emptied = copy.number("SELECT webhook.janitor(now() + interval '40 days')->>'emptied'").await;
    assert_eq!(emptied, 3, "so that the janitor can clean up");
}

#[tokio::test]
async fn a_database_without_traffic_restores_unarmed_as_well() {
    let cluster = Cluster::shared().await;
    // (what, how the endpoints came there)
    let cases = [
        (
            "one endpoint and nothing else",
            "INSERT INTO webhook.endpoint (url) VALUES ('https://example.com/')",
        ),
        (
            "endpoints that came by replication",
            "SET session_replication_role = replica; INSERT INTO webhook.endpoint (url) VALUES ('https://example.com/')",
        ),
        (
            "a restored database, never armed",
            "INSERT INTO webhook.endpoint (url) VALUES ('https://example.com/'); \
             UPDATE webhook.installation SET id = gen_random_uuid()",
        ),
    ];
    for (what, sql) in cases {
        let (original, copy) = (Database::new().await, Database::empty(cluster).await);
        original.run(sql).await;
        carry((cluster, &original), (cluster, &copy), WAYS[0].1, &[]);
        assert!(!armed(&copy).await, "{what}");
        copy.run("SELECT webhook_arm()").await;
        assert!(armed(&copy).await, "{what}: webhook_arm() arms it");
    }
    let (original, copy) = (Database::new().await, Database::empty(cluster).await);
    carry((cluster, &original), (cluster, &copy), WAYS[0].1, &[]);
    assert!(armed(&copy).await, "without an endpoint there is nothing to guard");
}

#[tokio::test]
async fn a_copy_sends_nothing_until_it_is_armed_then_delivery_goes_on() {
    let (cluster, receiver) = (Cluster::shared().await, Receiver::start().await);
    let (original, copy) = (Database::new().await, Database::empty(cluster).await);
    let (_, secret) = original.endpoint(&receiver.url("/")).await;
    original.run("SELECT webhook_emit('order.paid', '{\"n\": 1}')").await;
    carry((cluster, &original), (cluster, &copy), WAYS[0].1, &[]);

    let refused = Worker::spawn(&copy.environment(), &["--allow-network", "127.0.0.0/8"]).await;
    let (code, said) = refused.ended().await;
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("webhook_arm()"), "it says what to do: {said}");
    assert_eq!(receiver.count(), 0);

    // A setting of the database stays behind when it is dumped.
    copy.run(&format!("ALTER DATABASE {} SET pg_webhook.allow_http = on", copy.name)).await;
    copy.run("SELECT webhook_arm()").await;
    let _worker = Worker::start(&copy).await;
    let request = receiver.receives(1).await.remove(0);
    request.verify(&secret).expect("signed with the secret of the original");
    assert_eq!(request.id(), original.text("SELECT id FROM webhook.event").await);
    copy.drained().await;
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn the_extension_can_be_dropped_and_created_again() {
    let database = furnished().await;
    database.run("DROP EXTENSION pg_webhook CASCADE").await;
    assert_eq!(database.rows("SELECT nspname FROM pg_namespace WHERE nspname = 'webhook'").await, [""; 0]);
    change_rows(&database, 3).await;
    database.run("CREATE EXTENSION pg_webhook").await;
    assert!(armed(&database).await, "it is a fresh install");
    let (endpoint, _) = database.endpoint(NOWHERE).await;
    assert_eq!(endpoint, 1);
    database.run("SELECT webhook_attach('orders'), webhook.janitor(), webhook_emit('a', '{}')").await;
    database.run("INSERT INTO orders VALUES (9, 1)").await;
    assert_eq!(
        database.number("SELECT count(*) FROM webhook.queue").await,
        2,
        "in the session that knew the old one"
    );
    database.run("SELECT webhook_detach('orders')").await;
    database.run("DROP EXTENSION pg_webhook").await;
}
