//! Sends notices by e-mail, if it was told of a mail server. Which notices, to whom and what they say stands in
//! sql/worker/mail.sql; a claim there keeps two workers from sending the same one. What the mail server does concerns
//! nobody else.

use crate::database::{Session, error_text};
use crate::shared::Shared;
use crate::smtp::MailServer;
use actix::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::Row;

/// Nobody writes to it: it goes by the clock.
const MAILBOX: usize = 1;
/// How often it is looked whether there is something to send.
const LOOK: Duration = Duration::from_secs(1);
/// While the database is away.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Claimed at a time: each may take its time-out, and a claim lasts two minutes.
const CLAIM: i32 = 3;

const CLAIM_MAIL: &str = "SELECT * FROM webhook.worker_claim_mail($1)";
const MAILED: &str = "SELECT webhook.worker_mailed($1, $2)";

pub struct Mailer {
    shared: Arc<Shared>,
    server: Arc<MailServer>,
}

impl Mailer {
    pub fn new(shared: Arc<Shared>, server: MailServer) -> Mailer {
        Mailer { shared, server: Arc::new(server) }
    }
}

impl Actor for Mailer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
        let (shared, server) = (self.shared.clone(), self.server.clone());
        ctx.spawn(keep_sending(shared, server).into_actor(self));
    }
}

async fn keep_sending(shared: Arc<Shared>, server: Arc<MailServer>) {
    let mut failing = false;
    loop {
        // Only where deliveries are made: the database is armed, and no standby.
        while !shared.lease.is_held(Instant::now()) {
            tokio::time::sleep(LOOK).await;
        }
        let problem = session(&shared, &server, &mut failing).await;
        if !shared.is_ending() {
            tracing::debug!("e-mails wait: {problem}");
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Sends for as long as there is a connection; returns what ended it.
async fn session(shared: &Shared, server: &MailServer, failing: &mut bool) -> String {
    let epoch = shared.epoch();
    let session = match Session::open(&shared.target, "mailer", "").await {
        Ok(session) => session,
        Err(trouble) => return trouble.to_string(),
    };
    while shared.epoch() == epoch && !shared.is_ending() {
        let claimed = match session.query(CLAIM_MAIL, &[&CLAIM]).await {
            Ok(rows) => rows,
            Err(error) => return error_text(&error),
        };
        for row in &claimed {
            let sent = match send(server, row).await {
                Ok(()) => {
                    if std::mem::take(failing) {
                        tracing::info!("notices are sent by e-mail again");
                    }
                    true
                }
                Err(problem) => {
                    if !std::mem::replace(failing, true) {
                        tracing::warn!(
                            "a notice could not be sent by e-mail, trying again for a day: {problem}"
                        );
                    }
                    false
                }
            };
            let notice_id: i64 = row.get("notice_id");
            if let Err(error) = session.query(MAILED, &[&notice_id, &sent]).await {
                return error_text(&error);
            }
        }
        if claimed.is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    }
    "the owner has another session".to_owned()
}

async fn send(server: &MailServer, row: &Row) -> Result<(), String> {
    let text = |column: &str| row.try_get::<_, &str>(column).map_err(|error| error_text(&error));
    server.send(text("sender")?, text("recipients")?, text("subject")?, text("body")?).await
}
