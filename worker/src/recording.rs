//! A connection that outcomes are recorded on, however long that takes: it is made anew when the owner's is, or when it
//! fails; what PostgreSQL refuses is recorded without what the other side sent. What can't be recorded while another
//! transaction holds its rows is set aside, so that nothing else waits for it.

use crate::batch::{Arrays, HELD, RECORD, Remedy};
use crate::database::{Session, backoff, error_text};
use crate::lease::Epoch;
use crate::outcome::Outcome;
use crate::shared::Shared;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use tokio_postgres::{Error, Row};

/// Locks are waited for so long: a user's transaction may hold them for hours.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '300ms';";

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

    /// Records what can be recorded, in as few transactions as it takes; returns the places of the others, in order.
    pub async fn record(&mut self, outcomes: &mut [Outcome]) -> BTreeSet<usize> {
        let mut aside = BTreeSet::new();
        let mut parts: VecDeque<Vec<usize>> = VecDeque::from([(0..outcomes.len()).collect()]);
        while let Some(mut part) = parts.pop_front() {
            match self.try_record(part.iter().map(|place| &outcomes[*place])).await {
                Ok(()) => self.tries = 0,
                Err((Remedy::Split, _)) if part.len() > 1 => {
                    parts.push_front(part.split_off(part.len() / 2));
                    parts.push_front(part);
                }
                Err((Remedy::Held, problem)) => {
                    match self.held(part.iter().map(|place| &outcomes[*place])).await {
                        Ok(held) if !held.is_empty() => {
                            aside.extend(held.iter().map(|index| part[*index]));
                            part.retain(|place| !aside.contains(place));
                        }
                        Ok(_) => self.collided(&problem).await,
                        Err(refused) => drop(self.overcome(&mut outcomes[part[0]], refused).await),
                    }
                    if !part.is_empty() {
                        parts.push_front(part);
                    }
                }
                Err(refused) => match self.overcome(&mut outcomes[part[0]], refused).await {
                    true => parts.push_front(part),
                    false => aside.extend(part),
                },
            }
        }
        self.recorded(outcomes.len() - aside.len());
        aside
    }

    /// Those that another transaction holds up, by their places.
    async fn held(&mut self, outcomes: impl IntoIterator<Item = &Outcome>) -> Result<Vec<usize>, Refused> {
        let arrays = Arrays::of(outcomes);
        let rows =
            self.session().await?.query(HELD, &arrays.keys()).await.map_err(|error| refused(&error))?;
        let place = |row: &Row| row.try_get::<_, i32>(0).map(|place| place as usize);
        rows.iter().map(place).collect::<Result<_, _>>().map_err(|error| refused(&error))
    }

    /// So many were recorded.
    pub fn recorded(&mut self, outcomes: usize) {
        if outcomes == 0 {
            return;
        }
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
            Remedy::Split if outcome.is_stripped() => return false,
            Remedy::Split => {
                tracing::warn!(
                    endpoint_id = outcome.endpoint_id,
                    event_id = %outcome.event_id,
                    "an outcome could not be recorded, trying again without the answer: {problem}"
                );
                outcome.strip();
            }
            Remedy::Again | Remedy::Held => self.collided(&problem).await,
            Remedy::Reconnect => {
                self.drop_session();
                self.wait(&problem).await;
            }
        }
        true
    }

    async fn collided(&mut self, problem: &str) {
        self.tries += 1;
        tracing::debug!("recording is tried again: {problem}");
        tokio::time::sleep(backoff(self.tries) / 10).await;
    }

    /// Ends the transaction that failed.
    pub async fn roll_back(&mut self) {
        if let Some((_, session)) = &self.session
            && session.try_execute("ROLLBACK").await.is_err()
        {
            self.drop_session();
        }
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
            let settings = format!("{LOCK_TIMEOUT} {}", self.settings);
            let opened = Session::open(&self.shared.target, self.purpose, &settings).await;
            let session = opened.map_err(|trouble| (Remedy::Reconnect, trouble.to_string()))?;
            self.shared.metrics.connected(self.purpose, true);
            self.session = Some((epoch, session.until(self.shared.epoch_over(epoch))));
        }
        let (_, session) = self.session.as_ref().expect("it was just made");
        Ok(session)
    }

    async fn try_record(&mut self, outcomes: impl IntoIterator<Item = &Outcome>) -> Result<(), Refused> {
        record_on(self.session().await?, outcomes).await
    }
}

/// Records outcomes in the transaction that is open, or in one of their own.
pub async fn record_on(
    session: &Session,
    outcomes: impl IntoIterator<Item = &Outcome>,
) -> Result<(), Refused> {
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
