//! What an endpoint's actor does whenever something has happened: begin what may begin, read what is missing, and see
//! when to look again.

use super::Endpoint;
use crate::config::{EndpointConfig, Status};
use crate::gate::{Pass, Way};
use crate::http::attempt::{self, Rules};
use crate::intake::Row;
use crate::message::{Changed, Leave, Record};
use crate::outcome::{Kind, Outcome};
use crate::owed::Owed;
use actix::prelude::*;
use protocol::breaker::Permit;
use protocol::rate::RateLimit;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// An actor without work leaves after so long.
const IDLE: Duration = Duration::from_secs(20);
/// Outcomes are handed to the recorder together: so many, or those of so long.
const FLUSH_OUTCOMES: usize = 128;
const FLUSH_AFTER: Duration = Duration::from_millis(1);
/// Until the process's limits, or the lease, are looked at again.
const GATE: Duration = Duration::from_millis(20);
/// Longest wait for the rate limit before it is looked at again: a rate may be next to nothing.
const RATE_WAIT: Duration = Duration::from_secs(3600);
/// A configuration newer than the one at hand is waited for, as a delivery was read beside it; after so long the
/// attempt is made all the same.
const STALE: Duration = Duration::from_secs(10);

impl Endpoint {
    pub(super) fn turn(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let mut again: Option<Instant> = None;
        if let Some(config) = self.seed.config.clone().filter(|_| !self.retiring) {
            if !self.settle_order(&config, ctx) {
                return;
            }
            if self.ordered {
                self.sort_out();
            }
            again = match config.status {
                Status::Paused => None,
                _ if self.stale.is_some_and(|until| now < until) => self.stale,
                Status::Active => self.begin(&config, now, ctx),
                Status::Disabled => self.skip(&config, "endpoint disabled", now, ctx),
                Status::Deleted => self.skip(&config, "endpoint deleted", now, ctx),
            };
            if config.status != Status::Paused {
                again = earliest(again, self.read(now, ctx));
                if self.ordered {
                    again = earliest(again, self.look(&config, now, ctx));
                }
            }
        }
        self.account();
        again = earliest(again, self.consider_leaving(now, ctx));
        if let Some(again) = again {
            self.turn_at(again, ctx);
        }
    }

    /// Begins attempts, as many as may be; returns when to look again.
    fn begin(
        &mut self,
        config: &Arc<EndpointConfig>,
        now: Instant,
        ctx: &mut Context<Self>,
    ) -> Option<Instant> {
        let shared = self.seed.shared.clone();
        // At once, not only when the slots are given up.
        if shared.is_ending() {
            return None;
        }
        if let Some(until) = self.calm(config, now) {
            return Some(until);
        }
        while self.waiting() > 0 && self.in_flight < config.max_in_flight {
            if config.callbacks.any() || self.apart > 0 {
                if self.is_held_back(config) {
                    return None;
                }
                if !shared.budget.may_call() {
                    return Some(now + GATE);
                }
            }
            if self.in_flight >= shared.budget.concurrency(config.max_in_flight) {
                return Some(now + GATE);
            }
            if let Some(wait) = self.rate_wait(config, now) {
                return Some(now + wait);
            }
            let line = self.line;
            let pass = match (self.pass.take(), self.way_to(config)) {
                (Some(pass), _) => Some(pass),
                (None, Some(way)) => match way.try_pass(line) {
                    Some(pass) => Some(pass),
                    None => {
                        let way = way.clone();
                        self.queue(way, ctx);
                        return None;
                    }
                },
                // Nothing will be dialled.
                (None, None) => None,
            };
            // The clock is read again: a frozen process thaws here.
            if !shared.lease.is_valid(self.seed.epoch, Instant::now()) {
                return Some(now + GATE * 5);
            }
            let row = match self.next(true) {
                Some(row) => row,
                None => match self.breaker.permits(shared.now_ms(now)) {
                    Permit::WaitMs(ms) => return Some(now + Duration::from_millis(ms)),
                    Permit::Go | Permit::Probe => self.next(false)?,
                },
            };
            if self.is_newer_than(config, &row) {
                return self.await_news(row, now, ctx);
            }
            match row.event {
                // Owed again in the very moment it was erased.
                Some(_) if row.is_erased() => self.finish(ended(&row, Kind::Cancelled, "erased"), ctx),
                Some(_) => {
                    if let Some(rate) = &mut self.rate {
                        rate.take();
                    }
                    self.attempt(row, config.clone(), pass);
                }
                None => self.finish(ended(&row, Kind::Expired, "event is past its retention"), ctx),
            }
        }
        None
    }

