//! A network of a test's own.

use nix::sched::{CloneFlags, unshare};
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Runs a test in a network namespace of its own in which every unicast address, public ones too, leads to this machine:
/// whatever is dialled arrives at the test's receivers, or nowhere. Processes that the test starts are in it as well.
/// PostgreSQL is reached through its socket, if it was started before.
///
/// Needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN. Without, it says so, past the test runner's capture, and returns
/// None: that part of the test was not run.
pub async fn isolated<T, F>(test: F) -> Option<T>
where
    T: Send + 'static,
    F: AsyncFnOnce() -> T + Send + 'static,
{
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        // Dropped at the end, also by a panic: then the thread is waited for.
        let _sender = sender;
        if let Err(problem) = unshare(CloneFlags::CLONE_NEWNET) {
            let said = format!("NOT RUN: {name} needs root and a network namespace of its own: {problem}\n");
            let _ = std::io::stderr().write_all(said.as_bytes());
            return None;
        }
        ip("link set lo up");
        ip("route add local default dev lo");
        if Path::new("/proc/thread-self/net/if_inet6").exists() {
            ip("-6 route add local default dev lo");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Some(runtime.block_on(test()))
    });
    let _ = receiver.await;
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn ip(args: &str) {
    let output = Command::new("ip").args(args.split(' ')).output().expect("ip is there (iproute2)");
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
}
