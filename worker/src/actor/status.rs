//! /healthz and /metrics, for whoever runs the worker.

use crate::serve::{self, Answer, answer};
use crate::shared::Shared;
use actix::prelude::*;
use hyper::{Method, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::TcpListener;

/// Nobody writes to it: it answers HTTP.
const MAILBOX: usize = 1;

pub struct Status {
    shared: Arc<Shared>,
    listener: Option<TcpListener>,
}

impl Status {
    pub fn new(shared: Arc<Shared>, listener: TcpListener) -> Status {
        Status { shared, listener: Some(listener) }
    }
}

impl Actor for Status {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        let Some(listener) = self.listener.take() else { return };
        let shared = self.shared.clone();
        let serve = serve::run(listener, move |request| {
            let answer = match (request.method(), request.uri().path()) {
                (&Method::GET | &Method::HEAD, "/healthz") => health(&shared),
                (&Method::GET, "/metrics") => metrics(&shared),
                _ => answer(StatusCode::NOT_FOUND, "text/plain", "there is /healthz and /metrics\n"),
            };
            async move { answer }
        });
        ctx.spawn(serve.into_actor(self));
    }
}

/// 200 while slots are held under a valid lease, 503 otherwise.
fn health(shared: &Shared) -> Answer {
    let held = shared.lease.is_held(Instant::now());
    let state = match (held, shared.is_ending()) {
        (_, true) => "stopping",
        (true, _) => "delivering",
        (false, _) if shared.epoch() == 0 => "connecting",
        (false, _) => "reconnecting",
    };
    let metrics = &shared.metrics;
    let body = json!({
        "state": state,
        "slots": metrics.slots.get(),
        "members": metrics.members.get(),
        "endpoints": metrics.endpoints.get(),
        "in_flight": shared.budget.in_flight(),
        "unrecorded": shared.budget.unrecorded(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    let status = if held { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, "application/json", format!("{body}\n"))
}

fn metrics(shared: &Shared) -> Answer {
    let metrics = &shared.metrics;
    metrics.in_flight.set(shared.budget.in_flight() as i64);
    metrics.unrecorded.set(shared.budget.unrecorded() as i64);
    metrics.window_bytes.set(shared.budget.window() as i64);
    answer(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", metrics.text())
}
