//! An ordered endpoint: its rows are signs (`lanes.rs`), its deliveries come from looks at the lanes.

use super::Endpoint;
use crate::config::{EndpointConfig, Status};
use crate::message::ReadHeads;
use crate::owed::Owed;
use actix::prelude::*;
use std::time::{Duration, Instant};

/// Lanes of one look, and first deliveries in hand.
const LOOK_LANES: usize = 256;
/// After a look that failed.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Whether order holds: what is to be skipped needs none.
pub fn wants_order(config: &EndpointConfig) -> bool {
    config.ordered && matches!(config.status, Status::Active | Status::Paused)
}

impl Endpoint {
    /// Goes over to order, or from it, when nothing is under way any more; false until then.
    pub(super) fn settle_order(&mut self, config: &EndpointConfig, ctx: &mut Context<Self>) -> bool {
        let wanted = wants_order(config);
        if self.ordered == wanted {
            return true;
        }
        self.hold(ctx);
        if self.in_flight > 0 || !self.intake.is_empty() || !self.lanes.is_empty() {
            return false;
        }
        self.ordered = wanted;
        if config.status != Status::Paused {
            self.intake.resume();
            self.due = Some(Instant::now());
        }
        true
    }

    /// After a worker that ended without a word its requests may still be under way, for as long as a time-out; until
    /// then nothing is begun here. None: the time is over.
    pub(super) fn calm(&self, config: &EndpointConfig, now: Instant) -> Option<Instant> {
        let until = self.seed.takeover.filter(|_| self.ordered)? + config.timeout;
        (now < until).then_some(until)
    }

    /// Turns rows into signs.
    pub(super) fn sort_out(&mut self) {
        while self.lanes.has_room()
            && let Some(row) = self.intake.next(false)
        {
            let event_id = row.event_id;
            if !self.lanes.take(row) {
                self.intake.recorded(event_id);
            }
        }
    }

    /// Rows whose time has come, as signs. Returns those without a lane, and how many signs were news.
    pub(super) fn sort_due(&mut self, rows: Vec<Owed>) -> (Vec<Owed>, usize) {
        let mut news = 0;
        let mut others = Vec::new();
        for row in rows {
            match row.lane {
                Some(lane) => news += usize::from(self.lanes.sign(lane)),
                None => others.push(row),
            }
        }
        (others, news)
    }

    /// Reads the first deliveries of lanes, if there are signs.
    pub(super) fn look(
        &mut self,
        config: &EndpointConfig,
        now: Instant,
        ctx: &mut Context<Self>,
    ) -> Option<Instant> {
        if let Some(after) = self.look_after.filter(|after| now < *after) {
            return Some(after);
        }
        let most = (2 * config.max_in_flight).min(LOOK_LANES);
        let (look, lanes) = self.lanes.begin_look(most)?;
        let page_bytes = self.seed.shared.budget.page_bytes();
        let request = ReadHeads { endpoint_id: self.seed.endpoint_id, lanes, page_bytes };
        ctx.spawn(self.seed.reader.send(request).into_actor(self).map(move |answer, endpoint, ctx| {
            match answer {
                Ok(Ok(rows)) => {
                    if let Some(seconds) = endpoint.lanes.looked(look, rows) {
                        endpoint.due_by(super::in_seconds(Instant::now(), seconds));
                    }
                }
                _ => {
                    endpoint.lanes.look_failed(look);
                    endpoint.look_after = Some(Instant::now() + LOOK_AGAIN);
                }
            }
            endpoint.turn(ctx);
        }));
        None
    }
}
