//! Outcomes as the arrays that webhook.worker_record() takes, and what is done about a batch that fails.

use crate::outcome::Outcome;
use std::time::SystemTime;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

pub const HELD: &str = "SELECT * FROM webhook.worker_held($1, $2)";
pub const RECORD: &str = "SELECT * FROM webhook.worker_record($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                          $14, $15, $16, $17, $18)";

#[derive(Default)]
pub struct Arrays<'a> {
    endpoint_ids: Vec<i32>,
    event_ids: Vec<Uuid>,
    xids: Vec<i64>,
    attempts: Vec<i32>,
    outcomes: Vec<&'static str>,
    retry_in_s: Vec<Option<f64>>,
    numbers: Vec<i32>,
    attempt_ids: Vec<Option<Uuid>>,
    started_ats: Vec<Option<SystemTime>>,
    durations_s: Vec<Option<f64>>,
    status_codes: Vec<Option<i32>>,
    errors: Vec<Option<&'a str>>,
    urls: Vec<Option<&'a str>>,
    remote_addresses: Vec<Option<&'a str>>,
    request_headers: Vec<Option<&'a str>>,
    response_headers: Vec<Option<&'a str>>,
    response_bodies: Vec<Option<&'a str>>,
    disables: Vec<Option<&'a str>>,
}

impl<'a> Arrays<'a> {
    pub fn of(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Arrays<'a> {
        let mut arrays = Arrays::default();
        for outcome in outcomes {
            arrays.push(outcome);
        }
        arrays
    }

    fn push(&mut self, outcome: &'a Outcome) {
        let request = outcome.request.as_ref();
        let answer = request.and_then(|request| request.answer.as_ref());
        self.endpoint_ids.push(outcome.endpoint_id);
        self.event_ids.push(outcome.event_id);
        self.xids.push(outcome.xid);
        self.attempts.push(outcome.attempts);
        self.outcomes.push(outcome.kind.name());
        self.retry_in_s.push(outcome.retry_in_s);
        self.numbers.push(outcome.number());
        self.attempt_ids.push(request.map(|request| request.attempt_id));
        self.started_ats.push(request.map(|request| request.started_at));
        self.durations_s.push(request.map(|request| request.duration_s));
        self.status_codes.push(answer.map(|answer| i32::from(answer.status_code)));
        self.errors.push(outcome.error.as_deref());
        self.urls.push(request.and_then(|request| request.url.as_deref()));
        self.remote_addresses.push(request.and_then(|request| request.remote_address.as_deref()));
        self.request_headers.push(request.and_then(|request| request.headers.as_deref()));
        self.response_headers.push(answer.map(|answer| answer.headers.as_str()));
        self.response_bodies.push(answer.map(|answer| answer.body.as_str()));
        self.disables.push(outcome.disable.as_deref());
    }

    /// Which outcomes these are.
    pub fn keys(&self) -> [&(dyn ToSql + Sync); 2] {
        [&self.endpoint_ids, &self.event_ids]
    }

    pub fn parameters(&self) -> [&(dyn ToSql + Sync); 18] {
        [
            &self.endpoint_ids,
            &self.event_ids,
            &self.xids,
            &self.attempts,
            &self.outcomes,
            &self.retry_in_s,
            &self.numbers,
            &self.attempt_ids,
            &self.started_ats,
            &self.durations_s,
            &self.status_codes,
            &self.errors,
            &self.urls,
            &self.remote_addresses,
            &self.request_headers,
            &self.response_headers,
            &self.response_bodies,
            &self.disables,
        ]
    }
}

/// What to do when recording a batch failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Another transaction was in the way.
    Again,
    /// Another transaction holds rows that this needs, and may do so for long.
    Held,
    /// The connection or the server is: try again on a new connection, after a while.
    Reconnect,
    /// Something in it is refused: halve it, and a single one is stripped of what the other side sent.
    Split,
}

impl Remedy {
    /// `state` is None when there was no answer.
    pub fn of(state: Option<&SqlState>) -> Remedy {
        let Some(state) = state else { return Remedy::Reconnect };
        match state.code() {
            "40001" | "40P01" => Remedy::Again,
            "55P03" => Remedy::Held,
            code => match &code[..2] {
                // Data exceptions, integrity violations, limits, syntax of json, errors raised by functions.
                "21" | "22" | "23" | "54" | "P0" | "XX" => Remedy::Split,
                _ => Remedy::Reconnect,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies() {
        for (state, remedy) in [
            (SqlState::T_R_DEADLOCK_DETECTED, Remedy::Again),
            (SqlState::LOCK_NOT_AVAILABLE, Remedy::Held),
            (SqlState::UNTRANSLATABLE_CHARACTER, Remedy::Split),
            (SqlState::CHECK_VIOLATION, Remedy::Split),
            (SqlState::ADMIN_SHUTDOWN, Remedy::Reconnect),
            (SqlState::DISK_FULL, Remedy::Reconnect),
            (SqlState::QUERY_CANCELED, Remedy::Reconnect),
        ] {
            assert_eq!(Remedy::of(Some(&state)), remedy, "{state:?}");
        }
        assert_eq!(Remedy::of(None), Remedy::Reconnect);
    }
}
