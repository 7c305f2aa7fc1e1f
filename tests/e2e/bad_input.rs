//! What is wrong is refused where it enters, with an SQLSTATE and an error that names the value and the rule; nothing is
//! written, and nothing that is secret is said. Cases are lines of `bad_input/*.cases`:
//! SQLSTATE | part of the message | statement.

use harness::Database;

/// In every value that must not be repeated in an error.
const SECRET: &str = "hunter2";

/// SQLSTATEs that pg_webhook raises itself, always with a hint.
const OURS: &[&str] = &["22023", "42501", "42703", "42704", "42809", "42883", "54000", "55000"];

async fn check(cases: &str) {
    let database = Database::new().await;
    database.run(include_str!("bad_input/stage.sql")).await;
    let before = database.text("SELECT state()").await;
    let mut wrong = Vec::new();
    for case in cases.lines() {
        let [code, message, sql] = case.splitn(3, " | ").collect::<Vec<_>>()[..] else {
            panic!("not a case: {case}")
        };
        let Err(error) = database.client().simple_query(sql).await else {
            wrong.push(format!("{sql}: no error"));
            continue;
        };
        let error = error.as_db_error().expect("an error of the database");
        if error.code().code() != code || !error.message().contains(message) {
            wrong.push(format!("{sql}: {} {}", error.code().code(), error.message()));
        }
        if format!("{error:?}").contains(SECRET) {
            wrong.push(format!("{sql}: says what is secret: {error:?}"));
        }
        if OURS.contains(&code) && error.hint().is_none_or(str::is_empty) {
            wrong.push(format!("{sql}: no hint"));
        }
        if database.text("SELECT state()").await != before {
            wrong.push(format!("{sql}: something was written"));
            break;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn emit_refuses_what_is_not_valid() {
    check(include_str!("bad_input/emit.cases")).await;
}

#[tokio::test]
async fn endpoints_refuse_what_is_not_valid() {
    check(include_str!("bad_input/endpoint.cases")).await;
}

#[tokio::test]
async fn operations_refuse_what_is_not_valid() {
    check(include_str!("bad_input/operate.cases")).await;
}

#[tokio::test]
async fn secrets_and_signatures_refuse_what_is_not_valid() {
    check(include_str!("bad_input/secret.cases")).await;
}

#[tokio::test]
async fn signature_schemes_refuse_what_is_not_valid() {
    check(include_str!("bad_input/scheme.cases")).await;
}

#[tokio::test]
async fn the_catalogue_refuses_what_is_not_valid() {
    check(include_str!("bad_input/event_type.cases")).await;
}

#[tokio::test]
async fn settings_refuse_what_is_not_valid() {
    check(include_str!("bad_input/setting.cases")).await;
}

#[tokio::test]
async fn sources_refuse_what_is_not_valid() {
    check(include_str!("bad_input/source.cases")).await;
}
