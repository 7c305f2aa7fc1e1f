//! pgbench: many sessions that run one statement a transaction, over and over.

use crate::process::{Process, freeze, patiently, thaw};
use crate::stage::{PATIENCE, Stage};
use crate::turns::TURN;
use harness::{Database, bindir};
use std::time::{Duration, Instant};

const CLIENTS: u32 = 16;
/// Longer than any measurement: it is ended.
const ENDLESS_S: &str = "3600";
/// Transactions until sessions and caches are warm.
const WARM: i64 = 5_000;

pub struct Load<'a> {
    pub database: &'a Database,
    /// What pgbench runs: one statement, which adds one row to `table`.
    pub script: &'a str,
    pub table: &'a str,
}

impl Load<'_> {
    fn start(&self, stage: &Stage) -> Process {
        let script = stage.cluster.home().join(format!("{}.sql", self.database.name));
        std::fs::write(&script, self.script).expect("the script is written");
        let path = |path: &std::path::Path| path.to_str().expect("a path in UTF-8").to_owned();
        let (host, script, clients) = (path(stage.cluster.home()), path(&script), CLIENTS.to_string());
        let options =
            ["-n", "-h", &host, "-c", &clients, "-j", "2", "-M", "prepared", "-T", ENDLESS_S, "-f", &script];
        Process::start(&path(&bindir().join("pgbench")), &options, &self.database.environment())
    }

    async fn transactions(&self) -> i64 {
        self.database.number(&format!("SELECT count(*) FROM {}", self.table)).await
    }

    /// Nobody gave up: pgbench goes on without a client that had an error.
    async fn check(&self) {
        let clients = "SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'pgbench'";
        assert_eq!(self.database.number(clients).await, i64::from(CLIENTS), "clients that still run");
    }
}

/// Transactions a second of each of these, 16 clients and prepared statements, for so many seconds each. They take
/// turns, half a second at a time: when the machine is slow, it is for all of them.
pub async fn tps<const N: usize>(stage: &Stage, loads: [Load<'_>; N], seconds: u32) -> [f64; N] {
    let mut processes = Vec::new();
    let mut before = Vec::new();
    for load in &loads {
        let process = load.start(stage);
        let warm = async || (load.transactions().await >= WARM).then_some(());
        patiently("pgbench is warm", PATIENCE, warm).await;
        freeze(process.pid());
        before.push(load.transactions().await);
        processes.push(process);
    }
    let mut worked = [Duration::ZERO; N];
    for _ in 0..seconds * 2 {
        for (process, worked) in processes.iter().zip(&mut worked) {
            let began = Instant::now();
            thaw(process.pid());
            tokio::time::sleep(TURN).await;
            freeze(process.pid());
            *worked += began.elapsed();
        }
    }
    let mut tps = [0.0; N];
    for ((load, process), (n, tps)) in loads.iter().zip(processes).zip(tps.iter_mut().enumerate()) {
        *tps = (load.transactions().await - before[n]) as f64 / worked[n].as_secs_f64();
        load.check().await;
        process.kill().await;
    }
    tps
}
