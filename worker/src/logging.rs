//! Logs: to people on a terminal, to machines otherwise. On standard error.

use crate::cli::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let terminal = std::io::stderr().is_terminal();
    if format == LogFormat::Json || (format == LogFormat::Auto && !terminal) {
        log.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    } else {
        log.with_ansi(terminal).with_target(false).init();
    }
}

/// A panic ends the process: half a worker, with its locks still held, would be worse than none.
pub fn exit_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "internal error, please report it: {message}");
        std::process::exit(crate::exit::Code::Internal as i32);
    }));
}
