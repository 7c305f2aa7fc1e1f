//! Partitioned tables: each changed row is one event, whichever way it is written.

use harness::Database;

/// Rows by region; `far` has partitions of its own, `odd` lies otherwise in the row and has dropped columns.
const REGIONS: &str = "
    CREATE TABLE sale (id int, region text, amount int, note text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE north PARTITION OF sale FOR VALUES IN ('n');
    CREATE TABLE south PARTITION OF sale FOR VALUES IN ('s');
    CREATE TABLE far PARTITION OF sale FOR VALUES IN ('e', 'w') PARTITION BY LIST (region);
    CREATE TABLE east PARTITION OF far FOR VALUES IN ('e');
    CREATE TABLE west PARTITION OF far FOR VALUES IN ('w');
    CREATE TABLE odd (gone date, note text, amount int, gone_too int, region text NOT NULL, id int NOT NULL);
    ALTER TABLE odd DROP gone, DROP gone_too; ALTER TABLE sale ATTACH PARTITION odd FOR VALUES IN ('o');
    ALTER TABLE sale ADD at date DEFAULT '2026-11-20';
    INSERT INTO sale VALUES (1, 'n', 10), (2, 's', 20), (3, 'e', 30), (4, 'w', 40), (5, 'o', 50);
    SELECT webhook_attach('sale', operations => '{insert,update,delete,truncate}');";

/// The event of a row of `sale`.
fn sale(kind: &str, id: i32, region: &str, amount: i32, was: &str) -> String {
    let row = format!(r#"{{"id":{id},"region":"{region}","amount":{amount},"note":null,"at":"2026-11-20"}}"#);
    if was.is_empty() { format!("sale.{kind} {row}") } else { format!("sale.{kind} {row} was {was}") }
}

async fn database_with_sales() -> Database {
    let database = Database::new().await;
    database.run(REGIONS).await;
    database
}

#[tokio::test]
async fn a_row_is_the_same_event_through_the_parent_and_straight_into_its_partition() {
    let database = database_with_sales().await;
    for (id, region, amount, partitions) in [
        (1, "n", 10, &["sale", "north"][..]),
        (3, "e", 30, &["sale", "far", "east"]),
        (5, "o", 50, &["sale", "odd"]),
    ] {
        for table in partitions {
            let events = database
                .events_of(&format!(
                    "INSERT INTO {table} (id, region, amount) VALUES (9, '{region}', 90);
                     COPY {table} (id, region, amount) FROM PROGRAM 'echo 8,{region},80' WITH (FORMAT csv);
                     UPDATE {table} SET amount = amount + 1 WHERE region = '{region}' AND id = {id};
                     DELETE FROM {table} WHERE region = '{region}' AND id = {id}"
                ))
                .await;
            let expected = [
                sale("created", 9, region, 90, ""),
                sale("created", 8, region, 80, ""),
                sale("updated", id, region, amount + 1, &format!("{{\"amount\":{amount}}}")),
                sale("deleted", id, region, amount + 1, ""),
            ];
            assert_eq!(events, expected, "{table}");
        }
    }
    let keys = database.rows("BEGIN; DELETE FROM odd; SELECT key FROM webhook.event; ROLLBACK").await;
    assert_eq!(keys, ["public.sale:5,o"]);
}

#[tokio::test]
async fn one_statement_over_many_partitions_makes_one_event_of_each_row() {
    let database = database_with_sales().await;
    let mut events = database.events_of("UPDATE sale SET amount = -amount").await;
    events.sort();
    let rows = [(1, "n"), (2, "s"), (3, "e"), (4, "w"), (5, "o")];
    let expected = rows
        .map(|(id, region)| sale("updated", id, region, id * -10, &format!("{{\"amount\":{}}}", id * 10)));
    assert_eq!(events, expected);
    assert_eq!(database.events_of("DELETE FROM sale").await.len(), 5);
    assert_eq!(database.events_of("INSERT INTO sale SELECT id + 10, region FROM sale").await.len(), 5);
}

#[tokio::test]
async fn settings_name_columns_of_the_parent_in_every_partition() {
    let database = database_with_sales().await;
    database
        .run(
            "CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO PUBLIC;
             CREATE FUNCTION app.many(s sale) RETURNS boolean LANGUAGE sql AS 'SELECT (s).amount > 45';
             CREATE FUNCTION app.body(s sale) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(s) - '{at,note}'::text[] $$;
             SELECT webhook_attach('sale', watch => '{amount}', condition => 'app.many(new)', body_function => 'app.body')",
        )
        .await;
    for table in ["sale", "odd"] {
        let events = database
            .events_of(&format!("UPDATE {table} SET note = 'x'; UPDATE {table} SET amount = amount + 7"))
            .await;
        let mut expected = vec![r#"sale.updated {"id": 5, "amount": 57, "region": "o"}"#];
        if table == "sale" {
            expected.insert(0, r#"sale.updated {"id": 4, "amount": 47, "region": "w"}"#);
        }
        let mut sorted = events.clone();
        sorted.sort();
        assert_eq!(sorted, expected, "{table}");
    }
}

#[tokio::test]
async fn partitions_that_come_later_are_covered_in_the_statement_that_brings_them() {
    let database = database_with_sales().await;
    let writer = database.session().await;
    writer.batch_execute("INSERT INTO sale VALUES (6, 'n')").await.expect("inserted");
    database.take_events().await;
    for (number, (make, table)) in (10..).zip([
        ("CREATE TABLE p1 PARTITION OF sale FOR VALUES IN ('1')", "p1"),
        ("CREATE TABLE p2 (LIKE sale INCLUDING ALL); ALTER TABLE sale ATTACH PARTITION p2 FOR VALUES IN ('2')", "p2"),
        (
            "CREATE TABLE p3 (at date, more text, id int NOT NULL, note text, amount int, region text NOT NULL); ALTER TABLE p3 DROP more;
             ALTER TABLE sale ATTACH PARTITION p3 FOR VALUES IN ('3')",
            "p3",
        ),
        ("CREATE SCHEMA s4 CREATE TABLE p4 PARTITION OF public.sale FOR VALUES IN ('4')", "s4.p4"),
        (
            "CREATE TABLE p5 PARTITION OF sale FOR VALUES IN ('5') PARTITION BY RANGE (id);
             CREATE TABLE p5_all PARTITION OF p5 DEFAULT",
            "p5_all",
        ),
        (
            "CREATE TABLE p6 (LIKE sale INCLUDING ALL) PARTITION BY RANGE (id); CREATE TABLE p6_all PARTITION OF p6 DEFAULT;
             ALTER TABLE sale ATTACH PARTITION p6 FOR VALUES IN ('6')",
            "p6_all",
        ),
        ("ALTER TABLE sale DETACH PARTITION p2; ALTER TABLE sale ATTACH PARTITION p2 FOR VALUES IN ('7')", "p2"),
    ]) {
        database.run(make).await;
        let region = number - 9;
        for into in [table, "sale"] {
            let insert = format!("INSERT INTO {into} (id, region, amount, at) VALUES ({number}, '{region}', 1, '2026-11-20')");
            writer.batch_execute(&format!("BEGIN; {insert}; COMMIT; DELETE FROM {into} WHERE id = {number}")).await.expect("written");
            let expected = [sale("created", number, &region.to_string(), 1, ""), sale("deleted", number, &region.to_string(), 1, "")];
            assert_eq!(database.take_events().await, expected, "{make}: {into}");
        }
    }
}

#[tokio::test]
async fn what_is_no_partition_any_more_makes_no_events() {
    let database = database_with_sales().await;
    let writer = database.session().await;
    writer.batch_execute("INSERT INTO north VALUES (6, 'n')").await.expect("inserted");
    database.run("ALTER TABLE sale DETACH PARTITION north; DROP TABLE south").await;
    database.take_events().await;
    writer.batch_execute("INSERT INTO north VALUES (7, 'n')").await.expect("inserted");
    assert_eq!(database.take_events().await, [""; 0]);
    database.run("ALTER TABLE sale ATTACH PARTITION north FOR VALUES IN ('n')").await;
    writer.batch_execute("INSERT INTO north VALUES (8, 'n', 80)").await.expect("inserted");
    assert_eq!(database.take_events().await, [sale("created", 8, "n", 80, "")]);
    // By itself it may have sources of its own; then it becomes no partition.
    database.run("ALTER TABLE sale DETACH PARTITION north").await;
    writer
        .batch_execute("SELECT webhook_attach('north'); DELETE FROM north WHERE id = 7")
        .await
        .expect("attached");
    assert_eq!(
        database.take_events().await,
        [r#"north.deleted {"id":7,"region":"n","amount":null,"note":null,"at":"2026-11-20"}"#]
    );
    let error = database.error("ALTER TABLE sale ATTACH PARTITION north FOR VALUES IN ('n')").await;
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("42809", "public.north belongs to public.sale: writes through public.sale would be no events")
    );
    assert_eq!(database.text("SELECT webhook_detach('sale')").await, "1");
    let left = database.rows("SELECT DISTINCT tgrelid::regclass FROM pg_trigger WHERE tgfoid = 'webhook.capture()'::regprocedure").await;
    assert_eq!(left, ["north"]);
}

#[tokio::test]
async fn truncate_is_one_event_of_what_was_named() {
    let database = database_with_sales().await;
    let once = r#"sale.truncated {"table":"public.sale"}"#;
    let boom =
        "CREATE FUNCTION boom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'boom'; END $$;
        CREATE TRIGGER boom AFTER TRUNCATE ON east FOR EACH STATEMENT EXECUTE FUNCTION boom();";
    let caught = "DO $$ BEGIN TRUNCATE sale; EXCEPTION WHEN raise_exception THEN NULL; END $$;";
    for (statements, expected) in [
        ("TRUNCATE sale", 1),
        ("TRUNCATE sale; TRUNCATE sale", 2),
        ("TRUNCATE far", 1),
        ("TRUNCATE ONLY north", 1),
        ("TRUNCATE west", 1),
        ("TRUNCATE north, west", 2),
        ("TRUNCATE sale; TRUNCATE north; TRUNCATE far; TRUNCATE west", 4),
        ("TRUNCATE far; SAVEPOINT a; TRUNCATE sale; ROLLBACK TO a; TRUNCATE west", 2),
        // a TRUNCATE that fails half-way leaves nothing behind
        (&format!("{boom} {caught} TRUNCATE west; TRUNCATE north"), 2),
    ] {
        assert_eq!(database.events_of(statements).await, vec![once; expected], "{statements}");
    }
    database.run(boom).await;
    assert_eq!(database.error("TRUNCATE sale").await.message, "boom");
    assert_eq!(database.events_of("TRUNCATE west").await, [once]);
}

#[tokio::test]
async fn a_partition_follows_its_parent_at_once() {
    let database = database_with_sales().await;
    let writer = database.session().await;
    for (change, expected) in [
        ("SELECT", "sale.created|public.sale:9,o"),
        ("ALTER TABLE sale RENAME TO sales", "sales.created|public.sales:9,o"),
        ("CREATE SCHEMA shop; ALTER TABLE sales SET SCHEMA shop", "sales.created|shop.sales:9,o"),
        ("ALTER TABLE shop.sales DROP CONSTRAINT sale_pkey", "sales.created|"),
        ("UPDATE webhook.source SET operations = '{delete}'", ""),
    ] {
        database.run(change).await;
        writer.batch_execute("INSERT INTO odd (id, region) VALUES (9, 'o')").await.expect("inserted");
        assert_eq!(
            database.rows("SELECT type, key FROM webhook.event").await.join(" "),
            expected,
            "{change}"
        );
        database.run("DELETE FROM odd WHERE id = 9; DELETE FROM webhook.event").await;
    }
}
