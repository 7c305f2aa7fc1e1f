//! An outcome and the endpoint's callback for it, in one transaction (sql/worker/callback.sql says which statements).
//!
//! The outcome is recorded in any case. A callback that raises an error is rolled back to a savepoint. One that takes the
//! transaction with it (its session ends, the commit fails) is not called again: the outcome is recorded without it.

use crate::batch::Remedy;
use crate::database::{Session, error_text};
use crate::outcome::Outcome;
use crate::recording::{Link, Refused, record_on, refused};
use std::slice;
use std::time::{Duration, Instant};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

const PREPARE: &str = "SAVEPOINT callback; SELECT webhook.worker_limit_callback()";
const CALL: &str = "SELECT webhook.worker_call_back($1, $2)";
const FAILED: &str = "SELECT webhook.worker_callback_failed($1, $2, $3)";
const COMMIT: &str = "RELEASE callback; COMMIT";
const ROLLBACK: &str = "ROLLBACK TO callback; RELEASE callback";
/// What it locked for its session.
const TIDY: &str = "SELECT pg_catalog.pg_advisory_unlock_all()";

/// Sessions that a callback may cost: the first may have ended for another reason.
const SESSIONS: u32 = 2;
/// Calls that may fail because another transaction was in the way.
const COLLISIONS: u32 = 3;

/// How far it came.
enum Broken {
    /// The outcome could not be recorded.
    Recording(Refused),
    /// The session ended while the callback ran.
    Session(String),
    /// A deadlock, or a serialization failure.
    Collision(String),
    /// The transaction could not be committed.
    Commit(String),
}

/// Records the outcome and calls its callback, however long that takes; returns how long the callback took. None: it
/// can't be recorded now.
pub async fn record_and_call(link: &mut Link, outcome: &mut Outcome) -> Option<Duration> {
    let (mut sessions, mut collisions) = (0, 0);
    // Why it is not called again.
    let mut given_up: Option<String> = None;
    let mut took = Duration::ZERO;
    loop {
        let broken = match transaction(link, outcome, given_up.as_deref(), &mut took).await {
            Ok(worked) => {
                if !worked {
                    link.shared().metrics.callback_failures.inc();
                }
                break;
            }
            Err(broken) => broken,
        };
        if let Broken::Recording((Remedy::Held, _)) = broken {
            link.roll_back().await;
            return None;
        }
        // Its transaction is still open.
        link.drop_session();
        match broken {
            Broken::Recording(refused) => {
                if !link.overcome(outcome, refused).await {
                    return None;
                }
            }
            Broken::Session(problem) => {
                sessions += 1;
                if sessions == SESSIONS {
                    given_up = Some(format!("the session ended while it ran: {problem}"));
                }
            }
            Broken::Collision(problem) => {
                collisions += 1;
                if collisions == COLLISIONS {
                    given_up = Some(problem);
                }
            }
            Broken::Commit(problem) => given_up = Some(format!("at commit: {problem}")),
        }
    }
    link.recorded(1);
    Some(took)
}

/// `given_up`: the callback is not called, for this reason. Returns whether it worked.
async fn transaction(
    link: &mut Link,
    outcome: &Outcome,
    given_up: Option<&str>,
    took: &mut Duration,
) -> Result<bool, Broken> {
    let session = link.session().await.map_err(Broken::Recording)?;
    execute(session, "BEGIN").await?;
    record_on(session, slice::from_ref(outcome)).await.map_err(Broken::Recording)?;
    let problem = match given_up {
        Some(problem) => Some(problem.to_owned()),
        None => call(session, outcome, took).await?,
    };
    let worked = problem.is_none();
    match problem {
        None => session.try_execute(COMMIT).await.map_err(|error| at_commit(&error))?,
        Some(problem) => {
            if note_failure(session, outcome, &problem).await? {
                // What it said may hold what is not for the log.
                tracing::warn!(endpoint_id = outcome.endpoint_id, "a callback failed; see webhook.notice");
            }
            execute(session, "COMMIT").await?;
        }
    }
    // It is committed: what ends the session now concerns the next one.
    let _ = session.query(TIDY, &[]).await;
    Ok(worked)
}

/// Calls the callback; the problem, if it failed and is rolled back.
async fn call(session: &Session, outcome: &Outcome, took: &mut Duration) -> Result<Option<String>, Broken> {
    execute(session, PREPARE).await?;
    let began = Instant::now();
    let called = session.query(CALL, &[&outcome.endpoint_id, &outcome.event_id]).await;
    *took += began.elapsed();
    match called {
        Ok(_) => Ok(None),
        Err(error) => {
            let problem = in_call(&error)?;
            execute(session, ROLLBACK).await?;
            Ok(Some(problem))
        }
    }
}

/// Returns whether that was news.
async fn note_failure(session: &Session, outcome: &Outcome, problem: &str) -> Result<bool, Broken> {
    let told = session
        .query(FAILED, &[&outcome.endpoint_id, &outcome.event_id, &problem])
        .await
        .map_err(|error| Broken::Recording(refused(&error)))?;
    Ok(told.first().is_some_and(|row| row.try_get(0).unwrap_or(false)))
}

async fn execute(session: &Session, sql: &str) -> Result<(), Broken> {
    session.try_execute(sql).await.map_err(|error| Broken::Recording(refused(&error)))
}

/// What a call that failed means: the problem, if the transaction goes on.
fn in_call(error: &Error) -> Result<String, Broken> {
    let problem = error_text(error);
    match error.code() {
        None => Err(Broken::Session(problem)),
        Some(state) if ends_session(state) => Err(Broken::Session(problem)),
        Some(state) if collides(state) => Err(Broken::Collision(problem)),
        Some(_) => Ok(problem),
    }
}

/// Without an answer nobody knows whether it was committed: what was is passed over the next time.
fn at_commit(error: &Error) -> Broken {
    match error.code() {
        Some(state) if !ends_session(state) => Broken::Commit(error_text(error)),
        _ => Broken::Recording((Remedy::Reconnect, error_text(error))),
    }
}

/// Another transaction was in the way, and may not be the next time.
fn collides(state: &SqlState) -> bool {
    [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(state)
}

/// Shutdown, crash, or a time limit of the session's.
fn ends_session(state: &SqlState) -> bool {
    state.code().starts_with("57P") || *state == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
}
