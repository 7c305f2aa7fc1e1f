//! What an intake is told, and what it answers.

use uuid::Uuid;

/// What the intake needs to know of a queue row.
pub trait Row {
    fn event_id(&self) -> Uuid;
    fn xid(&self) -> u64;
    /// Seconds until it is due by the time it was read; None: as soon as possible.
    fn due_in_s(&self) -> Option<f64>;
    /// Bytes it occupies here.
    fn bytes(&self) -> usize;
    /// False if the page had no room for the body, so that it has to be read again.
    fn is_loaded(&self) -> bool;
    /// See `lanes.rs`.
    fn lane(&self) -> Option<i64>;
}

/// How much is taken from the tail before it is left to the backlog.
#[derive(Clone, Copy)]
pub struct Room {
    pub rows: usize,
    pub bytes: usize,
}

/// What the tail has to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Mute,
    Join,
}

/// Where the next page of a pass begins.
#[derive(Debug)]
pub struct Page {
    pub read: u32,
    pub after: Option<Uuid>,
    pub within: Option<String>,
}
