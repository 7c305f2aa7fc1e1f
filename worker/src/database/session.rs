//! One connection and its prepared statements.

use super::target::{HostTarget, Target};
use super::tls::Mode;
use super::trouble::Trouble;
use rustls::ClientConfig;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Error, NoTls, Notification, Row, Socket, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Notifications wait here while the listener is busy; a full box makes the server wait.
const NOTIFICATIONS: usize = 256;

/// In every session: JIT costs more than these queries take, and nothing may hang for ever.
const SETTINGS: &str = "SET jit = off; SET statement_timeout = '60s'; SET lock_timeout = '30s'; \
                        SET idle_in_transaction_session_timeout = '10s';";

/// A statement that has no answer after so long gets none: the server lets none run for as long. A connection may hang
/// without an end that TCP could see, behind a proxy say.
const ANSWER: Duration = Duration::from_secs(70);
/// What follows when a connection is there: encryption and authentication.
const GREETING: Duration = Duration::from_secs(10);

pub struct Session {
    client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
    connection: AbortHandle,
    end: Option<AbortHandle>,
}

impl Session {
    /// Connects to the first host that answers, and applies `settings` (SET …) besides the usual ones. `purpose` is
    /// what pg_stat_activity shows.
    pub async fn open(target: &Target, purpose: &str, settings: &str) -> Result<Session, Trouble> {
        Ok(Session::open_listening(target, purpose, settings).await?.0)
    }

    /// As `open`, with what the server notifies.
    pub async fn open_listening(
        target: &Target,
        purpose: &str,
        settings: &str,
    ) -> Result<(Session, mpsc::Receiver<Notification>), Trouble> {
        let (client, notifications, connection) = connect_any(target, purpose).await?;
        let session = Session { client, statements: Mutex::default(), connection, end: None };
        session.execute(&format!("{SETTINGS} {settings}")).await?;
        Ok((session, notifications))
    }

    /// Without any setting: behind a pooler it would be somebody else's.
    pub async fn open_bare(target: &Target, purpose: &str) -> Result<Session, Trouble> {
        let (client, _, connection) = connect_any(target, purpose).await?;
        Ok(Session { client, statements: Mutex::default(), connection, end: None })
    }

    /// Closes the connection when `end` comes: whoever still waits for an answer then gets an error.
    pub fn until(mut self, end: impl Future<Output = ()> + 'static) -> Session {
        let connection = self.connection.clone();
        let closing = actix::spawn(async move {
            end.await;
            connection.abort();
        });
        self.end = Some(closing.abort_handle());
        self
    }

    /// Calls with a statement that is prepared at its first use.
    pub async fn query(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.answered(self.ask(sql, parameters)).await
    }

    async fn ask(&self, sql: &'static str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let known = self.statements.lock().expect("no holder panics").get(sql).cloned();
        let statement = match known {
            Some(statement) => statement,
            None => {
                let statement = self.client.prepare(sql).await?;
                self.statements.lock().expect("no holder panics").insert(sql, statement.clone());
                statement
            }
        };
        self.client.query(&statement, parameters).await
    }

