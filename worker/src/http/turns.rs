//! No connection keeps its thread from the others: after two reads or writes it waits for its next turn.
//!
//! hyper parses for as long as there is something to read, up to 128 times 400 KiB: that is what tokio lets one task do
//! at a time. A receiver that answers with informational responses (1xx) without end would stop all others of the
//! thread for seconds. reqwest has no place for anything between parser and socket, but with `connection_verbose` it
//! tells the `log` facade of each read and write while it is made. So this logger writes nothing: it makes them cost more.

use log::{LevelFilter, Log, Metadata, Record};
use std::pin::pin;
use std::task::{Context, Waker};
use tokio::task::coop::consume_budget;

/// Of the 128 units that tokio gives a task for a turn. A request with a short answer needs no turn more than without:
/// one write in the first, one read in the second.
const COST: usize = 64;
const CONNECTIONS: &str = "reqwest::connect::verbose";

struct Turns;

/// Before the first connection is made.
pub fn install() {
    if log::set_logger(&Turns).is_err() {
        unreachable!("nothing else logs through this facade");
    }
    log::set_max_level(LevelFilter::Trace);
}

impl Log for Turns {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == CONNECTIONS
    }

    /// What was read or written is never rendered.
    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..COST {
                if pin!(consume_budget()).poll(&mut context).is_pending() {
                    break;
                }
            }
        }
    }

    fn flush(&self) {}
}
