//! The worker binary, run as a user would.

use crate::database::Database;
use crate::wait::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

pub struct Worker {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    /// Tasks that read what it writes, to the end.
    readers: Vec<JoinHandle<()>>,
    /// where /healthz and /metrics are
    pub http_port: u16,
}

impl Worker {
    /// Starts `run` against a database, loopback receivers allowed, and waits until it is ready.
    pub async fn start(database: &Database) -> Worker {
        Self::start_with(database, &["--allow-network", "127.0.0.0/8"]).await
    }

    /// The same with these arguments instead of `--allow-network`.
    pub async fn start_with(database: &Database, args: &[&str]) -> Worker {
        let worker = Self::spawn(&database.environment(), args).await;
        worker.ready().await;
        worker
    }

    /// Starts `run` with this environment and does not wait.
    pub async fn spawn(environment: &[(&'static str, String)], args: &[&str]) -> Worker {
        let http_port = crate::free_port();
        let mut all = vec!["run".to_owned(), "--http-address".into(), format!("127.0.0.1:{http_port}")];
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let mut worker = Self::command(&all, environment);
        worker.http_port = http_port;
        worker
    }

    /// Any subcommand, with nothing but this environment.
    pub fn command(args: &[String], environment: &[(&'static str, String)]) -> Worker {
        let program = std::env::var("PG_WEBHOOK_WORKER").unwrap_or_else(|_| {
            concat!(env!("CARGO_MANIFEST_DIR"), "/../target/debug/pg-webhook-worker").into()
        });
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(environment.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the worker binary is there: cargo build -p pg-webhook-worker");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (out, err) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        let readers = vec![keep_lines(out, log.clone()), keep_lines(err, log.clone())];
        Worker { child, log, readers, http_port: 0 }
    }

    /// Waits until /healthz says that it delivers.
    pub async fn ready(&self) {
        until("the worker is ready", async || {
            assert!(self.running(), "the worker ended: {}", self.log().join("\n"));
            (self.get("/healthz").await?.0 == 200).then_some(())
        })
        .await;
    }

    /// Status and body of a GET to its own HTTP address; None while nothing answers.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        crate::receiver::get(self.http_port, path).await
    }

    /// The value of a metric, summed over its labels; 0 if it is not there yet.
    pub async fn metric(&self, name: &str) -> f64 {
        let Some((_, text)) = self.get("/metrics").await else { return 0.0 };
        text.lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Everything it wrote so far, line by line.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic while locked").clone()
    }

    /// Waits for a line of the log that contains this text.
    pub async fn says(&self, text: &str) -> String {
        let found = async || self.log().into_iter().find(|line| line.contains(text));
        until(&format!("the worker says \"{text}\""), found).await
    }

    pub fn pid(&self) -> i32 {
        self.child.id().and_then(|pid| i32::try_from(pid).ok()).expect("it has not been waited for")
    }

    fn running(&self) -> bool {
        self.child.id().is_some_and(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !status.is_empty() && !status.contains(") Z ")
        })
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("the worker runs");
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait().await;
    }

    /// SIGTERM, and waits for its exit code.
    pub async fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        tokio::time::timeout(crate::DEADLINE, self.child.wait()).await.expect("it stops").expect("waited")
    }

    /// Waits until it ends by itself; returns its exit code and what it wrote.
    pub async fn ended(mut self) -> (Option<i32>, String) {
        let status = tokio::time::timeout(crate::DEADLINE, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("it does not end: {}", self.log().join("\n")))
            .expect("waited");
        for reader in std::mem::take(&mut self.readers) {
            reader.await.expect("no panic");
        }
        (status.code(), self.log().join("\n"))
    }

    /// SIGSTOP: it is still there and does nothing.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// SIGTERM without waiting.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }
}

fn keep_lines(pipe: impl AsyncRead + Unpin + Send + 'static, log: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut lines = BufReader::new(pipe).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Ok(mut log) = log.lock() {
                log.push(line);
            }
        }
    })
}
