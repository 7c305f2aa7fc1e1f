//! Updates that move rows to another partition, and triggers that drop some on the way.

use harness::Database;

/// Rows 1 to 6 in `a`; a trigger of `b` refuses a row whose `drop` is set.
async fn database_with_moves(primary_key: &str) -> Database {
    let database = Database::new().await;
    database
        .run(&format!(
            "CREATE TABLE move (id int, place text, n int, drop bool DEFAULT false{primary_key}) PARTITION BY LIST (place);
             CREATE TABLE a PARTITION OF move FOR VALUES IN ('a');
             CREATE TABLE b (drop bool DEFAULT false, n int, place text NOT NULL, id int NOT NULL);
             ALTER TABLE move ATTACH PARTITION b FOR VALUES IN ('b');
             CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.drop THEN RETURN NULL; END IF; RETURN NEW; END $$;
             CREATE TRIGGER refuse BEFORE INSERT ON b FOR EACH ROW EXECUTE FUNCTION refuse();
             INSERT INTO move SELECT i, 'a', i * 10, false FROM generate_series(1, 6) i;
             SELECT webhook_attach('move', omit => '{{drop}}')"
        ))
        .await;
    database
}

const CANNOT: &str = "webhook capture of public.move failed: old and new rows of public.move can't be told apart: \
    some were dropped while they moved to another partition, and ";

#[tokio::test]
async fn a_row_that_moves_is_one_update() {
    for primary_key in ["", ", PRIMARY KEY (id, place)"] {
        let database = database_with_moves(primary_key).await;
        let events = database.events_of("UPDATE move SET place = 'b' WHERE id IN (2, 5)").await;
        assert_eq!(
            events,
            [
                r#"move.updated {"id":2,"place":"b","n":20} was {"place":"a"}"#,
                r#"move.updated {"id":5,"place":"b","n":50} was {"place":"a"}"#,
            ]
        );
        let events = database
            .events_of("UPDATE move SET place = CASE WHEN id % 2 = 0 THEN 'b' ELSE place END, n = n + 1 WHERE id < 4")
            .await;
        assert_eq!(
            events,
            [
                r#"move.updated {"id":1,"place":"a","n":11} was {"n":10}"#,
                r#"move.updated {"id":2,"place":"b","n":21} was {"place":"a","n":20}"#,
                r#"move.updated {"id":3,"place":"a","n":31} was {"n":30}"#,
            ]
        );
    }
}

#[tokio::test]
async fn a_row_dropped_on_its_way_is_deleted_and_the_others_keep_their_own_old_values() {
    let database = database_with_moves(", PRIMARY KEY (id, place)").await;
    let cases: &[(&str, &[&str])] = &[
        (
            "UPDATE move SET place = 'b', n = n + 1, drop = id IN (1, 3) WHERE id < 5",
            &[
                r#"move.deleted {"id":1,"place":"a","n":10}"#,
                r#"move.updated {"id":2,"place":"b","n":21} was {"place":"a","n":20}"#,
                r#"move.deleted {"id":3,"place":"a","n":30}"#,
                r#"move.updated {"id":4,"place":"b","n":41} was {"place":"a","n":40}"#,
            ],
        ),
        (
            "UPDATE move SET place = CASE id WHEN 2 THEN 'b' ELSE 'a' END, n = n + 1, drop = id = 2 WHERE id < 4",
            &[
                r#"move.updated {"id":1,"place":"a","n":11} was {"n":10}"#,
                r#"move.deleted {"id":2,"place":"a","n":20}"#,
                r#"move.updated {"id":3,"place":"a","n":31} was {"n":30}"#,
            ],
        ),
        (
            "UPDATE move SET place = 'b', drop = true WHERE id = 1",
            &[r#"move.deleted {"id":1,"place":"a","n":10}"#],
        ),
    ];
    for (statement, expected) in cases {
        assert_eq!(database.events_of(statement).await, *expected, "{statement}");
    }
}

#[tokio::test]
async fn deletes_alone_see_a_row_dropped_on_its_way() {
    let database = database_with_moves(", PRIMARY KEY (id, place)").await;
    database.run("SELECT webhook_detach('move'), webhook_attach('move', operations => '{delete}', omit => '{drop}')").await;
    let events = database.events_of("UPDATE move SET place = 'b', drop = id = 2 WHERE id < 4").await;
    assert_eq!(events, [r#"move.deleted {"id":2,"place":"a","n":20}"#]);
}

#[tokio::test]
async fn where_rows_cannot_be_told_apart_the_statement_fails() {
    let keyed = database_with_moves(", PRIMARY KEY (id, place)").await;
    let keyless = database_with_moves("").await;
    let twins = "INSERT INTO move SELECT id, 'b', -n FROM move WHERE id < 3";
    for (database, before, statement, why) in [
        // each row takes its neighbour's key: row 2 is not row 1 with other values
        (
            &keyed,
            "SELECT",
            "UPDATE move SET id = id - 1, place = CASE id WHEN 1 THEN 'b' ELSE 'a' END, drop = id = 1",
            "the statement sets all of the primary key",
        ),
        (
            &keyed,
            twins,
            "UPDATE move SET place = CASE id WHEN 3 THEN 'b' ELSE place END, drop = id = 3",
            "what the statement leaves of the primary key is not unique",
        ),
        (
            &keyless,
            "SELECT",
            "UPDATE move SET place = 'b', drop = id = 1 WHERE id < 3",
            "it has no primary key",
        ),
    ] {
        database.run(&format!("BEGIN; {before}; SAVEPOINT s")).await;
        let error = database.error(statement).await;
        assert_eq!((error.code.as_str(), error.message), ("55000", format!("{CANNOT}{why}")), "{statement}");
        assert_eq!(
            error.hint,
            "A BEFORE trigger that returns NULL does this; move such rows in a statement of their own."
        );
        database.run("ROLLBACK").await;
        assert_eq!(database.take_events().await, [""; 0]);
    }
    // A trigger that changes keys besides is noticed, too.
    keyed
        .run(
            "CREATE FUNCTION renumber() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.id := NEW.id + 100; RETURN NEW; END';
             CREATE TRIGGER renumber BEFORE UPDATE ON a FOR EACH ROW EXECUTE FUNCTION renumber()",
        )
        .await;
    let error = keyed.error("UPDATE move SET place = 'b', drop = id = 1 WHERE id < 3").await;
    assert_eq!(error.message, format!("{CANNOT}a trigger changes the primary key"));
}