    /// Until the endpoint's rate allows an attempt; None: it does. The bucket is kept while the rate stays the same.
    fn rate_wait(&mut self, config: &EndpointConfig, now: Instant) -> Option<Duration> {
        let now_ms = self.seed.shared.now_ms(now);
        if self.rate.as_ref().map(RateLimit::per_second) != config.rate_limit {
            self.rate = config.rate_limit.and_then(|rate| RateLimit::try_new(rate, now_ms).ok());
        }
        let wait_ms = self.rate.as_mut().map_or(0, |rate| rate.wait_ms(now_ms));
        (wait_ms > 0).then(|| Duration::from_millis(wait_ms).min(RATE_WAIT))
    }

    fn waiting(&self) -> usize {
        if self.ordered { self.lanes.waiting() } else { self.intake.waiting() }
    }

    fn next(&mut self, only_due: bool) -> Option<Owed> {
        if self.ordered { self.lanes.next(only_due) } else { self.intake.next(only_due) }
    }

    fn way_to(&mut self, config: &EndpointConfig) -> Option<&Way> {
        if self.way.is_none() {
            self.way = config.call.as_ref().ok().map(|call| self.seed.gate.way_to(call.to.url()));
        }
        self.way.as_ref()
    }

    /// Waits until an attempt may begin.
    fn queue(&mut self, way: Way, ctx: &mut Context<Self>) {
        if !std::mem::replace(&mut self.queued, true) {
            ctx.spawn(way.pass(self.line).into_actor(self).map(|pass, endpoint, ctx| {
                endpoint.queued = false;
                endpoint.pass = Some(pass);
                endpoint.turn(ctx);
                endpoint.pass = None;
            }));
        }
    }

    /// Read beside a later configuration, or none. That is asked for once per configuration.
    fn is_newer_than(&self, config: &EndpointConfig, row: &Owed) -> bool {
        self.stale.is_none() && row.revision.is_none_or(|revision| revision > config.revision)
    }

    /// Asks for the configuration again; the row waits for it.
    fn await_news(&mut self, row: Owed, now: Instant, ctx: &mut Context<Self>) -> Option<Instant> {
        if self.ordered {
            self.lanes.put_back(row)
        } else {
            self.intake.put_back(row)
        }
        self.stale = Some(now + STALE);
        let changed = Changed::Endpoint(self.seed.endpoint_id);
        ctx.spawn(self.seed.tailer.send(changed).into_actor(self).map(|_, _, _| ()));
        self.stale
    }

    fn attempt(&mut self, row: Owed, config: Arc<EndpointConfig>, pass: Option<Pass>) {
        self.in_flight += 1;
        let shared = self.seed.shared.clone();
        shared.budget.begun();
        shared.metrics.in_flight.set(shared.budget.in_flight() as i64);
        let (http, results) = (self.seed.http.clone(), self.results.clone());
        actix::spawn(async move {
            let rules = Rules {
                clock: shared.clock.clone(),
                response_cap_bytes: shared.response_cap_bytes(),
                signature_freshness_s: shared.signature_freshness_s(),
            };
            let event = row.event.as_ref().expect("only rows with an event are attempted");
            if row.attempts == 0 {
                let event_us = crate::clock::unix_us(event.created_at);
                let waited_us = rules.clock.unix_us(Instant::now()) - event_us;
                shared.metrics.commit_to_send_s.observe(waited_us.max(0) as f64 / 1e6);
            }
            let jitter = rand::random_range(-1.0..=1.0);
            let made = pin!(attempt::make(&row, event, &config, &http, &rules, jitter));
            let outcome = match pass {
                Some(pass) => pass.run(made).await,
                None => made.await,
            };
            shared.budget.ended();
            let duration_s = outcome.request.as_ref().map_or(0.0, |request| request.duration_s);
            shared.metrics.attempt_s.observe(duration_s);
            shared.metrics.in_flight.set(shared.budget.in_flight() as i64);
            // The actor ends only when nothing is under way.
            let _ = results.send(Box::new(outcome));
        });
    }

    /// Ends everything owed without a request.
    fn skip(
        &mut self,
        config: &EndpointConfig,
        reason: &str,
        now: Instant,
        ctx: &mut Context<Self>,
    ) -> Option<Instant> {
        while self.intake.waiting() > 0 {
            let held = self.seed.shared.lease.is_valid(self.seed.epoch, now);
            if !held || self.seed.shared.budget.concurrency(1) == 0 {
                return Some(now + GATE);
            }
            if self.is_held_back(config) {
                return None;
            }
            let row = self.intake.next(false)?;
            if config.status != Status::Deleted && self.is_newer_than(config, &row) {
                return self.await_news(row, now, ctx);
            }
            self.finish(ended(&row, Kind::Skipped, reason), ctx);
        }
        None
    }

