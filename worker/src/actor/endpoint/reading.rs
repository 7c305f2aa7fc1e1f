//! How an endpoint's actor reads what it is owed: rows whose time has come, and its own backlog.

use super::Endpoint;
use crate::intake::Row;
use crate::message::{ReadBacklog, ReadDue};
use actix::prelude::*;
use std::time::{Duration, Instant};

/// After a read that failed.
const READ_AGAIN: Duration = Duration::from_millis(500);
/// After a read that brought nothing new, because what is in hand came first.
const DUE_AGAIN: Duration = Duration::from_millis(200);
/// More due rows than these are read when these are under way.
const DUE_ROWS: usize = 32;

impl Endpoint {
    /// Reads what is due, or the next page of the backlog; returns when to look again.
    pub(super) fn read(&mut self, now: Instant, ctx: &mut Context<Self>) -> Option<Instant> {
        if self.intake.is_reading() {
            return None;
        }
        if let Some(after) = self.read_after.filter(|after| now < *after) {
            return Some(after);
        }
        let page_bytes = self.page.bytes(self.seed.shared.budget.page_bytes());
        if self.due.is_some_and(|due| due <= now) && self.page.is_low(self.intake.due_waiting()) {
            self.read_due(page_bytes, ctx);
            return None;
        }
        if self.page.wants_next(self.intake.first_waiting())
            && let Some(page) = self.intake.begin_page()
        {
            let page_rows = self.page.rows();
            let (read, endpoint_id) = (page.read, self.seed.endpoint_id);
            let request =
                ReadBacklog { endpoint_id, after: page.after, within: page.within, page_rows, page_bytes };
            let answer = self.seed.reader.send(request);
            ctx.spawn(answer.into_actor(self).map(move |answer, endpoint, ctx| {
                match answer {
                    Ok(Ok(page)) => {
                        endpoint.page.came(endpoint.intake.waiting() == 0, !page.last);
                        endpoint.seed.shared.metrics.rows_read.inc_by(page.rows.len() as u64);
                        let ask = endpoint.intake.page_read(read, page.snapshot, page.rows, page.last);
                        endpoint.ask(ask, ctx);
                    }
                    _ => endpoint.read_failed(read),
                }
                endpoint.turn(ctx);
            }));
            return None;
        }
        self.due.filter(|due| *due > now)
    }

    fn read_due(&mut self, page_bytes: usize, ctx: &mut Context<Self>) {
        let Some(read) = self.intake.begin_due() else { return };
        self.due = None;
        // Rows in hand are still due by the database until they are recorded, and come first.
        let page_rows = self.intake.in_hand() + self.lanes.known() + DUE_ROWS;
        let request = ReadDue { endpoint_id: self.seed.endpoint_id, page_rows, page_bytes };
        ctx.spawn(self.seed.reader.send(request).into_actor(self).map(move |answer, endpoint, ctx| {
            match answer {
                Ok(Ok(page)) => {
                    let cut_off = page.full || page.rows.iter().any(|row| !row.is_loaded());
                    let (rows, signs) =
                        if endpoint.ordered { endpoint.sort_due(page.rows) } else { (page.rows, 0) };
                    let new = endpoint.intake.due_read(read, rows) + signs;
                    if cut_off {
                        // Without a new one, those in hand took all the room: some have to be recorded first.
                        endpoint.due_by(Instant::now() + if new > 0 { Duration::ZERO } else { DUE_AGAIN });
                    }
                    if let Some(due) = page.next_due {
                        endpoint.due_by(due);
                    }
                }
                _ => {
                    endpoint.due_by(Instant::now());
                    endpoint.read_failed(read);
                }
            }
            endpoint.turn(ctx);
        }));
    }

    fn read_failed(&mut self, read: u32) {
        self.intake.read_failed(read);
        self.read_after = Some(Instant::now() + READ_AGAIN);
    }
}
