//! A connection that outcomes are recorded on, however long that takes: it is made anew when the owner's is, or when it
//! fails; what PostgreSQL refuses is recorded without what the other side sent.

use crate::batch::{Arrays, RECORD, Remedy};
use crate::database::{Session, backoff, error_text};
use crate::lease::Epoch;
use crate::outcome::Outcome;
use crate::shared::Shared;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio_postgres::Error;

pub struct Link {
    shared: Arc<Shared>,
    /// What pg_stat_activity and the metrics show.
    purpose: &'static str,
    /// SET …
    settings: &'static str,
    session: Option<(Epoch, Session)>,
    failures: u32,
    tries: u32,
}

/// What is to be done about a statement that failed, and what it said.
pub type Refused = (Remedy, String);

impl Link {
    pub fn new(shared: Arc<Shared>, purpose: &'static str, settings: &'static str) -> Link {
        Link { shared, purpose, settings, session: None, failures: 0, tries: 0 }
    }

    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Records all of it in as few transactions as it takes.
    pub async fn record(&mut self, outcomes: &mut [Outcome]) {
        let mut parts: VecDeque<(usize, usize)> = VecDeque::from([(0, outcomes.len())]);
        while let Some((from, to)) = parts.pop_front() {
            match self.try_record(&outcomes[from..to]).await {
                Ok(()) => self.tries = 0,
                Err((Remedy::Split, _)) if to - from > 1 => {
                    let middle = from + (to - from) / 2;
                    parts.push_front((middle, to));
                    parts.push_front((from, middle));
                }
                Err(refused) => {
                    // One that is refused whatever is done waits behind the others.
                    match self.overcome(&mut outcomes[from], refused).await {
                        true => parts.push_front((from, to)),
                        false => parts.push_back((from, to)),
                    }
                }
            }
        }
        self.recorded(outcomes.len());
    }

    /// So many were recorded.
    pub fn recorded(&mut self, outcomes: usize) {
        self.shared.metrics.recorded.inc_by(outcomes as u64);
        self.shared.metrics.batches.inc();
        self.tries = 0;
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!("outcomes are recorded again");
        }
    }

    /// Does what has to be done before the next try; `outcome` is the one that was refused, if it is a single one.
    /// False: it is refused even without what the other side sent.
    pub async fn overcome(&mut self, outcome: &mut Outcome, (remedy, problem): Refused) -> bool {
        match remedy {
            Remedy::Split if outcome.is_stripped() => {
                self.wait(&problem).await;
                return false;
            }
            Remedy::Split => {
                tracing::warn!(
                    endpoint_id = outcome.endpoint_id,
                    event_id = %outcome.event_id,
                    "an answer could not be recorded and is left out: {problem}"
                );
                outcome.strip();
            }
            Remedy::Again => {
                self.tries += 1;
                tracing::debug!("recording is tried again: {problem}");
                tokio::time::sleep(backoff(self.tries) / 10).await;
            }
            Remedy::Reconnect => {
                self.drop_session();
                self.wait(&problem).await;
            }
        }
        true
    }

    /// The next statement gets a connection of its own.
    pub fn drop_session(&mut self) {
        self.session = None;
    }

    async fn wait(&mut self, problem: &str) {
        self.shared.metrics.connected(self.purpose, false);
        if self.failures == 0 {
            tracing::warn!("outcomes can't be recorded, keeping them and trying again: {problem}");
        }
        self.failures += 1;
        tokio::time::sleep(backoff(self.failures)).await;
    }

    /// The connection, of the owner's present session.
    pub async fn session(&mut self) -> Result<&Session, Refused> {
        let epoch = self.shared.epoch();
        if self.session.as_ref().is_none_or(|(of, session)| *of != epoch || session.is_closed()) {
            let opened = Session::open(&self.shared.target, self.purpose, self.settings).await;
            let session = opened.map_err(|trouble| (Remedy::Reconnect, trouble.to_string()))?;
            self.shared.metrics.connected(self.purpose, true);
            self.session = Some((epoch, session.until(self.shared.epoch_over(epoch))));
        }
        let (_, session) = self.session.as_ref().expect("it was just made");
        Ok(session)
    }

    async fn try_record(&mut self, outcomes: &[Outcome]) -> Result<(), Refused> {
        record_on(self.session().await?, outcomes).await
    }
}

/// Records outcomes in the transaction that is open, or in one of their own.
pub async fn record_on(session: &Session, outcomes: &[Outcome]) -> Result<(), Refused> {
    let arrays = Arrays::of(outcomes);
    let disabled = session.query(RECORD, &arrays.parameters()).await.map_err(|error| refused(&error))?;
    for row in disabled {
        let endpoint_id: i32 = row.try_get(0).unwrap_or_default();
        tracing::warn!(endpoint_id, "endpoint was disabled by its own policy; see webhook.notice");
    }
    Ok(())
}

pub fn refused(error: &Error) -> Refused {
    (Remedy::of(error.code()), error_text(error))
}
