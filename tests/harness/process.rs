//! Starting programs that end with the test process, as the user PostgreSQL accepts.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Folder of PostgreSQL's programs.
pub fn bindir() -> PathBuf {
    if let Ok(dir) = std::env::var("PG_WEBHOOK_TEST_BINDIR") {
        return dir.into();
    }
    let mut versions: Vec<u32> = std::fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL is installed; `make setup` does it")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    versions.sort_unstable();
    format!("/usr/lib/postgresql/{}/bin", versions.last().expect("a version of PostgreSQL")).into()
}

/// A command of PostgreSQL, as an unprivileged user where this process is root (PostgreSQL refuses root).
/// `on_death` is the signal it gets when the thread that started it ends.
pub fn postgres_command(program: &str, on_death: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", on_death]);
    if is_root() {
        let user = std::env::var("PG_WEBHOOK_TEST_OSUSER").unwrap_or_else(|_| "postgres".into());
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    }
    command.arg(bindir().join(program)).env_remove("RUST_BACKTRACE").current_dir("/");
    command
}

/// Runs a command of PostgreSQL to its end; panics with what it said if it fails.
pub fn run_postgres(program: &str, args: &[&str]) -> String {
    let output =
        postgres_command(program, "KILL").args(args).output().expect("setpriv is there (util-linux)");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?} failed: {said}");
    said
}

pub fn is_root() -> bool {
    // The owner of our own process's folder is who we are.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// A port of 127.0.0.1 nobody listens on now: each time another one, below those that the system gives to whoever asks
/// for any.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(997);
    loop {
        let step = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + u16::try_from(step % 20_000).expect("it is small");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
