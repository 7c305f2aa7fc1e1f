//! Row changes of an attached table become events, whatever kind of statement makes them.

use harness::{Cluster, Database};

/// Three rows, and a column that PostgreSQL computes.
async fn database_with_items() -> Database {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE item (id int PRIMARY KEY, name text, price int, cents int GENERATED ALWAYS AS (price * 100) STORED);
             INSERT INTO item VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3);
             SELECT webhook_attach('item')",
        )
        .await;
    database
}

type Cases = &'static [(&'static str, &'static [&'static str])];

#[tokio::test]
async fn every_kind_of_statement_makes_an_event_of_each_row_it_changes() {
    let database = database_with_items().await;
    let cases: Cases = &[
        (
            "INSERT INTO item VALUES (4, 'd', 4)",
            &[r#"item.created {"id":4,"name":"d","price":4,"cents":400}"#],
        ),
        (
            "INSERT INTO item VALUES (4, 'd', 4), (5, NULL, NULL)",
            &[
                r#"item.created {"id":4,"name":"d","price":4,"cents":400}"#,
                r#"item.created {"id":5,"name":null,"price":null,"cents":null}"#,
            ],
        ),
        ("INSERT INTO item SELECT 4, 'd', 4 WHERE false", &[]),
        (
            "COPY item (id, name, price) FROM PROGRAM 'printf \"4,d,4\\n5,e,5\\n\"' WITH (FORMAT csv)",
            &[
                r#"item.created {"id":4,"name":"d","price":4,"cents":400}"#,
                r#"item.created {"id":5,"name":"e","price":5,"cents":500}"#,
            ],
        ),
        (
            "UPDATE item SET price = price + 10 WHERE id < 3",
            &[
                r#"item.updated {"id":1,"name":"a","price":11,"cents":1100} was {"price":1,"cents":100}"#,
                r#"item.updated {"id":2,"name":"b","price":12,"cents":1200} was {"price":2,"cents":200}"#,
            ],
        ),
        ("UPDATE item SET price = 9 WHERE id > 3", &[]),
        ("UPDATE item SET price = price", &[]),
        (
            "UPDATE item SET name = CASE id WHEN 2 THEN 'x' ELSE name END",
            &[r#"item.updated {"id":2,"name":"x","price":2,"cents":200} was {"name":"b"}"#],
        ),
        ("UPDATE item SET id = id", &[]),
        (
            "UPDATE item SET id = 7 WHERE id = 1",
            &[r#"item.updated {"id":7,"name":"a","price":1,"cents":100} was {"id":1}"#],
        ),
        (
            "DELETE FROM item WHERE id > 1",
            &[
                r#"item.deleted {"id":2,"name":"b","price":2,"cents":200}"#,
                r#"item.deleted {"id":3,"name":"c","price":3,"cents":300}"#,
            ],
        ),
        ("DELETE FROM item WHERE id > 3", &[]),
        ("TRUNCATE item", &[]),
        (
            "INSERT INTO item VALUES (1, 'z', 1), (4, 'd', 4) ON CONFLICT DO NOTHING",
            &[r#"item.created {"id":4,"name":"d","price":4,"cents":400}"#],
        ),
        ("INSERT INTO item VALUES (1, 'z', 1) ON CONFLICT DO NOTHING", &[]),
        (
            "PREPARE change (int, text) AS UPDATE item SET name = $2 WHERE id = $1;
             EXECUTE change (1, 'x'); EXECUTE change (1, 'x'); EXECUTE change (2, 'y'); DEALLOCATE change",
            &[
                r#"item.updated {"id":1,"name":"x","price":1,"cents":100} was {"name":"a"}"#,
                r#"item.updated {"id":2,"name":"y","price":2,"cents":200} was {"name":"b"}"#,
            ],
        ),
    ];
    for (statement, expected) in cases {
        assert_eq!(database.events_of(statement).await, *expected, "{statement}");
    }
}

#[tokio::test]
async fn a_statement_that_does_several_things_makes_the_events_of_each() {
    let database = database_with_items().await;
    let cases: Cases = &[
        (
            "INSERT INTO item VALUES (1, 'z', 1), (2, 'b', 2), (4, 'd', 4) \
               ON CONFLICT (id) DO UPDATE SET name = excluded.name",
            &[
                r#"item.created {"id":4,"name":"d","price":4,"cents":400}"#,
                r#"item.updated {"id":1,"name":"z","price":1,"cents":100} was {"name":"a"}"#,
            ],
        ),
        (
            "MERGE INTO item USING (VALUES (1, 'z'), (2, 'b'), (3, NULL), (4, 'd')) AS s (id, name) ON item.id = s.id
               WHEN MATCHED AND s.name IS NULL THEN DELETE
               WHEN MATCHED THEN UPDATE SET name = s.name
               WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)",
            &[
                r#"item.created {"id":4,"name":"d","price":null,"cents":null}"#,
                r#"item.deleted {"id":3,"name":"c","price":3,"cents":300}"#,
                r#"item.updated {"id":1,"name":"z","price":1,"cents":100} was {"name":"a"}"#,
            ],
        ),
        (
            "WITH gone AS (DELETE FROM item WHERE id = 1 RETURNING *), \
               kept AS (UPDATE item SET price = 0 WHERE id = 2), \
               more AS (INSERT INTO item VALUES (4, 'd', 4)) \
             INSERT INTO item SELECT id + 4, name, price FROM gone",
            &[
                r#"item.created {"id":4,"name":"d","price":4,"cents":400}"#,
                r#"item.created {"id":5,"name":"a","price":1,"cents":100}"#,
                r#"item.deleted {"id":1,"name":"a","price":1,"cents":100}"#,
                r#"item.updated {"id":2,"name":"b","price":0,"cents":0} was {"price":2,"cents":200}"#,
            ],
        ),
        (
            "WITH low AS (UPDATE item SET price = 0 WHERE id = 1) UPDATE item SET price = 9 WHERE id = 3",
            &[
                r#"item.updated {"id":1,"name":"a","price":0,"cents":0} was {"price":1,"cents":100}"#,
                r#"item.updated {"id":3,"name":"c","price":9,"cents":900} was {"price":3,"cents":300}"#,
            ],
        ),
    ];
    for (statement, expected) in cases {
        let mut events = database.events_of(statement).await;
        events.sort();
        assert_eq!(events, *expected, "{statement}");
    }
}

#[tokio::test]
async fn truncate_is_an_event_only_where_it_is_asked_for() {
    let database = database_with_items().await;
    database
        .run("CREATE TABLE other (id int); SELECT webhook_attach('other', operations => '{insert,truncate}')")
        .await;
    database.run("INSERT INTO other VALUES (1), (2); TRUNCATE item, other; TRUNCATE other").await;
    assert_eq!(
        database.take_events().await,
        [
            r#"other.created {"id":1}"#,
            r#"other.created {"id":2}"#,
            r#"other.truncated {"table":"public.other"}"#,
            r#"other.truncated {"table":"public.other"}"#,
        ]
    );
}

#[tokio::test]
async fn unmodified_pgbench_makes_an_event_of_each_row_it_changes() {
    let database = Database::new().await;
    let cluster = Cluster::shared().await;
    let name = database.name.as_str();
    cluster.run("pgbench", &["-i", "-q", name]);
    database
        .run("SELECT webhook_attach('pgbench_' || t) FROM unnest('{accounts,branches,tellers,history}'::text[]) t")
        .await;
    cluster.run("pgbench", &["-n", "-c", "4", "-t", "50", name]);
    assert_eq!(database.number("SELECT count(*) FROM pgbench_history").await, 200);
    // An update by 0 changes nothing, and is none.
    let missing = database
        .number(
            "SELECT (SELECT count(*) + 3 * count(*) FILTER (WHERE delta <> 0) FROM pgbench_history) - (SELECT count(*) FROM webhook.event)",
        )
        .await;
    assert_eq!(missing, 0);
    let sums = database
        .rows(
            "SELECT sum((body::json->'data'->>b)::int - (body::json->'previous'->>b)::int) = (SELECT sum(delta) FROM pgbench_history)
             FROM webhook.event, substring(type FROM 'pgbench_(.)') c, concat(c, 'balance') b
             WHERE type LIKE '%.updated' GROUP BY type",
        )
        .await;
    assert_eq!(sums, ["t", "t", "t"], "each update tells by how much the balance changed");
}
