//! Housekeeping, by the one worker that owns slot 0: partitions ahead, retention behind. What it is, stands in sql/.

use crate::database::{Session, error_text};
use crate::shared::Shared;
use actix::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Nobody writes to it: it goes by the clock.
const MAILBOX: usize = 1;
const EVERY: Duration = Duration::from_secs(60);
/// Until it is looked again whether slot 0 is owned.
const LOOK: Duration = Duration::from_secs(1);

const JANITOR: &str = "SELECT webhook.worker_janitor()";

pub struct Janitor {
    shared: Arc<Shared>,
    /// Whether slot 0 is owned; the owner sets it.
    on_duty: Arc<AtomicBool>,
}

impl Janitor {
    pub fn new(shared: Arc<Shared>, on_duty: Arc<AtomicBool>) -> Janitor {
        Janitor { shared, on_duty }
    }
}

impl Actor for Janitor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        let (shared, on_duty) = (self.shared.clone(), self.on_duty.clone());
        ctx.spawn(keep_house(shared, on_duty).into_actor(self));
    }
}

async fn keep_house(shared: Arc<Shared>, on_duty: Arc<AtomicBool>) {
    let mut failing = false;
    loop {
        if !on_duty.load(Ordering::Relaxed) {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        match round(&shared).await {
            Ok(done) => {
                failing = false;
                tracing::debug!(%done, "housekeeping");
            }
            Err(problem) => {
                if !std::mem::replace(&mut failing, true) && !shared.is_ending() {
                    tracing::warn!("housekeeping failed, trying again every minute: {problem}");
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// On a connection of its own, closed again: a minute is long.
async fn round(shared: &Shared) -> Result<serde_json::Value, String> {
    let opened = Session::open(&shared.target, "janitor", "").await;
    let session = opened.map_err(|trouble| trouble.to_string())?;
    let rows = session.query(JANITOR, &[]).await.map_err(|error| error_text(&error))?;
    let done = rows.first().and_then(|row| row.try_get::<_, Option<serde_json::Value>>(0).ok().flatten());
    Ok(done.unwrap_or_default())
}
