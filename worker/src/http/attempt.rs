//! One attempt: one HTTP request, from the address check to the last byte that is kept of the answer.

use super::answer::{self, Body};
use super::phase::{PHASE, Phase};
use super::{Http, fault, phase};
use crate::clock::{self, DatabaseClock};
use crate::config::{Call, EndpointConfig, push_pair};
use crate::outcome::{Answer, Kind, Outcome, Request};
use crate::owed::{Event, Owed};
use bytes::BytesMut;
use protocol::outcome::{Decision, Seen, decide};
use protocol::retry_after;
use protocol::scheme::Message;
use reqwest::Response;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;

/// What all attempts need to know.
pub struct Rules {
    pub clock: Arc<DatabaseClock>,
    pub response_cap_bytes: usize,
    pub signature_freshness_s: f64,
}

/// What came back, or did not.
struct Seeing {
    answer: Option<Answer>,
    remote_address: Option<String>,
    retry_after_s: Option<f64>,
    error: Option<String>,
}

/// Makes the attempt and decides what follows. `jitter` is drawn from -1 to 1.
pub async fn make(
    owed: &Owed,
    event: &Event,
    config: &EndpointConfig,
    http: &Http,
    rules: &Rules,
    jitter: f64,
) -> Outcome {
    let started = Instant::now();
    let started_us = rules.clock.unix_us(started);
    let attempt_id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let (seeing, headers) = match &config.call {
        Ok(call) => {
            let (headers, log) =
                headers(owed, event, config.generation, call, rules, attempt_id, started, started_us);
            (send(call, event, headers, config, http, rules).await, Some(log))
        }
        Err(problem) => (Seeing::failed(problem.clone()), None),
    };
    let ended = Instant::now();
    // A status counts only if the answer came whole.
    let seen = match &seeing.answer {
        Some(answer) if seeing.error.is_none() => {
            Seen::Status { code: answer.status_code, retry_after_s: seeing.retry_after_s }
        }
        _ => Seen::NoAnswer,
    };
    let decision = decide(&config.policy, seen, owed.step.max(0) as usize, owed.age_s(ended), jitter);
    let (kind, retry_in_s, reason) = match decision {
        Decision::Delivered => (Kind::Delivered, None, None),
        Decision::Retry { delay_s } => (Kind::Retry, Some(delay_s), None),
        Decision::Failed(reason) => (Kind::Failed, None, Some(reason.to_string())),
        Decision::FailedAndDisable => (Kind::Failed, None, Some("status is in disable_on".to_owned())),
    };
    let disable = matches!(decision, Decision::FailedAndDisable).then(|| match seen {
        Seen::Status { code, .. } => format!("it answered {code}"),
        Seen::NoAnswer => "it gave no answer".to_owned(),
    });
    let error = match (seeing.error, reason) {
        (Some(error), Some(reason)) => Some(format!("{error}; {reason}")),
        (error, reason) => error.or(reason),
    };
    Outcome {
        endpoint_id: owed.endpoint_id,
        event_id: owed.event_id,
        xid: owed.xid,
        attempts: owed.attempts,
        kind,
        retry_in_s,
        error,
        disable,
        request: Some(Request {
            attempt_id,
            started_at: clock::system_time(started_us),
            duration_s: (ended - started).as_secs_f64(),
            url: config.call.as_ref().ok().map(|call| call.url_text.clone()),
            headers,
            remote_address: seeing.remote_address,
            answer: seeing.answer,
        }),
    }
}