    /// An outcome is there; it goes to the recorder with others.
    pub(super) fn finish(&mut self, outcome: Outcome, ctx: &mut Context<Self>) {
        self.seed.shared.metrics.came(outcome.kind);
        if self.goes_apart(outcome.kind) {
            let calls = self.calls(outcome.kind);
            return self.record_apart(outcome, calls, ctx);
        }
        self.seed.shared.budget.came();
        self.done.push(outcome);
        if self.done.len() >= FLUSH_OUTCOMES {
            self.flush(ctx);
        } else if !std::mem::replace(&mut self.flushing, true) {
            ctx.run_later(FLUSH_AFTER, |endpoint, ctx| {
                endpoint.flushing = false;
                endpoint.flush(ctx);
            });
        }
    }

    fn flush(&mut self, ctx: &mut Context<Self>) {
        if self.done.is_empty() {
            return;
        }
        let outcomes = std::mem::take(&mut self.done);
        let recorded: Vec<(Uuid, Option<f64>)> =
            outcomes.iter().map(|outcome| (outcome.event_id, due_again_in_s(outcome))).collect();
        let record = self.seed.recorder.send(Record { outcomes, urgent: self.ordered });
        ctx.spawn(record.into_actor(self).map(move |aside, endpoint, ctx| {
            let aside = aside.unwrap_or_default();
            for (event_id, retry_in_s) in recorded {
                if !aside.iter().any(|outcome| outcome.event_id == event_id) {
                    endpoint.recorded(event_id, retry_in_s);
                }
            }
            for outcome in aside {
                let calls = endpoint.calls(outcome.kind);
                endpoint.record_apart(outcome, calls, ctx);
            }
            endpoint.turn(ctx);
        }));
    }

    /// An outcome is in the database; its delivery is tried again after so many seconds, or has ended.
    pub(super) fn recorded(&mut self, event_id: Uuid, retry_in_s: Option<f64>) {
        if self.intake.recorded(event_id) {
            self.due_by(Instant::now());
        }
        self.lanes.recorded(event_id, retry_in_s.is_none());
        if let Some(seconds) = retry_in_s {
            self.due_by(super::in_seconds(Instant::now(), seconds));
        }
    }

    fn account(&mut self) {
        let bytes = self.intake.bytes() + self.lanes.bytes();
        if bytes != self.accounted {
            self.seed.shared.budget.window_changed(self.accounted, bytes);
            self.accounted = bytes;
        }
    }

    /// Leaves when there is nothing to do, or no right to do it; returns when to look again.
    fn consider_leaving(&mut self, now: Instant, ctx: &mut Context<Self>) -> Option<Instant> {
        let at_rest = self.intake.is_empty()
            && self.lanes.is_empty()
            && self.in_flight == 0
            && !self.asking
            && !self.intake.is_reading();
        // What is due to one that retires is another's to read.
        let done = self.retiring || (self.intake.is_live() && self.due.is_none_or(|due| due > now));
        // Another actor would begin with a token that this one has not got.
        let now_ms = self.seed.shared.now_ms(now);
        let spent = self.rate.as_mut().is_some_and(|rate| !self.retiring && rate.wait_ms(now_ms) > 0);
        if at_rest && done && spent {
            return Some(now + IDLE);
        }
        let idle = at_rest && done;
        if !idle {
            self.idle_since = None;
            return None;
        }
        if self.idle_since.is_none() {
            self.intake.shrink();
        }
        let since = *self.idle_since.get_or_insert(now);
        if !self.retiring && now < since + IDLE {
            return Some(since + IDLE);
        }
        if !std::mem::replace(&mut self.leaving, true) {
            let leave = Leave { endpoint_id: self.seed.endpoint_id, heard: self.heard, due: self.due };
            ctx.spawn(self.seed.tailer.send(leave).into_actor(self).map(|may, endpoint, ctx| {
                endpoint.leaving = false;
                endpoint.idle_since = None;
                if may.unwrap_or(true) { ctx.stop() } else { endpoint.turn_at(Instant::now() + GATE, ctx) }
            }));
        }
        None
    }

    pub(super) fn turn_at(&mut self, at: Instant, ctx: &mut Context<Self>) {
        if let Some((earlier, handle)) = self.timer {
            if earlier <= at && earlier > Instant::now() {
                return;
            }
            ctx.cancel_future(handle);
        }
        let handle = ctx.run_later(at.saturating_duration_since(Instant::now()), |endpoint, ctx| {
            endpoint.timer = None;
            endpoint.turn(ctx);
        });
        self.timer = Some((at, handle));
    }
}

/// An outcome without a request.
fn ended(row: &Owed, kind: Kind, reason: &str) -> Outcome {
    Outcome {
        endpoint_id: row.endpoint_id,
        event_id: row.event_id(),
        xid: row.xid,
        attempts: row.attempts,
        kind,
        retry_in_s: None,
        error: Some(reason.to_owned()),
        disable: None,
        request: None,
    }
}

/// When a delivery may be due again. What was skipped stays owed if its endpoint was enabled meanwhile.
fn due_again_in_s(outcome: &Outcome) -> Option<f64> {
    if outcome.kind == Kind::Skipped { Some(0.0) } else { outcome.retry_in_s }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
