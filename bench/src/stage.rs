//! Where everything is measured: one cluster with a production server's settings, fresh databases in it, one receiver.

use crate::inbox::Inbox;
use crate::process::patiently;
use harness::{Cluster, ClusterOptions, Database};
use std::time::Duration;

/// What postgresql.conf has beyond PostgreSQL's defaults. (Clusters of tests do not flush; these do.)
pub const SETTINGS: [&str; 7] = [
    "fsync = on",
    "shared_buffers = 1GB",
    "max_wal_size = 16GB",
    "min_wal_size = 4GB",
    "checkpoint_timeout = 30min",
    "max_connections = 200",
    "work_mem = 16MB",
];

/// Longest that anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(600);

pub struct Stage {
    pub cluster: Cluster,
    pub inbox: Inbox,
    pub rounds: usize,
    /// Counts are divided by it: 1 for a measurement, more for a trial of the bench itself.
    pub divisor: u32,
}

impl Stage {
    pub async fn set_up(rounds: usize, divisor: u32) -> Stage {
        let conf = SETTINGS.iter().map(ToString::to_string).collect();
        let cluster = Cluster::own(ClusterOptions { conf }).await;
        let postgres = cluster.connect("postgres").await.expect("the cluster is up");
        for durable in ["fsync", "full_page_writes", "synchronous_commit"] {
            assert_eq!(Database::text_in(&postgres, &format!("SHOW {durable}")).await, "on", "{durable}");
        }
        let stage = Stage { cluster, inbox: Inbox::start().await, rounds, divisor };
        stage.warm_up().await;
        stage
    }

    /// As a server that has been up for a while: every shared buffer has been touched, WAL goes to segments of before.
    async fn warm_up(&self) {
        let database = Database::empty(&self.cluster).await;
        let rows = self.count(1_300_000);
        database.run("CREATE TABLE warmth (i int, note text)").await;
        database
            .run(&format!("INSERT INTO warmth SELECT i, repeat('x', 900) FROM generate_series(1, {rows}) i"))
            .await;
        database.run("CHECKPOINT").await;
        self.drop(database).await;
    }

    /// A count of the design, divided for a trial.
    pub fn count(&self, full: u32) -> u32 {
        (full / self.divisor).max(1)
    }

    /// Seconds that a timed run takes.
    pub fn seconds(&self, full: u32) -> u32 {
        (full / self.divisor).max(2)
    }

    /// A fresh database with the extension.
    pub async fn database(&self) -> Database {
        Database::in_cluster(&self.cluster).await
    }

    /// Drops a database and leaves no checkpoint for the next measurement to pay.
    pub async fn drop(&self, database: Database) {
        let name = database.name.clone();
        drop(database);
        let postgres = self.cluster.connect("postgres").await.expect("the cluster is up");
        Database::run_in(&postgres, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }

    /// Statistics and a checkpoint, so that neither comes in the middle of what is measured.
    pub async fn settle(&self, database: &Database) {
        database.run("ANALYZE").await;
        database.run("CHECKPOINT").await;
        self.inbox.forget().await;
    }

    /// An endpoint that takes what it is sent, with as many requests in flight as the bare loop and the peers.
    pub async fn endpoint(&self, database: &Database, url: &str, types: &str) -> i64 {
        database
            .number(&format!(
                "INSERT INTO webhook.endpoint (url, event_types, max_in_flight) VALUES ('{url}', '{types}', {}) RETURNING id",
                crate::bare::IN_FLIGHT
            ))
            .await
    }

    /// Waits until a statement's first value is true; asks every few milliseconds.
    pub async fn becomes_true(&self, database: &Database, sql: &str) {
        patiently(sql, PATIENCE, async || (database.text(sql).await == "t").then_some(())).await;
    }
}

/// Bytes of WAL written so far.
pub async fn wal(database: &Database) -> f64 {
    database.number("SELECT pg_current_wal_lsn() - '0/0'").await as f64
}

/// The `data` of an event whose body is 1 KiB, as an expression over the integer i.
pub const DATA: &str = "jsonb_build_object('id', i, 'customer', 'customer ' || i % 1000, 'status', 'paid', 'note', repeat('x', 850))";
