//! TLS to PostgreSQL: every sslmode does what libpq's does. psql, given the same environment, is the judge.

use harness::{Authority, Cluster, ClusterOptions, Database, Identity, Worker, postgres_command, until};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

/// What comes of connecting with this sslmode, root certificate (none, ours, other's, or the server's own) and host.
type Case = (&'static str, &'static str, &'static str, &'static str);

struct Server {
    cluster: Cluster,
    database: Database,
    ours: Authority,
    other: Authority,
}

impl Server {
    async fn start() -> Server {
        let conf = vec!["ssl_cert_file = 'server.crt'".to_owned(), "ssl_key_file = 'server.key'".into()];
        let cluster = Cluster::own(ClusterOptions { conf }).await;
        let database = Database::in_cluster(&cluster).await;
        Server { cluster, database, ours: Authority::new("Ours"), other: Authority::new("Other") }
    }

    /// From now on shows this certificate, and takes connections that this word of pg_hba.conf describes.
    async fn shows(&self, identity: &Identity, takes: &str) {
        let data = self.cluster.data();
        self.write(&data.join("server.crt"), &identity.certificate, 0o600);
        self.write(&data.join("server.key"), &identity.key, 0o600);
        let rules = format!("local all all trust\n{takes} all all 127.0.0.1/32 trust\n");
        self.write(&data.join("pg_hba.conf"), &rules, 0o600);
        for (file, content) in [
            ("ours", &self.ours.certificate),
            ("other", &self.other.certificate),
            ("its own", &identity.certificate),
        ] {
            self.write(&self.cluster.home().join(file), content, 0o644);
        }
        let before = self.database.text("SELECT clock_timestamp()").await;
        self.database.run("ALTER SYSTEM SET ssl = on").await;
        self.database.run("SELECT pg_reload_conf()").await;
        until("the certificate is in force", async || {
            let session = self.database.session().await;
            let loaded =
                format!("SELECT pg_conf_load_time() > '{before}' AND current_setting('ssl')::boolean");
            (Database::text_in(&session, &loaded).await == "t").then_some(())
        })
        .await;
    }

    /// The file is PostgreSQL's.
    fn write(&self, path: &Path, content: &str, mode: u32) {
        std::fs::write(path, content).expect("written");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its mode is set");
        let owner = std::fs::metadata(self.cluster.data()).expect("it is there");
        chown(path, Some(owner.uid()), Some(owner.gid())).expect("it is handed over");
    }