    pub async fn query_one(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Trouble> {
        let rows = self.query(sql, parameters).await.map_err(|error| Trouble::of(&error))?;
        rows.into_iter().next().ok_or_else(|| Trouble::passing("the answer has no row"))
    }

    /// For LISTEN and session settings.
    pub async fn execute(&self, sql: &str) -> Result<(), Trouble> {
        self.try_execute(sql).await.map_err(|error| Trouble::of(&error))
    }

    /// For the statements of a transaction.
    pub async fn try_execute(&self, sql: &str) -> Result<(), Error> {
        self.answered(self.client.batch_execute(sql)).await
    }

    /// By the simple protocol, which a transaction pooler lets through.
    pub async fn simple_value(&self, sql: &str) -> Result<Option<String>, Error> {
        let messages = self.answered(self.client.simple_query(sql)).await?;
        Ok(messages.into_iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    }

    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The answer, or the error that comes of closing a connection without one.
    async fn answered<T>(&self, answer: impl Future<Output = T>) -> T {
        let mut answer = std::pin::pin!(answer);
        match tokio::time::timeout(ANSWER, &mut answer).await {
            Ok(answered) => answered,
            Err(_) => {
                tracing::debug!("connection to postgresql is given up: no answer for {ANSWER:?}");
                self.connection.abort();
                answer.await
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(end) = &self.end {
            end.abort();
        }
    }
}

/// How long to wait before the next try: doubles from 100 ms to 5 s.
pub fn backoff(failures: u32) -> Duration {
    Duration::from_millis((100u64 << failures.min(6)).min(5_000))
}

type Connected = (Client, mpsc::Receiver<Notification>, AbortHandle);

async fn connect_any(target: &Target, purpose: &str) -> Result<Connected, Trouble> {
    let mut last = Trouble::passing("no host is given");
    for host in &target.hosts {
        let within = host.config.get_connect_timeout().copied().unwrap_or_default() + GREETING;
        match tokio::time::timeout(within, connect(target, host, purpose)).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(trouble)) => last = trouble,
            Err(_) => last = Trouble::passing(format!("{}: it does not answer", host.name)),
        }
    }
    Err(last)
}

async fn connect(target: &Target, host: &HostTarget, purpose: &str) -> Result<Connected, Trouble> {
    let mut config = host.config.clone();
    config.application_name(format!("pg-webhook-worker {purpose}"));
    let tls = |mode| target.material.config(mode).map_err(Trouble::passing);
    let plain = |mut config: tokio_postgres::Config| async move {
        config.ssl_mode(SslMode::Disable);
        open(config, NoTls).await
    };
    let secure = |mut config: tokio_postgres::Config, ssl_mode, tls: ClientConfig| async move {
        config.ssl_mode(ssl_mode);
        open(config, MakeRustlsConnect::new(tls)).await
    };
    let result = match target.mode {
        _ if host.is_socket => plain(config).await,
        Mode::Disable => plain(config).await,
        Mode::Allow => match plain(config.clone()).await {
            Err(error) if error.as_db_error().is_some() => {
                let encrypted = secure(config, SslMode::Require, tls(Mode::Allow)?).await;
                encrypted.map_err(|_| error)
            }
            result => result,
        },
        Mode::Prefer => match secure(config.clone(), SslMode::Prefer, tls(Mode::Prefer)?).await {
            // As libpq, whatever goes wrong with TLS, and when pg_hba.conf has nothing for it.
            Err(error) if error.as_db_error().is_none() && error.to_string().contains("TLS") => {
                plain(config).await
            }
            Err(error) if error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
                plain(config).await.map_err(|_| error)
            }
            result => result,
        },
        mode => secure(config, SslMode::Require, tls(mode)?).await,
    };
    result.map_err(|error| match Trouble::of(&error) {
        Trouble::Passing(text) => Trouble::Passing(format!("{}: {text}", host.name)),
        trouble => trouble,
    })
}

async fn open<T>(config: tokio_postgres::Config, tls: T) -> Result<Connected, Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, mut connection) = config.connect(tls).await?;
    let (sender, receiver) = mpsc::channel(NOTIFICATIONS);
    let connection = actix::spawn(async move {
        loop {
            match std::future::poll_fn(|context| connection.poll_message(context)).await {
                // Nobody listens to most sessions; a closed channel is no reason to close them.
                Some(Ok(AsyncMessage::Notification(notification))) => drop(sender.send(notification).await),
                Some(Ok(AsyncMessage::Notice(notice))) => tracing::debug!("{}", notice.message()),
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::debug!("connection to postgresql ended: {}", super::error_text(&error));
                    return;
                }
                None => return,
            }
        }
    });
    Ok((client, receiver, connection.abort_handle()))
}
