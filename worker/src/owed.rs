//! A delivery as it is read from the queue (webhook.owed in sql/worker/tail.sql).

use crate::intake;
use bytes::Bytes;
use std::time::{Instant, SystemTime};
use tokio_postgres::Row;
use uuid::Uuid;

#[derive(Debug)]
pub struct Owed {
    pub endpoint_id: i32,
    pub event_id: Uuid,
    pub xid: i64,
    /// Made before, over all runs of the schedule.
    pub attempts: i32,
    /// Made before in this run.
    pub step: i32,
    due_in_s: Option<f64>,
    age_s: f64,
    pub event: Option<Event>,
    pub signed: Option<Signed>,
    /// At an ordered endpoint: deliveries of one lane go one after the other.
    pub lane: Option<i64>,
    /// Of the endpoint's configuration when it was read; None: there was none.
    pub revision: Option<i64>,
    /// The body did not fit into the page.
    cut_off: bool,
    /// When it was asked for: what it says of the present holds then, or a little later.
    read_at: Instant,
}

/// None in `Owed` when retention has dropped the event.
#[derive(Debug)]
pub struct Event {
    pub kind: Box<str>,
    pub tenant: Option<Box<str>>,
    pub created_at: SystemTime,
    /// Valid UTF-8; empty if cut off.
    body: Bytes,
}

/// The signature made at enqueue.
#[derive(Debug)]
pub struct Signed {
    pub generation: i32,
    pub signatures: Box<str>,
    pub at: SystemTime,
    age_s: f64,
}

/// What a row occupies besides its body: itself, its texts, its place in the sets of ids in hand.
const ROW_BYTES: usize = 512;

impl Owed {
    /// The first row of a read has only the snapshot.
    pub fn snapshot_of(rows: &[Row]) -> Option<(&str, i32)> {
        let first = rows.first()?;
        Some((first.try_get("snapshot").ok()?, first.try_get("size").ok()?))
    }

    /// Columns by place: this runs once per delivery. The order is that of the type webhook.owed.
    pub fn from_row(row: &Row, read_at: Instant) -> Result<Owed, tokio_postgres::Error> {
        let size: Option<i32> = row.try_get(16)?;
        let body: Option<&str> = row.try_get(17)?;
        let kind: Option<&str> = row.try_get(8)?;
        let created_at: Option<SystemTime> = row.try_get(11)?;
        let event = match (size, kind, created_at) {
            (Some(_), Some(kind), Some(created_at)) => Some(Event {
                kind: kind.into(),
                tenant: row.try_get::<_, Option<&str>>(9)?.map(Into::into),
                created_at,
                body: body.map(|body| Bytes::copy_from_slice(body.as_bytes())).unwrap_or_default(),
            }),
            _ => None,
        };
        let signature: Option<&str> = row.try_get(13)?;
        let signed = match (signature, row.try_get(12)?, row.try_get(14)?, row.try_get(15)?) {
            (Some(signatures), Some(generation), Some(at), Some(age_s)) => {
                Some(Signed { generation, signatures: signatures.into(), at, age_s })
            }
            _ => None,
        };
        Ok(Owed {
            endpoint_id: row.try_get(1)?,
            event_id: row.try_get(2)?,
            xid: row.try_get(3)?,
            attempts: row.try_get(4)?,
            step: row.try_get(5)?,
            due_in_s: row.try_get(6)?,
            age_s: row.try_get::<_, Option<f64>>(7)?.unwrap_or(0.0),
            cut_off: event.is_some() && body.is_none(),
            event,
            signed,
            lane: row.try_get(18)?,
            revision: row.try_get(19)?,
            read_at,
        })
    }

    /// The body has been taken away (webhook_forget()): there is nothing to send.
    pub fn is_erased(&self) -> bool {
        !self.cut_off && self.event.as_ref().is_some_and(|event| event.body.is_empty())
    }

    /// Seconds since the run of the schedule began.
    pub fn age_s(&self, now: Instant) -> f64 {
        self.age_s + now.saturating_duration_since(self.read_at).as_secs_f64()
    }
}

impl Event {
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    pub fn body_text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("it was read as text")
    }
}

impl Signed {
    /// Seconds since it was made; negative if the database's clock was set back.
    pub fn age_s(&self, read_at: &Owed, now: Instant) -> f64 {
        self.age_s + now.saturating_duration_since(read_at.read_at).as_secs_f64()
    }
}

impl intake::Row for Owed {
    fn event_id(&self) -> Uuid {
        self.event_id
    }

    fn xid(&self) -> u64 {
        self.xid as u64
    }

    fn due_in_s(&self) -> Option<f64> {
        self.due_in_s
    }

    fn bytes(&self) -> usize {
        ROW_BYTES + self.event.as_ref().map_or(0, |event| event.body.len())
    }

    fn is_loaded(&self) -> bool {
        !self.cut_off
    }

    fn lane(&self) -> Option<i64> {
        self.lane
    }
}
