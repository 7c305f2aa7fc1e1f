//! Records what came of attempts, all endpoints' together: one transaction every few milliseconds, one under way at a
//! time while the next collects. Nothing is lost while the database is away; it is recorded afterwards.
//!
//! Its connection commits asynchronously: a crash of PostgreSQL costs the outcomes of the last moments, so their
//! deliveries are made once more, never one less.

use crate::batch::{Arrays, RECORD, Remedy};
use crate::database::{Session, backoff, error_text};
use crate::lease::Epoch;
use crate::message::Record;
use crate::outcome::Outcome;
use crate::shared::Shared;
use actix::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Each holds up to an endpoint's flush. Senders wait in `send`; the budget bounds what all of them hold.
const MAILBOX: usize = 256;
/// One transaction: long enough to pay for its commit, short enough that a failing row is found soon.
const BATCH_OUTCOMES: usize = 1_000;
const BATCH_BYTES: usize = 4 << 20;
/// How long the first outcome after a pause waits for company.
const GATHER: Duration = Duration::from_millis(1);

pub struct Recorder {
    shared: Arc<Shared>,
    waiting: VecDeque<Entry>,
    link: Option<Link>,
    gathering: bool,
}

struct Entry {
    outcomes: Vec<Outcome>,
    recorded: oneshot::Sender<()>,
}

/// The connection, away while a batch is under way.
struct Link {
    shared: Arc<Shared>,
    session: Option<(Epoch, Session)>,
    failures: u32,
}

impl Recorder {
    pub fn new(shared: Arc<Shared>) -> Recorder {
        let link = Link { shared: shared.clone(), session: None, failures: 0 };
        Recorder { shared, waiting: VecDeque::new(), link: Some(link), gathering: false }
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
        let work = async move {
            let (mut outcomes, acks): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|entry| (entry.outcomes, entry.recorded)).unzip();
            let mut outcomes: Vec<Outcome> = outcomes.drain(..).flatten().collect();
            link.record(&mut outcomes).await;
            let metrics = &link.shared.metrics;
            metrics.recorded.inc_by(outcomes.len() as u64);
            metrics.batches.inc();
            link.shared.budget.recorded(outcomes.len());
            for ack in acks {
                // An endpoint's actor that is gone needs no answer.
                let _ = ack.send(());
            }
            link
        };
        ctx.spawn(work.into_actor(self).map(|link, recorder, ctx| {
            recorder.link = Some(link);
            recorder.flush(ctx);
        }));
    }
}

impl Link {
    /// Records all of it, however long that takes. What PostgreSQL refuses is recorded without what the other side
    /// sent.
    async fn record(&mut self, outcomes: &mut [Outcome]) {
        let mut parts: VecDeque<(usize, usize)> = VecDeque::from([(0, outcomes.len())]);
        let mut tries = 0;
        while let Some((from, to)) = parts.pop_front() {
            match self.try_record(&outcomes[from..to]).await {
                Ok(()) => tries = 0,
                Err((Remedy::Split, problem)) if to - from == 1 => {
                    let outcome = &mut outcomes[from];
                    if outcome.error.as_deref() != Some("response could not be recorded") {
                        tracing::warn!(
                            endpoint_id = outcome.endpoint_id,
                            event_id = %outcome.event_id,
                            "an answer could not be recorded and is left out: {problem}"
                        );
                        outcome.strip();
                        parts.push_front((from, to));
                        continue;
                    }
                    self.wait(&problem).await;
                    parts.push_back((from, to));
                }
                Err((Remedy::Split, _)) => {
                    let middle = from + (to - from) / 2;
                    parts.push_front((middle, to));
                    parts.push_front((from, middle));
                }
                Err((Remedy::Again, problem)) => {
                    tries += 1;
                    tracing::debug!("recording is tried again: {problem}");
                    tokio::time::sleep(backoff(tries) / 10).await;
                    parts.push_front((from, to));
                }
                Err((Remedy::Reconnect, problem)) => {
                    self.session = None;
                    self.wait(&problem).await;
                    parts.push_front((from, to));
                }
            }
        }
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!("outcomes are recorded again");
        }
    }

    async fn wait(&mut self, problem: &str) {
        self.shared.metrics.connected("recorder", false);
        if self.failures == 0 {
            tracing::warn!("outcomes can't be recorded, keeping them and trying again: {problem}");
        }
        self.failures += 1;
        tokio::time::sleep(backoff(self.failures)).await;
    }

    async fn try_record(&mut self, outcomes: &[Outcome]) -> Result<(), (Remedy, String)> {
        let epoch = self.shared.epoch();
        if self.session.as_ref().is_none_or(|(of, session)| *of != epoch || session.is_closed()) {
            let opened =
                Session::open(&self.shared.target, "recorder", "SET synchronous_commit = off;").await;
            let session = opened.map_err(|trouble| (Remedy::Reconnect, trouble.to_string()))?;
            self.shared.metrics.connected("recorder", true);
            self.session = Some((epoch, session.until(self.shared.epoch_over(epoch))));
        }
        let (_, session) = self.session.as_ref().expect("it was just made");
        let arrays = Arrays::of(outcomes);
        match session.query(RECORD, &arrays.parameters()).await {
            Ok(disabled) => {
                for row in disabled {
                    let endpoint_id: i32 = row.try_get(0).unwrap_or_default();
                    tracing::warn!(
                        endpoint_id,
                        "endpoint was disabled by its own policy; see webhook.notice"
                    );
                }
                Ok(())
            }
            Err(error) => Err((Remedy::of(error.code()), error_text(&error))),
        }
    }
}

impl Actor for Recorder {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<Record> for Recorder {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Record(outcomes): Record, ctx: &mut Context<Self>) -> ResponseFuture<()> {
        let (recorded, answer) = oneshot::channel();
        self.waiting.push_back(Entry { outcomes, recorded });
        self.shared.metrics.unrecorded.set(self.shared.budget.unrecorded() as i64);
        if self.link.is_some() && !std::mem::replace(&mut self.gathering, true) {
            ctx.run_later(GATHER, |recorder, ctx| {
                recorder.gathering = false;
                recorder.flush(ctx);
            });
        }
        Box::pin(async {
            // The recorder answers every entry; it only goes with the process.
            let _ = answer.await;
        })
    }
}