    /// Each case with psql and with a worker, all at once.
    async fn check(&self, cases: &[Case]) {
        let mut wrong = Vec::new();
        let checks = cases.iter().map(|(mode, root, host, expected)| async move {
            let (psql, worker) = self.both(mode, root, host).await;
            (psql != *expected || !worker.starts_with(expected))
                .then(|| format!("{mode}, {root} root, {host}: {expected}? psql: {psql}, worker: {worker}"))
        });
        for check in checks {
            wrong.extend(check.await);
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    async fn both(&self, mode: &str, root: &str, host: &str) -> (String, String) {
        let mut environment = self.database.environment();
        environment.retain(|(name, _)| *name != "PGHOST");
        environment.push(("PGHOST", host.to_owned()));
        environment.push(("PGSSLMODE", mode.to_owned()));
        environment.push(("HOME", self.cluster.home().display().to_string()));
        if root != "no" {
            environment.push(("PGSSLROOTCERT", self.cluster.home().join(root).display().to_string()));
        }
        let psql = postgres_command("psql", "KILL")
            .args(["-X", "-A", "-t", "-c", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"])
            .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
            .output()
            .expect("psql starts");
        let psql = match String::from_utf8_lossy(&psql.stdout).trim() {
            "t" => "encrypted".to_owned(),
            "f" => "plain".to_owned(),
            _ => "refused".to_owned(),
        };
        let worker = Worker::spawn(&environment, &[]).await;
        let outcome = until("the worker has connected, or says why not", async || {
            if worker.get("/healthz").await.is_some_and(|(status, _)| status == 200) {
                let encrypted = self.database.text(
                    "SELECT count(*) FILTER (WHERE ssl) || ' of ' || count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
                     WHERE application_name LIKE 'pg-webhook-worker%'",
                );
                let encrypted = encrypted.await;
                let (some, all) = encrypted.split_once(" of ")?;
                return Some(if some == all { "encrypted" } else if some == "0" { "plain" } else { "both" }.to_owned());
            }
            let log = worker.log();
            let said = log.iter().find(|line| line.contains("\"level\":\"WARN\"") || line.contains("\"level\":\"ERROR\""))?;
            Some(format!("refused: {said}"))
        })
        .await;
        worker.kill().await;
        (psql, outcome)
    }
}

#[tokio::test]
async fn sslmode_means_what_libpq_means() {
    let server = Server::start().await;
    server.shows(&server.ours.certify(&["localhost"]), "host").await;
    server
        .check(&[
            ("disable", "no", "localhost", "plain"),
            ("allow", "no", "localhost", "plain"),
            ("prefer", "no", "localhost", "encrypted"),
            ("require", "no", "localhost", "encrypted"),
            ("require", "ours", "127.0.0.1", "encrypted"),
            ("require", "other", "localhost", "refused"),
            ("verify-ca", "no", "localhost", "refused"),
            ("verify-ca", "ours", "127.0.0.1", "encrypted"),
            ("verify-ca", "other", "localhost", "refused"),
            ("verify-full", "ours", "localhost", "encrypted"),
            ("verify-full", "ours", "127.0.0.1", "refused"),
            ("verify-full", "other", "localhost", "refused"),
        ])
        .await;
}

#[tokio::test]
async fn a_server_that_insists_gets_what_it_wants_where_sslmode_permits() {
    let server = Server::start().await;
    let identity = server.ours.certify(&["localhost"]);
    server.shows(&identity, "hostssl").await;
    server
        .check(&[("disable", "no", "localhost", "refused"), ("allow", "no", "localhost", "encrypted")])
        .await;
    server.shows(&identity, "hostnossl").await;
    server.check(&[("prefer", "no", "localhost", "plain"), ("require", "no", "localhost", "refused")]).await;
}

#[tokio::test]
async fn certificates_as_people_have_them() {
    let server = Server::start().await;
    server.shows(&server.ours.certify_expired(&["localhost"]), "host").await;
    server
        .check(&[("require", "no", "localhost", "encrypted"), ("verify-ca", "ours", "localhost", "refused")])
        .await;
    server.shows(&server.ours.certify(&["127.0.0.1"]), "host").await;
    server.check(&[("verify-full", "ours", "127.0.0.1", "encrypted")]).await;
    // Itself its root certificate, whether or not it calls itself an authority.
    for authority in [true, false] {
        server.shows(&Identity::self_signed(&["localhost"], authority), "host").await;
        server
            .check(&[
                ("require", "no", "localhost", "encrypted"),
                ("require", "its own", "127.0.0.1", "encrypted"),
                ("verify-full", "its own", "localhost", "encrypted"),
                ("verify-full", "its own", "127.0.0.1", "refused"),
                ("verify-ca", "ours", "localhost", "refused"),
            ])
            .await;
    }
    server.shows(&as_the_manual_has_it(), "host").await;
    server
        .check(&[("require", "no", "localhost", "encrypted"), ("verify-ca", "ours", "localhost", "refused")])
        .await;
}

/// By the commands of the PostgreSQL manual's chapter on TLS: a certificate of version 1, from an older OpenSSL.
fn as_the_manual_has_it() -> Identity {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "openssl req -new -x509 -nodes -subj /CN=Root -keyout root.key -out root.crt &&
        openssl req -new -nodes -subj /CN=localhost -keyout server.key -out server.csr &&
        openssl x509 -req -in server.csr -days 365 -CA root.crt -CAkey root.key -CAcreateserial -out server.crt";
    let output =
        std::process::Command::new("sh").args(["-c", script]).current_dir(&folder).output().expect("a shell");
    let read = |name| std::fs::read_to_string(folder.path().join(name));
    match (read("server.crt"), read("server.key")) {
        (Ok(certificate), Ok(key)) => Identity { certificate, key },
        _ => panic!("openssl: {}", String::from_utf8_lossy(&output.stderr)),
    }
}
