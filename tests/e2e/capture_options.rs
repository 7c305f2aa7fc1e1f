//! Which changes of a table are events, and what they say: the settings of webhook_attach().

use harness::Database;

const TABLES: &str = "
    CREATE TABLE deal (id int PRIMARY KEY, title text, stage text, amount numeric(8,2), note text);
    INSERT INTO deal VALUES (1, 'Big', 'open', 10, 'x'), (2, 'Small', 'open', 5, NULL);
    CREATE SCHEMA app;
    GRANT USAGE ON SCHEMA app TO PUBLIC;
    CREATE FUNCTION app.is_big(d deal) RETURNS boolean LANGUAGE sql AS 'SELECT (d).amount >= 100';
    CREATE FUNCTION app.grew(o deal, n deal) RETURNS boolean LANGUAGE sql AS 'SELECT (n).amount > (o).amount';
    CREATE FUNCTION app.of_row(d deal) RETURNS json LANGUAGE sql AS $$ SELECT json_build_object('name', (d).title, 'z', 1) $$;
    CREATE FUNCTION app.of_json(d jsonb) RETURNS jsonb LANGUAGE sql AS
      $$ SELECT jsonb_build_object('keys', count(*), 'id', d->'id') FROM jsonb_object_keys(d) $$;
    CREATE FUNCTION app.none(d jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';";

/// Three changes: a new deal, one that grows, one that moves on; then one is deleted.
const CHANGES: &str = "
    INSERT INTO deal VALUES (3, 'New', 'open', 150, NULL);
    UPDATE deal SET amount = 110 WHERE id = 1;
    UPDATE deal SET stage = 'won', note = 'y' WHERE id = 2;
    DELETE FROM deal WHERE id = 1";

#[tokio::test]
async fn settings_decide_which_changes_are_events_and_what_they_say() {
    let database = Database::new().await;
    database.run(TABLES).await;
    const CREATED: &str = r#"deal.created {"id":3,"title":"New","stage":"open","amount":150.00,"note":null}"#;
    const GREW: &str = r#"deal.updated {"id":1,"title":"Big","stage":"open","amount":110.00,"note":"x"} was {"amount":10.00}"#;
    const WON: &str = r#"deal.updated {"id":2,"title":"Small","stage":"won","amount":5.00,"note":"y"} was {"stage":"open","note":null}"#;
    const DELETED: &str = r#"deal.deleted {"id":1,"title":"Big","stage":"open","amount":110.00,"note":"x"}"#;
    let cases: &[(&str, &[&str])] = &[
        ("", &[CREATED, GREW, WON, DELETED]),
        (", operations => '{insert}'", &[CREATED]),
        (", operations => '{delete,update}'", &[GREW, WON, DELETED]),
        (
            r#", operations => '{insert,update}', event_names => '{"insert": "sales.deal.opened", "delete": "unused"}'"#,
            &[
                r#"sales.deal.opened {"id":3,"title":"New","stage":"open","amount":150.00,"note":null}"#,
                GREW,
                WON,
            ],
        ),
        (", watch => '{stage}'", &[CREATED, WON, DELETED]),
        (", watch => '{title,amount}'", &[CREATED, GREW, DELETED]),
        (
            ", omit => '{note,title}'",
            &[
                r#"deal.created {"id":3,"stage":"open","amount":150.00}"#,
                r#"deal.updated {"id":1,"stage":"open","amount":110.00} was {"amount":10.00}"#,
                r#"deal.updated {"id":2,"stage":"won","amount":5.00} was {"stage":"open"}"#,
                r#"deal.deleted {"id":1,"stage":"open","amount":110.00}"#,
            ],
        ),
        // an update of columns left out only is no event, even where they are watched
        (
            ", operations => '{update}', omit => '{amount,note}', watch => '{amount,note}'",
            &[r#"deal.updated {"id":2,"title":"Small","stage":"won"} was {"stage":"open"}"#],
        ),
        (", omit => '{id,title,stage,amount,note}'", &["deal.created {}", "deal.deleted {}"]),
        (", condition => 'new.stage = ''won'' AND old.stage <> ''won'''", &[WON]),
        (", condition => 'old.id = 1'", &[GREW, DELETED]),
        (", condition => 'old.id IS NULL'", &[CREATED]),
        (", condition => 'new IS NULL'", &[DELETED]),
        (", condition => 'NULL'", &[]),
        (", condition => 'false -- never'", &[]),
        (", condition => 'new.note IS NOT NULL OR new.note = old.note'", &[GREW, WON]),
        (", condition => 'app.is_big(new)'", &[CREATED, GREW]),
        (", condition => 'app.grew(old, new)'", &[GREW]),
        (", condition => '(SELECT count(*) FROM pg_catalog.generate_series(1, new.id)) = 3'", &[CREATED]),
        (
            ", operations => '{insert,update}', body_function => 'app.of_row'",
            &[
                r#"deal.created {"name" : "New", "z" : 1}"#,
                r#"deal.updated {"name" : "Big", "z" : 1}"#,
                r#"deal.updated {"name" : "Small", "z" : 1}"#,
            ],
        ),
        (
            ", operations => '{insert,delete}', omit => '{note}', body_function => 'app.of_json'",
            &[r#"deal.created {"id": 3, "keys": 4}"#, r#"deal.deleted {"id": 1, "keys": 4}"#],
        ),
        (", operations => '{insert}', body_function => 'app.none'", &["deal.created null"]),
    ];
    for (settings, expected) in cases {
        let statements = format!("SELECT webhook_attach('deal'{settings}); {CHANGES}");
        assert_eq!(database.events_of(&statements).await, *expected, "{settings}");
    }
}

#[tokio::test]
async fn tenant_and_key_are_expressions_over_the_row() {
    let database = Database::new().await;
    database.run(TABLES).await;
    database
        .run(
            "SELECT webhook_attach('deal', tenant => $$'t' || nullif(coalesce(new.id, old.id), 3)$$, key => 'new.title')",
        )
        .await;
    database.run(CHANGES).await;
    let found = database.rows("SELECT type, tenant, key FROM webhook.event ORDER BY id").await;
    assert_eq!(
        found,
        ["deal.created||New", "deal.updated|t1|Big", "deal.updated|t2|Small", "deal.deleted|t1|"]
    );
    for (tenant, length) in [("''''''", 0), ("repeat('x', 257)", 257)] {
        database
            .run(&format!("SELECT webhook_attach('deal', tenant => $${tenant}$$)").replace("''''''", "''"))
            .await;
        let error = database.error("UPDATE deal SET amount = amount + 1").await;
        assert_eq!(error.code, "22023", "{length} bytes: {error:?}");
    }
}

#[tokio::test]
async fn several_sources_of_a_table_make_an_event_each() {
    let database = Database::new().await;
    database.run(TABLES).await;
    database
        .run(
            r#"SELECT webhook_attach('deal', omit => '{note}');
               SELECT webhook_attach('deal', name => 'stage', operations => '{update}', watch => '{stage}',
                 event_names => '{"update": "deal.stage_changed"}', omit => '{title,amount,note}');
               SELECT webhook_attach('deal', name => 'won', operations => '{update}', condition => $$new.stage = 'won'$$,
                 event_names => '{"update": "deal.won"}', body_function => 'app.of_row')"#,
        )
        .await;
    database.run(CHANGES).await;
    assert_eq!(
        database.take_events().await,
        [
            r#"deal.created {"id":3,"title":"New","stage":"open","amount":150.00}"#,
            r#"deal.updated {"id":1,"title":"Big","stage":"open","amount":110.00} was {"amount":10.00}"#,
            r#"deal.updated {"id":2,"title":"Small","stage":"won","amount":5.00} was {"stage":"open"}"#,
            r#"deal.stage_changed {"id":2,"stage":"won"} was {"stage":"open"}"#,
            r#"deal.won {"name" : "Small", "z" : 1}"#,
            r#"deal.deleted {"id":1,"title":"Big","stage":"open","amount":110.00}"#,
        ]
    );
    let ended = database
        .rows("SELECT webhook_detach('deal', 'won'), webhook_detach('deal', 'won'), webhook_detach('deal')")
        .await;
    assert_eq!(ended, ["1|0|2"]);
    database.run("UPDATE deal SET stage = 'lost'").await;
    assert_eq!(database.take_events().await, [""; 0]);
}

#[tokio::test]
async fn what_the_writers_settings_are_does_not_change_what_an_expression_means() {
    let database = Database::new().await;
    database.run(TABLES).await;
    database
        .run(
            r"SELECT webhook_attach('deal', tenant => $$'a\\b'$$, key => $$'02/03/2026'::date + old.amount::int$$,
               condition => $$(new.note = NULL) IS NULL AND '2026-11-20 12:00'::timestamptz::text = '2026-11-20 12:00:00+00'$$)",
        )
        .await;
    database
        .run(
            "SET standard_conforming_strings = off; SET transform_null_equals = on; SET datestyle = 'German, DMY';
             SET timezone = 'Asia/Kathmandu'; SET search_path = app, public;
             CREATE FUNCTION app.date(text) RETURNS text LANGUAGE sql AS 'SELECT ''mine''';
             UPDATE deal SET amount = 1 WHERE id = 2",
        )
        .await;
    database.run("RESET ALL").await;
    let found = database.rows("SELECT tenant, key FROM webhook.event").await;
    assert_eq!(found, [r"a\\b|2026-02-08"]);
}
