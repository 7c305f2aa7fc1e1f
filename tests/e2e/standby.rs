//! A standby is no place to deliver from; once it is promoted it is, and owes what the primary owed.

use harness::{Cluster, ClusterOptions, Database, Receiver, Worker, until};

struct Pair {
    primary: Cluster,
    database: Database,
    standby: Cluster,
}

/// A primary with a database, and a standby that follows it.
async fn pair() -> Pair {
    let primary = Cluster::own(ClusterOptions::default()).await;
    let database = Database::in_cluster(&primary).await;
    let home = Cluster::new_home();
    let data = home.join("data");
    let folder = data.to_str().expect("a path in UTF-8");
    primary.run("pg_basebackup", &["-D", folder, "-R", "-X", "stream", "-c", "fast", "--no-sync"]);
    let standby = Cluster::over(home).await;
    Pair { primary, database, standby }
}

impl Pair {
    /// Waits until the standby has what the primary has committed.
    async fn caught_up(&self) {
        let there = self.database.text("SELECT pg_current_wal_flush_lsn()").await;
        let here = self.standby.connect("postgres").await.expect("a hot standby");
        until("the standby has caught up", async || {
            let replayed =
                Database::text_in(&here, &format!("SELECT pg_last_wal_replay_lsn() >= '{there}'")).await;
            (replayed == "t").then_some(())
        })
        .await;
    }

    /// The primary dies, the standby takes over.
    async fn fail_over(&self) -> Database {
        self.primary.kill().await;
        let database = Database::open(&self.standby, &self.database.name).await;
        assert_eq!(database.text("SELECT pg_promote()").await, "t");
        database
    }
}

#[tokio::test]
async fn a_standby_is_refused_and_delivers_what_is_owed_once_promoted() {
    let pair = pair().await;
    let receiver = Receiver::start().await;
    let (_, secret) = pair.database.endpoint(&receiver.url("/")).await;
    let worker = Worker::start(&pair.database).await;
    pair.database.run("SELECT webhook_emit('early.one', '{}') FROM generate_series(1, 20)").await;
    pair.database.drained().await;
    assert_eq!(worker.stop().await.code(), Some(0));
    pair.database.run("SELECT webhook_emit('owed.one', '{}') FROM generate_series(1, 300)").await;
    pair.caught_up().await;

    let mut environment = pair.database.environment();
    environment.retain(|(name, _)| !["PGHOST", "PGPORT"].contains(name));
    environment.push(("PGHOST", pair.standby.socket_dir().display().to_string()));
    environment.push(("PGPORT", pair.standby.port().to_string()));
    let (code, said) = Worker::spawn(&environment, &[]).await.ended().await;
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("the server is a standby: connect to the primary"), "{said}");

    let arm_id = pair.database.text("SELECT webhook.arm_id()").await;
    let promoted = pair.fail_over().await;
    assert_eq!(promoted.text("SELECT webhook.arm_id()").await, arm_id, "it stays armed");
    let _worker =
        Worker::start_with(&promoted, &["--allow-network", "127.0.0.0/8", "--arm-id", &arm_id]).await;
    promoted.drained().await;
    promoted.run("SELECT webhook_emit('new.one', '{}')").await;
    receiver.receives(321).await;
    promoted.drained().await;
    assert_eq!((receiver.count(), receiver.times_by_id().len()), (321, 321), "each once");
    assert!(receiver.requests().iter().all(|request| request.verify(&secret).is_ok()));
}

#[tokio::test]
async fn a_worker_that_knows_both_servers_follows_the_failover() {
    let pair = pair().await;
    let receiver = Receiver::start().await;
    pair.database.endpoint(&receiver.url("/")).await;
    let (one, other) = (&pair.standby, &pair.primary);
    let environment = [
        ("PGHOST", format!("{},{}", one.socket_dir().display(), other.socket_dir().display())),
        ("PGPORT", format!("{},{}", one.port(), other.port())),
        ("PGUSER", "postgres".to_owned()),
        ("PGDATABASE", pair.database.name.clone()),
        ("PGTARGETSESSIONATTRS", "read-write".to_owned()),
    ];
    let worker = Worker::spawn(&environment, &["--allow-network", "127.0.0.0/8"]).await;
    worker.ready().await;
    pair.database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 200)").await;
    receiver.receives(100).await;
    pair.caught_up().await;
    let promoted = pair.fail_over().await;
    promoted.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 50)").await;
    until("all have arrived", async || (receiver.times_by_id().len() >= 250).then_some(())).await;
    promoted.drained().await;
    assert_eq!(receiver.times_by_id().len(), 250);
    // What was recorded but not replicated yet is sent again.
    assert!(receiver.count() <= 450, "{}", receiver.count());
}
