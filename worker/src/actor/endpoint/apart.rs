//! Outcomes that others must not wait for have a way of their own to the database (`actor/caller.rs`): those of an endpoint
//! with callbacks, and those that another transaction holds up.

use super::Endpoint;
use crate::config::EndpointConfig;
use crate::message::RecordApart;
use crate::outcome::{Kind, Outcome};
use actix::prelude::*;

impl Endpoint {
    /// Whether an outcome of this kind goes apart from those of all endpoints: if the endpoint has callbacks, or has
    /// something there already.
    pub(super) fn goes_apart(&self, kind: Kind) -> bool {
        let touches_health = matches!(kind, Kind::Delivered | Kind::Failed | Kind::Retry);
        let config = self.seed.config.as_ref();
        self.apart > 0 || (touches_health && config.is_some_and(|config| config.callbacks.any()))
    }

    /// Whether it calls for a callback.
    pub(super) fn calls(&self, kind: Kind) -> bool {
        self.seed.config.as_ref().is_some_and(|config| config.callbacks.has(kind))
    }

    pub(super) fn record_apart(&mut self, outcome: Outcome, calls: bool, ctx: &mut Context<Self>) {
        self.seed.shared.budget.came_apart();
        self.apart += 1;
        let (event_id, retry_in_s) = (outcome.event_id, outcome.retry_in_s);
        let record = self.seed.caller.send(RecordApart { outcome, calls });
        ctx.spawn(record.into_actor(self).map(move |_, endpoint, ctx| {
            endpoint.apart -= 1;
            endpoint.recorded(event_id, retry_in_s);
            endpoint.turn(ctx);
        }));
    }

    /// A slow callback, or a transaction that holds its rows, holds back its own endpoint: no more outcomes wait for it than requests may be under way.
    pub(super) fn is_held_back(&self, config: &EndpointConfig) -> bool {
        self.apart >= config.max_in_flight
    }
}
