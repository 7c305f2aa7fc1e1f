//! Outcomes of an endpoint with callbacks: they have a way of their own to the database (`actor/caller.rs`).

use super::Endpoint;
use crate::config::EndpointConfig;
use crate::message::RecordApart;
use crate::outcome::{Callbacks, Kind, Outcome};
use actix::prelude::*;

impl Endpoint {
    /// What is called for an outcome of this kind. None: it goes with those of all endpoints. Those of an endpoint with
    /// callbacks go apart, and so do the ones after them until nothing of it is there any more.
    pub(super) fn apart(&self, kind: Kind) -> Option<bool> {
        let config = self.seed.config.as_ref();
        let callbacks = config.map_or_else(Callbacks::default, |config| config.callbacks);
        let touches_health = matches!(kind, Kind::Delivered | Kind::Failed | Kind::Retry);
        (touches_health && (callbacks.any() || self.apart > 0)).then(|| callbacks.has(kind))
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

    /// A slow callback holds back its own endpoint: no more outcomes wait for it than requests may be under way.
    pub(super) fn is_held_back(&self, config: &EndpointConfig) -> bool {
        self.apart >= config.max_in_flight
    }
}
