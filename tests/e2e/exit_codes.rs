//! Why the worker ends, told by its exit code and by what it says: what to do about it.

use harness::{Answer, Database, Receiver, Worker};
use std::time::Duration;

type Environment = Vec<(&'static str, String)>;

/// `run` with these arguments and this environment: it must end by itself with this code and say all of this.
async fn ends(environment: &Environment, args: &[&str], code: i32, says: &[&str]) {
    let (ended, said) = Worker::spawn(environment, args).await.ended().await;
    assert_eq!(ended, Some(code), "{args:?}: {said}");
    for text in says {
        assert!(said.contains(text), "{args:?} says \"{text}\": {said}");
    }
}

/// The worker alone with these arguments: its exit code and what it wrote.
async fn command(args: &[&str]) -> (Option<i32>, String) {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    Worker::command(&args, &[]).ended().await
}

fn as_user(database: &Database, user: &str) -> Environment {
    let mut environment = database.environment();
    environment.retain(|(name, _)| *name != "PGUSER");
    environment.push(("PGUSER", user.to_owned()));
    environment
}

#[tokio::test]
async fn wrong_usage_is_2_and_says_what_is_right() {
    let nobody = vec![("PGHOST", "/nonexistent".to_owned()), ("PGUSER", "nobody".to_owned())];
    let busy = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let busy = busy.local_addr().expect("an address").to_string();
    for (args, says) in [
        (vec!["--retries", "3"], vec!["unexpected argument '--retries'", "--help"]),
        (vec!["--allow-network", "10.0.0.0/33"], vec!["'10.0.0.0/33'", "--allow-network"]),
        (vec!["--http-address", "9187"], vec!["give an address and port such as 127.0.0.1:9187, or off"]),
        (vec!["--http-address", &busy], vec![&busy, "give another --http-address, or off"]),
        (vec!["--dns-server", "dns.example"], vec!["give an IP address"]),
        (vec!["--shutdown-timeout", "30"], vec!["give a number and a unit: 500ms, 30s, 2m, 1h"]),
        (vec!["--arm-id", "17"], vec!["--arm-id"]),
        (vec!["--ca-file", "/nonexistent.pem"], vec!["/nonexistent.pem"]),
        (vec!["--certificate-dir", "/nonexistent"], vec!["/nonexistent: there is no such folder"]),
        (vec!["--bind-address", "eth0"], vec!["'eth0'", "--bind-address"]),
        (vec!["--bind-address", "192.0.2.1"], vec!["192.0.2.1: ", "give an address of this machine"]),
        (vec!["--bind-address", "127.0.0.1,127.0.0.2"], vec!["give at most one IPv4 and one IPv6 address"]),
        (vec!["--proxy", "socks5://proxy:1080"], vec!["--proxy: its scheme must be http or https"]),
        (vec!["--proxy", "http://me:hunter2@proxy"], vec!["--proxy: ", "PG_WEBHOOK_PROXY_PASSWORD"]),
        (
            vec!["--proxy", "http://proxy", "--proxy-credentials-file", "/nonexistent"],
            vec!["--proxy-credentials-file /nonexistent: no such file"],
        ),
        (vec!["--database-url", "mysql://db/shop"], vec!["--database-url", "its scheme must be postgresql"]),
        (vec!["--database-url", "postgresql://db/shop?sslmode=maybe"], vec!["sslmode"]),
        (vec!["--database-url", "postgresql://db/shop?service=x"], vec!["service files are not read"]),
    ] {
        let args: Vec<String> = std::iter::once("run").chain(args).map(str::to_owned).collect();
        let (code, said) = Worker::command(&args, &nobody).ended().await;
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
        for text in says {
            assert!(said.contains(text), "{args:?} says \"{text}\": {said}");
        }
    }
    for (password, says, args) in [
        ("PG_WEBHOOK_SMTP_PASSWORD", "but PG_WEBHOOK_SMTP_USER is not", ["run", "--smtp-url", "smtp://mail"]),
        ("PG_WEBHOOK_PROXY_PASSWORD", "but PG_WEBHOOK_PROXY_USER is not", ["run", "--proxy", "http://proxy"]),
    ] {
        let environment = [nobody.clone(), vec![(password, "hunter2".to_owned())]].concat();
        let (code, said) = Worker::command(&args.map(str::to_owned), &environment).ended().await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(&format!("{password} is set, {says}")) && !said.contains("hunter2"), "{said}");
    }
    assert_eq!(command(&[]).await.0, Some(2), "no subcommand");
    assert_eq!(command(&["serve"]).await.0, Some(2), "an unknown one");
}

