//! What endpoints with a taste of their own get of an event: those whose filter takes it, in their own envelope or as
//! their transform makes it. Rendered once per way of writing it, not per endpoint.

use crate::document::{Document, JsonPath};
use crate::identity::{OWNER, acting_as, own_role};
use crate::statement::{Seen, Statement};
use crate::store::NewEvent;
use crate::subscriber::Subscriber;
use crate::transform::Transform;
use crate::{guc, subtransaction};
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use pgrx::{PgTryBuilder, pg_sys};
use protocol::event_type::EventType;
use protocol::layout::{Layout, Values};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

/// What is kept of an error, in characters.
const LONGEST_REASON: usize = 1000;

thread_local! {
    static SKIPPED: Statement = const { Statement::new(
        c"INSERT INTO webhook.attempt (event_id, id, endpoint_id, number, final, outcome, error) \
          VALUES ($1, pg_catalog.gen_random_uuid(), $2, 0, true, 'skipped', $3)",
        &[pg_sys::UUIDOID, pg_sys::INT4OID, pg_sys::TEXTOID]) };
}

/// How an endpoint's deliveries differ from the events.
pub struct Taste {
    pub filter: Option<JsonPath>,
    pub shape: Option<Rc<Shape>>,
}

/// A way to write bodies, shared by the endpoints that have it.
pub struct Shape {
    pub writer: Writer,
    /// A failure ends the delivery as skipped. Else it fails the statement.
    pub skips: bool,
}

pub enum Writer {
    Layout(Layout),
    Transform(Transform),
}

/// A body that is not the event's own.
pub struct Variant {
    pub body: String,
    pub endpoint_ids: Vec<i32>,
}

/// What became of an event for some endpoints.
#[derive(Default)]
pub struct Made<'s> {
    pub variants: Vec<Variant>,
    /// The endpoints that get it, and the index of their variant; None: the event's own body.
    pub wanted: Vec<(&'s Subscriber, Option<usize>)>,
    /// The endpoints whose delivery ended before it began, and why.
    pub skipped: Vec<(i32, String)>,
    /// The endpoints that do not get it, and what says so.
    pub declined: Vec<(i32, &'static str)>,
}

/// What a shape made of the event: the index of its variant, None where it made none, or what went wrong.
type Written = Result<Option<usize>, String>;

/// Makes what each of these endpoints gets. None of them has to have a taste.
pub fn make<'s>(
    event: &NewEvent,
    subscribers: impl Iterator<Item = &'s Subscriber>,
    filtered: bool,
) -> Made<'s> {
    let document = Document::new(&event.body);
    let mut made = Made::default();
    let mut known: Vec<(&Rc<Shape>, Written)> = Vec::new();
    for subscriber in subscribers {
        let endpoint_id = subscriber.endpoint_id;
        let taste = subscriber.taste.as_ref();
        if filtered && let Some(filter) = taste.and_then(|taste| taste.filter.as_ref()) {
            match document.passes(filter) {
                Ok(true) => {}
                Ok(false) => {
                    made.declined.push((endpoint_id, "its filter declines it"));
                    continue;
                }
                Err(problem) => {
                    made.skipped.push((endpoint_id, format!("filter failed: {problem}")));
                    continue;
                }
            }
        }
        let Some(shape) = taste.and_then(|taste| taste.shape.as_ref()) else {
            made.wanted.push((subscriber, None));
            continue;
        };
        let index = match known.iter().find(|(earlier, _)| Rc::ptr_eq(earlier, shape)) {
            Some((_, index)) => index.clone(),
            None => {
                let index = shape.write(event, &document, endpoint_id).map(|body| {
                    body.map(|body| {
                        made.variants.push(Variant { body, endpoint_ids: Vec::new() });
                        made.variants.len() - 1
                    })
                });
                known.push((shape, index.clone()));
                index
            }
        };
        match index {
            Ok(Some(index)) => {
                made.variants[index].endpoint_ids.push(endpoint_id);
                made.wanted.push((subscriber, Some(index)));
            }
            Ok(None) => made.declined.push((endpoint_id, "its transform returned NULL")),
            Err(problem) => made.skipped.push((endpoint_id, problem)),
        }
    }
    made
}

