//! graphile-worker and pg-boss: databases with their tables, and their workers. Settings are in peers/.

use crate::process::Process;
use crate::stage::Stage;
use harness::Database;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    GraphileWorker,
    PgBoss,
}

impl Peer {
    fn script(self) -> &'static str {
        match self {
            Peer::GraphileWorker => "graphile.mjs",
            Peer::PgBoss => "pgboss.mjs",
        }
    }

    fn start(self, database: &Database, args: &[&str]) -> Process {
        let peers =
            std::env::var("PG_WEBHOOK_BENCH_PEERS").expect("PG_WEBHOOK_BENCH_PEERS: run it by `make bench`");
        let script = format!("{peers}/{}", self.script());
        let args: Vec<&str> = std::iter::once(script.as_str()).chain(args.iter().copied()).collect();
        let environment: Vec<_> =
            database.environment().into_iter().chain([("NODE_ENV", "production".to_owned())]).collect();
        Process::start(&format!("{peers}/node_modules/.bin/node"), &args, &environment)
    }

    /// A fresh database with the peer's tables.
    pub async fn database(self, stage: &Stage) -> Database {
        let database = Database::empty(&stage.cluster).await;
        self.start(&database, &["setup"]).finished().await;
        database
    }

    /// Queues a job for each of so many payloads of 1 KiB.
    pub async fn fill(self, database: &Database, count: u32) {
        let payloads = format!(
            "SELECT jsonb_build_object('id', gen_random_uuid(), 'type', 'order.paid', 'timestamp', now(), 'data', {}) AS payload
             FROM generate_series(1, {count}) i",
            crate::stage::DATA
        );
        match self {
            Peer::GraphileWorker => {
                let batches = format!(
                    "SELECT array_agg(p.payload) AS payloads FROM (SELECT payload, row_number() OVER () / 5000 AS batch FROM ({payloads}) x) p GROUP BY batch"
                );
                database
                    .run(&format!(
                        "SELECT count(j) FROM ({batches}) b, LATERAL graphile_worker.add_jobs(ARRAY(
                           SELECT json_populate_record(NULL::graphile_worker.job_spec, json_build_object('identifier', 'post', 'payload', p))
                           FROM unnest(b.payloads) p)) j"
                    ))
                    .await;
            }
            Peer::PgBoss => {
                database.run(&format!("CREATE TABLE job AS {payloads}")).await;
                self.start(database, &["fill"]).finished().await;
                database.run("DROP TABLE job").await;
            }
        }
    }

    /// Its worker, which posts to this URL; it has started to look for jobs when this returns.
    pub async fn work(self, database: &Database, url: &str) -> Process {
        let mut process = self.start(database, &["work", url]);
        assert_eq!(process.line().await, "ready");
        process
    }

    /// Whether all is done, as a statement.
    pub fn done(self) -> &'static str {
        match self {
            Peer::GraphileWorker => "SELECT NOT EXISTS (SELECT FROM graphile_worker._private_jobs)",
            Peer::PgBoss => "SELECT NOT EXISTS (SELECT FROM pgboss.job WHERE state < 'completed')",
        }
    }

    /// How many outcomes it has kept of attempts that succeeded, as a statement.
    pub fn outcomes(self) -> &'static str {
        match self {
            Peer::GraphileWorker => "SELECT count(*) FROM outcome WHERE status_code = 200",
            Peer::PgBoss => "SELECT count(*) FROM pgboss.job WHERE state = 'completed'",
        }
    }
}
