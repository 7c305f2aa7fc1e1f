//! Processes a bench starts beside the cluster: they end with it. And waiting for what they do.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::future::Future;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// This program's own subcommand, as a process of its own.
    pub fn own(args: &[&str]) -> Process {
        let program = std::env::current_exe().expect("the path of this program");
        Self::start(program.to_str().expect("a path in UTF-8"), args, &[])
    }

    /// Any program, which writes what it has to say to its standard output, line by line.
    pub fn start(program: &str, args: &[&str], environment: &[(&str, String)]) -> Process {
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", program])
            .args(args)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Process { child, lines }
    }

    /// The next line that it writes.
    pub async fn line(&mut self) -> String {
        self.lines.next_line().await.expect("its output is text").expect("it writes a line before it ends")
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("it has not been waited for")
    }

    /// Waits until it ends of itself; panics if it failed.
    pub async fn finished(mut self) {
        let status = self.child.wait().await.expect("waited");
        assert!(status.success(), "a process of the bench failed: {status}");
    }

    pub async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }
}

/// A process is still there and does nothing.
pub fn freeze(pid: u32) {
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGSTOP).expect("it runs");
}

/// It goes on.
pub fn thaw(pid: u32) {
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGCONT).expect("it runs");
}

/// Asks every few milliseconds until there is a value; panics when patience is over.
pub async fn patiently<T, F: Future<Output = Option<T>>>(
    what: &str,
    patience: Duration,
    mut ask: impl FnMut() -> F,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = ask().await {
            return value;
        }
        assert!(began.elapsed() < patience, "waited {patience:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