#[tokio::test]
async fn a_password_among_the_arguments_is_2_and_is_not_repeated() {
    let database = Database::new().await;
    let environment = database.environment();
    let (host, port) = (&environment[0].1, &environment[1].1);
    for url in [
        format!("postgresql://postgres:hunter2@localhost:{port}/{}", database.name),
        format!("postgresql:///{}?host={host}&port={port}&user=postgres&password=hunter2", database.name),
        format!("host={host} port={port} user=postgres dbname={} password=hunter2", database.name),
    ] {
        let (code, said) = Worker::spawn(&Vec::new(), &["--database-url", &url]).await.ended().await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("PG_WEBHOOK_DATABASE_URL, PGPASSWORD or ~/.pgpass"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        // In the environment it is all right.
        let worker =
            Worker::spawn(&[("PG_WEBHOOK_DATABASE_URL", url.replace("localhost", "127.0.0.1"))], &[]).await;
        worker.ready().await;
        assert!(!worker.log().join("\n").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_database_without_the_extension_or_with_another_contract_is_3() {
    let cluster = harness::Cluster::shared().await;
    let bare = Database::empty(cluster).await;
    ends(&bare.environment(), &[], 3, &["CREATE EXTENSION pg_webhook"]).await;

    let database = Database::new().await;
    let later = database
        .text("SELECT pg_get_functiondef('webhook.worker_hello'::regproc)")
        .await
        .replace("SELECT 1,", "SELECT 99,");
    database.run(&later).await;
    ends(&database.environment(), &[], 3, &["contract 99", "ALTER EXTENSION pg_webhook UPDATE"]).await;
}

#[tokio::test]
async fn a_role_that_may_not_deliver_is_4() {
    let database = Database::new().await;
    let role = database.role("stranger", "").await;
    ends(&as_user(&database, &role), &[], 4, &["permission denied", "GRANT webhook_worker TO"]).await;
    ends(&as_user(&database, "nobody_of_that_name"), &[], 4, &["nobody_of_that_name", "pg_hba.conf"]).await;
    // With the grant it is enough, and without it once more while it runs it is not.
    database.run(&format!("GRANT webhook_worker TO {role}")).await;
    let worker = Worker::spawn(&as_user(&database, &role), &[]).await;
    worker.ready().await;
    database.run(&format!("REVOKE webhook_worker FROM {role}")).await;
    let (code, said) = worker.ended().await;
    assert_eq!(code, Some(4), "{said}");
}

#[tokio::test]
async fn a_database_that_is_not_armed_is_6() {
    let database = Database::new().await;
    let environment = database.environment();
    database.endpoint("https://example.com/").await;
    let other = "5b1c1f0e-0000-4000-8000-000000000000";
    ends(&environment, &["--arm-id", other], 6, &["arm id", other, "webhook_arm()"]).await;

    let worker = Worker::start(&database).await;
    // As in a restored copy, and it is noticed by a worker that runs.
    database.run("UPDATE webhook.installation SET id = gen_random_uuid()").await;
    let (code, said) = worker.ended().await;
    assert_eq!(code, Some(6), "{said}");
    ends(&environment, &[], 6, &["is not armed, so nothing is sent from it", "SELECT webhook_arm()"]).await;
    let arm_id = database.text("SELECT webhook_arm()").await;
    Worker::start_with(&database, &["--arm-id", &arm_id]).await;
}

#[tokio::test]
async fn told_to_stop_it_finishes_and_records_what_is_under_way_and_exits_0() {
    let (database, receiver) = (Database::new().await, Receiver::start().await);
    database.endpoint(&receiver.url("/")).await;
    receiver.answers(|_| Answer::status(200).after(Duration::from_millis(400)));
    let worker = Worker::start(&database).await;
    database.run("SELECT webhook_emit('a.b', '{}') FROM generate_series(1, 100)").await;
    receiver.receives(16).await;
    assert_eq!(worker.stop().await.code(), Some(0));
    let recorded = database.number("SELECT count(*) FROM webhook.attempt WHERE outcome = 'delivered'").await;
    assert_eq!(recorded, receiver.count() as i64, "each request that was begun");
    assert_eq!(
        database.number("SELECT count(*) FROM webhook.queue").await,
        100 - recorded,
        "the others are still owed"
    );
}

#[tokio::test]
async fn help_teaches_by_examples_and_names_the_exit_codes() {
    const CODES: [&str; 7] = ["0", "1", "2", "3", "4", "5", "6"];
    for (args, shows) in [
        (vec!["--help"], vec!["run", "listen", "--version"]),
        (
            vec!["run", "--help"],
            vec!["Examples:", "pg-webhook-worker run --", "PG_WEBHOOK_ALLOW_NETWORK", "--arm-id"],
        ),
        (
            vec!["listen", "--help"],
            vec!["Examples:", "pg-webhook-worker listen --", "--fail-percent", "PG_WEBHOOK_SECRET"],
        ),
    ] {
        let (code, said) = command(&args).await;
        assert_eq!(code, Some(0), "{args:?}");
        for text in shows {
            assert!(said.contains(text), "{args:?} shows {text}: {said}");
        }
        let (_, codes) = said.split_once("Exit codes:\n").unwrap_or_else(|| panic!("{args:?}: {said}"));
        let listed: Vec<&str> = codes
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|word| word.len() == 1)
            .collect();
        let expected = if args[0] == "listen" { &CODES[..3] } else { &CODES[..] };
        assert_eq!(listed, expected, "{args:?}");
    }
}