impl Shape {
    /// The body; None where the transform returned NULL, or why there is none.
    fn write(
        &self,
        event: &NewEvent,
        document: &Document,
        endpoint_id: i32,
    ) -> Result<Option<String>, String> {
        // A notice of pg_webhook's own must not fail what it is about.
        let skips = self.skips || EventType::try_new(&event.event_type).is_ok_and(|t| t.is_reserved());
        match &self.writer {
            Writer::Layout(layout) => {
                let body = write_layout(layout, event);
                match too_large(&body) {
                    Some(problem) if skips => Err(format!("envelope: {problem}")),
                    Some(problem) => refuse_large(format!("envelope of endpoint {endpoint_id}: {problem}")),
                    None => Ok(Some(body)),
                }
            }
            Writer::Transform(transform) => {
                let work = || call(transform, document);
                if skips {
                    subtransaction::run(work)
                        .map_err(|error| format!("transform {} failed: {}", transform.name, message(&error)))
                } else {
                    let name = transform.name.as_str();
                    Ok(PgTryBuilder::new(AssertUnwindSafe(work))
                        .catch_others(|error| fail(name, endpoint_id, error))
                        .execute())
                }
            }
        }
    }
}

fn write_layout(layout: &Layout, event: &NewEvent) -> String {
    let mut id = String::with_capacity(36);
    protocol::event_id::write_uuid(&mut id, &event.stamp.id);
    let parts = protocol::envelope::parts(&event.body);
    let mut body = String::with_capacity(event.body.len() + 64);
    let values = Values {
        id: &id,
        event_type: &event.event_type,
        tenant: event.tenant.as_deref(),
        key: event.key.as_deref(),
        unix_us: event.stamp.unix_us,
        data: parts.data,
        previous: parts.previous,
        changed: parts.changed,
    };
    layout.write(&mut body, &values);
    body
}

fn call(transform: &Transform, document: &Document) -> Option<String> {
    let body = document.jsonb().unwrap_or_else(|problem| {
        crate::raise(
            PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION,
            format!("the body is no jsonb: {problem}"),
            "Leave out the column whose JSON is not valid as jsonb.",
        )
    });
    let made = transform.call(body);
    if let Some(problem) = made.as_deref().and_then(too_large) {
        refuse_large(problem);
    }
    made
}

fn too_large(body: &str) -> Option<String> {
    let limit = guc::MAX_BODY_BYTES.get() as usize;
    (body.len() > limit)
        .then(|| format!("the body has {} bytes, more than pg_webhook.max_body_bytes ({limit})", body.len()))
}

fn refuse_large(problem: String) -> ! {
    crate::raise(
        PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        problem,
        "Have it leave something out, or have the limit raised.",
    )
}

/// Ends a delivery before it began.
pub fn record_skipped(event_id: &[u8; 16], endpoint_id: i32, reason: &str) {
    let reason: String = reason.chars().take(LONGEST_REASON).collect();
    let args =
        [pgrx::Uuid::from_bytes(*event_id).into_datum(), endpoint_id.into_datum(), reason.into_datum()];
    acting_as(own_role(OWNER), false, || {
        SKIPPED.with(|statement| statement.run(Seen::Transaction, &args, |_| ()));
    });
}

/// What the failure of a delivery is, for a row of the log.
pub fn message(error: &CaughtError) -> String {
    match error {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => report.message().to_owned(),
        CaughtError::RustPanic { ereport, .. } => ereport.message().to_owned(),
    }
}

/// A failing transform fails the statement, and says whose it is and why.
fn fail(name: &str, endpoint_id: i32, error: CaughtError) -> ! {
    match &error {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report)
            if !subtransaction::is_interruption(report.sql_error_code()) =>
        {
            // pgrx knows no code that the function made up.
            let code = match report.sql_error_code() {
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR => PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
                code => code,
            };
            let message =
                format!("transform {} of endpoint {endpoint_id} failed: {}", name, report.message());
            crate::raise(
                code,
                message,
                report
                    .hint()
                    .unwrap_or("on_error = 'skip' has the endpoint's deliveries end as skipped instead."),
            )
        }
        _ => error.rethrow(),
    }
}

/// What is wrong with an envelope.
#[pg_extern(sql = false)]
fn envelope_problem(envelope: &str) -> Option<String> {
    Layout::try_new(envelope).err().map(|invalid| invalid.to_string())
}
