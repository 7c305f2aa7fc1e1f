//! PgBouncer in front of a cluster.

use crate::cluster::Cluster;
use crate::process::{free_port, postgres_command};
use crate::wait::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Child, Stdio};

/// Debian's place for it.
const PROGRAM: &str = "/usr/sbin/pgbouncer";

pub struct Pooler {
    process: Child,
    port: u16,
}

impl Pooler {
    /// Starts one that leads to any database of the cluster. `mode` is pool_mode: session, transaction, statement.
    pub async fn start(cluster: &Cluster, mode: &str) -> Pooler {
        let port = free_port();
        let home = cluster.home().display();
        // auth_type any takes every client for the user named here.
        let ini = format!(
            "[databases]\n* = user=postgres host={home} port={}\n[pgbouncer]\npool_mode = {mode}\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             logfile = {home}/pgbouncer-{port}.log\n",
            cluster.port()
        );
        let file = cluster.home().join(format!("pgbouncer-{port}.ini"));
        std::fs::write(&file, ini).expect("pgbouncer.ini is written");
        // Its path is absolute: it is found there whatever PostgreSQL's folder is.
        let mut command = postgres_command(PROGRAM, "KILL");
        command.arg("-q").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("setpriv is there (util-linux)");
        let pooler = Pooler { process, port };
        until("PgBouncer takes connections (`scripts/setup.sh test` installs it)", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", pooler.port)).await.ok().map(|_| ())
        })
        .await;
        pooler
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap_or(0)), Signal::SIGKILL);
        let _ = self.process.wait();
    }
}
