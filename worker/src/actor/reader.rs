//! Reads endpoints' own backlogs. One for each arbiter, with a connection of its own; one read at a time.

use crate::database::{Session, error_text};
use crate::lease::Epoch;
use crate::message::{BacklogPage, DuePage, ReadBacklog, ReadDue, ReadFailed, ReadHeads};
use crate::owed::Owed;
use crate::shared::Shared;
use actix::prelude::*;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::Row;

/// Endpoints that wait for their turn wait in `send`, not here.
const MAILBOX: usize = 64;

const BACKLOG: &str = "SELECT * FROM webhook.worker_backlog($1, $2, $3, $4, $5)";
const HEADS: &str = "SELECT * FROM webhook.worker_heads($1, $2, $3)";
const DUE: &str = "SELECT * FROM webhook.worker_due($1, $2, $3)";

pub struct Reader {
    shared: Arc<Shared>,
    session: Option<(Epoch, Rc<Session>)>,
    /// Said once per change.
    failing: bool,
}

impl Reader {
    pub fn new(shared: Arc<Shared>) -> Reader {
        Reader { shared, session: None, failing: false }
    }

    /// Runs a read with the session there is, or a new one; nothing else is read meanwhile.
    fn read<T, F, R>(&mut self, read: R) -> AtomicResponse<Reader, Result<T, ReadFailed>>
    where
        T: 'static,
        F: Future<Output = Result<T, String>> + 'static,
        R: FnOnce(Rc<Session>) -> F + 'static,
    {
        let shared = self.shared.clone();
        let epoch = shared.epoch();
        let known = self.session.take().filter(|(of, session)| *of == epoch && !session.is_closed());
        let work = async move {
            let session = match known {
                Some((_, session)) => session,
                None => {
                    let opened = Session::open(&shared.target, "reader", "").await;
                    let session = opened.map_err(|trouble| trouble.to_string())?;
                    Rc::new(session.until(shared.epoch_over(epoch)))
                }
            };
            shared.metrics.backlog_reads.inc();
            let answer = read(session.clone()).await?;
            Ok((session, answer))
        };
        AtomicResponse::new(Box::pin(work.into_actor(self).map(
            move |result: Result<_, String>, reader, _| match result {
                Ok((session, answer)) => {
                    reader.session = Some((epoch, session));
                    reader.failing = false;
                    Ok(answer)
                }
                Err(problem) => {
                    if !std::mem::replace(&mut reader.failing, true) && !reader.shared.is_ending() {
                        tracing::warn!("backlogs can't be read, trying again: {problem}");
                    }
                    Err(ReadFailed)
                }
            },
        )))
    }
}

impl Actor for Reader {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<ReadBacklog> for Reader {
    type Result = AtomicResponse<Self, Result<BacklogPage, ReadFailed>>;

    fn handle(&mut self, page: ReadBacklog, _: &mut Context<Self>) -> Self::Result {
        self.read(move |session| async move {
            let read_at = Instant::now();
            let rows = session
                .query(
                    BACKLOG,
                    &[
                        &page.endpoint_id,
                        &page.after,
                        &page.within,
                        &(page.page_rows as i32),
                        &(page.page_bytes as i64),
                    ],
                )
                .await
                .map_err(|error| error_text(&error))?;
            let (snapshot, count) = Owed::snapshot_of(&rows).ok_or("worker_backlog() gave no snapshot")?;
            Ok(BacklogPage {
                snapshot: snapshot.parse().map_err(|problem| format!("{problem}"))?,
                last: (count as usize) < page.page_rows,
                rows: owed(&rows[1..], read_at)?,
            })
        })
    }
}

impl Handler<ReadHeads> for Reader {
    type Result = AtomicResponse<Self, Result<Vec<Owed>, ReadFailed>>;

    fn handle(&mut self, page: ReadHeads, _: &mut Context<Self>) -> Self::Result {
        self.read(move |session| async move {
            let read_at = Instant::now();
            let rows = session
                .query(HEADS, &[&page.endpoint_id, &page.lanes, &(page.page_bytes as i64)])
                .await
                .map_err(|error| error_text(&error))?;
            owed(&rows, read_at)
        })
    }
}

impl Handler<ReadDue> for Reader {
    type Result = AtomicResponse<Self, Result<DuePage, ReadFailed>>;

    fn handle(&mut self, page: ReadDue, _: &mut Context<Self>) -> Self::Result {
        self.read(move |session| async move {
            let read_at = Instant::now();
            let rows = session
                .query(DUE, &[&page.endpoint_id, &(page.page_rows as i32), &(page.page_bytes as i64)])
                .await
                .map_err(|error| error_text(&error))?;
            let first = rows.first().ok_or("worker_due() gave no first row")?;
            let next_s: Option<f64> = first.try_get("due_in_s").map_err(|error| error_text(&error))?;
            let count: i32 = first.try_get("size").map_err(|error| error_text(&error))?;
            Ok(DuePage {
                full: count as usize >= page.page_rows,
                next_due: next_s.map(|seconds| in_seconds(Instant::now(), seconds)),
                rows: owed(&rows[1..], read_at)?,
            })
        })
    }
}

fn owed(rows: &[Row], read_at: Instant) -> Result<Vec<Owed>, String> {
    rows.iter()
        .map(|row| Owed::from_row(row, read_at))
        .collect::<Result<_, _>>()
        .map_err(|error| error_text(&error))
}

/// Retries may be a year away, nothing more.
pub fn in_seconds(now: Instant, seconds: f64) -> Instant {
    now + Duration::try_from_secs_f64(seconds.clamp(0.0, 4e7)).unwrap_or_default()
}
