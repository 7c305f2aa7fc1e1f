//! SQL in, expected output beside it: `regress/sql/NAME.sql` against `regress/expected/NAME.out`, run by psql as a user
//! would. What differs from run to run (ids, times, secrets) the SQL leaves out.
//! `UPDATE_EXPECTED=1 cargo test -p pg-webhook-tests --test regress` writes what came out; read it before you keep it.

#![forbid(unsafe_code)]

use harness::{Cluster, Database};
use std::path::{Path, PathBuf};

macro_rules! regress {
    ($($name:ident),* $(,)?) => {
        const LISTED: &[&str] = &[$(stringify!($name)),*];
        $(#[tokio::test]
        async fn $name() {
            compare(stringify!($name)).await;
        })*
    };
}

regress!(capture, emit, endpoint, operate);

#[test]
fn every_file_is_run() {
    let mut files: Vec<String> = std::fs::read_dir(folder("sql"))
        .expect("regress/sql")
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    files.sort();
    assert_eq!(files, LISTED);
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("regress").join(name)
}

async fn compare(name: &str) {
    let cluster = Cluster::shared().await;
    let database = Database::new().await;
    let sql = std::fs::read_to_string(folder("sql").join(format!("{name}.sql"))).expect("the SQL file");
    let out = cluster.psql(&database.name, &sql);
    let expected_file = folder("expected").join(format!("{name}.out"));
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&expected_file, &out).expect("the expected file is written");
    }
    let expected = std::fs::read_to_string(&expected_file).unwrap_or_default();
    let first = out.lines().zip(expected.lines()).position(|(is, should)| is != should);
    let place = first.unwrap_or_else(|| out.lines().count().min(expected.lines().count()));
    assert!(
        out == expected,
        "{name} differs from line {}:\n  is:     {:?}\n  should: {:?}\nall of it:\n{out}",
        place + 1,
        out.lines().nth(place),
        expected.lines().nth(place),
    );
}
