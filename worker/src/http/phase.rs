//! How far a request has come, so that a time-out can say what it was waiting for.

use std::cell::Cell;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    LookingUp,
    Connecting,
    Answer,
    Body,
}

tokio::task_local! {
    /// Of the request that the present task makes. The connector runs within that task, unless another request's
    /// connection came free first: then nobody asks any more.
    pub static PHASE: Cell<Phase>;
}

pub fn enter(phase: Phase) {
    let _ = PHASE.try_with(|cell| cell.set(phase));
}

pub fn present() -> Phase {
    PHASE.try_with(Cell::get).unwrap_or(Phase::Answer)
}

impl Phase {
    pub fn waiting_for(self) -> &'static str {
        match self {
            Phase::LookingUp => "looking up the host",
            Phase::Connecting => "connecting",
            Phase::Answer => "waiting for an answer",
            Phase::Body => "reading the answer",
        }
    }
}
