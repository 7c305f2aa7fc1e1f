//! Hears from PostgreSQL when there is something new, and passes it on. What it says is a hint and carries no data:
//! whenever it was away, everything is looked at again.

use crate::actor::tailer::Tailer;
use crate::database::{Session, Trouble, backoff};
use crate::lease::Epoch;
use crate::message::{Changed, Wake};
use crate::shared::{Shared, refuse};
use actix::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_postgres::Notification;

/// Nobody writes to it: it only listens.
const MAILBOX: usize = 1;
/// A connection that died without a word is noticed after this and the time allowed for the answer.
const HEARTBEAT: Duration = Duration::from_secs(5);
const HEARTBEAT_ANSWER: Duration = Duration::from_secs(5);

pub struct Listener {
    shared: Arc<Shared>,
    tailer: Addr<Tailer>,
}

impl Listener {
    pub fn new(shared: Arc<Shared>, tailer: Addr<Tailer>) -> Listener {
        Listener { shared, tailer }
    }
}

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        let (shared, tailer) = (self.shared.clone(), self.tailer.clone());
        ctx.spawn(listen(shared, tailer).into_actor(self));
    }
}

async fn listen(shared: Arc<Shared>, tailer: Addr<Tailer>) {
    let mut failures = 0;
    loop {
        // Until then the owner has yet to find out whether this is a database to serve.
        while shared.epoch() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let epoch = shared.epoch();
        let problem = match connect(&shared).await {
            Ok((session, notifications)) => {
                if std::mem::take(&mut failures) > 0 {
                    tracing::info!("listening again");
                }
                shared.metrics.connected("listener", true);
                // What was said while nobody listened.
                let _ = tailer.send(Changed::Unheard).await;
                let _ = tailer.send(Wake).await;
                match pass_on(&shared, epoch, &session, notifications, &tailer).await {
                    Some(problem) => problem,
                    // The owner has a new session, perhaps with another server: so should this one.
                    None => continue,
                }
            }
            Err(Trouble::Passing(problem)) => problem,
            Err(Trouble::Final(refusal)) => return refuse(&refusal),
        };
        shared.metrics.connected("listener", false);
        if failures == 0 && !shared.is_ending() {
            tracing::warn!(
                "not notified of new deliveries, looking for them now and then and trying again: {problem}"
            );
        }
        failures += 1;
        tokio::time::sleep(backoff(failures)).await;
    }
}

async fn connect(shared: &Shared) -> Result<(Session, mpsc::Receiver<Notification>), Trouble> {
    let (session, notifications) = Session::open_listening(&shared.target, "listener", "").await?;
    session.execute("LISTEN webhook_wake; LISTEN webhook_config").await?;
    Ok((session, notifications))
}

/// Passes notifications on until the connection is lost, and says how; None when the owner has a new session.
async fn pass_on(
    shared: &Shared,
    epoch: Epoch,
    session: &Session,
    mut notifications: mpsc::Receiver<Notification>,
    tailer: &Addr<Tailer>,
) -> Option<String> {
    while shared.epoch() == epoch {
        match tokio::time::timeout(HEARTBEAT, notifications.recv()).await {
            Ok(None) => return Some("the connection was closed".to_owned()),
            Ok(Some(notification)) if notification.channel() == "webhook_wake" => {
                let _ = tailer.send(Wake).await;
            }
            Ok(Some(notification)) => {
                let endpoint_id = notification.payload().parse();
                let _ = tailer.send(endpoint_id.map_or(Changed::Configs, Changed::Endpoint)).await;
            }
            Err(_) => {
                let answer = tokio::time::timeout(HEARTBEAT_ANSWER, session.execute("")).await;
                if !matches!(answer, Ok(Ok(()))) {
                    return Some("the connection does not answer".to_owned());
                }
            }
        }
    }
    None
}
