//! What actors say to each other. Mailboxes are bounded; their sizes stand with the actors.

use crate::config::EndpointConfig;
use crate::intake::Ask;
use crate::lease::Epoch;
use crate::outcome::Outcome;
use crate::owed::Owed;
use crate::snapshot::Snapshot;
use crate::tail::Tell;
use actix::Message;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

// To an endpoint.

/// New rows, from the tail.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Offer(pub Vec<Owed>);

#[derive(Message)]
#[rtype(result = "()")]
pub struct Told {
    pub tell: Tell,
    pub epoch: Epoch,
    /// When the slot was taken over from a worker that ended without a word, if it was.
    pub takeover: Option<Instant>,
}

#[derive(Message)]
#[rtype(result = "()")]
pub struct Configure {
    pub config: Arc<EndpointConfig>,
    /// What was in hand may be owed no longer.
    pub recall: bool,
}

// To the tailer.

/// What an endpoint asks of the tail; see `tail.rs` for `catch_ups`.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AskTail {
    pub endpoint_id: i32,
    pub ask: Ask,
    pub catch_ups: u32,
}

/// An endpoint has nothing to do. Answers whether its actor may end; if so, another one is started when there are
/// rows, or at `due`.
#[derive(Message)]
#[rtype(result = "bool")]
pub struct Leave {
    pub endpoint_id: i32,
    pub heard: u32,
    pub due: Option<Instant>,
}

/// Something else than new rows: see sql/cancel.sql for what endpoints are owed no longer.
#[derive(Clone, Copy, Message)]
#[rtype(result = "()")]
pub enum Changed {
    /// An endpoint's configuration, or what it is owed.
    Endpoint(i32),
    /// Configurations.
    Configs,
    /// Whatever there was no notification of: nobody listened.
    Unheard,
}

/// There may be new rows.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Wake;

/// This process owns these slots, and owned nothing in this epoch before.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Gained {
    pub epoch: Epoch,
    pub slots_in_all: i32,
    pub slots: Vec<i32>,
    /// Of those, the ones taken over from a worker that ended without a word.
    pub abandoned: Vec<i32>,
}

/// All slots are lost.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Lost;

/// Give these slots up: answers when nothing is under way for their endpoints any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct GiveUp(pub Vec<i32>);

// To a reader.

/// A page of an endpoint's backlog; see sql/worker/backlog.sql.
#[derive(Message)]
#[rtype(result = "Result<BacklogPage, ReadFailed>")]
pub struct ReadBacklog {
    pub endpoint_id: i32,
    pub after: Option<Uuid>,
    pub within: Option<String>,
    pub page_rows: usize,
    pub page_bytes: usize,
}

pub struct BacklogPage {
    pub snapshot: Snapshot,
    pub rows: Vec<Owed>,
    /// There was nothing beyond.
    pub last: bool,
}

/// Rows whose time has come.
#[derive(Message)]
#[rtype(result = "Result<DuePage, ReadFailed>")]
pub struct ReadDue {
    pub endpoint_id: i32,
    pub page_rows: usize,
    pub page_bytes: usize,
}

/// The first deliveries of lanes; see sql/worker/backlog.sql.
#[derive(Message)]
#[rtype(result = "Result<Vec<Owed>, ReadFailed>")]
pub struct ReadHeads {
    pub endpoint_id: i32,
    pub lanes: Vec<i64>,
    pub page_bytes: usize,
}

pub struct DuePage {
    pub rows: Vec<Owed>,
    /// There may be more whose time has come.
    pub full: bool,
    /// When the first is due of those whose time has not come.
    pub next_due: Option<Instant>,
}

/// Already logged by the reader.
#[derive(Debug)]
pub struct ReadFailed;

// To the recorder.

/// Answers when it is recorded, with what can't be recorded while another transaction holds its rows.
#[derive(Message)]
#[rtype(result = "Vec<Outcome>")]
pub struct Record {
    pub outcomes: Vec<Outcome>,
    /// Other deliveries wait until they are recorded.
    pub urgent: bool,
}

// To the caller.

/// An outcome of an endpoint with callbacks, or one that the recorder set aside. Answers when it is recorded, and its callback has been called if it `calls`
/// for one.
#[derive(Message)]
#[rtype(result = "()")]
pub struct RecordApart {
    pub outcome: Outcome,
    pub calls: bool,
}
