//! What came of a delivery or of one attempt at it, as it is recorded (webhook.attempt).

use std::time::SystemTime;
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Delivered,
    Retry,
    Failed,
    Skipped,
    Expired,
    Cancelled,
}

/// Which outcomes an endpoint has a callback for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Callbacks {
    pub on_delivered: bool,
    pub on_failed: bool,
}

impl Callbacks {
    pub fn any(self) -> bool {
        self.on_delivered || self.on_failed
    }

    pub fn has(self, kind: Kind) -> bool {
        match kind {
            Kind::Delivered => self.on_delivered,
            Kind::Failed => self.on_failed,
            Kind::Retry | Kind::Skipped | Kind::Expired | Kind::Cancelled => false,
        }
    }
}

impl Kind {
    pub const ALL: [Kind; 6] =
        [Kind::Delivered, Kind::Retry, Kind::Failed, Kind::Skipped, Kind::Expired, Kind::Cancelled];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Delivered => "delivered",
            Kind::Retry => "retry",
            Kind::Failed => "failed",
            Kind::Skipped => "skipped",
            Kind::Expired => "expired",
            Kind::Cancelled => "cancelled",
        }
    }
}

/// Instead of what the other side sent.
const STRIPPED: &str = "response could not be recorded";

#[derive(Debug)]
pub struct Outcome {
    pub endpoint_id: i32,
    pub event_id: Uuid,
    pub xid: i64,
    /// As the queue row had it.
    pub attempts: i32,
    pub kind: Kind,
    /// For `Retry`.
    pub retry_in_s: Option<f64>,
    pub error: Option<String>,
    /// Why the endpoint is to be disabled.
    pub disable: Option<String>,
    /// None where no request was made.
    pub request: Option<Request>,
}

/// One HTTP request and its answer.
#[derive(Debug)]
pub struct Request {
    pub attempt_id: Uuid,
    pub started_at: SystemTime,
    pub duration_s: f64,
    pub url: Option<std::sync::Arc<str>>,
    pub headers: Option<String>,
    pub remote_address: Option<String>,
    pub answer: Option<Answer>,
}

/// Already free of what text and jsonb refuse.
#[derive(Debug)]
pub struct Answer {
    pub status_code: u16,
    pub headers: String,
    pub body: String,
}

impl Outcome {
    /// Number 0: it ended without a request.
    pub fn number(&self) -> i32 {
        if self.request.is_some() { self.attempts + 1 } else { 0 }
    }

    /// Bytes that recording it moves.
    pub fn bytes(&self) -> usize {
        let answer = self.request.as_ref().and_then(|request| request.answer.as_ref());
        512 + answer.map_or(0, |answer| answer.headers.len() + answer.body.len())
    }

    pub fn is_stripped(&self) -> bool {
        self.error.as_deref() == Some(STRIPPED)
    }

    /// Without what the other side sent, for when PostgreSQL refuses that.
    pub fn strip(&mut self) {
        self.error = Some(STRIPPED.to_owned());
        if let Some(answer) = self.request.as_mut().and_then(|request| request.answer.as_mut()) {
            answer.headers = "{}".to_owned();
            answer.body = String::new();
        }
    }
}
