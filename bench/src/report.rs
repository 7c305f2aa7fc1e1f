//! Results as files: JSON under bench/results/, with the machine and the settings it was made with.

use crate::plot::Curve;
use crate::row::{Row, short};
use crate::stage::SETTINGS;
use serde_json::json;
use std::path::{Path, PathBuf};

/// bench/results/ of this clone.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    std::fs::create_dir_all(&folder).expect("a folder for results");
    folder
}

/// Writes the rows of a run over those of the last one of this name; a trial's are not kept.
pub fn write(name: &str, rows: &[Row], rounds: usize, trial: bool) {
    if trial {
        return;
    }
    let at_s = crate::series::now_us() / 1_000_000;
    let result = json!({
        "at": at_s, "rounds": rounds, "machine": machine(), "settings": SETTINGS,
        "peers": include_str!("../peers/package.json").parse::<serde_json::Value>().expect("JSON")["dependencies"],
        "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
    });
    let path = folder().join(format!("{name}.json"));
    std::fs::write(&path, format!("{result:#}\n")).expect("the results are written");
    println!("written to {}", path.display());
}

/// Draws curves beside the results, and says their points; a trial's are not kept.
pub fn draw(curves: &[Curve], trial: bool) {
    for curve in curves {
        let points: Vec<String> =
            curve.points.iter().map(|(x, y)| format!("{x:.0}: {}", short(*y))).collect();
        println!("{} ({}): {}", curve.title, curve.y_label, points.join(", "));
        if !trial {
            let path = folder().join(format!("{}.svg", curve.name));
            std::fs::write(&path, curve.svg()).expect("the picture is written");
        }
    }
}

/// Processors, memory and kernel, in a line.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split(':').nth(1))
            .unwrap_or("")
            .trim()
            .to_owned()
    };
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{cores} × {}, memory {}, Linux {}",
        field(&cpu, "model name"),
        field(&memory, "MemTotal"),
        kernel.trim()
    )
}
