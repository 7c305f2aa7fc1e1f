//! A PostgreSQL cluster of the test's own: data, port and socket in a temporary folder.

use crate::process::{bindir, free_port, is_root, postgres_command, run_postgres};
use crate::wait::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Duration;

/// Settings beyond those of every test cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// lines of postgresql.conf
    pub conf: Vec<String>,
}

pub struct Cluster {
    home: PathBuf,
    port: u16,
    server: Mutex<Option<Child>>,
}

impl Cluster {
    /// The cluster all tests of this process share; each makes databases of its own in it.
    pub async fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        let cluster = tokio::task::spawn_blocking(|| {
            SHARED.get_or_init(|| {
                let cluster = Cluster::create(&ClusterOptions::default());
                cluster.start_detached();
                cluster
            })
        })
        .await
        .expect("the cluster is made");
        cluster.ready().await;
        cluster
    }

    /// A cluster for a test that stops, kills or copies it.
    pub async fn own(options: ClusterOptions) -> Cluster {
        let cluster = tokio::task::spawn_blocking(move || Cluster::create(&options))
            .await
            .expect("the cluster is made");
        cluster.start().await;
        cluster
    }

    /// A cluster over data that is there already: a base backup, an upgraded copy.
    pub async fn over(home: PathBuf) -> Cluster {
        let cluster = Cluster { home, port: free_port(), server: Mutex::new(None) };
        cluster.start().await;
        cluster
    }

    /// What pg_upgrade makes of this cluster, started; this one stays stopped.
    pub async fn upgraded(&self) -> Cluster {
        self.stop().await;
        let old_data = self.data();
        let new = tokio::task::spawn_blocking(move || {
            let new = Cluster::create(&ClusterOptions::default());
            let ports = [free_port().to_string(), free_port().to_string()];
            let output = postgres_command("pg_upgrade", "KILL")
                // It puts its sockets and scripts where it stands.
                .current_dir(&new.home)
                .args(["-U", "postgres", "-p", &ports[0], "-P", &ports[1], "-b"])
                .arg(bindir())
                .arg("-B")
                .arg(bindir())
                .arg("-d")
                .arg(old_data)
                .arg("-D")
                .arg(new.data())
                .output()
                .expect("pg_upgrade starts");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            new
        })
        .await
        .expect("the cluster is upgraded");
        new.start().await;
        new
    }

    /// A folder for one more cluster, owned by the user PostgreSQL runs as.
    pub fn new_home() -> PathBuf {
        let home =
            tempfile::Builder::new().prefix("pg_webhook-test-").tempdir_in("/tmp").expect("a folder").keep();
        if is_root() {
            let status = std::process::Command::new("chown").arg("postgres:postgres").arg(&home).status();
            assert!(status.is_ok_and(|s| s.success()), "chown of {}", home.display());
        }
        home
    }

    fn create(options: &ClusterOptions) -> Cluster {
        remove_leftovers();
        let home = Self::new_home();
        let data = home.join("data");
        let data = data.to_str().expect("a path in UTF-8");
        run_postgres(
            "initdb",
            &[
                "-D",
                data,
                "-U",
                "postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ],
        );
        let mut conf = std::fs::read_to_string(home.join("data/postgresql.conf")).expect("postgresql.conf");
        for line in [
            "max_connections = 400",
            "max_prepared_transactions = 50",
            "shared_buffers = 256MB",
            "max_wal_size = 4GB",
            "log_line_prefix = '%m [%p] %d '",
            "timezone = 'UTC'",
            "max_locks_per_transaction = 256",
            // Tests kill processes, not the machine: what was written survives, and a busy disk delays nobody.
            "fsync = off",
        ] {
            conf.push_str(line);
            conf.push('\n');
        }
        for line in &options.conf {
            conf.push_str(line);
            conf.push('\n');
        }
        std::fs::write(home.join("data/postgresql.conf"), conf).expect("postgresql.conf is written");
        Cluster { home, port: free_port(), server: Mutex::new(None) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn socket_dir(&self) -> &Path {
        &self.home
    }

    pub fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Starts it from a thread that lives as long as the process: the server dies with the thread that started it.
    fn start_detached(&self) {
        let (home, port) = (self.home.clone(), self.port);
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = sender.send(spawn_server(&home, port));
            loop {
                std::thread::park();
            }
        });
        *self.server.lock().expect("no panic while locked") =
            Some(receiver.recv().expect("the server starts"));
    }

    pub async fn start(&self) {
        self.start_detached();
        self.ready().await;
    }

    async fn ready(&self) {
        until("the cluster takes connections", async || {
            if let Some(Ok(Some(status))) =
                self.server.lock().expect("no panic while locked").as_mut().map(Child::try_wait)
            {
                let log = std::fs::read_to_string(self.home.join("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(10).collect();
                panic!("the server ended instead, {status}; its log, the last line first: {last:#?}");
            }
            let client = self.connect("postgres").await.ok()?;
            client.simple_query("SELECT").await.ok().map(|_| ())
        })
        .await;
    }

    /// Ends every server process at once, as a crash of the machine would (unflushed WAL is lost with the page cache
    /// of a real machine only; see [`ClusterOptions::conf`] wal_writer_delay for what a process crash can lose).
    pub async fn kill(&self) {
        self.end(Signal::SIGKILL).await;
    }

    /// Stops it in an orderly way.
    pub async fn stop(&self) {
        self.end(Signal::SIGINT).await;
    }

    async fn end(&self, signal: Signal) {
        let child = self.server.lock().expect("no panic while locked").take();
        let Some(mut child) = child else { return };
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        let mut children = Vec::new();
        if signal == Signal::SIGKILL {
            // Held still, it starts no child in place of one that ends.
            let _ = kill(pid, Signal::SIGSTOP);
            // The children first, so that none of them finishes its work in peace.
            children = children_of(pid);
            for process in &children {
                let _ = kill(*process, Signal::SIGKILL);
            }
        }
        let _ = kill(pid, signal);
        tokio::task::spawn_blocking(move || child.wait()).await.expect("waited").expect("the server ended");
        if signal == Signal::SIGKILL {
            until("every process of the server has ended", async || {
                (!children.iter().any(|process| runs(*process))).then_some(())
            })
            .await;
            // Left by the killed postmaster; the next one would take it for a running server's.
            let _ = std::fs::remove_file(self.data().join("postmaster.pid"));
            let _ = std::fs::remove_file(self.home.join(format!(".s.PGSQL.{}.lock", self.port)));
        }
    }

    pub async fn connect(&self, database: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        self.connect_as(database, "postgres").await
    }

    pub async fn connect_as(
        &self,
        database: &str,
        user: &str,
    ) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.home).port(self.port).user(user).dbname(database);
        config.connect_timeout(Duration::from_secs(10));
        let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// What psql shows for this script, errors and all.
    pub fn psql(&self, database: &str, script: &str) -> String {
        use std::io::Write;
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut command = postgres_command("psql", "KILL");
        command
            .args(["-X", "-a", "-q", "-U", "postgres", "-d", database, "-p", &self.port.to_string(), "-h"])
            .arg(&self.home)
            .args(["-v", "SHOW_CONTEXT=never"])
            .env("PGTZ", "UTC")
            .stdin(Stdio::piped())
            // One pipe for both: errors stand where they came.
            .stdout(writer.try_clone().expect("a pipe"))
            .stderr(writer);
        let mut psql = command.spawn().expect("psql starts");
        drop(command);
        let mut stdin = psql.stdin.take().expect("a pipe");
        let script = script.to_owned();
        let feeder = std::thread::spawn(move || stdin.write_all(script.as_bytes()));
        let shown = std::io::read_to_string(reader).expect("psql writes UTF-8");
        feeder.join().expect("no panic").expect("psql reads");
        psql.wait().expect("psql ends");
        shown
    }

    /// A program of PostgreSQL as a client of this cluster; returns what it said, panics if it fails.
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        let port = self.port.to_string();
        let home = self.home.to_str().expect("a path in UTF-8");
        let mut all = vec!["-h", home, "-p", &port, "-U", "postgres"];
        all.extend(args);
        run_postgres(program, &all)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut child) = self.server.lock().ok().and_then(|mut server| server.take()) {
            let _ = kill(Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)), Signal::SIGQUIT);
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