/// The headers, and the same for the log. The signature made at enqueue is sent with a first attempt while it is
/// fresh and made with the secrets and scheme in force; every other attempt is signed now.
#[expect(clippy::too_many_arguments)]
fn headers(
    owed: &Owed,
    event: &Event,
    generation: i32,
    call: &Call,
    rules: &Rules,
    attempt_id: Uuid,
    now: Instant,
    now_us: i64,
) -> (HeaderMap, String) {
    let (mut event_buffer, mut attempt_buffer) = (Uuid::encode_buffer(), Uuid::encode_buffer());
    let mut message = Message {
        id: owed.event_id.hyphenated().encode_lower(&mut event_buffer),
        attempt_id: Some(attempt_id.hyphenated().encode_lower(&mut attempt_buffer)),
        at_ms: now_us.div_euclid(1_000),
        body: event.body_text(),
        event_type: &event.kind,
        tenant: event.tenant.as_deref(),
    };
    let stored = owed.signed.as_ref().filter(|signed| {
        owed.attempts == 0
            && signed.generation == generation
            && (0.0..=rules.signature_freshness_s).contains(&signed.age_s(owed, now))
    });
    let signed_now;
    let signatures = match stored {
        Some(signed) => {
            message.at_ms = clock::unix_us(signed.at).div_euclid(1_000);
            &*signed.signatures
        }
        None => {
            signed_now = call.signing.scheme.sign(&call.secrets, &message);
            &signed_now
        }
    };
    let mut headers = call.headers();
    let mut log = String::with_capacity(call.headers_log.len() + 256);
    log.push_str(&call.headers_log);
    // The values lie in one buffer: each by itself would be allocated twice.
    let mut values = BytesMut::with_capacity(256);
    call.signing.scheme.each_header(&message, signatures, |place, name, value| {
        push_log(&mut log, name, value);
        values.extend_from_slice(value.as_bytes());
        // It was checked when the scheme was read, and its parts are escaped.
        if let Ok(value) = HeaderValue::from_maybe_shared(values.split().freeze()) {
            headers.insert(call.signing.header_names[place].clone(), value);
        }
    });
    log.push('}');
    (headers, log)
}

fn push_log(log: &mut String, name: &str, value: &str) {
    if log.len() > 1 {
        log.push(',');
    }
    push_pair(log, name, value);
}

async fn send(
    call: &Call,
    event: &Event,
    headers: HeaderMap,
    config: &EndpointConfig,
    http: &Http,
    rules: &Rules,
) -> Seeing {
    PHASE
        .scope(Cell::new(Phase::Answer), async {
            let deadline = tokio::time::Instant::now() + config.timeout;
            let late = || fault::timeout(config.timeout, phase::present());
            let request = http.post(&call.to, headers, event.body().clone(), call.certificates.as_ref());
            let mut response = match tokio::time::timeout_at(deadline, request).await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => return Seeing::failed(error),
                Err(_) => return Seeing::failed(late()),
            };
            phase::enter(Phase::Body);
            let mut seeing = Seeing::of(&response, rules);
            let mut body = Body::new(rules.response_cap_bytes);
            match tokio::time::timeout_at(deadline, body.read(&mut response)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => seeing.error = Some(fault::text(&error)),
                Err(_) => seeing.error = Some(late()),
            }
            seeing.answer.as_mut().expect("it was just made").body = body.text();
            seeing
        })
        .await
}

impl Seeing {
    fn failed(error: String) -> Seeing {
        Seeing { answer: None, remote_address: None, retry_after_s: None, error: Some(error) }
    }

    fn of(response: &Response, rules: &Rules) -> Seeing {
        let headers = response.headers();
        let now_s = rules.clock.unix_us(Instant::now()).div_euclid(1_000_000);
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        Seeing {
            answer: Some(Answer {
                status_code: response.status().as_u16(),
                headers: answer::headers_json(headers),
                body: String::new(),
            }),
            remote_address: response.remote_addr().map(|address| address.to_string()),
            retry_after_s: retry_after.and_then(|value| retry_after::parse(value, now_s)),
            error: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each attempt is a task of its own, made and moved with all that it may wait for.
    #[test]
    fn an_attempt_is_small() {
        fn size_of<'a, F>(
            _: impl FnOnce(&'a Owed, &'a Event, &'a EndpointConfig, &'a Http, &'a Rules, f64) -> F,
        ) -> usize {
            std::mem::size_of::<F>()
        }
        let bytes = size_of(make);
        assert!(bytes <= 1_536, "{bytes} bytes");
    }
}
