//! Records what came of attempts, all endpoints' together: one transaction every few milliseconds, one under way at a
//! time while the next collects. Nothing is lost while the database is away; it is recorded afterwards.
//!
//! Its connection commits asynchronously: a crash of PostgreSQL costs the outcomes of the last moments, so their
//! deliveries are made once more, never one less.

use crate::filling::Filling;
use crate::message::Record;
use crate::outcome::Outcome;
use crate::recording::Link;
use crate::shared::Shared;
use actix::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// Each holds up to an endpoint's flush. Senders wait in `send`; the budget bounds what all of them hold.
const MAILBOX: usize = 256;
/// One transaction: long enough to pay for its commit, short enough that a failing row is found soon.
const BATCH_OUTCOMES: usize = 1_000;
const BATCH_BYTES: usize = 4 << 20;

pub struct Recorder {
    shared: Arc<Shared>,
    waiting: VecDeque<Entry>,
    /// Away while a batch is under way.
    link: Option<Link>,
    filling: Filling,
    /// When the next batch is begun, if none is under way.
    timer: Option<(Instant, SpawnHandle)>,
}

struct Entry {
    outcomes: Vec<Outcome>,
    /// Takes those that were set aside.
    recorded: oneshot::Sender<Vec<Outcome>>,
}

impl Recorder {
    pub fn new(shared: Arc<Shared>) -> Recorder {
        let link = Link::new(shared.clone(), "recorder", "SET synchronous_commit = off;");
        let filling = Filling::default();
        Recorder { shared, waiting: VecDeque::new(), link: Some(link), filling, timer: None }
    }

    /// Begins the next batch, or sees to it that it is begun in time. `paused`: none was under way until now.
    fn next(&mut self, paused: bool, ctx: &mut Context<Self>) {
        if self.link.is_none() || self.waiting.is_empty() {
            return;
        }
        let wait = self.filling.wait(paused);
        if wait.is_zero() {
            return self.flush(ctx);
        }
        let at = Instant::now() + wait;
        if let Some((earlier, handle)) = self.timer {
            if earlier <= at {
                return;
            }
            ctx.cancel_future(handle);
        }
        let handle = ctx.run_later(wait, |recorder, ctx| {
            recorder.timer = None;
            recorder.flush(ctx);
        });
        self.timer = Some((at, handle));
    }

    fn flush(&mut self, ctx: &mut Context<Self>) {
        let Some(mut link) = self.link.take() else { return };
        let mut batch = Vec::new();
        let (mut outcomes, mut bytes) = (0, 0);
        while let Some(entry) = self.waiting.front() {
            let entry_bytes = entry.outcomes.iter().map(Outcome::bytes).sum::<usize>();
            if outcomes > 0
                && (outcomes + entry.outcomes.len() > BATCH_OUTCOMES || bytes + entry_bytes > BATCH_BYTES)
            {
                break;
            }
            outcomes += entry.outcomes.len();
            bytes += entry_bytes;
            batch.extend(self.waiting.pop_front());
        }
        if batch.is_empty() {
            self.link = Some(link);
            return;
        }
        self.filling.begun(outcomes);
        if let Some((_, handle)) = self.timer.take() {
            ctx.cancel_future(handle);
        }
        let work = async move {
            let mut outcomes = Vec::new();
            let mut acks = Vec::new();
            for entry in batch {
                acks.push((entry.recorded, entry.outcomes.len()));
                outcomes.extend(entry.outcomes);
            }
            let aside = link.record(&mut outcomes).await;
            link.shared().budget.recorded(outcomes.len());
            let mut outcomes = outcomes.into_iter().enumerate();
            for (ack, count) in acks {
                let entry = outcomes.by_ref().take(count).filter(|(place, _)| aside.contains(place));
                // An endpoint's actor that is gone needs no answer.
                let _ = ack.send(entry.map(|(_, outcome)| outcome).collect());
            }
            link
        };
        ctx.spawn(work.into_actor(self).map(|link, recorder, ctx| {
            recorder.link = Some(link);
            recorder.next(false, ctx);
        }));
    }
}

impl Actor for Recorder {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<Record> for Recorder {
    type Result = ResponseFuture<Vec<Outcome>>;

    fn handle(&mut self, record: Record, ctx: &mut Context<Self>) -> ResponseFuture<Vec<Outcome>> {
        let Record { outcomes, urgent } = record;
        let (recorded, answer) = oneshot::channel();
        self.filling.came(outcomes.len(), urgent);
        self.waiting.push_back(Entry { outcomes, recorded });
        self.shared.metrics.unrecorded.set(self.shared.budget.unrecorded() as i64);
        self.next(true, ctx);
        // The recorder answers every entry; it only goes with the process.
        Box::pin(async { answer.await.unwrap_or_default() })
    }
}
