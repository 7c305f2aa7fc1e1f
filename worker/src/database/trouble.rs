//! What an error of PostgreSQL means for the worker: try again, or end with a message that says what to do.

use crate::exit::{Code, Refusal};
use std::error::Error as _;
use std::fmt;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

#[derive(Debug)]
pub enum Trouble {
    /// Passes by itself, or somebody will see to it: keep trying.
    Passing(String),
    /// Trying again changes nothing.
    Final(Refusal),
}

impl Trouble {
    pub fn of(error: &Error) -> Trouble {
        let text = text(error);
        let Some(state) = error.code() else { return Trouble::Passing(text) };
        if *state == SqlState::INSUFFICIENT_PRIVILEGE {
            return refused(
                Code::Rights,
                format!("{text}; allow the role to deliver: GRANT webhook_worker TO <role>"),
            );
        }
        if [SqlState::UNDEFINED_FUNCTION, SqlState::INVALID_SCHEMA_NAME].contains(state) {
            return refused(
                Code::Version,
                format!(
                    "{text}; this database has no pg_webhook that this worker knows: CREATE EXTENSION pg_webhook, or \
                         ALTER EXTENSION pg_webhook UPDATE"
                ),
            );
        }
        if state.code().starts_with("28") {
            return refused(Code::Rights, format!("{text}; check PGUSER, the password and pg_hba.conf"));
        }
        Trouble::Passing(text)
    }

    pub fn passing(text: impl Into<String>) -> Trouble {
        Trouble::Passing(text.into())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Passing(text) => f.write_str(text),
            Trouble::Final(refusal) => refusal.fmt(f),
        }
    }
}

fn refused(code: Code, message: String) -> Trouble {
    Trouble::Final(Refusal::new(code, message))
}

/// PostgreSQL's own message and hint, or what went wrong on the way to it. Never a parameter or a password.
pub fn text(error: &Error) -> String {
    if let Some(server) = error.as_db_error() {
        let hint = server.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        return format!("{}{hint}", server.message());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
