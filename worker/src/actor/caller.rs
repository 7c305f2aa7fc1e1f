//! Records the outcomes of endpoints with callbacks, apart from the others': what such a callback does, and how long it
//! takes, concerns its own endpoint. All outcomes that touch the endpoint's health come this way, not only those that
//! call for something: while a callback runs its transaction holds that row, and the recorder must not wait for it.
//!
//! So do outcomes that the recorder set aside because another transaction holds their rows; here they take turns until
//! it has ended.

use crate::calls::{CONNECTIONS, Calls};
use crate::message::RecordApart;
use crate::outcome::Outcome;
use crate::recording::Link;
use crate::shared::Shared;
use crate::{callback, recording};
use actix::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Senders wait in `send`; the budget bounds what all of them hold.
const MAILBOX: usize = 256;
/// A callback that takes longer is slow.
const SLOW: Duration = Duration::from_millis(200);
/// After a turn that nothing could be recorded in.
const PAUSE: Duration = Duration::from_millis(200);

pub struct Caller {
    shared: Arc<Shared>,
    calls: Calls<Entry>,
    /// The one used last is used first.
    idle: Vec<Link>,
}

struct Entry {
    outcome: Outcome,
    recorded: oneshot::Sender<()>,
}

impl Caller {
    pub fn new(shared: Arc<Shared>) -> Caller {
        // Commits wait for the disk, if the server has it so: what a callback writes is not the worker's to risk.
        let link = |_| recording::Link::new(shared.clone(), "caller", "");
        let idle = (0..CONNECTIONS).map(link).collect();
        Caller { shared, calls: Calls::new(), idle }
    }

    fn begin(&mut self, ctx: &mut Context<Self>) {
        while let Some(mut link) = self.idle.pop() {
            let Some(turn) = self.calls.begin() else {
                self.idle.push(link);
                return;
            };
            let shared = self.shared.clone();
            let work = async move {
                let (mut outcomes, acks): (Vec<_>, Vec<_>) =
                    turn.items.into_iter().map(|entry| (entry.outcome, entry.recorded)).unzip();
                let (held, mut slow) = if turn.calls {
                    match callback::record_and_call(&mut link, &mut outcomes[0]).await {
                        Some(took) => (BTreeSet::new(), Some(took > SLOW)),
                        None => (BTreeSet::from([0]), None),
                    }
                } else {
                    (link.record(&mut outcomes).await, None)
                };
                shared.budget.recorded_apart(outcomes.len() - held.len());
                if held.len() == outcomes.len() {
                    tokio::time::sleep(PAUSE).await;
                }
                let mut again = Vec::new();
                for (place, (outcome, recorded)) in outcomes.into_iter().zip(acks).enumerate() {
                    if held.contains(&place) {
                        again.push(Entry { outcome, recorded });
                        slow = Some(true);
                    } else {
                        // An endpoint's actor that is gone needs no answer.
                        let _ = recorded.send(());
                    }
                }
                (link, turn.endpoint_id, turn.calls, again, slow)
            };
            ctx.spawn(work.into_actor(self).map(|(link, endpoint_id, calls, again, slow), caller, ctx| {
                caller.idle.push(link);
                for entry in again {
                    caller.calls.push(endpoint_id, entry, calls);
                }
                caller.calls.done(endpoint_id, slow);
                caller.begin(ctx);
            }));
        }
    }
}

impl Actor for Caller {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<RecordApart> for Caller {
    type Result = ResponseFuture<()>;

    fn handle(
        &mut self,
        RecordApart { outcome, calls }: RecordApart,
        ctx: &mut Context<Self>,
    ) -> ResponseFuture<()> {
        let (recorded, answer) = oneshot::channel();
        self.calls.push(outcome.endpoint_id, Entry { outcome, recorded }, calls);
        self.begin(ctx);
        Box::pin(async {
            // The caller answers every entry; it only goes with the process.
            let _ = answer.await;
        })
    }
}
