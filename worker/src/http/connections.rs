//! What reqwest tells the `log` facade of its connections, at the moment and in the task in which it happens. This logger
//! writes nothing: it notes how far a request has come, and makes reads and writes cost turns.
//!
//! reqwest has no place for either: nothing can stand between parser and socket, and a layer around the connector is
//! copied, with two boxes, six times a request.

use super::phase::{Phase, enter};
use super::turns;
use log::{LevelFilter, Log, Metadata, Record};

/// That a connection is begun, by the request that needs one.
const CONNECT: &str = "reqwest::connect";
/// With `connection_verbose`: each read and write of it.
const VERBOSE: &str = "reqwest::connect::verbose";

struct Connections;

/// Before the first connection is made.
pub fn listen() {
    if log::set_logger(&Connections).is_err() {
        unreachable!("nothing else logs through this facade");
    }
    log::set_max_level(LevelFilter::Trace);
}

impl Log for Connections {
    /// Asked when a connection is there, encryption and all: whether its reads and writes are wanted.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let connected = metadata.target() == VERBOSE;
        if connected {
            enter(Phase::Answer);
        }
        connected
    }

    /// What was read or written is never rendered.
    fn log(&self, record: &Record<'_>) {
        match record.target() {
            CONNECT => enter(Phase::Connecting),
            VERBOSE => turns::use_up(),
            _ => {}
        }
    }

    fn flush(&self) {}
}