fn spawn_server(home: &Path, port: u16) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(home.join("log")).expect("a log");
    postgres_command("postgres", "INT")
        .arg("-D")
        .arg(home.join("data"))
        .args(["-p", &port.to_string()])
        .arg("-c")
        .arg(format!("unix_socket_directories={}", home.display()))
        .args(["-c", "listen_addresses=127.0.0.1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("postgres starts")
}

fn children_of(parent: Pid) -> Vec<Pid> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let list = std::fs::read_to_string(path).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok().map(Pid::from_raw)).collect()
}

/// Not if it has ended and only its parent has not heard of it.
fn runs(process: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

/// Folders of test processes that have ended: the shared cluster's server goes with its process, its data stays. A
/// folder that is young may be one whose server is still to start.
fn remove_leftovers() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        for entry in std::fs::read_dir("/tmp").into_iter().flatten().flatten() {
            let path = entry.path();
            let named = entry.file_name().to_string_lossy().starts_with("pg_webhook-test-");
            let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|at| at.elapsed().ok());
            if named && age.is_some_and(|age| age > Duration::from_secs(300)) && !is_served(&path) {
                let _ = std::fs::remove_dir_all(path);
            }
        }
    });
}

/// Whether a server runs in this folder: the first line of its postmaster.pid names a process.
fn is_served(home: &Path) -> bool {
    let lock = std::fs::read_to_string(home.join("data/postmaster.pid")).unwrap_or_default();
    lock.lines().next().is_some_and(|pid| Path::new("/proc").join(pid).exists())
}
