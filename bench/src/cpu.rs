//! What processes have used: CPU time, memory.

use std::path::Path;

/// Clock ticks of /proc/PID/stat in a second: fixed in Linux's interface.
const TICKS: f64 = 100.0;

/// CPU seconds a process has used; with those of children it has waited for if `reaped`.
fn used_s(pid: u32, reaped: bool) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, fields)) = stat.rsplit_once(") ") else { return 0.0 };
    let ticks: Vec<f64> = fields.split(' ').skip(11).take(4).filter_map(|field| field.parse().ok()).collect();
    ticks.iter().take(if reaped { 4 } else { 2 }).sum::<f64>() / TICKS
}

pub fn process_s(pid: u32) -> f64 {
    used_s(pid, false)
}

/// Of the whole server: the postmaster, its children alive and those that have ended.
pub fn server_s(data: &Path) -> f64 {
    let pid_file = std::fs::read_to_string(data.join("postmaster.pid")).expect("the server runs");
    let postmaster: u32 = pid_file.lines().next().and_then(|pid| pid.parse().ok()).expect("a pid");
    let children =
        std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap_or_default();
    used_s(postmaster, true)
        + children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(process_s).sum::<f64>()
}

/// The most memory a process has had resident, in MiB.
pub fn peak_mib(pid: u32) -> f64 {
    memory_mib(pid, "VmHWM:")
}

/// Memory a process has resident now, in MiB.
pub fn resident_mib(pid: u32) -> f64 {
    memory_mib(pid, "VmRSS:")
}

fn memory_mib(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("Linux says how much memory");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number of kB") / 1024.0
}
