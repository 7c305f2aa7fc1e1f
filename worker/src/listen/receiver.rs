//! Takes a request, verifies it, tells of it, answers as it was told to.

use super::arrival::{Envelope, event_key, printable};
use super::say;
use super::secrets::Secrets;
use super::stats::Stats;
use crate::cli::Listen;
use crate::clock;
use crate::serve::{Answer, answer};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, StatusCode};
use std::cell::{Ref, RefCell};
use std::rc::Rc;
use std::time::SystemTime;

/// Bodies are at most pg_webhook.max_body_bytes; nobody sets that beyond this for a test.
const MOST_BODY_BYTES: usize = 64 << 20;

pub struct Receiver {
    options: Listen,
    secrets: Secrets,
    stats: RefCell<Stats>,
}

impl Receiver {
    pub fn new(options: Listen, secrets: Secrets) -> Receiver {
        Receiver { options, secrets, stats: RefCell::default() }
    }

    pub fn stats(&self) -> Ref<'_, Stats> {
        self.stats.borrow()
    }

    pub async fn receive(self: Rc<Self>, request: Request<Incoming>) -> Answer {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/stats") => {
                return answer(
                    StatusCode::OK,
                    "application/json",
                    format!("{}\n", self.stats.borrow().json()),
                );
            }
            (&Method::POST, _) => {}
            _ => {
                return answer(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "text/plain",
                    "POST a webhook, or GET /stats\n",
                );
            }
        }
        let (head, body) = request.into_parts();
        let body = match Limited::new(body, MOST_BODY_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return answer(StatusCode::BAD_REQUEST, "text/plain", "the body did not come whole\n"),
        };
        let verified = self.arrived(&head.headers, &body);
        if !self.options.delay.is_zero() {
            tokio::time::sleep(self.options.delay).await;
        }
        let fails = self.options.fail_percent > 0 && rand::random_range(0..100) < self.options.fail_percent;
        let status = match verified {
            false => StatusCode::UNAUTHORIZED,
            true if fails => StatusCode::INTERNAL_SERVER_ERROR,
            true => StatusCode::from_u16(self.options.status).unwrap_or(StatusCode::OK),
        };
        answer(status, "text/plain", "")
    }

    /// Verifies, counts and tells.
    fn arrived(&self, headers: &HeaderMap, body: &Bytes) -> bool {
        let now_us = clock::unix_us(SystemTime::now());
        let id = headers.get("webhook-id").and_then(|value| value.to_str().ok()).unwrap_or("-");
        let envelope = Envelope::of(body);
        let latency_us = envelope.timestamp_us().map(|at_us| now_us - at_us);
        let verdict = self.verify(headers, body);
        match verdict {
            Ok(()) => self.stats.borrow_mut().verified(event_key(id), latency_us),
            Err(_) => self.stats.borrow_mut().rejected(),
        }
        if !self.options.quiet {
            let latency = latency_us.map_or("-".to_owned(), |us| format!("{:.2} ms", us as f64 / 1e3));
            let kind = envelope.kind.as_deref().unwrap_or("-");
            let verdict = verdict
                .as_ref()
                .map_or_else(|problem| format!("rejected: {problem}"), |()| "verified".into());
            say(&format!(
                "{} {} {} {verdict} {latency}",
                time_of_day(now_us),
                printable(id),
                printable(kind)
            ));
        }
        verdict.is_ok()
    }

    fn verify(&self, headers: &HeaderMap, body: &Bytes) -> Result<(), String> {
        let mut problem = self.verify_once(headers, body);
        if problem.is_err() {
            self.secrets.expire();
            problem = self.verify_once(headers, body);
        }
        problem
    }

    fn verify_once(&self, headers: &HeaderMap, body: &Bytes) -> Result<(), String> {
        let mut problem = "there is no secret yet".to_owned();
        for webhook in self.secrets.current().iter() {
            match webhook.verify(body, headers) {
                Ok(()) => return Ok(()),
                Err(error) => problem = error.to_string(),
            }
        }
        Err(problem)
    }
}

/// UTC, to the millisecond.
fn time_of_day(us: i64) -> String {
    let ms = us.div_euclid(1_000).rem_euclid(86_400_000);
    format!("{:02}:{:02}:{:02}.{:03}", ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000)
}
