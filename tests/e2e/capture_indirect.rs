//! Rows that nobody's own statement writes: functions, triggers, rules, views, foreign keys.

use harness::Database;

type Cases = &'static [(&'static str, &'static [&'static str])];

#[tokio::test]
async fn rows_written_by_functions_triggers_rules_and_views_are_events_too() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE item (id int PRIMARY KEY, name text, price int, cents int GENERATED ALWAYS AS (price * 100) STORED);
             INSERT INTO item VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3);
             SELECT webhook_attach('item');
             CREATE FUNCTION twice() RETURNS void LANGUAGE plpgsql AS $$
             BEGIN
               UPDATE item SET price = 5 WHERE id = 1;
               UPDATE item SET price = 6 WHERE id = 1;
             END $$;
             CREATE VIEW cheap AS SELECT id, name, price FROM item WHERE price < 3;
             CREATE VIEW names AS SELECT id, upper(name) AS name FROM item;
             CREATE FUNCTION rename() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN UPDATE item SET name = NEW.name WHERE id = NEW.id; RETURN NEW; END $$;
             CREATE TRIGGER rename INSTEAD OF UPDATE ON names FOR EACH ROW EXECUTE FUNCTION rename();
             CREATE TABLE orders (item_id int);
             CREATE RULE sold AS ON INSERT TO orders DO ALSO UPDATE item SET price = 0 WHERE id = NEW.item_id;
             CREATE FUNCTION tidy() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN IF NEW.price > 100 THEN RETURN NULL; END IF; NEW.name := btrim(NEW.name); RETURN NEW; END $$;
             CREATE TRIGGER tidy BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION tidy()",
        )
        .await;
    let cases: Cases = &[
        (
            "SELECT twice()",
            &[
                r#"item.updated {"id":1,"name":"a","price":5,"cents":500} was {"price":1,"cents":100}"#,
                r#"item.updated {"id":1,"name":"a","price":6,"cents":600} was {"price":5,"cents":500}"#,
            ],
        ),
        (
            "DO $$ BEGIN FOR i IN 1..2 LOOP DELETE FROM item WHERE id = i; END LOOP; END $$",
            &[
                r#"item.deleted {"id":1,"name":"a","price":1,"cents":100}"#,
                r#"item.deleted {"id":2,"name":"b","price":2,"cents":200}"#,
            ],
        ),
        (
            "UPDATE cheap SET price = 0 WHERE id IN (1, 3)",
            &[r#"item.updated {"id":1,"name":"a","price":0,"cents":0} was {"price":1,"cents":100}"#],
        ),
        (
            "UPDATE names SET name = 'X' WHERE id = 1",
            &[r#"item.updated {"id":1,"name":"X","price":1,"cents":100} was {"name":"a"}"#],
        ),
        (
            "INSERT INTO orders VALUES (1), (3)",
            &[
                r#"item.updated {"id":1,"name":"a","price":0,"cents":0} was {"price":1,"cents":100}"#,
                r#"item.updated {"id":3,"name":"c","price":0,"cents":0} was {"price":3,"cents":300}"#,
            ],
        ),
        // what a BEFORE trigger makes of the row, or nothing where it refuses the row
        (
            "INSERT INTO item VALUES (4, ' d ', 4), (5, 'e', 500)",
            &[r#"item.created {"id":4,"name":"d","price":4,"cents":400}"#],
        ),
        (
            "UPDATE item SET price = CASE id WHEN 1 THEN 101 ELSE 7 END WHERE id < 3",
            &[r#"item.updated {"id":2,"name":"b","price":7,"cents":700} was {"price":2,"cents":200}"#],
        ),
        ("UPDATE item SET name = ' a ' WHERE id = 1", &[]),
    ];
    for (statement, expected) in cases {
        assert_eq!(database.events_of(statement).await, *expected, "{statement}");
    }
}

#[tokio::test]
async fn what_foreign_keys_delete_or_set_is_an_event() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE parent (id int PRIMARY KEY);
             CREATE TABLE owned (id int PRIMARY KEY, p int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
             CREATE TABLE linked (id int PRIMARY KEY, p int REFERENCES parent ON DELETE SET NULL ON UPDATE SET DEFAULT);
             CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree ON DELETE CASCADE);
             INSERT INTO parent VALUES (1), (2); INSERT INTO owned VALUES (1, 1), (2, 1), (3, 2);
             INSERT INTO linked VALUES (1, 1), (2, 2); INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2), (4, NULL);
             SELECT webhook_attach(t) FROM unnest('{parent,owned,linked,tree}'::regclass[]) t",
        )
        .await;
    // The order of the tables among each other is PostgreSQL's affair.
    let cases: Cases = &[
        (
            "DELETE FROM parent",
            &[
                r#"linked.updated {"id":1,"p":null} was {"p":1}"#,
                r#"linked.updated {"id":2,"p":null} was {"p":2}"#,
                r#"owned.deleted {"id":1,"p":1}"#,
                r#"owned.deleted {"id":2,"p":1}"#,
                r#"owned.deleted {"id":3,"p":2}"#,
                r#"parent.deleted {"id":1}"#,
                r#"parent.deleted {"id":2}"#,
            ],
        ),
        (
            "UPDATE parent SET id = 9 WHERE id = 1",
            &[
                r#"linked.updated {"id":1,"p":null} was {"p":1}"#,
                r#"owned.updated {"id":1,"p":9} was {"p":1}"#,
                r#"owned.updated {"id":2,"p":9} was {"p":1}"#,
                r#"parent.updated {"id":9} was {"id":1}"#,
            ],
        ),
        (
            "DELETE FROM tree WHERE id = 1",
            &[
                r#"tree.deleted {"id":1,"up":null}"#,
                r#"tree.deleted {"id":2,"up":1}"#,
                r#"tree.deleted {"id":3,"up":2}"#,
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
async fn a_statement_on_a_parent_makes_events_of_the_rows_its_children_inherit() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE place (gone int, id int PRIMARY KEY, name text); ALTER TABLE place DROP gone;
             CREATE TABLE town (mayor text) INHERITS (place);
             INSERT INTO place VALUES (1, 'a'); INSERT INTO town VALUES (2, 'b', 'm');
             SELECT webhook_attach('place')",
        )
        .await;
    let mut events = database.events_of("UPDATE place SET name = name || '!'").await;
    events.sort();
    assert_eq!(
        events,
        [
            r#"place.updated {"id":1,"name":"a!"} was {"name":"a"}"#,
            r#"place.updated {"id":2,"name":"b!"} was {"name":"b"}"#,
        ]
    );
    // A statement on the child fires no trigger of the parent.
    assert_eq!(database.events_of("UPDATE town SET name = 'c'").await, [""; 0]);
}
