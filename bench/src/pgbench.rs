//! pgbench: many sessions that run one statement a transaction, over and over.

use crate::stage::Stage;
use harness::Database;

const CLIENTS: &str = "16";

/// Transactions a second of so many seconds of this script, 16 clients, prepared statements.
pub fn tps(stage: &Stage, database: &Database, script: &str, seconds: u32) -> f64 {
    let path = stage.cluster.home().join("script.sql");
    std::fs::write(&path, script).expect("the script is written");
    let (path, seconds) = (path.to_str().expect("a path in UTF-8"), seconds.to_string());
    let said = stage.cluster.run(
        "pgbench",
        &["-n", "-c", CLIENTS, "-j", "2", "-M", "prepared", "-T", &seconds, "-f", path, &database.name],
    );
    let failed = said.lines().find_map(|line| line.strip_prefix("number of failed transactions: "));
    assert!(failed.is_none_or(|failed| failed.starts_with("0 ")), "transactions failed: {said}");
    let tps = said.lines().find_map(|line| line.strip_prefix("tps = ")).expect("pgbench says how many");
    tps.split(' ').next().and_then(|tps| tps.parse().ok()).expect("a number")
}
